"""A run's folder keeps what was asked and done, through any stop, and never mixes two settings."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

from gradatim.errors import ConfigError, InputError
from gradatim.runs import Run, atomic_write, environment, fingerprint, invocation, plain


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    name: str | None = None


@dataclass(frozen=True)
class Config:
    n: int = 4
    out: str = "made.txt"
    inner: Inner = Inner()
    items: tuple[int, ...] = (1, 2)


@dataclass
class Job:
    """A stage that counts its calls and writes a file."""

    out: Path
    text: str = "made"
    calls: list[int] = field(default_factory=list)

    def __call__(self) -> dict[str, object]:
        self.calls.append(1)
        self.out.write_text(self.text)
        return {"rows": 3, "rate": math.nan}


def test_stage_runs_once(tmp_path: Path) -> None:
    """A finished stage is not done again; its result comes from the manifest, the same as the first time."""
    run, job = Run(tmp_path / "run"), Job(tmp_path / "made.txt")

    first = run.stage("make", Config(), job, outputs=[job.out])
    second = Run(tmp_path / "run").stage("make", Config(), job, outputs=[job.out])

    assert first == second == {"rows": 3, "rate": None}
    assert len(job.calls) == 1


def test_manifest_says_what_was_done(tmp_path: Path) -> None:
    """The manifest holds settings, digests of inputs and outputs, versions, device, command and seconds."""
    source = tmp_path / "in.txt"
    source.write_text("input")
    run, job = Run(tmp_path / "run"), Job(tmp_path / "run" / "made.txt")
    run.stage("make", Config(), job, inputs=[source], outputs=[job.out])

    record = json.loads((tmp_path / "run" / "manifest.json").read_text())["stages"]["make"]

    assert record["state"] == "finished"
    assert record["config"] == {"n": 4, "out": "made.txt", "inner": {"rate": 0.5, "name": None}, "items": [1, 2]}
    assert record["inputs"] == {str(source): fingerprint(source)}
    assert record["outputs"] == {"made.txt": fingerprint(job.out)}
    assert record["environment"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["environment"]["cores"] == os.cpu_count()
    assert record["environment"]["libraries"]["numpy"]
    assert record["seconds"] >= 0


def test_a_moved_folder_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's folder that was moved, or is named otherwise, has its stages done; what changed in it is seen all the same."""
    here, there = tmp_path / "here", tmp_path / "deep" / "there"
    job = Job(here / "made.txt")
    Run(here).stage("make", Config(), job, outputs=[job.out])
    Run(here).stage("next", Config(), job, inputs=[job.out])
    there.parent.mkdir()
    here.rename(there)
    monkeypatch.chdir(there.parent)

    for folder in (there, Path("there"), Path("../deep/there")):
        Run(folder).stage("make", Config(), job, outputs=[folder / "made.txt"])
        Run(folder).stage("next", Config(), job, inputs=[folder / "made.txt"])
    assert len(job.calls) == 2

    (there / "made.txt").write_text("other")
    with pytest.raises(ConfigError, match=r"output made\.txt was changed"):
        Run(there).stage("make", Config(), job, outputs=[there / "made.txt"])
    with pytest.raises(ConfigError, match=r"input made\.txt was"):
        Run(there).stage("next", Config(), job, inputs=[there / "made.txt"])


def test_run_toml_reads_back(tmp_path: Path) -> None:
    """run.toml has a section a stage, and its values are the settings (keys without a value are left out)."""
    run = Run(tmp_path)
    run.stage("first", Config(out='a "b"\nc\\d é\x7f'), dict)
    run.stage("second", {"odd key": [{"x": None}, 1.5], "on": True, "tiny": 1e-7}, dict)

    read = tomllib.loads((tmp_path / "run.toml").read_text(encoding="utf-8"))

    assert read == {
        "first": {"n": 4, "out": 'a "b"\nc\\d é\x7f', "inner": {"rate": 0.5}, "items": [1, 2]},
        "second": {"odd key": [{"x": "none"}, 1.5], "on": True, "tiny": 1e-7},
    }


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    """A stage that was done with other settings is refused; the message names the keys, their values, and the way out."""
    run, job = Run(tmp_path), Job(tmp_path / "made.txt")
    run.stage("make", Config(), job, outputs=[job.out])

    with pytest.raises(ConfigError) as caught:
        run.stage("make", Config(n=8, inner=Inner(rate=0.1)), job, outputs=[job.out])

    message = str(caught.value)
    assert "inner.rate was 0.5, now 0.1; n was 4, now 8" in message
    assert "--force" in message
    assert "another folder" in message
    assert "items" not in message
    assert len(job.calls) == 1


