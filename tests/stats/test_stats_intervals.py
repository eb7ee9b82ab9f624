"""Intervals: known values, coverage, clusters, pairing, and what is not known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim import stats
from gradatim.core import Estimate


def test_wilson_gives_published_values() -> None:
    """Wilson's interval equals the values of Newcombe (1998), table I, to their four digits."""
    for good, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        found = stats.wilson(good, n)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
        assert found.value == good / n
        assert found.n == n


@given(st.integers(1, 200), st.data())
def test_wilson_holds_the_rate_and_mirrors(n: int, data: st.DataObject) -> None:
    """The rate lies inside, within [0, 1], and failures have the mirrored interval."""
    good = data.draw(st.integers(0, n))
    found, mirror = stats.wilson(good, n), stats.wilson(n - good, n)

    assert 0 <= found.low <= found.value <= found.high <= 1
    assert (found.low, found.high) == pytest.approx((1 - mirror.high, 1 - mirror.low), abs=1e-12)


@pytest.mark.parametrize(("good", "n"), [(0, 0), (3, 2), (-1, 2), (math.nan, 2)])
def test_wilson_outside_its_domain_is_nan(good: float, n: int) -> None:
    """No trials, or impossible counts, give NaN."""
    found = stats.wilson(good, n)

    assert math.isnan(found.value)
    assert math.isnan(found.low)


def test_the_bootstrap_covers_the_truth() -> None:
    """A 90 % interval from 60 clusters of correlated values holds the true mean in about 90 % of repetitions."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(60), 5)
    held = alone = 0
    for seed in range(200):
        values = rng.normal(size=60)[clusters] + 0.3 * rng.normal(size=300)
        found = stats.bootstrap(values, clusters, level=0.9, draws=300, seed=seed)
        naive = stats.bootstrap(values, level=0.9, draws=300, seed=seed)
        held += found.low <= 0 <= found.high
        alone += naive.low <= 0 <= naive.high

    assert 168 <= held <= 192
    assert alone < 140  # treating correlated values as independent would be far too sure


def test_the_bootstrap_estimates_the_mean_over_all_values() -> None:
    """The value is the plain mean (clusters count by their size), n the number of clusters."""
    found = stats.bootstrap([1.0, 0.0, 0.0, 1.0, 1.0], ["a", "b", "b", "b", "c"])

    assert found.value == pytest.approx(0.6)
    assert found.n == 3
    assert found.low <= 0.6 <= found.high


def test_columns_are_resampled_together() -> None:
    """A table's columns get what each gets alone under the same seed, however wide the table."""
    rng = np.random.default_rng(1)
    table = rng.random((40, 7))

    together = stats.bootstrap_columns(table, seed=3, draws=200)

    alone = [stats.bootstrap(column, seed=3, draws=200) for column in table.T]
    assert [(e.value, e.low, e.high) for e in together] == [
        pytest.approx((e.value, e.low, e.high), abs=1e-12) for e in alone
    ]


def test_paired_methods_are_surer_than_unpaired() -> None:
    """The interval of a difference between two methods on the same problems leaves out what the problems share."""
    rng = np.random.default_rng(2)
    easy = rng.random(300)
    a, b = (rng.random((2, 300)) < easy * np.array([[1.0], [0.9]])).astype(float)

    found = stats.paired_bootstrap(a, b)

    assert found == stats.bootstrap(a - b)
    assert found.value == pytest.approx(a.mean() - b.mean())
    same = stats.paired_bootstrap(a, a)
    assert same == Estimate(0.0, 0.0, 0.0, 300)


def test_a_ratio_of_means_is_resampled_as_one() -> None:
    """A share of a gap: 30 % of a gap that varies between problems has an interval of no width."""
    gap = np.random.default_rng(4).random(50)

    found = stats.ratio_bootstrap(0.3 * gap, gap)

    assert (found.value, found.low, found.high) == pytest.approx((0.3, 0.3, 0.3))
    assert math.isnan(stats.ratio_bootstrap([1.0, 2.0], [0.0, 0.0]).value)
    assert math.isnan(stats.ratio_bootstrap([], []).value)


def test_a_statistic_is_resampled_by_whole_clusters() -> None:
    """For a mean, the general bootstrap agrees with the one for means; resamples hold whole clusters only."""
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(30), 4)
    values = rng.normal(size=30)[clusters]

    def whole_mean(indices: np.ndarray) -> float:
        counts = np.bincount(indices, minlength=120).reshape(30, 4)
        assert (counts == counts[:, :1]).all()
        return float(values[indices].mean())

    found = stats.bootstrap_statistic(whole_mean, clusters, draws=1000)
    mean = stats.bootstrap(values, clusters, draws=1000)

    assert found.value == pytest.approx(mean.value)
    assert (found.low, found.high) == pytest.approx((mean.low, mean.high), abs=0.08)
    assert found.n == 30


def test_one_cluster_has_no_interval() -> None:
    """Nothing is known about the spread between problems from one problem: the bounds are NaN, not a zero width."""
    for found in (
        stats.bootstrap([1.0, 0.0], ["a", "a"]),
        stats.ratio_bootstrap([1.0], [2.0]),
        stats.bootstrap_statistic(lambda i: float(len(i)), ["a", "a"]),
    ):
        assert not math.isnan(found.value)
        assert math.isnan(found.low)
        assert math.isnan(found.high)


def test_a_share_of_all_or_nothing_is_not_certain() -> None:
    """Ten of ten: the bound is n / (n + z^2), by Wilson's formula written out; problems are counted, not values; any other
    share keeps its bootstrap. Rounding does not matter, missing stays missing."""
    for right in (0.0, 1.0):
        found = stats.share(stats.bootstrap([right] * 10))
        assert found == stats.wilson(10 * right, 10)
        assert found.high - found.low == pytest.approx(1 - 10 / (10 + 1.959964**2))
    assert stats.share(stats.bootstrap([1 - 1e-15] * 10)) == stats.wilson(10, 10)
    assert stats.share(stats.bootstrap([1.0] * 10, list("aabbccddee"))) == stats.wilson(5, 5)
    assert stats.share(stats.bootstrap([1.0] * 10, level=0.5), 0.5) == stats.wilson(10, 10, 0.5)
    some = stats.bootstrap([1.0, 0.0, 1.0])
    assert stats.share(some) == some
    assert math.isnan(stats.share(stats.bootstrap([])).low)


def test_missing_values_are_nan_or_left_out_on_request() -> None:
    """No values, and NaN among values, give NaN; `skip_nan` averages the rest and counts it."""
    assert math.isnan(stats.bootstrap([]).value)
    assert math.isnan(stats.bootstrap([1.0, math.nan]).value)
    assert math.isnan(stats.bootstrap([1.0, math.nan]).low)
    table = [[1.0, 1.0], [0.0, math.nan], [1.0, 1.0]]

    whole, rest = stats.bootstrap_columns(table, skip_nan=True)

    assert (whole.value, whole.n) == (pytest.approx(2 / 3), 3)
    assert (rest.value, rest.n) == (1.0, 2)


def test_lengths_have_to_agree() -> None:
    """Values that don't pair up, or lack a cluster, are an error."""
    with pytest.raises(ValueError, match="equal lengths"):
        stats.paired_bootstrap([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="cluster names"):
        stats.bootstrap([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="flat"):
        stats.bootstrap([[1.0], [2.0]])
