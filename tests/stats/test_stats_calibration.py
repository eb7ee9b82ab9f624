"""AUROC, Brier and calibration error against definitions and known truths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim import stats

ITEMS = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=30)


@given(ITEMS)
def test_auroc_is_the_share_of_ordered_pairs(items: list[tuple[float, bool]]) -> None:
    """AUROC counts the (right, wrong) pairs in order, ties half; without such a pair it is NaN."""
    right, wrong = [s for s, r in items if r], [s for s, r in items if not r]
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in right for b in wrong]

    found = stats.auroc([s for s, _ in items], [r for _, r in items])

    assert found == pytest.approx(sum(wins) / len(wins), abs=1e-12) if wins else math.isnan(found)


@given(ITEMS, st.integers(1, 8), st.randoms(use_true_random=False))
def test_a_reliability_curve_holds_every_item_once(items: list[tuple[float, bool]], bins: int, random: object) -> None:
    """Bins ascend, hold all items, never split equal scores, and don't depend on the order of items."""
    mixed = list(items)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    table = stats.reliability([s for s, _ in items], [r for _, r in items], bins)

    assert sum(one.n for one in table) == len(items)
    assert len(table) <= bins
    assert [one.score for one in table] == sorted({one.score for one in table})
    assert sum(one.rate * one.n for one in table) == pytest.approx(sum(r for _, r in items))
    again = stats.reliability([s for s, _ in mixed], [r for _, r in mixed], bins)
    assert [one.n for one in again] == [one.n for one in table]
    assert [one.rate for one in again] == pytest.approx([one.rate for one in table])


def test_bins_have_equal_mass() -> None:
    """Distinct scores fall into bins of the same size."""
    table = stats.reliability(np.linspace(0, 1, 60), np.ones(60), 6)

    assert [one.n for one in table] == [10] * 6


def test_debiased_calibration_error_is_nearer_to_the_truth() -> None:
    """On few items the plain error of a calibrated scorer is far above 0, the debiased one nearer; a shift of .2 is
    found."""
    rng = np.random.default_rng(0)
    plain, debiased, shifted = [], [], []
    for _ in range(60):
        truth = rng.random(200) * 0.8
        right = rng.random(200) < truth
        plain.append(stats.ece(truth, right, debias=False))
        debiased.append(stats.ece(truth, right))
        shifted.append(stats.ece(truth + 0.2, right))

    assert np.mean(plain) > 0.07
    assert np.mean(debiased) < 0.7 * np.mean(plain)
    assert np.mean(shifted) == pytest.approx(0.2, abs=0.02)


def test_plain_calibration_error_by_hand() -> None:
    """Two bins: |.2 - 0| and |.8 - .5|, half of the items each."""
    assert stats.ece([0.2, 0.2, 0.8, 0.8], [0, 0, 1, 0], bins=2, debias=False) == pytest.approx(0.25)


def test_brier_by_hand() -> None:
    """The mean squared distance; a rate may be the truth."""
    assert stats.brier([1.0, 0.5, 0.0], [1, 0, 0.5]) == pytest.approx((0 + 0.25 + 0.25) / 3)


def test_outside_the_domain_is_nan() -> None:
    """No items, scores that are no probabilities, and NaN give NaN."""
    assert math.isnan(stats.brier([], []))
    assert math.isnan(stats.ece([], []))
    assert math.isnan(stats.brier([1.5], [1]))
    assert math.isnan(stats.ece([-0.1, 0.5], [0, 1]))
    assert math.isnan(stats.auroc([0.1, math.nan], [0, 1]))
    assert math.isnan(stats.auroc([0.1, 0.2], [0, math.nan]))
    assert stats.auroc([-3.0, 7.0], [0, 1]) == 1.0  # ranks only: a logit will do
    with pytest.raises(ValueError, match="flat shape"):
        stats.auroc([1.0], [1, 0])


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40), st.integers(1, 6))
def test_the_parts_of_a_brier_score(items: list[tuple[float, float]], bins: int) -> None:
    """Reliability, resolution and uncertainty from their definitions over the bins; with `within` they are the score."""
    scores, right = np.array([s for s, _ in items]), np.array([r for _, r in items])
    parts = stats.brier_parts(scores, right, bins)
    table = stats.reliability(scores, right, bins)

    total = len(items)
    assert parts.brier == pytest.approx(np.mean((scores - right) ** 2))
    assert parts.reliability == pytest.approx(sum(b.n * (b.score - b.rate) ** 2 for b in table) / total)
    assert parts.resolution == pytest.approx(sum(b.n * (b.rate - right.mean()) ** 2 for b in table) / total)
    assert parts.uncertainty == pytest.approx(np.mean((right - right.mean()) ** 2))
    whole = parts.reliability - parts.resolution + parts.uncertainty + parts.within
    assert whole == pytest.approx(parts.brier)


def test_scores_alike_in_every_bin_leave_nothing_within() -> None:
    """The classic identity: reliability - resolution + uncertainty is the Brier score where a bin has one score."""
    rng = np.random.default_rng(1)
    scores = rng.choice([0.1, 0.4, 0.9], size=300)
    parts = stats.brier_parts(scores, rng.random(300) < scores, bins=3)

    assert parts.within == pytest.approx(0, abs=1e-12)
    assert math.isnan(stats.brier_parts([2.0], [1]).brier)


def test_rates_are_less_noisy_than_single_outcomes() -> None:
    """A bin's variance is that of what is true of its items; for right or wrong it is rate (1 - rate)."""
    [single] = stats.reliability([0.5] * 4, [1, 0, 1, 1], 1)
    [rates] = stats.reliability([0.5] * 4, [0.75] * 4, 1)

    assert (single.variance, rates.variance) == (pytest.approx(0.75 * 0.25), pytest.approx(0))
    assert stats.ece([0.6] * 4, [0.75] * 4, 1) == pytest.approx(0.15)


def test_the_tail_is_what_best_of_n_chooses_from() -> None:
    """The top 1/n of the scores, at least one, equal scores together; NaN never."""
    assert stats.tail([0.1, 0.9, 0.5, 0.7], 2).tolist() == [False, True, False, True]
    assert stats.tail([0.1, 0.9, 0.9, 0.7], 4).tolist() == [False, True, True, False]
    assert stats.tail([0.3, math.nan], 64).tolist() == [True, False]
    assert not stats.tail([math.nan], 1).any()
    with pytest.raises(ValueError, match="at least one"):
        stats.tail([0.1], 0)
