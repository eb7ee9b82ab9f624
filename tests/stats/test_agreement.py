"""Kappas against hand-worked tables and an independent recount."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from gradatim.stats.agreement import cohen_kappa, fleiss_kappa


def test_cohens_worked_example() -> None:
    """20 both yes, 5 and 10 split, 15 both no: p = .7, e = .5, kappa .4."""
    a = ["y"] * 20 + ["y"] * 5 + ["n"] * 10 + ["n"] * 15
    b = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    found = cohen_kappa(a, b)
    assert found.value == pytest.approx(0.4)
    assert 0.1 < found.low < 0.4 < found.high < 0.7
    assert found.n == 50


def test_fleiss_worked_example() -> None:
    """Fleiss's own kind of table, worked by hand: 4 items, 3 labellers."""
    rows = ["aaa", "aab", "bbb", "abc"]
    p = (1 + 1 / 3 + 1 + 0) / 4
    e = (6 / 12) ** 2 + (5 / 12) ** 2 + (1 / 12) ** 2
    assert fleiss_kappa(rows).value == pytest.approx((p - e) / (1 - e))


@pytest.mark.parametrize("seed", range(20))
def test_against_a_plain_recount(seed: int) -> None:
    """Pairs counted one by one, on small tables where a category may be missing."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(1 + seed % 4, size=(1 + seed // 2, 3)).tolist()
    agree = [sum(x == y for x, y in combinations(row, 2)) / 3 for row in rows]
    named = Counter(one for row in rows for one in row)
    p, e = sum(agree) / len(rows), sum((count / (3 * len(rows))) ** 2 for count in named.values())
    expected = (p - e) / (1 - e) if len(named) > 1 else math.nan
    assert fleiss_kappa(rows, clusters=[0] * len(rows)).value == pytest.approx(expected, nan_ok=True)
    a, b = [row[0] for row in rows], [row[1] for row in rows]
    p = sum(x == y for x, y in zip(a, b, strict=True)) / len(rows)
    e = sum(a.count(one) * b.count(one) for one in set(a)) / len(rows) ** 2
    expected = (p - e) / (1 - e) if e < 1 else math.nan
    assert cohen_kappa(a, b, clusters=[0] * len(rows)).value == pytest.approx(expected, nan_ok=True)


def test_independent_labellers_have_kappa_0() -> None:
    """The interval holds 0 for labellers that know nothing of each other, and 1 is reached by equal ones."""
    rng = np.random.default_rng(0)
    a, b = (rng.choice(3, size=200, p=[0.6, 0.3, 0.1]).tolist() for _ in range(2))
    found = cohen_kappa(a, b)
    assert found.low < 0 < found.high
    assert cohen_kappa(a, a).value == 1
    assert math.isnan(cohen_kappa([], []).value)


def test_unequal_rows_are_refused() -> None:
    """Kappa needs pairs, and as many labellers on every item."""
    with pytest.raises(ValueError, match="2 and 1 items"):
        cohen_kappa([1, 2], [1])
    with pytest.raises(ValueError, match="at least two"):
        fleiss_kappa([[1], [2]])
