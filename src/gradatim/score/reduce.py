"""Step scores -> one value, and how far that value follows the length of a solution instead of its worth.

Observations (NaN) are passed over as if they were not there; no scores at all reduce to NaN. Every sum is exact
(`fsum`), so the value does not depend on the order of the steps except where the reduction is about order (last,
weighted).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradatim.core import REDUCTIONS, Reduction
from gradatim.errors import ConfigError

STEP_REDUCTIONS: tuple[Reduction, ...] = ("min", "prod", "mean", "last", "gmean", "max", "softmin", "weighted", "sum")
"""The reductions of step scores; "outcome" is the name of a value that never had any."""

WARNINGS: dict[str, str] = {
    "sum": "sum grows with the number of steps: it prefers long solutions (short ones where scores are negative)",
    "prod": "prod shrinks with every step below 1: it prefers short solutions",
}
"""What to know before trusting a reduction whose value follows the length of a solution."""

TEMPERATURE = 0.1
"""tau of softmin: the smaller, the closer to min."""


def reduce(steps: Sequence[float], how: Reduction, *, tau: float = TEMPERATURE) -> float:
    """One value from the scores of a solution's steps x_1..x_T (NaN steps are passed over, T counts the others).

    min, max, last, mean and sum are what they say; prod = exp(sum ln x); gmean = exp(mean ln x); softmin = -tau ln mean
    exp(-x / tau), between min and mean; weighted = sum t x_t / sum t, late steps count more. For scores in [0, 1]: prod
    <= min <= softmin <= mean <= max, and min <= gmean <= mean. prod and gmean are NaN if a score is negative, and
    everything is NaN without scores. ConfigError for "outcome", which is no step reduction.
    """
    if how not in STEP_REDUCTIONS:
        names = ", ".join(STEP_REDUCTIONS)
        hint = "an outcome value comes from the model as it is" if how in REDUCTIONS else "check the spelling"
        raise ConfigError(f"reduction {how!r} can't reduce step scores; expected one of {names}; {hint}")
    if how == "softmin" and not tau > 0:
        raise ConfigError(f"softmin needs tau above 0, got {tau}")
    seen = [float(x) for x in steps if not math.isnan(x)]
    return _reduced(seen, how, tau) if seen else math.nan


def _reduced(seen: list[float], how: Reduction, tau: float) -> float:
    match how:
        case "min":
            return min(seen)
        case "max":
            return max(seen)
        case "last":
            return seen[-1]
        case "sum":
            return math.fsum(seen)
        case "mean":
            return _within(math.fsum(seen) / len(seen), seen)
        case "weighted":
            top = math.fsum(t * x for t, x in enumerate(seen, 1))
            return _within(top / (len(seen) * (len(seen) + 1) / 2), seen)
        case "softmin":
            least = min(seen)
            spread = math.fsum(math.exp((least - x) / tau) for x in seen) / len(seen)
            return _within(least - tau * math.log(spread), seen)
        case _:
            return _multiplied(seen, root=how == "gmean")


def _multiplied(seen: list[float], *, root: bool) -> float:
    """The product, in logs, or its T-th root."""
    least = min(seen)
    if least < 0:
        return math.nan
    if least == 0:
        return 0.0
    if len(seen) == 1:
        return seen[0]
    logs = math.fsum(map(math.log, seen))
    if root:
        return _within(math.exp(logs / len(seen)), seen)
    product = math.exp(logs) if logs < 709 else math.inf
    return min(product, least) if max(seen) <= 1 else product


def _within(value: float, seen: list[float]) -> float:
    """A mean, kept from leaving the range of what it is the mean of by a rounding."""
    return min(max(value, min(seen)), max(seen))


@dataclass(frozen=True, slots=True)
class Bias:
    """How a scorer's values follow the shape of solutions; see `bias`."""

    lowest_is_last: float
    """Share of the solutions whose lowest step score is the last one's (ties count by their share)."""
    lowest_is_last_by_chance: float
    """The same if the lowest were anywhere with equal probability: the mean of 1/T."""
    value_with_length: float
    """Pearson correlation of the value with the number of scored steps."""
    value_with_length_if_correct: float
    """The same among correct solutions, where worth does not vary: a bias, if it is far from 0. NaN if none is
    known."""
    solutions: int
    """How many solutions with a scored step there were."""


def bias(
    steps: Sequence[Sequence[float]], how: Reduction, correct: Sequence[bool | None] | None = None, **settings: float
) -> Bias:
    """Length and position bias of step scores (one sequence a solution) under a reduction.

    `correct` says for each solution whether it is (None: not known). NaN where there is nothing to measure: no
    solutions, or values or lengths that don't vary.
    """
    truths = [None] * len(steps) if correct is None else list(correct)
    if len(truths) != len(steps):
        raise ValueError(f"{len(steps)} solutions need as many verdicts, got {len(truths)}")
    rows = [([x for x in row if not math.isnan(x)], truth) for row, truth in zip(steps, truths, strict=True)]
    rows = [(row, truth) for row, truth in rows if row]
    lasts = [(row[-1] == min(row)) / row.count(min(row)) for row, _ in rows]
    points = [(float(len(row)), reduce(row, how, **settings), truth is True) for row, truth in rows]
    return Bias(
        lowest_is_last=_mean(lasts),
        lowest_is_last_by_chance=_mean([1 / len(row) for row, _ in rows]),
        value_with_length=_correlation([(x, y) for x, y, _ in points]),
        value_with_length_if_correct=_correlation([(x, y) for x, y, right in points if right]),
        solutions=len(rows),
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _correlation(points: list[tuple[float, float]]) -> float:
    if len(points) < 2:
        return math.nan
    x, y = np.array(points).T
    if not np.isfinite(y).all() or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])
