"""The loop in the lab: it leaves its files, shows its numbers, and goes on after kill -9."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SIZE = ["--budget", "smoke", "--problems", "4", "--test-problems", "4", "--candidates", "6"]


def command(out: Path) -> list[str]:
    return [sys.executable, "-m", "gradatim", "loop", *SIZE, "--out", str(out), "--json", "--quiet"]


def run(out: Path) -> dict[str, Any]:
    done = subprocess.run(command(out), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(name="whole", scope="module")
def _whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("loop") / "run"
    return folder, run(folder)


def test_a_loop_leaves_files_that_a_person_can_read(whole: tuple[Path, dict[str, Any]]) -> None:
    """The run's folder holds every stage's file, the manifest, and a page."""
    folder, result = whole

    names = {path.name for path in folder.iterdir()}
    assert {
        "run.toml", "manifest.json", "problems.jsonl", "solutions.jsonl", "labels.jsonl", "model", "pool.jsonl",
        "scores-prm-0.jsonl", "choices.jsonl", "report.json", "report.html",
    } <= names  # fmt: skip
    assert Path(result["report"]) == folder / "report.html"
    accuracy = {row["method"]: row["accuracy"]["value"] for row in result["headline"]["Accuracy at n = 6"]}
    assert accuracy["random"] <= accuracy["oracle (pass@n)"]
    assert accuracy["best of n, PRM"] <= accuracy["oracle (pass@n)"]


def test_a_finished_loop_is_not_done_again(whole: tuple[Path, dict[str, Any]]) -> None:
    """The same command gives the same numbers and writes no file of a stage again."""
    folder, result = whole
    before = {p: p.stat().st_mtime_ns for p in folder.glob("s*.jsonl")}

    again = run(folder)

    assert again["headline"] == result["headline"]
    assert {p: p.stat().st_mtime_ns for p in folder.glob("s*.jsonl")} == before


def test_a_moved_loop_is_not_done_again(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """The folder's name is no setting of any stage."""
    folder, result = whole
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    stages = json.loads((moved / "manifest.json").read_text("utf-8"))["stages"]

    again = run(moved)

    assert again["headline"] == result["headline"]
    assert json.loads((moved / "manifest.json").read_text("utf-8"))["stages"] == stages


def test_other_settings_in_the_same_folder_are_refused(whole: tuple[Path, dict[str, Any]]) -> None:
    """A folder is not mixed: the message names what differs and what to do."""
    folder, _ = whole
    asked = [*command(folder), "--rollouts", "3"]

    done = subprocess.run(asked, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 1
    assert "k was 8, now 3" in done.stderr
    assert "--force" in done.stderr


def test_a_refused_loop_replaces_nothing(whole: tuple[Path, dict[str, Any]]) -> None:
    """Another number of problems is refused before the old problems are written over."""
    folder, _ = whole
    before = (folder / "problems.jsonl").read_bytes()
    asked = [*command(folder), "--problems", "3"]

    done = subprocess.run(asked, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 1
    assert "problems was 4, now 3" in done.stderr
    assert (folder / "problems.jsonl").read_bytes() == before


@pytest.mark.parametrize("sign", ["solutions.jsonl", "labels.jsonl", "model"])
def test_a_killed_loop_goes_on_and_ends_as_if_it_had_not_been(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path, sign: str
) -> None:
    """kill -9 as soon as a stage's output appears; the same command again gives the uninterrupted run's numbers."""
    folder = tmp_path / "run"
    process = subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (folder / sign).exists() and process.poll() is None and time.monotonic() < deadline:
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.wait()

    assert run(folder)["headline"] == whole[1]["headline"]
