"""Best-of-n, pass and random at every n against listing every subset."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim import stats

POOLS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=9)


def enumerated(m: int, n: int, worth: Callable[[Sequence[int]], Fraction]) -> float:
    """The mean of `worth` over all subsets of n of m samples."""
    subsets = list(itertools.combinations(range(m), n))
    return float(sum((worth(subset) for subset in subsets), Fraction(0)) / len(subsets))


@given(POOLS)
def test_best_of_n_is_the_mean_over_all_subsets(pool: list[tuple[int, bool]]) -> None:
    """Best-of-n equals enumeration to 1e-12 at every n, ties shared evenly."""
    values, good = [float(v) for v, _ in pool], [int(g) for _, g in pool]

    def worth(subset: Sequence[int]) -> Fraction:
        top = [i for i in subset if values[i] == max(values[j] for j in subset)]
        return Fraction(sum(good[i] for i in top), len(top))

    curve = stats.best_of_curve(values, good)

    expected = [enumerated(len(pool), n, worth) for n in range(1, len(pool) + 1)]
    assert np.abs(curve - expected).max() < 1e-12


@given(POOLS)
def test_pass_and_random_are_the_means_over_all_subsets(pool: list[tuple[int, bool]]) -> None:
    """pass@n and a random choice equal enumeration to 1e-12 at every n."""
    good, m = [int(g) for _, g in pool], len(pool)

    passed = [enumerated(m, n, lambda s: Fraction(max(good[i] for i in s))) for n in range(1, m + 1)]
    random = [enumerated(m, n, lambda s: Fraction(sum(good[i] for i in s), len(s))) for n in range(1, m + 1)]

    assert np.abs(stats.pass_curve(good) - passed).max() < 1e-12
    assert np.abs(stats.random_curve(good) - random).max() < 1e-12
    assert [stats.pass_at(sum(good), m, n) for n in range(1, m + 1)] == pytest.approx(passed, abs=1e-12)


@given(POOLS, st.randoms(use_true_random=False))
def test_the_order_of_samples_changes_nothing(pool: list[tuple[int, bool]], random: object) -> None:
    """A pool gives the same curve in any order, and best-of-1 is its mean."""
    mixed = list(pool)
    random.shuffle(mixed)  # type: ignore[attr-defined]

    curve = stats.best_of_curve([v for v, _ in pool], [g for _, g in pool])
    again = stats.best_of_curve([v for v, _ in mixed], [g for _, g in mixed])

    assert curve == pytest.approx(again, abs=1e-12)
    assert curve[0] == pytest.approx(sum(g for _, g in pool) / len(pool), abs=1e-12)


def test_pools_are_computed_side_by_side_as_alone() -> None:
    """A table of pools gives the rows that each pool gives by itself, ties or not."""
    rng = np.random.default_rng(0)
    values, good = rng.integers(0, 40, (7, 64)).astype(float), rng.integers(0, 2, (7, 64))
    values[0] = rng.random(64)

    together = stats.best_of_curve(values, good)

    alone = [stats.best_of_curve(v, g) for v, g in zip(values, good, strict=True)]
    assert np.abs(together - alone).max() < 1e-12


def test_large_pools_keep_their_precision() -> None:
    """With 600 samples the weights of the order statistics equal exact fractions to 1e-12."""
    m = 600
    weights = stats.order_weights(m, [1, 2, 300, 599, 600])

    for row, n in zip(weights, [1, 2, 300, 599, 600], strict=True):
        exact = [float(Fraction(math.comb(i - 1, n - 1), math.comb(m, n))) for i in range(1, m + 1)]
        assert np.abs(row - exact).max() < 1e-12


def test_pass_of_large_pools_is_exact() -> None:
    """pass@n of a pool of 1,024 equals exact fractions."""
    good = np.zeros(1024)
    good[:3] = 1

    curve = stats.pass_curve(good, [1, 64, 1000, 1024])

    exact = [1 - Fraction(math.comb(1021, n), math.comb(1024, n)) for n in (1, 64, 1000, 1024)]
    assert curve == pytest.approx([float(x) for x in exact], abs=1e-12)


@pytest.mark.parametrize("curve", [stats.pass_curve, stats.random_curve, lambda g, ns: stats.best_of_curve(g, g, ns)])
def test_outside_its_domain_a_curve_is_nan(curve: Callable[[list[float], list[int]], np.ndarray]) -> None:
    """n below 1 or above the pool's size, and NaN among the samples, give NaN."""
    assert np.isnan(curve([1.0, 0.0], [0, 1, 2, 3, -1])).tolist() == [True, False, False, True, True]
    assert np.isnan(curve([1.0, math.nan], [1, 2])).all()
    assert np.isnan(curve([], [1])).all()


def test_pass_at_outside_its_domain_is_nan() -> None:
    """k > n is NaN, never the spurious 1.0."""
    assert math.isnan(stats.pass_at(1, 4, 5))
    assert math.isnan(stats.pass_at(1, 4, 0))
    assert math.isnan(stats.pass_at(5, 4, 1))
    assert math.isnan(stats.pass_curve([0.5, 1.0])[0])


def test_shapes_have_to_agree() -> None:
    """Values and correctness of different pools are an error, not a broadcast."""
    with pytest.raises(ValueError, match="one shape"):
        stats.best_of_curve([1.0, 2.0], [1.0])
