"""What rules without a model score on the rows of a suite, row by row, so that they can be compared with a model on the
same resamples.

What a rule chooses is chosen on other problems (five folds), as a threshold may be. A hit is a chance from 0 to 1 where
the rule guesses.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import ConfigError
from gradatim.evaluate.bench import BenchRow
from gradatim.evaluate.first_error import f1
from gradatim.evaluate.thresholds import cross_fit

Floats = NDArray[np.float64]

CUTS = 20
"""Sizes at which a rule on length may change its mind, at most: quantiles of what it is chosen on."""

FIRST_ERROR_GUESSES: Mapping[str, str] = {
    "always_correct": "no solution has a wrong step",
    "first_step": "every first step is wrong",
    "random": "no error, or one of the T steps, with equal chance",
    "position": "a guess from the first errors (and their absence) of other problems",
    "step_count": "solutions of at least (or at most) k steps are wrong at step j; k and j chosen on other problems",
    "length": "the same for at least (or at most) k characters",
}


@dataclass(frozen=True, slots=True)
class _Sized:
    row: BenchRow
    size: float


def first_error_guesses(rows: Sequence[BenchRow]) -> dict[str, Floats]:
    """For each rule of `FIRST_ERROR_GUESSES` the chance that it is right about each row; NaN where it can't be chosen."""
    errors = [row.error for row in rows]
    return {
        "always_correct": np.array([float(error is None) for error in errors]),
        "first_step": np.array([float(error == 0) for error in errors]),
        "random": np.array([1 / (len(row.prefix.steps) + 1) for row in rows]),
        "position": _by_position(rows),
        "step_count": _by_size(rows, [float(len(row.prefix.steps)) for row in rows]),
        "length": _by_size(rows, [float(len(row.prefix.text)) for row in rows]),
    }


def _by_position(rows: Sequence[BenchRow]) -> Floats:
    def shares(others: Sequence[BenchRow]) -> Counter[int | None]:
        return Counter(row.error for row in others)

    try:
        seen = cross_fit(rows, [row.prefix.problem_id for row in rows], shares)
    except ConfigError:  # there is but one problem
        return np.full(len(rows), math.nan)
    return np.array([counts[row.error] / counts.total() for row, counts in zip(rows, seen, strict=True)])


def _by_size(rows: Sequence[BenchRow], sizes: Sequence[float]) -> Floats:
    sized = [_Sized(row, size) for row, size in zip(rows, sizes, strict=True)]
    try:
        rules = cross_fit(sized, [row.prefix.problem_id for row in rows], best_size_rule)
    except ConfigError:
        return np.full(len(rows), math.nan)
    return np.array([float(rule.says(one) == one.row.error) for rule, one in zip(rules, sized, strict=True)])


@dataclass(frozen=True, slots=True)
class SizeRule:
    """Step `step` (0-based; the last one of shorter solutions) is wrong in solutions of size `low` to `high`."""

    low: float
    high: float
    step: int

    def says(self, one: _Sized) -> int | None:
        """The first error of a solution."""
        return min(self.step, len(one.row.prefix.steps) - 1) if self.low <= one.size <= self.high else None


def best_size_rule(sized: Sequence[_Sized]) -> SizeRule:
    """The rule "at least" or "at most" some size with the best F1 on these rows; of equals the first that is tried.

    Without rows of both kinds it calls nothing wrong.
    """
    sizes = np.array([one.size for one in sized])
    counts = np.array([len(one.row.prefix.steps) for one in sized])
    errors = np.array([-1 if one.row.error is None else one.row.error for one in sized])
    wrong = errors >= 0
    best, best_value = SizeRule(math.inf, math.inf, 0), 0.0
    if not wrong.any() or wrong.all():
        return best
    at = np.unique(sizes)
    cuts = at if len(at) <= CUTS else np.unique(np.quantile(sizes, np.linspace(0, 1, CUTS), method="nearest"))
    spans = [(float(cut), math.inf) for cut in cuts] + [(-math.inf, float(cut)) for cut in cuts[:-1]]
    hits_of = [wrong & (errors == np.minimum(step, counts - 1)) for step in range(int(counts.max()))]
    for low, high in spans:
        inside = (sizes >= low) & (sizes <= high)
        right = float((~inside & ~wrong).sum() / (~wrong).sum())
        for step, hits in enumerate(hits_of):
            value = f1(float((hits & inside).sum() / wrong.sum()), right)
            if value > best_value:
                best, best_value = SizeRule(low, high, step), value
    return best


STEP_GUESSES: Mapping[str, str] = {
    "position": "early steps are right",
    "step_length": "short steps are right",
    "step_count": "steps of short solutions are right",
}
"""Features of a step that need no model, as scores: an AUROC far from 0.5, either way, says the feature tells something."""


def step_features(row: BenchRow) -> dict[str, list[float]]:
    """The features of `STEP_GUESSES` for each step of a row, higher for what the rule calls right."""
    steps = row.prefix.steps
    return {
        "position": [-float(index) for index in range(len(steps))],
        "step_length": [-float(len(step.text.strip())) for step in steps],
        "step_count": [-float(len(steps))] * len(steps),
    }
