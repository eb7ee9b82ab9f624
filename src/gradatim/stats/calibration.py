"""How well scores separate right from wrong, and whether a score of 0.8 means four in five."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin of a reliability curve: its items' mean score, the share of them that is right, and how many there are."""

    score: float
    rate: float
    n: int


def auroc(scores: ArrayLike, right: ArrayLike) -> float:
    """Probability that a right item scores above a wrong one, ties counting half (Mann-Whitney).

    `right` is 1 or 0. NaN if a class is empty, or where scores or classes have a NaN.
    """
    values, classes = _pair(scores, right)
    ones = classes == 1.0
    positives, negatives = int(ones.sum()), int((classes == 0.0).sum())
    if not positives or not negatives or positives + negatives < len(values) or np.isnan(values).any():
        return math.nan
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    above = ranks[where][ones].sum() - positives * (positives + 1) / 2.0
    return float(above / (positives * negatives))


def brier(scores: ArrayLike, right: ArrayLike) -> float:
    """Mean squared distance of the scores, as probabilities, from what is true (1, 0, or a rate); NaN for no items."""
    values, classes = _pair(scores, right)
    if not len(values) or not _probabilities(values):
        return math.nan
    return float(np.mean((values - classes) ** 2))


def ece(scores: ArrayLike, right: ArrayLike, bins: int = 15, debias: bool = True) -> float:
    """Expected calibration error over bins of equal mass: mean |score - rate| of the bins, weighted by their size.

    With few items a bin the plain error is far above 0 even for a perfect scorer. `debias` takes off what binomial
    noise adds to the error found, in the normal approximation of Kumar et al. (2019, arXiv 1909.10155), here in closed
    form: most of the bias where bins are off by more than their noise, about two fifths of it where none is. NaN for no
    items, or where a score is no probability.
    """
    table = reliability(scores, right, bins)
    if not table:
        return math.nan
    total = sum(one.n for one in table)
    plain = sum(one.n * abs(one.score - one.rate) for one in table) / total
    if not debias:
        return plain
    noisy = sum(one.n * _folded(one.score - one.rate, one.rate * (1 - one.rate) / one.n) for one in table) / total
    return max(0.0, 2 * plain - noisy)


def reliability(scores: ArrayLike, right: ArrayLike, bins: int = 15) -> list[Bin]:
    """The reliability curve in at most `bins` bins of about equal mass, by ascending score; equal scores share a bin.

    Empty for no items, or where a score lies outside [0, 1] or is NaN.
    """
    if bins < 1:
        raise ValueError(f"at least one bin is needed, got {bins}")
    values, classes = _pair(scores, right)
    if not len(values) or not _probabilities(values) or np.isnan(classes).any():
        return []
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2.0
    bin_of = np.minimum((middle * bins / len(values)).astype(np.int64), bins - 1)[where]
    sizes = np.bincount(bin_of, minlength=bins)
    means = [np.bincount(bin_of, part, minlength=bins) for part in (values, classes)]
    return [
        Bin(float(means[0][k] / sizes[k]), float(means[1][k] / sizes[k]), int(sizes[k])) for k in np.flatnonzero(sizes)
    ]


def _folded(mean: float, variance: float) -> float:
    """E|X| of a normal X."""
    if variance <= 0:
        return abs(mean)
    deviation, standard = math.sqrt(variance), NormalDist()
    z = mean / deviation
    return 2 * deviation * standard.pdf(z) + mean * (2 * standard.cdf(z) - 1)


def _probabilities(values: Floats) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def _pair(scores: ArrayLike, right: ArrayLike | Sequence[bool]) -> tuple[Floats, Floats]:
    values, classes = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if values.ndim != 1 or values.shape != classes.shape:
        raise ValueError(f"scores and classes need one flat shape, got {values.shape} and {classes.shape}")
    return values, classes
