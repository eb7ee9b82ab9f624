"""Weighted majority against listing every subset of 12, and its Monte-Carlo error where subsets are drawn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim import stats

VALUES = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, -0.4])


def enumerated(values: list[float], answers: list[int], good: list[float], n: int) -> float:
    """Mean correctness of the answer with the largest exact sum, over all subsets."""
    subsets = list(itertools.combinations(range(len(values)), n))
    total = 0.0
    for subset in subsets:
        sums: dict[int, float] = {}
        for a in {answers[i] for i in subset} - {-1}:
            sums[a] = round(math.fsum(values[i] for i in subset if answers[i] == a), 9)
        if sums:
            tied = [a for a in sums if sums[a] == max(sums.values())]
            total += math.fsum(good[a] for a in tied) / len(tied)
    return total / len(subsets)


@settings(max_examples=25)
@given(st.lists(st.tuples(VALUES, st.integers(-1, 3)), min_size=1, max_size=8))
def test_small_pools_are_exact(pool: list[tuple[float, int]]) -> None:
    """Weighted majority equals enumeration to 1e-12 at every n: ties in spite of rounding, unread and negative
    values."""
    values, answers, good = [v for v, _ in pool], [a for _, a in pool], [1.0, 0.0, 0.5, 0.0]
    ns = list(range(1, len(pool) + 1))

    means, variances = stats.weighted_majority_curve(values, answers, good, ns)

    assert np.abs(means[0] - [enumerated(values, answers, good, n) for n in ns]).max() < 1e-12
    assert not variances.any()


def test_twelve_samples_are_exact() -> None:
    """A pool of 12 is exact at every n."""
    rng = np.random.default_rng(3)
    values, answers = rng.random(12).tolist(), rng.integers(-1, 4, 12).tolist()
    good = [1.0, 0.0, 0.0, 1.0]

    means, variances = stats.weighted_majority_curve(values, answers, good, range(1, 13))

    assert np.abs(means[0] - [enumerated(values, answers, good, n) for n in range(1, 13)]).max() < 1e-12
    assert not variances.any()


def test_random_subsets_agree_with_all_within_their_error() -> None:
    """Drawn subsets differ from the exact curve by what their stated error allows, and the ends stay exact."""
    rng = np.random.default_rng(5)
    values, answers = rng.random((4, 14)), rng.integers(0, 4, 14).tolist()
    good, ns = [1.0, 0.0, 0.0, 0.0], range(1, 15)

    exact, none = stats.weighted_majority_curve(values, answers, good, ns, subsets=math.comb(14, 7))
    drawn, variance = stats.weighted_majority_curve(values, answers, good, ns, subsets=500)

    assert not none.any()
    assert np.array_equal(drawn[:, [0, 13]], exact[:, [0, 13]])
    assert (np.abs(drawn - exact) <= 4 * np.sqrt(variance) + 1e-12).all()
    assert variance[:, 6].min() > 0


def test_all_methods_see_the_same_subsets() -> None:
    """A method gives the same alone, beside others, and twice; another seed draws other subsets."""
    rng = np.random.default_rng(6)
    values, answers, good = rng.random((3, 30)), rng.integers(0, 5, 30).tolist(), [1.0, 0, 0, 0, 0]

    together, _ = stats.weighted_majority_curve(values, answers, good, [8, 16])
    alone, _ = stats.weighted_majority_curve(values[1:2], answers, good, [16, 8])
    other, _ = stats.weighted_majority_curve(values, answers, good, [8, 16], seed=1)

    assert np.array_equal(together[1], alone[0][::-1])
    assert not np.array_equal(together, other)


def test_equal_values_are_plain_majority() -> None:
    """With one value for all samples weighted majority is majority, to within its Monte-Carlo error."""
    answers = [0] * 9 + [1] * 8 + [2] * 6 + [-1] * 3
    good = [1.0, 0.0, 0.0]

    means, variances = stats.weighted_majority_curve([0.7] * 26, answers, good, range(1, 27))

    plain = stats.majority_curve([9, 8, 6], good, 3, range(1, 27))
    assert (np.abs(means[0] - plain) <= 4 * np.sqrt(variances[0]) + 1e-12).all()


def test_outside_the_domain_is_nan() -> None:
    """n outside 1..m is NaN for all methods, a NaN value for its own."""
    means, variances = stats.weighted_majority_curve([[0.5, 0.5], [0.5, math.nan]], [0, 1], [1.0, 0.0], [0, 1, 3])

    assert np.isnan(means).tolist() == [[True, False, True], [True, True, True]]
    assert np.isnan(variances).tolist() == np.isnan(means).tolist()


def test_answers_have_to_fit() -> None:
    """An answer without a correctness, or a sample without an answer, is an error."""
    with pytest.raises(ValueError, match="below 1"):
        stats.weighted_majority_curve([1.0], [1], [1.0], [1])
    with pytest.raises(ValueError, match="its answer"):
        stats.weighted_majority_curve([1.0, 2.0], [0], [1.0], [1])
