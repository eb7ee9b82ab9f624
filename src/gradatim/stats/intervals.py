"""How sure we are of a mean over problems: Wilson for one proportion, the bootstrap over problems for everything else.

The unit of sampling is the problem: solutions and steps of one problem share its difficulty, so they are drawn together
(`clusters`). With fewer than two clusters nothing is known about the spread, and the bounds are NaN, never a zero
width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core import Estimate

Floats = NDArray[np.float64]
Clusters = Sequence[Any] | NDArray[Any]

DRAWS = 2000
"""Bootstrap samples behind every interval, unless asked otherwise."""

_ROUNDING = 1e-9
"""How far from 0 or 1 a mean of exact zeros or ones may come out."""

_BLOCK = 4_000_000
"""Most numbers held at once for resampling weights or resampled columns (32 MB)."""


def wilson(good: float, n: float, level: float = 0.95) -> Estimate:
    """Wilson's score interval for `good` successes of `n` independent trials.

    NaN where there is no such proportion: n = 0, or good outside 0..n. Source: Wilson (1927), JASA 22.
    """
    if not (n > 0 and 0 <= good <= n and 0 < level < 1):
        return Estimate(math.nan, math.nan, math.nan, max(0, int(n)) if n == n else 0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    rate = good / n
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if good == 0 else max(0.0, middle - half)
    high = 1.0 if good == n else min(1.0, middle + half)
    return Estimate(rate, low, high, int(n))


def bootstrap(
    values: ArrayLike, clusters: Clusters | None = None, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """The mean of `values` with its percentile bootstrap interval; whole clusters are drawn, with all their values.

    `clusters` names each value's cluster (default: every value is one of its own); `n` of the result counts clusters.
    No values, or a NaN among them, give NaN. The same seed draws the same clusters whatever the values, so two calls
    over the same clusters are paired.
    """
    column = _flat(values)[:, None]
    return bootstrap_columns(column, clusters, level=level, draws=draws, seed=seed)[0]


def share(found: Estimate, level: float = 0.95) -> Estimate:
    """A bootstrapped mean of values that can't leave 0 to 1, with an interval that is never blind.

    Where it is 0 or 1 (but for rounding) all values are equal, and so are all resamples: their interval has no width,
    although a problem more may well differ. There Wilson's interval over the problems, `found.n` of them, takes its place.
    Not for differences: a difference of 0 or 1 is no share.
    """
    end = round(found.value) if found.value == found.value else None
    if end not in (0, 1) or abs(found.value - end) > _ROUNDING:
        return found
    return wilson(end * found.n, found.n, level)


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Clusters | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """The mean of a - b, value by value, with its interval: the same items under two methods."""
    first, second = _flat(a), _flat(b)
    if len(first) != len(second):
        raise ValueError(f"paired values need equal lengths, got {len(first)} and {len(second)}")
    return bootstrap(first - second, clusters, level, draws, seed)


def ratio_bootstrap(
    top: ArrayLike,
    bottom: ArrayLike,
    clusters: Clusters | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """mean(top) / mean(bottom) with its interval, both means over the same drawn clusters: the share of a gap, say.

    Resamples in which the bottom is 0 have no ratio and leave the interval; if there are any, the interval is wide
    already.
    """
    above, below = _flat(top), _flat(bottom)
    if len(above) != len(below):
        raise ValueError(f"a ratio needs equal lengths, got {len(above)} and {len(below)}")
    codes, count = _codes(clusters, len(above))
    sums = np.stack([np.bincount(codes, part, minlength=count) for part in (above, below)], axis=1)
    total = sums.sum(axis=0)
    value = total[0] / total[1] if total[1] else math.nan
    drawn = np.concatenate([weights @ sums for weights in _weights(count, draws, seed)]) if count else np.empty((0, 2))
    ratios = drawn[drawn[:, 1] != 0]
    return _estimate(float(value), ratios[:, 0] / ratios[:, 1], count, level)


def bootstrap_statistic(
    statistic: Callable[[NDArray[np.intp]], float],
    clusters: Clusters,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Any statistic of items with its interval: `statistic(indices)` is computed on all items and on every resample.

    `clusters` names each item's cluster. For what is no mean: an AUROC, an F1, a calibration error. Resamples on which
    the statistic is NaN (a class came out empty) leave the interval.
    """
    codes, count = _codes(clusters, len(clusters))
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes, minlength=count))[:-1]) if count else []
    value = float(statistic(np.arange(len(codes))))
    rng = np.random.default_rng(seed)
    found = [
        float(statistic(np.concatenate([members[c] for c in rng.integers(count, size=count)])))
        for _ in range(draws if count > 1 else 0)
    ]
    return _estimate(value, np.array([x for x in found if not math.isnan(x)]), count, level)


