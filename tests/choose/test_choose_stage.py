"""`gradatim choose` end to end: what it prints, against enumeration, with and without verdicts and scores."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pool_files import pool_rows, score_rows, write

from gradatim import records
from gradatim.choose import ChooseConfig, choose_stage, table
from gradatim.core import Prefix, Score, Solution, Step, Verdict
from gradatim.errors import ConfigError

PROBLEMS: dict[str, list[tuple[str | None, bool | None]]] = {
    "p1": [("1", True), ("1.0", True), ("2", False), (None, False)],
    "p2": [("7", False), ("8", True), ("7", False), ("9", False)],
    "p3": [(None, False), (None, False), (None, False), (None, False)],
}
STEPS = [
    *((0.9, 0.5), (0.4, 0.6), (0.5, 0.5), (0.1, 0.2)),
    *((0.3, 0.3), (0.8, 0.9), (0.4, 0.3), (0.3, 0.3)),
    *((0.2, 0.2), (0.2, 0.3), (0.1, 0.1), (0.0, 0.9)),
]


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> tuple[str, str]:
    pool = pool_rows(PROBLEMS)
    return write(tmp_path / "pool.jsonl", pool), write(tmp_path / "scores.jsonl", score_rows(pool, STEPS))


def run(pool: str, *scores: str, **settings: Any) -> dict[str, Any]:
    result = choose_stage(ChooseConfig(pool=pool, scores=scores, **settings), quiet=True)
    json.dumps(result, allow_nan=False)
    return result


def mean(n: int, pick: Callable[[Sequence[tuple[str | None, bool | None, float]]], float]) -> float:
    """The mean over problems of the mean over all subsets of n candidates (answer, correct, smallest step score)."""
    candidates = [(*one, min(steps)) for one, steps in zip(itertools.chain(*PROBLEMS.values()), STEPS, strict=True)]
    per_problem = []
    for start in range(0, 12, 4):
        subsets = list(itertools.combinations(candidates[start : start + 4], n))
        per_problem.append(sum(map(pick, subsets)) / len(subsets))
    return sum(per_problem) / 3


def best(subset: Sequence[tuple[str | None, bool | None, float]]) -> float:
    top = [right for _, right, value in subset if value == max(v for _, _, v in subset)]
    return sum(map(bool, top)) / len(top)


def vote(weigh: Callable[[float], float]) -> Callable[[Sequence[tuple[str | None, bool | None, float]]], float]:
    def pick(subset: Sequence[tuple[str | None, bool | None, float]]) -> float:
        sums: dict[str, float] = {}
        right = {answer: bool(r) for answer, r, _ in subset if answer is not None}
        for answer in right:
            sums[answer] = round(math.fsum(weigh(v) for a, _, v in subset if a == answer), 9)
        tied = [right[a] for a in sums if sums[a] == max(sums.values())]
        return sum(tied) / len(tied) if tied else 0.0

    return pick


def test_rows_are_the_mean_over_all_subsets(files: tuple[str, str]) -> None:
    """Every chooser at every n equals enumeration; unread answers cast no vote and a choice among them is not
    correct."""
    result = run(*files, reduction=("min",))

    expected = {
        "best_of_n": best,
        "majority": vote(lambda value: 1.0),
        "weighted_majority": vote(lambda value: value),
        "pass": lambda subset: float(any(right for _, right, _ in subset)),
        "random": lambda subset: sum(bool(right) for _, right, _ in subset) / len(subset),
    }
    choosers = ("random", "pass", "majority", "best_of_n", "weighted_majority")
    assert [(row["chooser"], row["n"]) for row in result["rows"]] == [(c, n) for c in choosers for n in range(1, 5)]
    for row in result["rows"]:
        assert row["value"] == pytest.approx(mean(row["n"], expected[row["chooser"]]), abs=1e-12)
        assert row["low"] <= row["value"] <= row["high"]
        scored = row["chooser"] in ("best_of_n", "weighted_majority")
        assert (row["scorer"], row["reduction"]) == (("prm", "min") if scored else (None, None))


def test_a_share_that_is_all_or_nothing_has_an_interval(tmp_path: Path) -> None:
    """Three of three problems: pass@2 is 1 with Wilson's interval 3 / (3 + z^2) to 1, and a majority that is never right is 0
    up to its mirror image."""
    pool = pool_rows({f"p{p}": [("1", True), ("2", False), ("2", False)] for p in range(3)})
    result = run(write(tmp_path / "pool.jsonl", pool), n=(3,))

    end = 3 / (3 + 1.959964**2)
    found = {row["chooser"]: (row["low"], row["value"], row["high"]) for row in result["rows"]}
    assert found["pass"] == pytest.approx((end, 1.0, 1.0))
    assert found["majority"] == pytest.approx((0.0, 0.0, 1 - end))


def test_choices_are_one_a_problem_with_ties(files: tuple[str, str]) -> None:
    """The first reduction chooses; ties are counted and go to the lowest index; an unread choice is counted."""
    result = run(*files)

    assert result["problems"] == 3
    assert result["choices"] == [
        {"problem_id": "p1", "candidate": 0, "answer": "1", "value": 0.5, "tied": 1},
        {"problem_id": "p2", "candidate": 1, "answer": "8", "value": 0.8, "tied": 0},
        {"problem_id": "p3", "candidate": 0, "answer": None, "value": 0.2, "tied": 1},
    ]
    assert result["chosen_by"] == {"chooser": "best_of_n", "scorer": "prm", "reduction": "min"}
    assert (result["unread"], result["problems_unread"], result["chosen_unread"]) == (5, 1, 1)


def test_the_order_of_rows_changes_nothing(files: tuple[str, str], tmp_path: Path) -> None:
    """Candidates and scores in another order in their files give the same result, seeds and ties included."""
    pool, scores = (Path(file).read_text(encoding="utf-8").splitlines(keepends=True) for file in files)
    (tmp_path / "pool2.jsonl").write_text("".join(pool[3::-1] + pool[:3:-1][4:] + pool[:3:-1][:4]), encoding="utf-8")
    (tmp_path / "scores2.jsonl").write_text("".join(scores[::-1]), encoding="utf-8")

    assert run(str(tmp_path / "pool2.jsonl"), str(tmp_path / "scores2.jsonl")) == run(*files)


def test_without_asking_all_reductions_are_compared(files: tuple[str, str]) -> None:
    """Scores with steps are measured under every step reduction, and what length does to some is said."""
    result = run(*files)

    names = {row["reduction"] for row in result["rows"] if row["chooser"] == "best_of_n"}
    assert names == {"min", "prod", "mean", "last", "gmean", "max", "softmin", "weighted", "sum"}
    assert any("sum grows" in note for note in result["notes"])
    lines = table(result)
    assert lines[0] == ["scorer", "reduction", "best of 4", "weighted majority"]
    assert len(lines) == 1 + 3 + 9
    assert table(result, n=2)[0][2] == "best of 2"


def test_without_verdicts_there_are_choices_only(tmp_path: Path) -> None:
    """Solutions of ours without verdicts and a model's scores: the choice, no rows."""
    prefixes = [Prefix("q", "what?", (Step(f"it is {k}"),)) for k in range(3)]
    solutions = [Solution(prefix=p, author="me", draw=k, answer=str(k)) for k, p in enumerate(prefixes)]
    records.write_solutions(tmp_path / "solutions.jsonl", solutions)
    scores = [Score(value=v, reduction="outcome", by="orm") for v in (-1.0, 2.5, 2.0)]
    records.write_scores(tmp_path / "scores.jsonl", [(s.id, x) for s, x in zip(solutions, scores, strict=True)])

    out = tmp_path / "choices.jsonl"
    result = run(str(tmp_path / "solutions.jsonl"), str(tmp_path / "scores.jsonl"), out=str(out))

    assert "rows" not in result
    assert result["choices"] == [{"problem_id": "q", "candidate": 1, "answer": "1", "value": 2.5, "tied": 0}]
    assert result["chosen_by"]["reduction"] == "outcome"
    assert [row.data for row in records.read_rows(out)] == result["choices"]
    assert table(result) == []


