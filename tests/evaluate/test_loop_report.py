"""The report of a loop, on a pool that is written down."""

from __future__ import annotations

import numpy as np
import pytest

from gradatim.core import Prefix, Problem, Score, Solution, Step, Verdict
from gradatim.evaluate.lab_pool import Pool
from gradatim.evaluate.loop_report import Ranking, loop_report

PROBLEMS = 6


def pool() -> Pool:
    """Problems with a right and a wrong candidate, each of one step."""
    problems, solutions = [], []
    for p in range(PROBLEMS):
        problem = Problem(id=f"p{p}", prompt="1 + 1", answer="2")
        row = [
            Solution(
                prefix=Prefix(problem.id, problem.prompt, (Step(answer),)),
                author="a", draw=draw, verdict=verdict, answer=answer,
            )
            for draw, (answer, verdict) in enumerate([("2", Verdict.CORRECT), ("3", Verdict.INCORRECT)])
        ]  # fmt: skip
        problems.append(problem)
        solutions.append(row)
    truth = [[(True,), (False,)] for _ in problems]
    return Pool(problems, solutions, truth, np.array([[1.0, 0.0]] * PROBLEMS))


def test_an_accuracy_of_one_is_not_certain() -> None:
    """A PRM that is always right and an ORM that never is, on six problems: Wilson's intervals, 6 / (6 + z^2) to 1 and their
    mirror image, in the table and the picture; differences keep theirs."""
    made = pool()
    right = Ranking("prm", 0, [[_score(0.9), _score(0.1)] for _ in made.problems])
    wrong = Ranking("orm", 0, [[_score(0.1), _score(0.9)] for _ in made.problems])

    report, tables, _ = loop_report(made, [right, wrong], {}, {"stages": {}})

    end = PROBLEMS / (PROBLEMS + 1.959964**2)
    found = {row["method"]: row["accuracy"] for row in tables["Accuracy at n = 2"]}
    assert found["best of n, PRM"] == pytest.approx({"value": 1.0, "low": end, "high": 1.0})
    assert found["best of n, ORM"] == pytest.approx({"value": 0.0, "low": 0.0, "high": 1 - end})
    [curve] = report.curves
    lows = {series.name: series.low[-1] for series in curve.series}
    assert lows["oracle (pass@n)"] == pytest.approx(end)
    gap = {row["difference"]: row["accuracy"] for row in tables["Paired differences"]}
    assert gap["best of n, PRM − best of n, ORM"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def _score(value: float) -> Score:
    return Score(value=value, steps=(value,), reduction="min", by="m")