def test_new_and_lost_settings_are_named(tmp_path: Path) -> None:
    """A setting that only one of the two knows counts as a difference."""
    run = Run(tmp_path)
    run.stage("make", {"old": 1}, dict)

    with pytest.raises(ConfigError, match="new was not set, now 2; old was 1, now not set"):
        run.stage("make", {"new": 2}, dict)


def test_force_does_it_again(tmp_path: Path) -> None:
    """With force, a stage with other settings is done again, without what the old one left; one that agrees is not."""
    made, ledger, kept = tmp_path / "made.txt", tmp_path / "ledger", Job(tmp_path / "kept.txt")
    run = Run(tmp_path)
    run.stage("make", Config(), Job(made), outputs=[made], scratch=[ledger])
    run.stage("keep", Config(), kept, outputs=[kept.out])
    ledger.mkdir()
    (ledger / "row").write_text("old work")
    seen: list[bool] = []

    def again() -> dict[str, object]:
        seen.append(made.exists() or ledger.exists())
        made.write_text("new")
        return {"rows": 9}

    forced = Run(tmp_path, force=True)

    assert forced.stage("make", Config(n=8), again, outputs=[made], scratch=[ledger]) == {"rows": 9}
    forced.stage("keep", Config(), kept, outputs=[kept.out])
    assert seen == [False]
    assert len(kept.calls) == 1


def test_changed_input_is_refused(tmp_path: Path) -> None:
    """A stage whose input has other content than when it was done is refused, and the input is named."""
    source = tmp_path / "in.txt"
    source.write_text("one")
    run = Run(tmp_path)
    run.stage("make", Config(), dict, inputs=[source])
    before = fingerprint(source)
    source.write_text("two")

    with pytest.raises(ConfigError, match=rf"input .*in\.txt was {before}, now {fingerprint(source)}"):
        run.stage("make", Config(), dict, inputs=[source])


def test_changed_output_is_refused(tmp_path: Path) -> None:
    """An output that was edited after it was written is neither trusted nor overwritten."""
    run, job = Run(tmp_path), Job(tmp_path / "made.txt")
    run.stage("make", Config(), job, outputs=[job.out])
    job.out.write_text("edited")

    with pytest.raises(ConfigError, match=r"output .*made\.txt was changed after it was written"):
        run.stage("make", Config(), job, outputs=[job.out])

    assert job.out.read_text() == "edited"


def test_lost_output_is_made_again(tmp_path: Path) -> None:
    """A finished stage whose output is gone is done again with the same settings."""
    run, job = Run(tmp_path), Job(tmp_path / "made.txt")
    run.stage("make", Config(), job, outputs=[job.out])
    job.out.unlink()
    run.stage("make", Config(), job, outputs=[job.out])

    assert len(job.calls) == 2
    assert job.out.read_text() == "made"
    assert run.manifest()["stages"]["make"]["sessions"] == 2


def test_missing_input_names_the_file(tmp_path: Path) -> None:
    """An input that is not there is the user's fault, and nothing is recorded."""
    run = Run(tmp_path)

    with pytest.raises(InputError, match=r"absent\.txt"):
        run.stage("make", Config(), dict, inputs=[tmp_path / "absent.txt"])

    assert run.manifest()["stages"] == {}


def test_failed_work_is_not_finished(tmp_path: Path) -> None:
    """A stage whose work raises stays unfinished, keeps its settings, and goes on with the next call."""
    run, job = Run(tmp_path), Job(tmp_path / "made.txt")

    def fail() -> dict[str, object]:
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        run.stage("make", Config(), fail, outputs=[job.out])

    assert run.manifest()["stages"]["make"]["state"] == "started"
    with pytest.raises(ConfigError, match="was started differently: n was 4, now 5"):
        run.stage("make", Config(n=5), job, outputs=[job.out])
    assert run.stage("make", Config(), job, outputs=[job.out])["rows"] == 3


