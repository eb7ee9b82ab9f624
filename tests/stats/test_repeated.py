"""Noise estimated from tallies, against simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradatim.stats.repeated import intraclass, mixing, wrong_side


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (2.0, 1.0), (6.0, 6.0)])
def test_overdispersion_of_beta_binomial_tallies(a: float, b: float) -> None:
    """Rates from Beta(a, b) have intraclass correlation 1 / (a + b + 1), also where items have unequal draws."""
    rng = np.random.default_rng(1)
    tried = rng.integers(2, 12, size=4000)
    good = rng.binomial(tried, rng.beta(a, b, size=4000))
    assert intraclass(good, tried, clusters=[0] * 4000).value == pytest.approx(1 / (a + b + 1), abs=0.02)


def test_extremes() -> None:
    """Draws that always agree have 1, coins about 0, single draws tell nothing."""
    assert intraclass([3, 0, 3, 0], [3, 3, 3, 3]).value == 1
    rng = np.random.default_rng(2)
    coins = rng.binomial(5, 0.7, size=400)
    found = intraclass(coins, np.full(400, 5), clusters=np.arange(400) // 4)
    assert found.low < 0 < found.high
    assert math.isnan(intraclass([1, 0, 1], [1, 1, 1]).value)


def test_textbook_value() -> None:
    """Four items of three draws, worked by hand: between 5/9, within 1/3, size 3."""
    good = [3, 2, 1, 0]
    squares = (9 + 4 + 1) / 3
    between, within = (squares - 36 / 12) / 3, (6 - squares) / 8
    expected = (between - within) / (between + 2 * within)
    assert intraclass(good, [3] * 4).value == pytest.approx(expected)


@pytest.mark.parametrize("shape", ["u", "two", "bell", "constant"])
@pytest.mark.parametrize("bar", [0.25, 0.5])
def test_label_noise_is_the_true_share_of_wrong_labels(shape: str, bar: float) -> None:
    """The mean chance of lying on the wrong side equals the share of items whose tally is on the other side than their
    rate, whatever the rates' distribution."""
    rng = np.random.default_rng(3)
    n, k = 6000, 6
    rates = {
        "u": rng.beta(0.4, 0.3, n),
        "two": rng.choice([0.1, 0.8], size=n, p=[0.3, 0.7]),
        "bell": rng.beta(5.0, 4.0, n),
        "constant": np.full(n, 0.35),
    }[shape]
    good = rng.binomial(k, rates)
    wrong = float(np.mean((good >= bar * k) != (rates >= bar)))
    weights = mixing(good.tolist(), [k] * n)
    assert weights.sum() == pytest.approx(1)
    chances = [wrong_side(count, k, bar, weights) for count in range(k + 1)]
    assert float(np.mean([chances[count] for count in good])) == pytest.approx(wrong, abs=0.035)


def test_a_sure_tally_is_hardly_in_doubt() -> None:
    """Among items that always agree no tally is on the wrong side; one at the bar is a toss-up."""
    weights = mixing([8] * 50 + [0] * 50, [8] * 100)
    assert wrong_side(8, 8, 0.5, weights) < 0.01
    even = mixing(list(range(9)) * 20, [8] * 180)
    assert 0.3 < wrong_side(4, 8, 0.5, even) < 0.6
