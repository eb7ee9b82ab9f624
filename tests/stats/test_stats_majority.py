"""Majority voting against listing every subset, and against closed forms where there are too many."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim import stats

LABELS = st.lists(st.integers(-1, 4), min_size=1, max_size=10)


def enumerated(labels: list[int], good: list[float], n: int) -> float:
    """Mean correctness of the most frequent answer over all subsets; -1 casts no vote."""
    total = Fraction(0)
    subsets = list(itertools.combinations(labels, n))
    for subset in subsets:
        votes = Counter(label for label in subset if label >= 0)
        if votes:
            tied = [label for label, count in votes.items() if count == max(votes.values())]
            total += sum(map(Fraction, (good[label] for label in tied)), Fraction(0)) / len(tied)
    return float(total / len(subsets))


def curve(labels: list[int], good: list[float], ns: list[int] | None = None) -> np.ndarray:
    """The exact curve of a list of labels."""
    names = sorted({label for label in labels if label >= 0})
    return stats.majority_curve([labels.count(a) for a in names], [good[a] for a in names], labels.count(-1), ns)


@given(LABELS, st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_majority_is_the_mean_over_all_subsets(labels: list[int], good: list[float]) -> None:
    """Majority equals enumeration to 1e-12 at every n, ties shared, unread answers without a vote."""
    expected = [enumerated(labels, good, n) for n in range(1, len(labels) + 1)]

    assert np.abs(curve(labels, good) - expected).max() < 1e-12


@given(LABELS, st.randoms(use_true_random=False))
def test_the_order_of_answers_changes_nothing(labels: list[int], random: object) -> None:
    """Renaming and reordering the answers gives the same curve."""
    good = [1.0, 0.0, 0.5, 0.0, 0.25]
    sizes = [labels.count(a) for a in range(5)]
    pairs = [(size, worth) for size, worth in zip(sizes, good, strict=True) if size]
    mixed = list(pairs)
    random.shuffle(mixed)  # type: ignore[attr-defined]

    straight = stats.majority_curve([s for s, _ in pairs], [g for _, g in pairs], labels.count(-1))
    shuffled = stats.majority_curve([s for s, _ in mixed], [g for _, g in mixed], labels.count(-1))

    assert straight == pytest.approx(shuffled, abs=1e-12)


@pytest.mark.parametrize(("right", "wrong", "unread"), [(40, 24, 0), (150, 170, 3), (900, 1100, 2)])
def test_two_answers_follow_the_hypergeometric_law(right: int, wrong: int, unread: int) -> None:
    """With two answers the curve equals exact integer arithmetic to 1e-12, also where floats can't hold a binomial."""
    m = right + wrong + unread
    ns = [1, 2, 7, 40, m - 3, m]

    found = stats.majority_curve([right, wrong], [1.0, 0.0], unread, ns)

    for n, value in zip(ns, found, strict=True):
        ways = 0
        for a in range(min(n, right) + 1):
            for b in range(max(0, n - a - unread), min(a, wrong, n - a) + 1):
                count = math.comb(right, a) * math.comb(wrong, b) * math.comb(unread, n - a - b)
                ways += 2 * count if a > b else count if a else 0
        assert value == pytest.approx(float(Fraction(ways, 2 * math.comb(m, n))), abs=1e-12)


@pytest.mark.parametrize("sizes", [[500, 300, 200, 23, 1], [45] * 22 + [34], [1] * 300])
def test_the_shares_of_all_answers_add_up(sizes: list[int]) -> None:
    """Somebody always wins: the probabilities of the answers sum to 1 in pools far beyond enumeration."""
    ns = stats.majority_grid(sum(sizes))
    worth = np.linspace(0.1, 0.9, len(sizes)).tolist()

    everyone = stats.majority_curve(sizes, [1.0] * len(sizes), ns=ns)
    some = stats.majority_curve(sizes, worth, ns=ns)
    others = stats.majority_curve(sizes, [1.0 - w for w in worth], ns=ns)

    assert np.abs(everyone - 1.0).max() < 1e-12
    assert np.abs(some + others - 1.0).max() < 1e-12


def test_the_grid_is_every_n_to_64_and_doubles_twice_above() -> None:
    """Small pools are measured at every n; large ones also at 96, 128, 192, ... and at their size."""
    assert stats.majority_grid(5) == [1, 2, 3, 4, 5]
    assert stats.majority_grid(64) == list(range(1, 65))
    assert stats.majority_grid(65) == [*range(1, 65), 65]
    assert stats.majority_grid(300) == [*range(1, 65), 96, 128, 192, 256, 300]


def test_nobody_voting_is_not_correct() -> None:
    """A pool of unread answers is worth 0 at every n."""
    assert stats.majority_curve([], [], 3).tolist() == [0.0, 0.0, 0.0]


def test_outside_the_domain_is_nan() -> None:
    """n outside 1..m is NaN, and unknown correctness is NaN wherever that answer can win."""
    assert np.isnan(stats.majority_curve([2], [1.0], ns=[0, 1, 2, 3])).tolist() == [True, False, False, True]
    assert np.isnan(stats.majority_curve([2, 1], [math.nan, 1.0])).all()


def test_impossible_pools_are_refused() -> None:
    """Answers without samples, or without a correctness, are a programming error."""
    with pytest.raises(ValueError, match="at least one sample"):
        stats.majority_curve([0], [1.0])
    with pytest.raises(ValueError, match="correctness"):
        stats.majority_curve([1, 2], [1.0])
    with pytest.raises(ValueError, match="at most"):
        stats.majority_curve([20_000], [1.0])
