"""`gradatim evaluate` takes the names of suites where a command's name could stand."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gradatim.cli import app


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> tuple[str, str, str]:
    """ProcessBench rows, pairs, and scores of both."""
    bench = [
        {"id": f"r{k}", "problem": f"Q{k}?", "steps": ["a", "b"], "label": k % 3 - 1, "final_answer_correct": True}
        for k in range(9)
    ]
    pairs = [{"id": f"p{k}", "prompt": f"P{k}", "chosen": "a", "rejected": "b"} for k in range(4)]
    scores: list[dict[str, object]] = [{"id": row["id"], "step_scores": [0.7, 0.2]} for row in bench]
    scores += [
        {"id": f"p{k}#{k}/{side}/0", "value": value}
        for k in range(4)
        for side, value in (("chosen", 1), ("rejected", 0))
    ]
    paths = []
    for name, rows in (("bench", bench), ("pairs", pairs), ("scores", scores)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths.append(str(path))
    return paths[0], paths[1], paths[2]


def run(*words: str) -> dict[str, object]:
    done = CliRunner().invoke(app, ["evaluate", *words, "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def test_suites_in_place_of_a_command(files: tuple[str, str, str]) -> None:
    """With or without the word "suites", and with --data for one of them."""
    bench, pairs, scores = files
    mixed = run(f"processbench={bench}", f"pairs={pairs}", "--scores", scores)

    assert mixed["schema"] == "gradatim.evaluation/1"
    assert [one["suite"] for one in mixed["results"]] == ["processbench", "pairs"]  # type: ignore[index,attr-defined]
    assert run("suites", f"processbench={bench}", f"pairs={pairs}", "--scores", scores)["results"] == mixed["results"]
    assert run("pairs", "--data", pairs, "--scores", scores)["results"] == mixed["results"][1:]  # type: ignore[index]


def test_the_older_command_stays(files: tuple[str, str, str]) -> None:
    """`evaluate processbench --data` prints what it always printed."""
    bench, _, scores = files
    alone = run("processbench", "--data", bench, "--scores", scores)

    assert set(alone) == {"subsets", "model", "drops"}


def test_two_suites_of_which_the_first_is_a_command(files: tuple[str, str, str]) -> None:
    """`evaluate processbench pairs=...` is a mix; the first has no data here and says so."""
    _, pairs, scores = files
    done = CliRunner().invoke(app, ["evaluate", "bigbench-mistake", f"pairs={pairs}", "--scores", scores])

    assert "bigbench-mistake needs its data" in str(done.exception)


def test_reformat(files: tuple[str, str, str], tmp_path: Path) -> None:
    """`gradatim reformat` writes another form and says what it could not hold."""
    out = tmp_path / "out.jsonl"
    done = CliRunner().invoke(app, ["reformat", f"processbench:{files[0]}", str(out), "--to", "trl", "--json"])

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["write_drops"] == {"cut before a step without a label": 3}
    assert len(out.read_text().splitlines()) == 9


@pytest.mark.parametrize("older", [False, True])
def test_settings_that_open_a_model_are_refused_beside_recorded_scores(
    files: tuple[str, str, str], older: bool
) -> None:
    """They would change nothing, and a calibration that is ignored would be taken for one that was used."""
    bench, _, scores = files
    suite = ["processbench", "--data", bench] if older else ["suites", f"processbench={bench}"]

    done = CliRunner().invoke(app, ["evaluate", *suite, "--scores", scores, "--calibration", "none.json"])

    assert done.exit_code == 1
    assert "recorded scores are as they are" in str(done.exception)


def test_the_command_of_a_report_makes_it_again(files: tuple[str, str, str]) -> None:
    """Also of a single suite, whose name alone would be an older command."""
    bench, _, scores = files
    found = run("suites", f"processbench={bench}", "--scores", scores, "--threshold", "cross-fit")

    words = shlex.split(str(found["command"]))

    assert words[:2] == ["gradatim", "evaluate"]
    assert run(*words[2:])["results"] == found["results"]


def test_one_problem_has_values_without_intervals(files: tuple[str, str, str], tmp_path: Path) -> None:
    """Shown as they are."""
    rows = [json.loads(line) for line in Path(files[0]).read_text().splitlines()]
    one = tmp_path / "one.jsonl"
    one.write_text("".join(json.dumps({**row, "problem": "Q?"}) + "\n" for row in rows))

    done = CliRunner().invoke(app, ["evaluate", "suites", f"processbench={one}", "--scores", files[2], "--quiet"])

    assert done.exit_code == 0, done.output
