"""Verbs from file to file: which text they read, and that people are told what was left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradatim.cli import app
from gradatim.core import Labels, Prefix, Solution, Step, Tally, Verdict
from gradatim.problems.lab import load
from gradatim.records import labelled_row, problem_row, solution_row
from gradatim.solutions.scripted import ScriptedPolicy

PROBLEM = load("test", 1)[0]
SOLUTION = Solution(
    prefix=Prefix(PROBLEM.id, PROBLEM.prompt, (Step("3 + 12 = 15.\n"), Step("The answer is 15."))),
    author="a",
    draw=0,
    verdict=Verdict.CORRECT,
    answer="15",
)
LABELS = Labels(
    solution_id=SOLUTION.id,
    tallies=(Tally(1, 1), Tally(1, 1)),
    error=None,
    error_known=True,
    truth="validity",
    source="judge",
    by="judge",
)
ROWS = {"problems": problem_row(PROBLEM), "solutions": solution_row(SOLUTION), "labels": labelled_row(SOLUTION, LABELS)}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The command in this process; what it printed."""
    with pytest.raises(SystemExit) as end:
        app(list(arguments))
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of one good row and one bad one, in the working folder."""
    for name, row in ROWS.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + '\n{"no": "row"\n')
    (tmp_path / "others.jsonl").write_bytes((tmp_path / "labels.jsonl").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "draft", [solution_row(SOLUTION), {"prompt": "What?", "completions": ["a", "b"], "answer": "15"}]
)
def test_a_solution_is_split_and_not_its_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], draft: dict[str, object]
) -> None:
    """Rows of steps bear the final answer too: the text is that of the steps."""
    path, text = tmp_path / "solutions.jsonl", SOLUTION.prefix.text if "schema" in draft else "a\n\nb"
    path.write_text(json.dumps(draft) + "\n")
    found = json.loads(run(capsys, "split", str(path), "--by", "line", "--json"))

    assert (found["texts"], found["characters"]) == (1, len(text))


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "solutions.jsonl"),
        ("score", "solutions.jsonl", "--stats"),
        ("verify", "problems.jsonl", "--verifier", "exact"),
        ("sample", "problems.jsonl", "--n", "1", "--out", "out.jsonl"),
        ("audit", "labels.jsonl"),
        ("consensus", "labels.jsonl", "others.jsonl", "--out", "out.jsonl"),
        ("label", "problems.jsonl", "solutions.jsonl", "--k", "1", "--out", "out.jsonl"),
        ("label", "problems.jsonl", "solutions.jsonl", "--k", "1", "--forecast", "--out", "out.jsonl"),
        ("judge", "solutions.jsonl", "--policy", "critic", "--out", "out.jsonl"),
        ("judge", "solutions.jsonl", "--policy", "critic", "--forecast", "--out", "out.jsonl"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_people_are_told_what_was_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """With --skip-bad the count of bad rows stands below the result, and not only in the JSON."""
    critic = ScriptedPolicy(lambda prefix, draw, seed: r"All is right. \boxed{-1}")
    monkeypatch.setattr("gradatim.cli.judging.open_policy", lambda *_: critic)
    lines = run(capsys, *arguments, "--skip-bad", "--quiet").splitlines()

    bad = {"consensus": 2, "label": 2}.get(arguments[0], 1)
    assert lines[-1] == f"left out: expected one JSON object a line ({bad})"
