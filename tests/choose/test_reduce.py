"""Reductions: definitions, order laws, domains; and the bias diagnostics."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core import REDUCTIONS, Reduction
from gradatim.errors import ConfigError
from gradatim.score.reduce import STEP_REDUCTIONS, bias, reduce

UNIT = st.lists(st.floats(0, 1), min_size=1, max_size=12)
ROUNDING = 1e-12


@given(UNIT)
def test_reductions_of_probabilities_are_ordered(steps: list[float]) -> None:
    """For scores in [0, 1]: product <= min <= mean <= max, and soft-min, gmean and weighted lie where they should."""
    value = {how: reduce(steps, how) for how in STEP_REDUCTIONS}

    assert 0 <= value["prod"] <= value["min"] <= value["mean"] <= value["max"] <= 1
    assert value["min"] <= value["softmin"] <= value["mean"] + ROUNDING
    assert value["min"] <= value["gmean"] <= value["mean"] + ROUNDING
    assert value["min"] <= value["weighted"] <= value["max"]
    assert value["sum"] == pytest.approx(len(steps) * value["mean"])
    assert value["last"] == steps[-1]


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=8))
def test_reductions_are_what_their_formulas_say(steps: list[float]) -> None:
    """Each reduction equals its formula, computed the plain way."""
    t = len(steps)
    formulas = {
        "prod": math.prod(steps),
        "gmean": math.prod(steps) ** (1 / t),
        "softmin": -0.1 * math.log(sum(math.exp(-x / 0.1) for x in steps) / t),
        "weighted": sum(k * x for k, x in enumerate(steps, 1)) / sum(range(1, t + 1)),
    }

    for how, value in formulas.items():
        assert reduce(steps, how) == pytest.approx(value)  # type: ignore[arg-type]


@given(UNIT, st.sampled_from(STEP_REDUCTIONS), st.data())
def test_observations_are_passed_over(steps: list[float], how: Reduction, data: st.DataObject) -> None:
    """NaN steps anywhere change no reduction."""
    with_gaps = list(steps)
    for _ in range(data.draw(st.integers(0, 3))):
        with_gaps.insert(data.draw(st.integers(0, len(with_gaps))), math.nan)

    assert reduce(with_gaps, how) == reduce(steps, how)


@given(UNIT, st.randoms(use_true_random=False))
def test_most_reductions_ignore_the_order_of_steps(steps: list[float], random: object) -> None:
    """All but last and weighted give exactly the same value in any order, so equal solutions tie."""
    mixed = list(steps)
    random.shuffle(mixed)  # type: ignore[attr-defined]

    for how in set(STEP_REDUCTIONS) - {"last", "weighted"}:
        assert reduce(mixed, how) == reduce(steps, how)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", STEP_REDUCTIONS)
def test_without_scores_there_is_no_value(how: Reduction) -> None:
    """No steps, or observations only, reduce to NaN; one step reduces to itself."""
    assert math.isnan(reduce([], how))
    assert math.isnan(reduce([math.nan, math.nan], how))
    assert reduce([0.3], how) == 0.3


def test_long_products_do_not_break() -> None:
    """Zeros, thousands of small factors and values above 1 are all within the domain of prod; negative ones are not."""
    assert reduce([0.5, 0.0], "prod") == 0.0
    assert reduce([0.5, 0.0], "gmean") == 0.0
    assert reduce([1e-3] * 5000, "prod") == 0.0
    assert reduce([1e-3] * 5000, "gmean") == pytest.approx(1e-3)
    assert reduce([2.0, 3.0], "prod") == pytest.approx(6.0)
    assert reduce([1e300] * 3, "prod") == math.inf
    assert math.isnan(reduce([0.5, -0.1], "prod"))
    assert math.isnan(reduce([0.5, -0.1], "gmean"))
    assert reduce([500.0, -900.0], "softmin") == pytest.approx(-900 + 0.1 * math.log(2))


def test_outcome_is_no_step_reduction() -> None:
    """An outcome value can't be made from steps, and unknown names are refused."""
    assert set(REDUCTIONS) == {*STEP_REDUCTIONS, "outcome"}
    with pytest.raises(ConfigError, match="outcome"):
        reduce([0.5], "outcome")
    with pytest.raises(ConfigError, match="spelling"):
        reduce([0.5], "median")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="above 0"):
        reduce([0.5], "softmin", tau=0.0)


def test_softmin_goes_from_mean_to_min() -> None:
    """A small temperature gives the minimum, a large one the mean."""
    steps = [0.2, 0.5, 0.9]

    assert reduce(steps, "softmin", tau=1e-4) == pytest.approx(0.2, abs=1e-3)
    assert reduce(steps, "softmin", tau=1e4) == pytest.approx(sum(steps) / 3, abs=1e-3)


def test_bias_sees_length_and_position() -> None:
    """A sum follows length even among correct solutions; a mean of equal scores has nothing to follow."""
    steps = [[0.9] * t for t in (1, 2, 3, 4)] + [[0.8, math.nan, 0.2]]
    correct = [True, True, True, True, False]

    by_sum, by_mean = bias(steps, "sum", correct), bias(steps, "mean", correct)

    assert by_sum.value_with_length_if_correct == pytest.approx(1.0)
    assert math.isnan(by_mean.value_with_length_if_correct)
    assert by_sum.solutions == 5
    assert by_sum.lowest_is_last == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4 + 1) / 5)
    assert by_sum.lowest_is_last_by_chance == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 2) / 5)
    assert -1 <= by_mean.value_with_length <= 1


def test_bias_of_nothing_is_nan() -> None:
    """Without scored solutions, or without verdicts, what can't be measured is NaN."""
    nothing = bias([[math.nan], []], "min")

    assert nothing.solutions == 0
    assert math.isnan(nothing.lowest_is_last)
    assert math.isnan(bias([[0.5, 0.1], [0.9]], "min").value_with_length_if_correct)
    with pytest.raises(ValueError, match="verdicts"):
        bias([[0.5]], "min", [True, False])
