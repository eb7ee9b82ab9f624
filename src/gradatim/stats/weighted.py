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
    votes = _Votes(table, np.asarray(answers, dtype=np.int64), np.asarray(good, dtype=np.float64))
    means, variances = np.full((len(table), len(ns)), np.nan), np.full((len(table), len(ns)), np.nan)
    ranks = None
    for k, n in enumerate(ns):
        if not 1 <= n <= m:
            continue
        if votes.settled:
            means[:, k], variances[:, k] = votes.good[0], 0.0
            continue
        if math.comb(m, n) <= subsets:
            means[:, k], variances[:, k] = votes.mean(_every_subset(m, n))[0], 0.0
            continue
        if ranks is None:
            ranks = np.random.default_rng(seed).random((subsets, m)).argsort(axis=1).argsort(axis=1)
        means[:, k], spread = votes.mean((ranks < n).astype(np.float64))
        variances[:, k] = spread / subsets
    dead = np.isnan(table).any(axis=1)
    means[dead], variances[dead] = np.nan, np.nan
    return means, variances


class _Votes:
    """One pool's votes, ready to be summed over many subsets."""

    def __init__(self, values: Floats, answers: NDArray[np.int64], good: Floats) -> None:
        self.values, self.good = values, good
        self.members = [np.flatnonzero(answers == a) for a in range(len(good))]
        self.slack = TIE * np.abs(values).sum(axis=1)

    @property
    def settled(self) -> bool:
        """Whether every draw gives the same: no draw is without a vote, and all answers are worth the same."""
        voters = sum(len(one) for one in self.members)
        return bool(voters == self.values.shape[1] and len(set(self.good.tolist())) == 1)

    def mean(self, masks: Floats) -> tuple[Floats, Floats]:
        """Mean and sample variance over subsets (subsets x m, 0 or 1) of each method's correctness."""
        step = max(1, _BLOCK // max(1, len(masks) * len(self.good)))
        blocks = [self._correct(masks, slice(k, k + step)) for k in range(0, len(self.values), step)]
        correct = np.concatenate(blocks, axis=1)
        return correct.mean(axis=0), correct.var(axis=0, ddof=1 if len(masks) > 1 else 0)

    def _correct(self, masks: Floats, methods: slice) -> Floats:
        """(subsets x methods); answer by answer, since short inner axes are slow."""
        values = self.values[methods].T
        sums = []
        for members in self.members:
            drawn = masks[:, members]
            voted = drawn.sum(axis=1, keepdims=True) > 0
            sums.append(np.where(voted, drawn @ values[members], -np.inf))
        right, tied = np.zeros((len(masks), values.shape[1])), np.zeros((len(masks), values.shape[1]))
        if sums:
            best = np.maximum.reduce(sums)
            least = np.where(np.isinf(best), np.inf, best - self.slack[methods])
            for one, worth in zip(sums, self.good, strict=True):
                wins = one >= least
                tied += wins
                right += worth * wins
        return np.asarray(right / np.maximum(tied, 1.0), dtype=np.float64)


@lru_cache(maxsize=256)
def _every_subset(m: int, n: int) -> Floats:
    """All C(m, n) subsets as rows of 0 and 1."""
    masks = np.zeros((math.comb(m, n), m))
    for row, members in enumerate(_combinations(m, n)):
        masks[row, list(members)] = 1.0
    masks.flags.writeable = False
    return masks


def _combinations(m: int, n: int) -> Iterator[tuple[int, ...]]:
    return itertools.combinations(range(m), n)
