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
    variance: float
    """Of what is true of the items, one by one: rate (1 - rate) if each is right or wrong, less for rates."""


@dataclass(frozen=True, slots=True)
class BrierParts:
    """A Brier score in its parts: reliability - resolution + uncertainty + within. NaN where there is no such score."""

    brier: float
    reliability: float
    """Squared distance of the bins' mean scores from their rates: what a better calibration could gain."""
    resolution: float
    """Variance of the bins' rates: how far the scores part right from wrong. The more the better."""
    uncertainty: float
    """Variance of what is true: the Brier score of always saying the overall rate."""
    within: float
    """What differences of score inside the bins add (or gain, if they are to the point)."""


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

    With few items a bin the plain error is far above 0 even for a perfect scorer. `debias` takes off what the items'
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
    noisy = sum(one.n * _folded(one.score - one.rate, one.variance / one.n) for one in table) / total
    return max(0.0, 2 * plain - noisy)


def tail(scores: ArrayLike, among: int) -> NDArray[np.bool_]:
    """Which items are in the top 1/`among` by score: what best-of-`among` chooses from. Of equal scores all or none are.

    At least one item is. NaN scores never are.
    """
    values = np.asarray(scores, dtype=np.float64)
    if among < 1:
        raise ValueError(f"the best of at least one, got {among}")
    seen = np.sort(values[~np.isnan(values)])[::-1]
    if not len(seen):
        return np.zeros(values.shape, dtype=np.bool_)
    return np.asarray(values >= seen[math.ceil(len(seen) / among) - 1], dtype=np.bool_)


def brier_parts(scores: ArrayLike, right: ArrayLike, bins: int = 15) -> BrierParts:
    """The Brier score and its decomposition (Murphy 1973) over bins of equal mass.

    Scores differ inside a bin, so the three classic terms do not add up; the rest (Stephenson, Coelho and Jolliffe 2008)
    is `within`.
    """
    table = reliability(scores, right, bins)
    if not table:
        return BrierParts(*(math.nan,) * 5)
    truth = np.asarray(right, dtype=np.float64)
    total, value = len(truth), brier(scores, right)
    calibration = math.fsum(one.n * (one.score - one.rate) ** 2 for one in table) / total
    resolution = math.fsum(one.n * (one.rate - float(truth.mean())) ** 2 for one in table) / total
    uncertainty = float(truth.var())
    return BrierParts(value, calibration, resolution, uncertainty, value - (calibration - resolution + uncertainty))


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
    sums = [np.bincount(bin_of, part, minlength=bins) for part in (values, classes, classes**2)]
    found = []
    for k in np.flatnonzero(sizes):
        score, rate, square = (float(part[k] / sizes[k]) for part in sums)
        found.append(Bin(score, rate, int(sizes[k]), max(0.0, square - rate * rate)))
    return found


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
