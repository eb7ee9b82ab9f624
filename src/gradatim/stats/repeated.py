"""What repeated yes-or-no draws of many items say about the items, and about the noise of a decision by majority."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core import Estimate
from gradatim.stats.intervals import Clusters, bootstrap_sums

Floats = NDArray[np.float64]

_GRID = np.linspace(0.0, 1.0, 101)
_ROUNDS = 400


def intraclass(good: ArrayLike, tried: ArrayLike, clusters: Clusters | None = None) -> Estimate:
    """The overdispersion of tallies: how alike two draws of one item are, beyond what draws of any two items are.

    The analysis-of-variance estimator of the intraclass correlation of binary data: 1 if all draws of an item agree and
    items differ, 0 if a tally tells nothing of its item; may come out slightly below 0. NaN if no item was drawn twice,
    or nothing varies. Source: Ridout, Demetrio and Firth (1999), Biometrics 55 (their rho_AOV). 95 % bootstrap interval
    over the clusters of items.
    """
    s, k = np.asarray(good, dtype=np.float64), np.asarray(tried, dtype=np.float64)
    return bootstrap_sums(np.stack([np.ones_like(s), s, k, s * s / k, k * k], axis=1), _anova, clusters)


def _anova(sums: Floats) -> Floats:
    """From sums over items: how many, good, tried, good^2 / tried, tried^2."""
    items, good, tried, squares, sizes = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (squares - good * good / tried) / (items - 1)
        within = (good - squares) / (tried - items)
        size = (tried - sizes / tried) / (items - 1)
        spread = between + (size - 1) * within
        usable = (items > 1) & (tried > items) & (spread > 0)
        return np.where(usable, (between - within) / spread, np.nan)


def mixing(good: Sequence[int], tried: Sequence[int]) -> Floats:
    """How the items' own rates are distributed: weights of the rates 0, .01, ..., 1 that make the tallies likeliest.

    Nothing is assumed of the shape: the nonparametric maximum likelihood estimate of the mixing distribution, by
    expectation maximisation from equal weights. Source: Laird (1978), JASA 73.
    """
    pairs, counts = np.unique(np.stack([good, tried], axis=1), axis=0, return_counts=True)
    likelihood = np.exp(_log_likelihood(pairs[:, 0], pairs[:, 1]))
    share = counts / counts.sum()
    weights = np.full(len(_GRID), 1 / len(_GRID))
    for _ in range(_ROUNDS):
        weights = weights * ((share / (likelihood @ weights)) @ likelihood)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def wrong_side(good: int, tried: int, bar: float, weights: Floats) -> float:
    """The chance that an item's own rate lies on the other side of `bar` than its tally does, given the distribution of the
    rates (see `mixing`). At the bar counts as above it."""
    likelihood = np.exp(_log_likelihood(np.array([good]), np.array([tried]))[0])
    posterior = weights * likelihood
    above = float(posterior[bar <= _GRID].sum() / posterior.sum())
    return 1 - above if good >= bar * tried else above


def _log_likelihood(good: NDArray[np.int_], tried: NDArray[np.int_]) -> Floats:
    """ln p^good (1 - p)^(tried - good) of each tally at each rate of the grid, scaled to at most 0 a tally."""
    with np.errstate(divide="ignore"):
        yes, no = np.log(_GRID), np.log1p(-_GRID)
    said, denied = good[:, None], (tried - good)[:, None]
    logs = np.where(said > 0, said * np.where(said > 0, yes, 0.0), 0.0)
    logs = logs + np.where(denied > 0, denied * np.where(denied > 0, no, 0.0), 0.0)
    return np.asarray(logs - logs.max(axis=1, keepdims=True), dtype=np.float64)
