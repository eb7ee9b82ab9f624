"""Crossover points on curves whose crossing is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.study.crossing import crossing, first_reach

COUNTS = (100, 300, 1000, 3000)


@given(st.floats(0.02, 0.2), st.floats(100.5, 2999))
def test_a_curve_that_is_straight_in_the_logarithm_is_inverted_exactly(slope: float, count: float) -> None:
    """heights = slope ln(count): the level at any count between is reached at that count."""
    heights = [slope * math.log(one) for one in COUNTS]

    assert first_reach(COUNTS, heights, slope * math.log(count)) == pytest.approx(count)


def test_beyond_the_counts_nothing_is_guessed() -> None:
    """Below the first height: 0, "at most the first". Above the last: infinity, "more than the last"."""
    assert first_reach(COUNTS, [0.2, 0.3, 0.25, 0.4], 0.1) == 0
    assert first_reach(COUNTS, [0.2, 0.3, 0.25, 0.4], 0.5) == math.inf
    assert first_reach(COUNTS, [0.2, 0.3, 0.25, 0.4], 0.3) == pytest.approx(300)


def test_the_interval_is_over_problems() -> None:
    """Problems that all agree give no width; the words tell both ends."""
    needs = np.repeat([[0.1], [0.2], [0.3], [0.4]], 50, axis=1)
    reached = needs + 0.05

    found = crossing(COUNTS, needs, reached, 1)
    never = crossing(COUNTS, needs, reached, 3)

    middle = math.sqrt(300 * 1000)
    assert (found.value, found.low, found.high) == pytest.approx((middle, middle, middle))
    assert str(found) == "548 [548, 548]"
    assert str(never) == "> 3,000 [> 3,000, > 3,000]"
    assert str(crossing(COUNTS, reached, needs, 0)) == "≤ 100 [≤ 100, ≤ 100]"


def test_noisy_problems_widen_the_interval() -> None:
    """With problems that differ, the interval holds the value and is no point."""
    rng = np.random.default_rng(5)
    needs = (rng.random((4, 60)) < np.array([[0.2], [0.4], [0.6], [0.8]])).astype(float)

    found = crossing(COUNTS, needs, needs, 2)

    assert found.low <= found.value <= found.high
    assert found.low < found.high
