"""Measures that are functions of sums over rows: their intervals, and their paired differences, from the same resamples.

A row adds a few numbers to the sums (its hits, its counts); an accuracy, an F1, a PRMScore is a function of the totals.
Resampling whole problems then is one matrix product, and two models over the same rows see the same resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gradatim.core import Estimate
from gradatim.stats import bootstrap_sums, wilson

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class Measure:
    """What rows add up to, and what is made of the totals."""

    ids: tuple[str, ...]
    problems: tuple[str, ...]
    """Rows of one problem are drawn together."""
    columns: Floats
    """(rows x columns): what each row adds."""
    statistic: Statistic
    """Totals (samples x columns) -> a value each, NaN where there is none."""

    @property
    def value(self) -> float:
        """The value without an interval; NaN without rows."""
        return float(self.statistic(self.columns.sum(axis=0, keepdims=True))[0])

    def estimate(self, seed: int = 0) -> Estimate:
        """The value with a 95 % interval by bootstrap over problems; `n` counts problems.

        A share that is exactly 0 or 1 has Wilson's interval over its problems instead: resamples of equal values have
        no width.
        """
        found = bootstrap_sums(self.columns, self.statistic, self.problems, seed=seed)
        if self.statistic is ratio and found.value in (0.0, 1.0):
            counted = self.columns[:, 1] > 0
            n = len({problem for problem, is_in in zip(self.problems, counted, strict=True) if is_in})
            return wilson(found.value * n, n)
        return found

    def minus(self, other: Measure, seed: int = 0) -> Estimate:
        """This value minus another's over the rows that both have, with the interval of the paired bootstrap."""
        place = {identity: index for index, identity in enumerate(other.ids)}
        both = [(index, place[identity]) for index, identity in enumerate(self.ids) if identity in place]
        mine, theirs = ([pair[side] for pair in both] for side in (0, 1))
        columns = np.hstack([self.columns[mine], other.columns[theirs]])
        width = self.columns.shape[1]
        return bootstrap_sums(
            columns,
            lambda sums: self.statistic(sums[:, :width]) - other.statistic(sums[:, width:]),
            [self.problems[index] for index in mine],
            seed=seed,
        )

    def of(self, chosen: Sequence[int]) -> Measure:
        """The same measure of some of the rows."""
        return replace(
            self,
            ids=tuple(self.ids[index] for index in chosen),
            problems=tuple(self.problems[index] for index in chosen),
            columns=self.columns[list(chosen)],
        )


def ratio(sums: Floats) -> Floats:
    """First column / second column."""
    return divided(sums[:, 0], sums[:, 1])


def harmonic(sums: Floats) -> Floats:
    """Harmonic mean of two ratios, columns (hits, count, hits, count): ProcessBench's F1; 0 where both are 0."""
    first, second = divided(sums[:, 0], sums[:, 1]), divided(sums[:, 2], sums[:, 3])
    both = first + second
    return np.where(both == 0, 0.0, divided(2 * first * second, both))


def matthews(sums: Floats) -> Floats:
    """Matthews' correlation of columns (true positives, true negatives, false positives, false negatives).

    0 where a class, or a prediction, is empty, as MR-Ben's code has it.
    """
    tp, tn, fp, fn = sums.T
    below = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return np.where(below == 0, 0.0, divided(tp * tn - fp * fn, below))


def divided(above: Floats, below: Floats) -> Floats:
    """above / below, NaN where below is 0 or NaN."""
    found: Floats = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=found, where=below > 0)
    return found