def test_seconds_are_those_of_all_sessions_of_the_stages_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed and went on is counted whole; what somebody else did in the folder is not."""
    now = [0.0]
    monkeypatch.setattr("gradatim.runs.time.perf_counter", lambda: now[0])
    run = Run(tmp_path)

    def work(seconds: float, fails: bool = False) -> dict[str, object]:
        now[0] += seconds
        if fails:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        run.stage("make", Config(), lambda: work(5.0, fails=True))
    run.stage("make", Config(), lambda: work(2.0))
    run.stage("other", Config(), lambda: work(100.0))

    assert run.manifest()["stages"]["make"]["seconds"] == 7.0
    assert run.seconds() == 107.0
    again = Run(tmp_path)
    again.stage("make", Config(), lambda: work(1.0))
    assert again.seconds() == 7.0


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("/home/someone/bin/gradatim", "gradatim loop --out 'a b'"),
        ("/lib/gradatim/__main__.py", "gradatim loop --out 'a b'"),
        ("/lib/other/__main__.py", "otherwise"),
    ],
)
def test_the_command_can_be_typed_again(monkeypatch: pytest.MonkeyPatch, program: str, said: str) -> None:
    """However Gradatim was started; what was started by other programs is not made up."""
    monkeypatch.setattr(sys, "argv", [program, "loop", "--out", "a b"])
    assert invocation("otherwise") == said


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 99, "stages": {}}', '{"schema": 1, "stages": []}'])
def test_broken_manifest_is_an_input_error(tmp_path: Path, content: str) -> None:
    """A manifest that is not ours stops the run and is named; it is not replaced."""
    (tmp_path / "manifest.json").write_text(content)

    with pytest.raises(InputError, match=r"manifest\.json"):
        Run(tmp_path).stage("make", Config(), dict)

    assert (tmp_path / "manifest.json").read_text() == content


def test_plain_values() -> None:
    """Records hold what JSON holds; anything else is refused instead of being written as its repr."""
    value = {"a": (1, Path("x/y")), Colour.RED: Colour.RED, "inf": math.inf, "inner": Inner()}

    assert plain(value) == {"a": [1, "x/y"], "red": "red", "inf": None, "inner": {"rate": 0.5, "name": None}}
    with pytest.raises(TypeError, match="object"):
        plain({"x": object()})


def test_fingerprint_of_a_folder(tmp_path: Path) -> None:
    """A folder's fingerprint depends on names and contents, not on hidden files or the folder's own name."""
    left, right = tmp_path / "left", tmp_path / "right"
    for folder in (left, right):
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "a").write_text("1")
    (right / ".cache").write_text("not counted")
    same = fingerprint(left)

    assert fingerprint(right) == same
    (right / "sub" / "a").write_text("2")
    assert fingerprint(right) != same
    (right / "sub" / "a").write_text("1")
    (right / "sub" / "a").rename(right / "sub" / "b")
    assert fingerprint(right) != same


def test_environment_does_not_import_torch() -> None:
    """Asking for versions and device imports no heavy library."""
    code = "import sys; from gradatim.runs import environment; environment(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
    assert environment()["device"]


WRITER = """
import sys
from gradatim.runs import atomic_write
while True:
    for letter in "ab":
        atomic_write(sys.argv[1], letter * 300_000)
        print(letter, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 2, 5, 9])
def test_atomic_write_survives_kill(tmp_path: Path, lines: int) -> None:
    """Killed at any moment, a file that is replaced again and again holds one whole content."""
    path = tmp_path / "file"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(lines):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)

    assert path.read_text() in ("a" * 300_000, "b" * 300_000)


def test_atomic_write_leaves_nothing_behind(tmp_path: Path) -> None:
    """A write that fails leaves the old content and no temporary file; one that succeeds, a file with usual rights."""
    path = tmp_path / "file"
    atomic_write(path, "old")
    usual = tmp_path / "usual"
    usual.write_text("")

    with pytest.raises(TypeError):
        atomic_write(path, 3)  # type: ignore[arg-type]
    with pytest.raises(OSError):
        atomic_write(tmp_path / "absent" / "file", b"x")

    assert path.read_text() == "old"
    assert path.stat().st_mode == usual.stat().st_mode
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "usual"]


STAGE = textwrap.dedent(
    """
    import sys
    from gradatim.runs import Run

    def work():
        print("working", flush=True)
        sys.stdin.read()
        return {}

    Run(sys.argv[1]).stage("make", {"n": 1}, work)
    """
)


def test_killed_stage_is_resumed(tmp_path: Path) -> None:
    """While a stage runs no other process may enter; once it is killed the manifest reads well and the stage goes on."""
    command = [sys.executable, "-c", STAGE, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"working\n"
        with pytest.raises(ConfigError, match="another process"):
            Run(tmp_path).stage("make", {"n": 1}, dict)
        other.send_signal(signal.SIGKILL)

    run = Run(tmp_path)
    assert run.manifest()["stages"]["make"]["state"] == "started"
    with pytest.raises(ConfigError, match="n was 1, now 2"):
        run.stage("make", {"n": 2}, dict)
    assert run.stage("make", {"n": 1}, lambda: {"rows": 2}) == {"rows": 2}
    assert run.manifest()["stages"]["make"]["sessions"] == 2


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A file where the folder should be is left alone."""
    (tmp_path / "taken").write_text("a file\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="can't be a run's folder"):
        Run(tmp_path / "taken")
    assert (tmp_path / "taken").read_text("utf-8") == "a file\n"
