"""Thresholds with a promise: how to set one on some problems so that a statement holds on others.

All promises rest on one assumption: the problems at hand and the new one are exchangeable (drawn alike, in any order).
Items of one problem need not be; so problems are counted, never items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LEVELS = tuple(k / 10 for k in range(10))
"""Thresholds that `surest` tries, for confidences from 0 to 1."""

STARTS = (0.9, 0.6, 0.3)
"""Where it starts: a level that too few are above to show anything ends the way down from there, not the others."""


def quantile_by_problem(values: ArrayLike, problems: Sequence[str], miss: float) -> float:
    """A threshold q: an item of a new problem has a value above q with probability at most `miss`.

    The smallest q with sum over problems of (share of its items <= q) >= (1 - miss)(K + 1), K problems: split conformal
    prediction where each has one item, its hierarchical form (Lee, Barber and Willett 2023, arXiv 2306.06342) otherwise.
    The promise is about a random item of a random new problem, on average over the problems at hand; it is kept with at
    most 1 / (K + 1) to spare where no values tie. Infinite where the problems are too few for it.
    """
    column = np.asarray(values, dtype=np.float64)
    if column.shape != (len(problems),) or np.isnan(column).any():
        raise ValueError(f"one number for each of {len(problems)} items is needed, none of them NaN")
    if not 0 < miss < 1:
        raise ValueError(f"miss={miss} is not between 0 and 1")
    _, place, sizes = np.unique(np.array(problems, dtype=str), return_inverse=True, return_counts=True)
    order = np.argsort(column, kind="stable")
    reached = np.cumsum(1 / sizes[place[order]])
    needed = (1 - miss) * (len(sizes) + 1)
    enough = np.flatnonzero(reached >= needed * (1 - 1e-12))
    return float(column[order[enough[0]]]) if len(enough) else math.inf


def at_most(confidence: ArrayLike, wrong: ArrayLike, risk: float) -> float:
    """Conformal risk control (Angelopoulos et al. 2022, arXiv 2208.02814): the lowest threshold that promises at most
    `risk` of wrong answers among *all* problems, if what is not above the threshold is not answered.

    One entry a problem; NaN confidence is never answered. The promise holds on average over the problems at hand, and is
    kept with at most 1 / (n + 1) to spare where no confidences tie. -inf: answer all; inf: none.
    """
    sure, bad = _pairs(confidence, wrong, risk)
    allowed = math.floor(risk * (len(sure) + 1) + 1e-9) - 1
    if allowed < 0:
        return math.inf
    errors = np.sort(sure[bad & ~np.isnan(sure)])[::-1]
    return float(errors[allowed]) if len(errors) > allowed else -math.inf


def surest(confidence: ArrayLike, wrong: ArrayLike, risk: float, doubt: float) -> float:
    """Learn then Test (Angelopoulos et al. 2021, arXiv 2110.01052): the lowest of `LEVELS` above which at most `risk` of the
    *answered* problems are wrong, with probability 1 - `doubt` over the problems at hand.

    Levels, fixed before any data, are tested by the exact binomial law of the errors above them, downwards from each of
    `STARTS` until one fails; the starts share `doubt` evenly, and in one sequence a false promise needs its first false
    level to pass. One entry a problem; NaN confidence is never answered. inf: nothing can be promised, answer none.
    """
    sure, bad = _pairs(confidence, wrong, risk)
    if not 0 < doubt < 1:
        raise ValueError(f"doubt={doubt} is not between 0 and 1")
    lowest = math.inf
    for start in STARTS:
        for level in sorted((one for one in LEVELS if one <= start), reverse=True):
            above = sure > level
            if binomial_at_most(int(bad[above].sum()), int(above.sum()), risk) > doubt / len(STARTS):
                break
            lowest = min(lowest, level)
    return lowest


def binomial_at_most(count: int, n: int, rate: float) -> float:
    """The probability of at most `count` successes in `n` trials that succeed with probability `rate`."""
    if not (count >= 0 and 0 < rate < 1):
        raise ValueError(
            f"at most {count} successes at rate {rate}: expected a count from 0 on, and a rate inside (0, 1)"
        )
    if count >= n:
        return 1.0
    logs = np.array([math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(count + 1)])
    k = np.arange(count + 1)
    return min(1.0, float(np.exp(logs + k * math.log(rate) + (n - k) * math.log1p(-rate)).sum()))


def _pairs(confidence: ArrayLike, wrong: ArrayLike, risk: float) -> tuple[Floats, NDArray[np.bool_]]:
    sure, bad = np.asarray(confidence, dtype=np.float64), np.asarray(wrong, dtype=bool)
    if sure.ndim != 1 or sure.shape != bad.shape:
        raise ValueError(f"confidences and errors need one flat shape, got {sure.shape} and {bad.shape}")
    if not 0 < risk < 1:
        raise ValueError(f"risk={risk} is not between 0 and 1")
    return sure, bad
