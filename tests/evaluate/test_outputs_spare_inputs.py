"""Verbs that choose, calibrate, explain and evaluate look at where results go before they do any work: no input is
replaced."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labelled_files import simulated
from typer.testing import CliRunner

from gradatim import records
from gradatim.cli import app
from gradatim.errors import ConfigError
from gradatim.evaluate.calibrating import CalibrateConfig, calibrate_stage
from gradatim.evaluate.first_error_sets import ConformalConfig, conformal_stage

POOL = ("--pool", "pool.jsonl")
SCORES = ("--scores", "p1.jsonl")
BOTH = (*SCORES, "--scores", "p2.jsonl")
LABELLED = ("--labels", "labels.jsonl", "--scores", "scores.jsonl")


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pool with two scorers, labels with solutions beside them and their scores, a rule and a map; and `d/report.json`,
    rows of ProcessBench under an unlucky name."""
    monkeypatch.chdir(tmp_path)
    pool: list[dict[str, Any]] = [
        {
            "problem_id": f"q{p}",
            "candidate_index": c,
            "problem": f"Q{p}?",
            "steps": ["a", f"{p} {c}"],
            "extracted_answer": str(c % 2),
            "is_correct": c % 2 == 0,
            "model_name": "author",
        }
        for p in range(8)
        for c in range(3)
    ]
    bench = [{"id": f"b{k}", "problem": f"B{k}?", "steps": ["a", "b"], "label": k % 3 - 1} for k in range(6)]
    scores = [
        {
            **{name: row[name] for name in ("problem_id", "candidate_index")},
            "step_scores": [0.9, 0.5 + row["is_correct"] / 4],
        }
        for row in pool
    ]
    write("pool.jsonl", pool)
    for name in ("p1", "p2"):
        write(f"{name}.jsonl", [{**row, "prm_name": name} for row in scores])
    made = simulated(20, 0)
    records.write_solutions("solutions.jsonl", [solution for solution, _ in made.items])
    records.write_labels("labels.jsonl", [labels for _, labels in made.items])
    records.write_scores("scores.jsonl", made.scores)
    Path("d").mkdir()
    Path("d/report.json").write_text(json.dumps(bench))
    write("bench.jsonl", [{"id": row["id"], "step_scores": [0.4, 0.6]} for row in bench])
    for name in ("rule.json", "map.json"):
        Path(name).write_text("{}")
    return tmp_path


def write(path: str, rows: list[dict[str, Any]]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(*words: str) -> BaseException | None:
    """The error that the command ends with; None if it does what it is asked."""
    return CliRunner().invoke(app, [*words, "--json"]).exception


COMMANDS: list[tuple[tuple[str, ...], str, tuple[str, ...]]] = [
    (("choose", *POOL, *SCORES), "--out", ("pool.jsonl", "p1.jsonl")),
    (("combine", *POOL, *BOTH, "--ensemble", "mean"), "--out", ("pool.jsonl", "p1.jsonl", "p2.jsonl")),
    (("abstain", *POOL, *SCORES, "--chooser", "best_of_n"), "--out", ("pool.jsonl", "p1.jsonl")),
    (("explain", "pool.jsonl", *SCORES), "--picture", ("pool.jsonl", "p1.jsonl")),
    (("conformal", *LABELLED), "--out", ("labels.jsonl", "solutions.jsonl", "scores.jsonl")),
    (("conformal", "--scores", "scores.jsonl", "--rule", "rule.json"), "--out", ("scores.jsonl",)),
    (("calibrate", *LABELLED), "--out", ("labels.jsonl", "solutions.jsonl", "scores.jsonl")),
    (("calibrate", *POOL, *SCORES), "--out", ("pool.jsonl", "p1.jsonl")),
    (("conformal", "--labels", "labels.jsonl", "--model", "lab", "--calibration", "map.json"), "--out", ("map.json",)),
    (("evaluate", "processbench=d/report.json", "--scores", "bench.jsonl"), "--report", ("d",)),
    (("evaluate", "processbench", "--data", "d/report.json", "--scores", "bench.jsonl"), "--report", ("d",)),
]


@pytest.mark.parametrize(
    ("words", "flag", "target"),
    [(words, flag, target) for words, flag, targets in COMMANDS for target in targets],
)
def test_no_file_that_is_read_is_replaced(folder: Path, words: tuple[str, ...], flag: str, target: str) -> None:
    """Whichever of its files an output is named after, the command ends at once and every byte stays."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    error = run(*words, flag, target)

    assert isinstance(error, ConfigError)
    assert "would replace" in str(error)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "words",
    [
        (*words, flag, "d" if flag != "--report" else "pool.jsonl")
        for words, flag, _ in COMMANDS
        if "--calibration" not in words
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_can_not_be_written_is_said_first(words: tuple[str, ...]) -> None:
    """A folder where a file should be, or a file where a folder should be, though the data is missing too."""
    for name in ("pool.jsonl", "labels.jsonl", "scores.jsonl", "bench.jsonl"):
        if name != words[-1]:
            Path(name).unlink()
    error = run(*words)

    assert isinstance(error, ConfigError)
    assert str(error).startswith("output ")


@pytest.mark.usefixtures("folder")
def test_a_rule_is_kept_from_what_it_makes() -> None:
    """A rule may be called `.json`, which rows may not, and is not replaced by the sets or choices that it makes."""
    for words, data in ((("conformal", "--scores", "scores.jsonl"), LABELLED[:2]), (("abstain", *POOL), ())):
        for name in ("new.json", "new.jsonl"):
            assert run(*words, *data, "--out", name) is None
        kept = Path("new.jsonl").read_bytes()
        assert "would replace" in str(run(*words, "--rule", "new.jsonl", "--out", "new.jsonl"))
        assert Path("new.jsonl").read_bytes() == kept
        assert "JSON Lines" in str(run(*words, "--rule", "new.json", "--out", "rows.json"))
        assert run(*words, "--rule", "new.json", "--out", "rows.jsonl") is None


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("target", ["labels.jsonl", "solutions.jsonl"])
@pytest.mark.parametrize("stage", [calibrate_stage, conformal_stage])
def test_scores_that_are_kept_replace_no_labels(stage: Callable[[Any], Any], target: str) -> None:
    """Nor the solutions beside them."""
    config = CalibrateConfig if stage is calibrate_stage else ConformalConfig

    with pytest.raises(ConfigError, match="would replace"):
        stage(config(labels="labels.jsonl", model="m", keep_scores=target))


@pytest.mark.usefixtures("folder")
def test_two_results_of_one_command_do_not_share_a_file() -> None:
    """A calibration called like the report's numbers would be gone when the page is written."""
    error = run("calibrate", *LABELLED, "--method", "platt", "--out", "page/report.json", "--report", "page")

    assert "two results" in str(error)