def bootstrap_sums(
    columns: ArrayLike,
    statistic: Callable[[Floats], Floats],
    clusters: Clusters | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """A statistic of column sums, with its interval: an F1, a ratio, a difference of two of them.

    `columns` is a table of items x columns; `statistic` takes sums (samples x columns) to a value each, NaN where there
    is none (such resamples leave the interval). Whole clusters are drawn, the same ones for the same clusters and seed.
    """
    table = np.asarray(columns, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"a table of items x columns is needed, got {table.ndim} dimensions")
    codes, count = _codes(clusters, len(table))
    sums = np.zeros((count, table.shape[1]))
    np.add.at(sums, codes, table)
    value = float(statistic(sums.sum(axis=0, keepdims=True))[0])
    drawn = [statistic(weights @ sums) for weights in _weights(count, draws, seed)]
    samples = np.concatenate(drawn) if drawn else np.empty(0)
    return _estimate(value, samples[~np.isnan(samples)], count, level)


def bootstrap_columns(
    columns: ArrayLike,
    clusters: Clusters | None = None,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
    skip_nan: bool = False,
) -> list[Estimate]:
    """`bootstrap` of every column of an (items x columns) table, all under the same drawn clusters (so they are
    paired).

    A column with a NaN is NaN; with `skip_nan` its mean is over the rest, and its `n` counts the clusters that are
    left.
    """
    table = np.asarray(columns, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"a table of items x columns is needed, got {table.ndim} dimensions")
    codes, count = _codes(clusters, len(table))
    width = max(1, _BLOCK // max(draws, count, 1))
    blocks = [table[:, start : start + width] for start in range(0, table.shape[1], width)]
    return [one for block in blocks for one in _block(block, codes, count, level, draws, seed, skip_nan)]


def _block(
    table: Floats, codes: NDArray[np.intp], count: int, level: float, draws: int, seed: int, skip_nan: bool
) -> list[Estimate]:
    seen = ~np.isnan(table)
    sums, sizes = np.zeros((count, table.shape[1])), np.zeros((count, table.shape[1]))
    np.add.at(sums, codes, np.where(seen, table, 0.0))
    np.add.at(sizes, codes, seen.astype(np.float64))
    dead = np.zeros(table.shape[1], dtype=bool) if skip_nan else np.any(~seen, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(dead, np.nan, sums.sum(axis=0) / sizes.sum(axis=0))
        drawn = [(weights @ sums) / (weights @ sizes) for weights in _weights(count, draws, seed)]
    samples = np.concatenate(drawn) if drawn else np.full((1, table.shape[1]), np.nan)
    counts = np.sum(sizes > 0, axis=0)
    if np.isnan(samples).any():
        columns = [
            np.empty(0) if gone else column[~np.isnan(column)] for column, gone in zip(samples.T, dead, strict=True)
        ]
        return [
            _estimate(float(value), column, int(n), level)
            for value, column, n in zip(values, columns, counts, strict=True)
        ]
    bounds = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    bounds = np.where((counts > 1) & ~dead, bounds, np.nan)
    return [
        Estimate(float(value), float(low), float(high), int(n))
        for value, low, high, n in zip(values, *bounds, counts, strict=True)
    ]


def _estimate(value: float, samples: Floats, count: int, level: float) -> Estimate:
    if count < 2 or not len(samples) or math.isnan(value):
        return Estimate(value, math.nan, math.nan, count)
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), count)


def _weights(count: int, draws: int, seed: int) -> Iterator[Floats]:
    """How often each cluster is drawn, (some draws x clusters) at a time; the same for the same count and seed."""
    if count < 1:
        return
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK // count)
    for start in range(0, draws, rows):
        size = min(rows, draws - start)
        drawn = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)


def _codes(clusters: Clusters | None, items: int) -> tuple[NDArray[np.intp], int]:
    """Each item's cluster as 0..count-1, in order of first appearance."""
    if clusters is None:
        return np.arange(items), items
    if len(clusters) != items:
        raise ValueError(f"{items} values need as many cluster names, got {len(clusters)}")
    names: dict[Any, int] = {}
    codes = np.array([names.setdefault(name, len(names)) for name in clusters], dtype=np.intp)
    return codes, len(names)


def _flat(values: ArrayLike) -> Floats:
    flat = np.asarray(values, dtype=np.float64)
    if flat.ndim != 1:
        raise ValueError(f"a flat list of values is needed, got {flat.ndim} dimensions")
    return flat
