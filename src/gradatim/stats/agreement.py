"""How far labellers agree beyond chance."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from gradatim.core import Estimate
from gradatim.stats.intervals import Clusters, bootstrap_sums

Floats = NDArray[np.float64]


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable], clusters: Clusters | None = None) -> Estimate:
    """Cohen's kappa of two labellers, item by item, with a 95 % bootstrap interval over the clusters.

    (p - e) / (1 - e), with p the share of items on which they agree and e the share expected of labellers that name each
    category as often as these do, independently. NaN without items, and where both always name one category. Source:
    Cohen (1960), Educational and Psychological Measurement 20.
    """
    if len(a) != len(b):
        raise ValueError(f"kappa of {len(a)} and {len(b)} items")
    codes, kinds = _coded([*a, *b])
    cells = np.zeros((len(a), kinds * kinds))
    cells[np.arange(len(a)), codes[: len(a)] * kinds + codes[len(a) :]] = 1

    def kappa(sums: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            tables = (sums / sums.sum(axis=1, keepdims=True)).reshape(len(sums), kinds, kinds)
        same = np.trace(tables, axis1=1, axis2=2)
        return _beyond(same, (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1))

    return bootstrap_sums(cells, kappa, clusters)


def fleiss_kappa(rows: Sequence[Sequence[Hashable]], clusters: Clusters | None = None) -> Estimate:
    """Fleiss' kappa of several labellers: a row an item, with what each of them named; 95 % bootstrap interval.

    As Cohen's, with p the mean share of pairs of labellers that agree on an item, and e expected of draws from all that
    was named. NaN as there. Source: Fleiss (1971), Psychological Bulletin 76.
    """
    if len({len(row) for row in rows}) > 1 or (rows and len(rows[0]) < 2):
        raise ValueError("as many labellers on every item are needed, and at least two")
    codes, kinds = _coded([one for row in rows for one in row])
    raters = len(rows[0]) if rows else 2
    counts = np.zeros((len(rows), kinds))
    np.add.at(counts, (np.repeat(np.arange(len(rows)), raters), codes), 1)
    agreeing = (counts * (counts - 1)).sum(axis=1, keepdims=True) / (raters * (raters - 1))

    def kappa(sums: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            shares = sums[:, 1:] / sums[:, 1:].sum(axis=1, keepdims=True)
            return _beyond(sums[:, 0] / (sums[:, 1:].sum(axis=1) / raters), (shares * shares).sum(axis=1))

    return bootstrap_sums(np.concatenate([agreeing, counts], axis=1), kappa, clusters)


def _coded(named: Sequence[Hashable]) -> tuple[NDArray[np.intp], int]:
    """The categories as 0, 1, ... in order of first appearance, and how many there are (at least one)."""
    codes: dict[Hashable, int] = {}
    return np.array([codes.setdefault(one, len(codes)) for one in named], dtype=np.intp), max(1, len(codes))


def _beyond(found: Floats, expected: Floats) -> Floats:
    """Agreement beyond chance, NaN where chance alone makes all agree."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected < 1 - 1e-12, (found - expected) / (1 - expected), np.nan)