def test_without_scores_the_majority_chooses(files: tuple[str, str]) -> None:
    """No scores: votes choose, and a problem without a readable answer has no choice, counted as not correct."""
    result = run(files[0])

    assert [choice["candidate"] for choice in result["choices"]] == [0, 0, None]
    assert result["choices"][1] == {"problem_id": "p2", "candidate": 0, "answer": "7", "value": 2.0, "tied": 0}
    assert result["no_choice"] == 1
    assert {row["chooser"] for row in result["rows"]} == {"random", "pass", "majority"}


def test_equivalent_answers_vote_together_on_request(files: tuple[str, str]) -> None:
    """With same_answer="math" 1 and 1.0 are one answer and win; as strings they tie with 2."""
    by_text, by_math = run(files[0], n=(4,)), run(files[0], n=(4,), same_answer="math")

    value = {r["chooser"]: r["value"] for r in by_text["rows"]}, {r["chooser"]: r["value"] for r in by_math["rows"]}
    assert value[0]["majority"] == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert value[1]["majority"] == pytest.approx((1 + 0 + 0) / 3)
    assert by_math["choices"][0]["value"] == 2.0


def test_fewer_candidates_than_n_have_no_value(tmp_path: Path) -> None:
    """n above some problem's candidates is null with a note; with skip_bad the mean is over the rest, which is
    counted."""
    pool = pool_rows({"p1": [("1", True), ("2", False), ("1", True)], "p2": [("7", False)], "p3": [("4", True)] * 3})
    file = write(tmp_path / "pool.jsonl", pool)

    strict, loose = run(file, n=(1, 3, 9)), run(file, n=(3,), skip_bad=True)

    values = {(row["chooser"], row["n"]): row["value"] for row in strict["rows"]}
    assert values["random", 1] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert values["random", 3] is None
    assert values["majority", 9] is None
    assert any("p2: 1" in note for note in strict["notes"])
    found = {row["chooser"]: (row["value"], row["problems"]) for row in loose["rows"]}
    assert found == {"random": (pytest.approx(5 / 6), 2), "pass": (1.0, 2), "majority": (1.0, 2)}


