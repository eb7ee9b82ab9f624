"""What a labeller said of first errors against the truth: how often it is right where it spoke, and how often it spoke.

A labeller that may abstain looks good on what it keeps. So F1 never stands alone here: beside it stands the share of the
solutions with an error, and of those without, that was kept at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradatim.core import Estimate, Labels, Solution
from gradatim.errors import InputError
from gradatim.evaluate.first_error import FirstError, Judged, accuracy, f1_of, measure
from gradatim.problems import lab
from gradatim.stats import DRAWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What was said of one solution, and what is true."""

    truth: Judged
    """The solution's problem, and its first error (the scores have no part in this)."""
    error: int | None
    """The first error that the labeller named, None for none; meaningful only if `kept`."""
    kept: bool
    """Whether the labeller said anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How good the kept rows are, and how many there are; intervals are 95 %, by problem."""

    found: FirstError
    """Accuracies and F1 on the kept rows."""
    errors: Estimate
    """Share of the solutions with an error that was kept."""
    correct: Estimate
    """Share of the solutions without one that was kept."""
    all: Estimate
    """Share of all solutions that was kept."""
    f1_of_all: float
    """F1 on all rows, with one that was not kept counting as missed."""


def truths(solutions: Sequence[Solution]) -> list[Judged]:
    """What the exact checker knows of each solution; the scores are NaN."""
    return [
        Judged(
            problem=solution.prefix.problem_id,
            scores=(float("nan"),) * len(solution.prefix.steps),
            error=lab.first_error(lab.check(solution.prefix)),
        )
        for solution in solutions
    ]


def said(known: Sequence[Judged], solutions: Sequence[Solution], labels: Sequence[Labels]) -> list[Said]:
    """What a labeller said of each solution; one without a label, or with an unknown error, was not kept.

    InputError for a label of a solution that is not among these.
    """
    by_id = {row.solution_id: row for row in labels}
    if strange := by_id.keys() - {solution.id for solution in solutions}:
        raise InputError(f"{len(strange)} labels of other solutions, first {min(strange)}", fix="label these again")
    rows = [by_id.get(solution.id) for solution in solutions]
    return [
        Said(truth=truth, error=row.error if row else None, kept=row is not None and row.error_known)
        for truth, row in zip(known, rows, strict=True)
    ]


def kept(rows: Sequence[Said]) -> Kept:
    """Accuracies and F1 of the kept rows, and the coverage of each class."""
    here = [row for row in rows if row.kept]
    return Kept(
        found=measure([row.truth for row in here], [row.error for row in here]),
        errors=_coverage([row for row in rows if row.truth.error is not None]),
        correct=_coverage([row for row in rows if row.truth.error is None]),
        all=_coverage(rows),
        f1_of_all=f1_of([row.truth for row in rows], [row.error if row.kept else -1 for row in rows]),
    )


def at_a_glance(rows: Sequence[Said]) -> tuple[float, float]:
    """Without intervals: F1 of the kept rows, and the share of the class (erroneous, sound) of which fewer are kept."""
    here = [row for row in rows if row.kept]
    classes = [[row.kept for row in rows if (row.truth.error is None) == sound] for sound in (False, True)]
    least = min(sum(some) / len(some) if some else math.nan for some in classes)
    return f1_of([row.truth for row in here], [row.error for row in here]), least


def _coverage(rows: Sequence[Said]) -> Estimate:
    return accuracy([row.kept for row in rows], [row.truth.problem for row in rows])


def f1_gain(a: Sequence[Said], b: Sequence[Said]) -> Estimate:
    """F1 of `a` minus F1 of `b` on the same solutions, a row that was not kept counting as missed; paired by problem."""
    sums = [_sums(rows) for rows in (a, b)]
    problems = len(sums[0])
    value = float(_f1(sums[0].sum(axis=0)) - _f1(sums[1].sum(axis=0)))
    weights = np.random.default_rng(0).multinomial(problems, [1 / problems] * problems, size=DRAWS)
    gains = _f1(weights @ sums[0]) - _f1(weights @ sums[1])
    seen = gains[~np.isnan(gains)]
    low, high = np.quantile(seen, [0.025, 0.975]) if problems > 1 and len(seen) else (math.nan, math.nan)
    return Estimate(value, float(low), float(high), problems)


def _sums(rows: Sequence[Said]) -> NDArray[np.float64]:
    """(problems, 4): solutions with an error, those of them that were found, solutions without one, those kept whole."""
    found: dict[str, list[float]] = {}
    for row in rows:
        counts, erroneous = found.setdefault(row.truth.problem, [0.0] * 4), row.truth.error is not None
        counts[0 if erroneous else 2] += 1
        counts[1 if erroneous else 3] += row.kept and row.error == row.truth.error
    return np.array(list(found.values()))


def _f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 of rows of sums (..., 4); NaN without one of the classes."""
    with np.errstate(invalid="ignore", divide="ignore"):
        on_errors, on_correct = sums[..., 1] / sums[..., 0], sums[..., 3] / sums[..., 2]
        both = on_errors + on_correct
        return np.asarray(np.where(both > 0, 2 * on_errors * on_correct / both, both))
