"""`gradatim explain`: ranks, first errors, diagnostics and the picture, from files."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from gradatim import records
from gradatim.core import Prefix, Score, Solution, Step, Verdict
from gradatim.errors import ConfigError, InputError
from gradatim.view.explain import ExplainConfig, explain_stage, told

STEPS = {
    "p": [(0.9, 0.8, 0.9), (0.1, 0.2), (0.9, 0.95, 0.2, 0.1)],
    "q": [(0.6, 0.5)],
}


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> tuple[str, str]:
    """Solutions of ours with step scores by one model; the second of p is wrong."""
    solutions, scores = [], []
    for problem, rows in STEPS.items():
        for draw, steps in enumerate(rows):
            prefix = Prefix(problem, f"what is {problem}?", tuple(Step(f"step {k}.\n") for k in range(len(steps))))
            verdict = Verdict.INCORRECT if steps[0] < 0.5 else Verdict.CORRECT
            solution = Solution(prefix=prefix, author="me", draw=draw, verdict=verdict, answer=str(draw))
            solutions.append(solution)
            scores.append((solution.id, Score(value=min(steps), steps=steps, reduction="min", by="prm")))
    records.write_solutions(tmp_path / "solutions.jsonl", solutions)
    records.write_scores(tmp_path / "scores.jsonl", scores)
    return str(tmp_path / "solutions.jsonl"), str(tmp_path / "scores.jsonl")


def explained(files: tuple[str, str], **settings: Any) -> dict[str, Any]:
    result = explain_stage(ExplainConfig(data=files[0], scores=(files[1],), **settings))
    json.dumps(result, allow_nan=False)
    return result


def test_solutions_are_ranked_and_their_errors_placed(files: tuple[str, str]) -> None:
    """Best first; weakest step and the three first errors of each, 0-based; the first step can be one."""
    p, q = explained(files)["problems"]

    assert [(one["candidate"], one["place"], one["value"]) for one in p["solutions"]] == [
        (0, 1, 0.8),
        (1, 2, 0.1),
        (2, 2, 0.1),
    ]
    rules = [[one[name] for name in ("weakest", "below", "drop", "change")] for one in p["solutions"]]
    assert rules == [[1, None, None, None], [0, 0, 0, 0], [3, 2, 2, 2]]
    assert (q["problem_id"], q["of"]) == ("q", 1)


def test_the_settings_reach_the_rules(files: tuple[str, str]) -> None:
    """Threshold, share, start and reduction decide what they say they do."""
    result = explained(files, threshold=0.85, share=0.95, start=0.1, reduction="last", problem="p")

    first, *others = result["problems"][0]["solutions"]
    assert len(result["problems"]) == 1
    assert (first["value"], first["below"], first["drop"]) == (0.9, 1, 1)
    assert {one["candidate"]: (one["value"], one["drop"]) for one in others} == {1: (0.2, None), 2: (0.1, 2)}


def test_diagnostics_are_about_all_solutions(files: tuple[str, str]) -> None:
    """Whatever is shown: minima at the last step against chance, and length among the correct."""
    found = explained(files, problem="q")["diagnostics"]

    assert found["solutions"] == 4
    assert found["lowest_is_last"] == pytest.approx(2 / 4)
    assert found["lowest_is_last_by_chance"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 4 + 1 / 2) / 4)
    x, y = (3, 4, 2), (0.8, 0.1, 0.5)
    mean = sum(y) / 3
    slope = sum((a - 3) * (b - mean) for a, b in zip(x, y, strict=True))
    size = (2 * sum((b - mean) ** 2 for b in y)) ** 0.5
    assert found["value_with_length_if_correct"] == pytest.approx(slope / size)


def test_people_read_steps_from_one_with_the_first_error_marked(files: tuple[str, str]) -> None:
    """Of several solutions a line of scores each, of a single one its steps."""
    several, one = explained(files, problem="p"), explained(files, problem="p", candidate=2)

    assert "1. candidate 0  0.800  answer 0 (correct)  weakest step 2\n" in told(several, 1)
    assert "candidate 1" not in told(several, 1)
    assert "weakest step 4, below threshold step 3, drop at step 3, change at step 3" in told(one, 3)
    assert "   ✗ 0.200  step 2." in told(one, 3)
    assert "lowest score at the last step: 0.500 (by chance 0.396)" in told(one, 3)


def test_the_picture_is_of_the_first_solution_shown(files: tuple[str, str], tmp_path: Path) -> None:
    """An SVG file with its step scores."""
    path = tmp_path / "steps.svg"
    explained(files, problem="p", candidate=2, picture=str(path))

    texts = [one.text for one in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text in ("0.90", "0.95", "0.20", "0.10", "✗")] == [
        "0.90",
        "0.95",
        "0.20",
        "✗",
        "0.10",
    ]


def test_what_cannot_be_explained_is_said(files: tuple[str, str], tmp_path: Path) -> None:
    """Several scorers without a choice, unknown names, values that are not there, settings out of range."""
    twice = str(tmp_path / "twice.jsonl")
    records.write_scores(twice, [(i, Score(value=0.5, by="orm")) for i, _ in records.read_scores(files[1])])
    with pytest.raises(ConfigError, match="prm, orm; --scorer to say which"):
        explain_stage(ExplainConfig(data=files[0], scores=(files[1], twice)))
    with pytest.raises(ConfigError, match="no scorer 'other'"):
        explained(files, scorer="other")
    with pytest.raises(ConfigError, match="has only outcome"):
        explain_stage(ExplainConfig(data=files[0], scores=(twice,), reduction="min"))
    with pytest.raises(ConfigError, match="no step scores to draw"):
        explain_stage(ExplainConfig(data=files[0], scores=(twice,), picture=str(tmp_path / "no.svg")))
    with pytest.raises(InputError, match="no such solution"):
        explained(files, problem="r")
    with pytest.raises(ConfigError, match="from 1 on"):
        ExplainConfig(data="d", scores=("s",), top=0)
    with pytest.raises(ConfigError, match="not a number"):
        ExplainConfig(data="d", scores=("s",), start=float("nan"))


def test_an_outcome_score_has_ranks_and_no_errors(files: tuple[str, str], tmp_path: Path) -> None:
    """Values without steps are ranked; nothing is said about steps or their diagnostics."""
    path = str(tmp_path / "orm.jsonl")
    values = iter((0.1, 0.7, 0.3, 0.2))
    records.write_scores(path, [(i, Score(value=next(values), by="orm")) for i, _ in records.read_scores(files[1])])

    result = explain_stage(ExplainConfig(data=files[0], scores=(path,)))

    first = result["problems"][0]["solutions"][0]
    assert (first["candidate"], first["steps"], first["weakest"]) == (1, [], None)
    assert result["diagnostics"] == {}
    assert "1. candidate 1  0.700" in told(result, 1)