def test_an_empty_solution_is_never_preferred(tmp_path: Path) -> None:
    """A candidate without steps has no value: it loses to any other, casts no vote, and counts as not correct."""
    empty, full = Prefix("q", "what?", ()), Prefix("q", "what?", (Step("5"),))
    solutions = [
        Solution(prefix=empty, author="me", draw=0, verdict=Verdict.UNPARSED),
        Solution(prefix=full, author="me", draw=1, verdict=Verdict.CORRECT, answer="5"),
    ]
    records.write_solutions(tmp_path / "solutions.jsonl", solutions)
    scores = [
        Score(value=math.nan, reduction="min", by="prm"),
        Score(value=-3.0, steps=(-3.0,), reduction="min", by="prm"),
    ]
    records.write_scores(tmp_path / "scores.jsonl", [(s.id, x) for s, x in zip(solutions, scores, strict=True)])

    result = run(str(tmp_path / "solutions.jsonl"), str(tmp_path / "scores.jsonl"))

    assert result["choices"][0]["candidate"] == 1
    at = {(row["chooser"], row["reduction"], row["n"]): row["value"] for row in result["rows"]}
    assert at["best_of_n", "min", 1] == at["weighted_majority", "min", 1] == 0.5
    assert at["best_of_n", "min", 2] == at["weighted_majority", "min", 2] == 1.0
    assert ("best_of_n", "prod", 2) not in at  # negative scores have no product
    assert any("no prod and no gmean" in note for note in result["notes"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reduction": ("median",)}, "expected some of"),
        ({"n": (0,)}, "from 1 on"),
        ({"same_answer": "fuzzy"}, "string or math"),
        ({"scores": (), "reduction": ("min",)}, "without scores"),
    ],
)
def test_settings_are_checked_before_anything_is_read(settings: dict[str, Any], message: str) -> None:
    """Settings out of range say what was expected; no file is opened."""
    with pytest.raises(ConfigError, match=message):
        ChooseConfig(**{"pool": "nowhere", "scores": ("nowhere",), **settings})


def test_a_reduction_that_scores_cannot_be_given_is_an_error(files: tuple[str, str]) -> None:
    """Step scores have no outcome value; the error says what they can be given."""
    with pytest.raises(ConfigError, match="can only be given: min, prod"):
        run(*files, reduction=("outcome",))
