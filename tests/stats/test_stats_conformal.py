"""Thresholds with a promise: the promises hold by counting all cases, and are as tight as they can be."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim import stats

GROUPS = st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=4), min_size=2, max_size=7)
MISSES = st.sampled_from([0.1, 0.25, 0.5, 0.7])


def flat(groups: list[list[int]]) -> tuple[list[int], list[str]]:
    return [value for group in groups for value in group], [f"p{k}" for k, group in enumerate(groups) for _ in group]


@given(GROUPS, MISSES)
def test_a_set_holds_the_truth_of_a_new_problem_as_promised(groups: list[list[int]], miss: float) -> None:
    """Each of the problems in turn is the new one: exchangeability makes them equally likely, so the mean over all of them
    is the coverage, exactly."""
    held = []
    for left_out, new in enumerate(groups):
        values, problems = flat([group for k, group in enumerate(groups) if k != left_out])
        limit = stats.quantile_by_problem(values, problems, miss)
        held.append(np.mean([value <= limit for value in new]))

    assert np.mean(held) >= 1 - miss - 1e-12


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), MISSES)
def test_with_one_item_a_problem_it_is_split_conformal(values: list[float], miss: float) -> None:
    """The ceil((1 - miss)(n + 1))-th smallest value; infinite where there are not as many."""
    rank = math.ceil((1 - miss) * (len(values) + 1) - 1e-9)
    expected = sorted(values)[rank - 1] if rank <= len(values) else math.inf

    assert stats.quantile_by_problem(values, [f"p{k}" for k in range(len(values))], miss) == expected


def test_a_problem_with_many_items_counts_once() -> None:
    """Ninety-nine low values of one problem are no more than the one of another."""
    values, problems = [0.0] * 99 + [1.0, 2.0, 3.0], ["a"] * 99 + ["b", "c", "d"]

    assert stats.quantile_by_problem(values, problems, 0.5) == 2.0  # 2.5 of 4 problems are needed: 0, 1, 2


PROBLEMS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=8)


@given(PROBLEMS, st.sampled_from([0.15, 0.3, 0.5]))
def test_risk_control_by_leaving_each_problem_out(problems: list[tuple[int, bool]], risk: float) -> None:
    """The mean over all choices of the new problem of "answered and wrong" is at most the risk."""
    losses = []
    for left_out, (confidence, wrong) in enumerate(problems):
        rest = [one for k, one in enumerate(problems) if k != left_out]
        threshold = stats.at_most([c for c, _ in rest], [w for _, w in rest], risk)
        losses.append(confidence > threshold and wrong)

    assert np.mean(losses) <= risk + 1e-12


@given(PROBLEMS, st.sampled_from([0.15, 0.3, 0.5]))
def test_the_threshold_is_the_lowest_that_keeps_the_promise(problems: list[tuple[int, bool]], risk: float) -> None:
    """(errors above + 1) / (n + 1) <= risk there, by definition, and at no lower threshold."""
    sure, wrong = [float(c) for c, _ in problems], [w for _, w in problems]
    threshold = stats.at_most(sure, wrong, risk)

    def bound(at: float) -> float:
        return (sum(w and c > at for c, w in zip(sure, wrong, strict=True)) + 1) / (len(sure) + 1)

    tried = [at for at in (-math.inf, *sorted(set(sure))) if bound(at) <= risk + 1e-12]
    assert threshold == (min(tried) if tried else math.inf)


def test_no_confidence_is_no_answer() -> None:
    """NaN is never above a threshold, and its error costs nothing."""
    assert stats.at_most([math.nan] * 5 + [0.5] * 5, [True] * 5 + [False] * 5, 0.1) == -math.inf


def test_the_binomial_law_against_counting() -> None:
    """Sums of products over all outcomes of six trials."""
    for rate in (0.05, 0.3, 0.9):
        chance = {row: math.prod(rate if x else 1 - rate for x in row) for row in product((0, 1), repeat=6)}
        for count in range(6):
            expected = math.fsum(one for row, one in chance.items() if sum(row) <= count)
            assert stats.binomial_at_most(count, 6, rate) == pytest.approx(expected, rel=1e-12)
    assert stats.binomial_at_most(6, 6, 0.3) == 1.0
    with pytest.raises(ValueError, match="inside"):
        stats.binomial_at_most(0, 3, 0.0)


def test_a_sure_promise_is_broken_as_seldom_as_it_says() -> None:
    """All problems equally sure and equally likely to be wrong, just above the risk: whatever is promised is false, and the
    chance of it is counted by the binomial law of the errors."""
    n, risk, doubt, rate = 40, 0.2, 0.3, 0.2 + 1e-9
    broken = 0.0
    for errors in range(n + 1):
        wrong = np.arange(n) < errors
        if stats.surest(np.full(n, 0.95), wrong, risk, doubt) < math.inf:
            broken += math.comb(n, errors) * rate**errors * (1 - rate) ** (n - errors)

    assert 0 < broken <= doubt


def test_a_sure_promise_goes_down_while_it_can_be_shown() -> None:
    """Perfect above .5, worthless below: levels from .5 on pass, and errors below stop it there."""
    rng = np.random.default_rng(0)
    confidence = rng.random(400)
    wrong = confidence < 0.5

    assert stats.surest(confidence, wrong, 0.05, 0.1) == pytest.approx(0.5)
    assert stats.surest(confidence, np.ones(400), 0.05, 0.1) == math.inf
    assert stats.surest(confidence[:3], np.zeros(3), 0.05, 0.1) == math.inf  # too few to show anything


def test_what_makes_no_sense_is_refused() -> None:
    """Shapes that differ, NaN where a value has to be, and shares outside (0, 1)."""
    with pytest.raises(ValueError, match="one number for each"):
        stats.quantile_by_problem([0.1, math.nan], ["a", "b"], 0.1)
    with pytest.raises(ValueError, match="not between"):
        stats.quantile_by_problem([0.1], ["a"], 1.0)
    with pytest.raises(ValueError, match="one flat shape"):
        stats.at_most([0.1], [True, False], 0.1)
    with pytest.raises(ValueError, match="doubt"):
        stats.surest([0.1], [True], 0.1, 1.5)
