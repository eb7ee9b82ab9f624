"""Finding the first wrong step: predictions, the two accuracies, and their harmonic mean, as ProcessBench defines them.

A solution is either erroneous (its first wrong step is known) or correct (no step is wrong). The *error accuracy* is the
share of erroneous solutions whose first wrong step is predicted exactly; the *correct accuracy* is the share of correct
ones in which no step is called wrong; F1 is their harmonic mean (arXiv:2412.06559).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradatim.core import Estimate
from gradatim.stats import bootstrap, bootstrap_statistic, wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One solution: the scores of its steps, and what is true of them."""

    problem: str
    """Solutions with the same problem are never split between folds, and are resampled together."""
    scores: tuple[float, ...]
    """One a step, NaN for steps that are not scored."""
    error: int | None
    """0-based index of the first wrong step; None if all are right."""

    def __post_init__(self) -> None:
        if self.error is not None and not 0 <= self.error < len(self.scores):
            raise ValueError(f"first error {self.error} in a solution of {len(self.scores)} steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstError:
    """How well first errors are found. NaN where a class has no solutions."""

    error_accuracy: Estimate
    correct_accuracy: Estimate
    f1: Estimate
    errors: int
    """Solutions with a wrong step."""
    correct: int
    """Solutions without one."""


def predict(scores: Sequence[float], threshold: float) -> int | None:
    """0-based index of the first step that scores below `threshold`; None if there is none. NaN is passed over."""
    return next((index for index, score in enumerate(scores) if score < threshold), None)


def f1(error_accuracy: float, correct_accuracy: float) -> float:
    """Harmonic mean; 0 when both are 0, NaN when either is NaN (a class without solutions)."""
    if math.isnan(error_accuracy) or math.isnan(correct_accuracy):
        return math.nan
    total = error_accuracy + correct_accuracy
    return 2 * error_accuracy * correct_accuracy / total if total else 0.0


def accuracy(hits: Sequence[bool], problems: Sequence[str]) -> Estimate:
    """Share of hits with a 95 % interval; NaN for none. `n` counts problems.

    Bootstrap clustered by problem where a problem has several solutions; Wilson where none has, and also where all
    hits agree (with the number of problems as sample size), since a bootstrap of equal values has no width.
    """
    good, distinct = sum(hits), len(set(problems))
    if distinct == len(hits) or good in (0, len(hits)):
        return wilson(min(good, distinct), distinct)
    return bootstrap([float(hit) for hit in hits], list(problems))


def measure(judged: Sequence[Judged], predicted: Sequence[int | None]) -> FirstError:
    """Accuracies and F1 of predictions, one a solution, with 95 % intervals.

    The interval of F1 is a bootstrap by problem. Where a class is all hits or all misses it is instead the F1 of the
    lower ends and of the upper ends of the two accuracies' intervals, which is wider than needed but not blind.
    """
    hits = np.array([one.error == said for one, said in zip(judged, predicted, strict=True)], dtype=bool)
    wrong = np.array([one.error is not None for one in judged], dtype=bool)
    problems = [one.problem for one in judged]
    on_errors, on_correct = (
        accuracy(hits[mask].tolist(), [problem for problem, inside in zip(problems, mask, strict=True) if inside])
        for mask in (wrong, ~wrong)
    )
    if any(one.value in (0.0, 1.0) for one in (on_errors, on_correct)):
        low, high = f1(on_errors.low, on_correct.low), f1(on_errors.high, on_correct.high)
        found = Estimate(f1(on_errors.value, on_correct.value), low, high, len(set(problems)))
    else:
        found = bootstrap_statistic(lambda chosen: _f1_of(hits[chosen], wrong[chosen]), problems)
    return FirstError(
        error_accuracy=on_errors,
        correct_accuracy=on_correct,
        f1=found,
        errors=int(wrong.sum()),
        correct=int((~wrong).sum()),
    )


def f1_of(judged: Sequence[Judged], predicted: Sequence[int | None]) -> float:
    """F1 of predictions, without an interval."""
    hits = np.array([one.error == said for one, said in zip(judged, predicted, strict=True)], dtype=bool)
    return _f1_of(hits, np.array([one.error is not None for one in judged], dtype=bool))


def _f1_of(hits: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> float:
    errors = int(wrong.sum())
    correct = len(wrong) - errors
    if not errors or not correct:
        return math.nan
    return f1(int(hits[wrong].sum()) / errors, int(hits[~wrong].sum()) / correct)
