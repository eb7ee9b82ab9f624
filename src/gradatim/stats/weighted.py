"""Weighted majority among n of m samples: the answer whose samples have the highest sum of values.

There is no closed form. Where at most `SUBSETS` subsets exist (n = 1, n = m, every n of a pool of 12) all of them are
counted and the result is exact; elsewhere it is the mean over `SUBSETS` random subsets, the same for all methods of a
call, with its Monte-Carlo error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SUBSETS = 2000
"""Random subsets for each n at which there are more than this."""

TIE = 1e-12
"""Two sums of values are tied if they differ by no more than this share of the sum of all absolute values: the order in
which floats are added must not decide."""

_BLOCK = 8_000_000
"""Most sums held at once (64 MB)."""


def weighted_majority_curve(
    values: ArrayLike,
    answers: Sequence[int],
    good: Sequence[float],
    ns: Sequence[int],
    *,
    subsets: int = SUBSETS,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Expected correctness of the weighted majority among n samples, and the variance of its Monte-Carlo error.

    `values` is (methods, m): what each method thinks of each sample. `answers[i]` is the number of sample i's answer,
    -1 if it could not be read (it casts no vote; a draw without a vote is not correct); `good[a]` is the correctness of
    answer a. Tied answers share evenly. Both results are (methods, len(ns)); the variance is 0 where the result is
    exact; NaN where n is not in 1..m or a method has a NaN value.
    """
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    m = table.shape[1]
    if len(answers) != m:
        raise ValueError(f"each sample needs its answer: {m} values, {len(answers)} answers")
    if not all(-1 <= a < len(good) for a in answers):
        raise ValueError(f"answers must be -1 (unread) or below {len(good)}")
    means, variances = np.full((len(table), len(ns)), np.nan), np.full((len(table), len(ns)), np.nan)
    labels, worth = np.asarray(answers, dtype=np.int64), np.asarray(good, dtype=np.float64)
    inside = sorted({n for n in ns if 1 <= n <= m})
    drawn = _Drawn(m, inside, subsets, seed)
    step = max(1, _BLOCK // (max(subsets, 1) * (len(worth) + 1)))
    for start in range(0, len(table), step):
        block = table[start : start + step]
        found = dict(zip(inside, _block(block, labels, worth, inside, drawn), strict=True))
        for k, n in enumerate(ns):
            if n in found:
                means[start : start + step, k], variances[start : start + step, k] = found[n]
    dead = np.isnan(table).any(axis=1)
    means[dead], variances[dead] = np.nan, np.nan
    return means, variances


class _Drawn:
    """The subsets of one call: all C(m, n) where they are few, otherwise the first n of `subsets` random orders."""

    def __init__(self, m: int, ns: Sequence[int], subsets: int, seed: int) -> None:
        self.subsets = subsets
        self.few = {n for n in ns if math.comb(m, n) <= subsets}
        random = np.random.default_rng(seed)
        self.orders = random.random((subsets, m)).argsort(axis=1) if set(ns) - self.few else None


def _block(
    values: Floats, answers: NDArray[np.int64], good: Floats, ns: Sequence[int], drawn: _Drawn
) -> Iterator[tuple[Floats, Floats]]:
    """For each n in ascending order: the mean of each method and the variance of its Monte-Carlo error."""
    slack = TIE * np.abs(values).sum(axis=1)
    if (answers >= 0).all() and len(set(good.tolist())) == 1:  # whatever is drawn, the same is right
        yield from ((np.full(len(values), good[0]), np.zeros(len(values))) for _ in ns)
        return
    running = _Running(values, answers, len(good), drawn)
    for n in ns:
        sums = (
            _summed(_every_subset(values.shape[1], n), values, answers, len(good)) if n in drawn.few else running.to(n)
        )
        correct = _correct(sums, good, slack)
        error = np.zeros(len(values)) if n in drawn.few else correct.var(axis=0, ddof=1) / drawn.subsets
        yield correct.mean(axis=0), error


class _Running:
    """Sums of votes along random orders: from one n to the next only the new samples are added."""

    def __init__(self, values: Floats, answers: NDArray[np.int64], count: int, drawn: _Drawn) -> None:
        self.values, self.answers, self.orders, self.done = values.T, answers, drawn.orders, 0
        self.rows = np.arange(drawn.subsets)
        self.sums = np.full((count + 1, drawn.subsets, len(values)), -np.inf)

    def to(self, n: int) -> Floats:
        """(answers, subsets, methods): each answer's sum among the first n samples; -inf where nobody voted for it."""
        if self.orders is None:
            raise ValueError("no random orders were drawn")
        for sample in self.orders[:, self.done : n].T:
            places = (
                self.answers[sample],
                self.rows,
            )  # an unread answer (-1) goes to the last row, which is not looked at
            before = self.sums[places]
            self.sums[places] = np.where(np.isinf(before), 0.0, before) + self.values[sample]
        self.done = n
        return self.sums[:-1]


def _summed(masks: Floats, values: Floats, answers: NDArray[np.int64], count: int) -> Floats:
    """As `_Running.to`, over subsets given as rows of 0 and 1."""
    sums = np.full((count, len(masks), len(values)), -np.inf)
    for answer in range(count):
        members = np.flatnonzero(answers == answer)
        chosen = masks[:, members]
        voted = chosen.sum(axis=1, keepdims=True) > 0
        sums[answer] = np.where(voted, chosen @ values.T[members], -np.inf)
    return sums


def _correct(sums: Floats, good: Floats, slack: Floats) -> Floats:
    """(subsets, methods): mean correctness of the answers whose sums are the highest; 0 where nobody voted."""
    right, tied = np.zeros(sums.shape[1:]), np.zeros(sums.shape[1:])
    if len(good):
        best = sums.max(axis=0)
        least = np.where(np.isinf(best), np.inf, best - slack)
        for one, worth in zip(sums, good, strict=True):
            wins = one >= least
            tied += wins
            right += worth * wins
    return np.asarray(right / np.maximum(tied, 1.0), dtype=np.float64)


@lru_cache(maxsize=32)
def _every_subset(m: int, n: int) -> Floats:
    """All C(m, n) subsets as rows of 0 and 1."""
    masks = np.zeros((math.comb(m, n), m))
    for row, members in enumerate(_combinations(m, n)):
        masks[row, list(members)] = 1.0
    masks.flags.writeable = False
    return masks


def _combinations(m: int, n: int) -> Iterator[tuple[int, ...]]:
    return itertools.combinations(range(m), n)
