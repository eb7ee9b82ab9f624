"""How many solutions one curve needs to reach what another has: the crossover point, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradatim.stats import DRAWS

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Crossing:
    """A number of solutions with its 95 % interval; 0 for "at most the first count", infinity for "more than the last"."""

    value: float
    low: float
    high: float
    first: int
    """The smallest count that was tried."""
    last: int
    """The largest."""

    def __str__(self) -> str:
        low, high = self._shown(self.low), self._shown(self.high)
        return f"{self._shown(self.value)} [{low}, {high}]"

    def _shown(self, count: float) -> str:
        if count == 0:
            return f"≤ {self.first:,}"
        return f"> {self.last:,}" if math.isinf(count) else f"{count:,.0f}"


def crossing(counts: Sequence[int], needs: Floats, reached: Floats, at: int) -> Crossing:
    """Where the curve `needs` first gets to the height that `reached` has at its entry `at`.

    Both are (counts, problems) with the same problems; the mean over problems is the height. Between counts a curve is
    straight in their logarithm. The interval is a bootstrap over problems, both curves resampled together.
    """
    problems = needs.shape[1]
    weights = np.random.default_rng(0).multinomial(problems, [1 / problems] * problems, size=DRAWS) / problems
    drawn = [
        first_reach(counts, curve, level) for curve, level in zip(weights @ needs.T, weights @ reached[at], strict=True)
    ]
    value = first_reach(counts, needs.mean(axis=1), float(reached[at].mean()))
    ordered = sorted(drawn)  # quantiles that are members: infinities can't be interpolated
    low, high = (ordered[round(share * (DRAWS - 1))] for share in (0.025, 0.975))
    return Crossing(value, low, high, counts[0], counts[-1])


def first_reach(counts: Sequence[int], heights: Sequence[float] | Floats, level: float) -> float:
    """The count at which a curve first has the height `level`; 0 if it begins there or above, infinity if it never does."""
    if heights[0] >= level:
        return 0.0
    for k in range(1, len(counts)):
        if heights[k] >= level:
            share = (level - heights[k - 1]) / (heights[k] - heights[k - 1])
            low, high = math.log(counts[k - 1]), math.log(counts[k])
            return math.exp(low + share * (high - low))
    return math.inf
