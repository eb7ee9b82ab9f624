"""What n draws give, exactly, from a pool of m >= n samples: the mean over all C(m, n) subsets without listing one.

Arrays end in a samples axis (..., m); results end in an axis over `ns` (default: every n from 1 to m). Outside the
domain (n < 1, n > m, NaN among the inputs) the result is NaN. Formulas: the best-of-n weights are those of the order
statistics of a subset; ties share evenly. Checked against enumeration to 1e-12.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def pass_at(good: int, m: int, n: int) -> float:
    """Probability that n of m samples, `good` of them correct, hold a correct one: 1 - C(m - good, n) / C(m, n).

    NaN unless 0 <= good <= m and 1 <= n <= m. Source: Chen et al. (2021), arXiv 2107.03374.
    """
    if not (0 <= good <= m and 1 <= n <= m):
        return math.nan
    return 1.0 - math.prod((m - good - j) / (m - j) for j in range(n)) if n <= m - good else 1.0


def pass_curve(good: ArrayLike, ns: Sequence[int] | None = None) -> Floats:
    """pass@n of each pool: `good` (..., m) is 1 for a correct sample and 0 for a wrong one; anything else is NaN."""
    table, sizes = _table(good), _sizes(good, ns)
    m = table.shape[-1]
    binary = np.all((table == 0.0) | (table == 1.0), axis=-1, keepdims=True)
    count = table.sum(axis=-1)[..., None]
    left = np.arange(m, 0, -1)
    none = np.cumprod(np.clip(left - count, 0, None) / left, axis=-1)
    return _pick(np.where(binary, 1.0 - none, np.nan), sizes)


def random_curve(good: ArrayLike, ns: Sequence[int] | None = None) -> Floats:
    """What choosing one of n at random gives: the pool's mean, whatever the n."""
    table, sizes = _table(good), _sizes(good, ns)
    m = table.shape[-1]
    mean = table.mean(axis=-1, keepdims=True) if m else np.full((*table.shape[:-1], 1), np.nan)
    return _pick(np.broadcast_to(mean, (*table.shape[:-1], m)), sizes)


def best_of_curve(values: ArrayLike, good: ArrayLike, ns: Sequence[int] | None = None) -> Floats:
    """Mean of `good` at the sample with the highest value among n; samples with equal values share evenly.

    `values` and `good` are (..., m); `good` may be any number (correct or not, a second scorer's value). With `good` =
    `values` this is the expected best value.
    """
    worth, table, sizes = _table(values), _table(good), _sizes(good, ns)
    if worth.shape != table.shape:
        raise ValueError(f"values and good need one shape, got {worth.shape} and {table.shape}")
    m = table.shape[-1]
    known = np.array([n for n in sizes if 1 <= n <= m], dtype=np.int64)
    exact = _shared_ties(worth, table) @ order_weights(m, known).T
    dead = np.any(np.isnan(worth) | np.isnan(table), axis=-1, keepdims=True)
    exact = np.where(dead, np.nan, exact)
    result = np.full((*table.shape[:-1], len(sizes)), np.nan)
    result[..., [1 <= n <= m for n in sizes]] = exact
    return result


def order_weights(m: int, ns: ArrayLike) -> Floats:
    """Probability that the i-th lowest of m samples is the highest of n drawn ones: (len(ns), m), C(i-1, n-1) / C(m,
    n).

    By the recurrence w_m = n/m, w_(i-1) = w_i (i-n)/(i-1), exact to rounding where log-gamma loses three digits.
    """
    n = np.asarray(ns, dtype=np.float64)
    weights = np.zeros((len(n), m))
    if m:
        weights[:, m - 1] = n / m
    for i in range(m, 1, -1):
        weights[:, i - 2] = weights[:, i - 1] * np.clip(i - n, 0, None) / (i - 1)
    weights[weights < 1e-290] = 0.0  # denormal numbers would slow the product down
    return weights


def _shared_ties(values: Floats, good: Floats) -> Floats:
    """`good` in ascending order of value, each replaced by the mean of the samples that have the same value."""
    order = np.argsort(values, axis=-1, kind="stable")
    ranked = np.take_along_axis(values, order, axis=-1)
    rewards = np.take_along_axis(good, order, axis=-1)
    starts = np.ones(values.shape, dtype=bool)
    starts[..., 1:] = ranked[..., 1:] != ranked[..., :-1]
    if starts.all():
        return rewards
    group = np.cumsum(starts.ravel()) - 1
    means = np.bincount(group, rewards.ravel()) / np.bincount(group)
    return np.asarray(means[group].reshape(values.shape), dtype=np.float64)


def _table(values: ArrayLike) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim < 1:
        raise ValueError("a pool needs a samples axis")
    return table


def _sizes(values: ArrayLike, ns: Sequence[int] | None) -> list[int]:
    return list(range(1, np.shape(values)[-1] + 1)) if ns is None else [int(n) for n in ns]


def _pick(curve: Floats, ns: Sequence[int]) -> Floats:
    """The curve at `ns`, NaN where n is not in 1..m."""
    result = np.full((*curve.shape[:-1], len(ns)), np.nan)
    inside = [k for k, n in enumerate(ns) if 1 <= n <= curve.shape[-1]]
    result[..., inside] = curve[..., [ns[k] - 1 for k in inside]]
    return result
