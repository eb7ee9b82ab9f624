"""Accuracies and F1 of first errors against their definitions."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.evaluate.first_error import Judged, accuracy, f1, f1_of, measure, predict


def rows(errors: list[int | None], steps: int = 4) -> list[Judged]:
    return [Judged(problem=f"p{i}", scores=(0.5,) * steps, error=error) for i, error in enumerate(errors)]


def test_prediction_is_the_first_step_below_the_threshold():
    """The first step strictly below the threshold is named; NaN is passed over; none below is None."""
    assert predict((0.9, math.nan, 0.5, 0.4), 0.5) == 3
    assert predict((0.9, 0.5), 0.5) is None
    assert predict((), 0.5) is None


def test_f1_is_zero_when_both_accuracies_are_and_nan_without_a_class():
    """ProcessBench's own script divides 0 by 0 there; an empty class has no accuracy."""
    assert f1(0.0, 0.0) == 0.0
    assert math.isnan(f1(math.nan, 1.0))
    assert f1(0.5, 1.0) == pytest.approx(2 / 3)


@given(st.lists(st.tuples(st.sampled_from([None, 0, 1, 2]), st.sampled_from([None, 0, 1, 2])), min_size=1, max_size=30))
def test_measures_follow_their_definitions(pairs: list[tuple[int | None, int | None]]):
    """Shares of exact hits among erroneous and among correct solutions, and their harmonic mean."""
    found = measure(rows([error for error, _ in pairs]), [said for _, said in pairs])

    wrong = [(error, said) for error, said in pairs if error is not None]
    right = [(error, said) for error, said in pairs if error is None]
    assert (found.errors, found.correct) == (len(wrong), len(right))
    for estimate, group in ((found.error_accuracy, wrong), (found.correct_accuracy, right)):
        if not group:
            assert math.isnan(estimate.value)
            continue
        assert estimate.value == pytest.approx(sum(error == said for error, said in group) / len(group))
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    if wrong and right:
        a, b = found.error_accuracy.value, found.correct_accuracy.value
        assert found.f1.value == pytest.approx(2 * a * b / (a + b) if a + b else 0.0)
    else:
        assert math.isnan(found.f1.value)
    assert found.f1.value == pytest.approx(f1_of(rows([e for e, _ in pairs]), [s for _, s in pairs]), nan_ok=True)


def test_f1_interval_matches_all_resamples_of_three_problems():
    """With three problems all 27 resamples can be listed; the bootstrap's range is theirs."""
    judged = [
        *(Judged(problem="a", scores=(0.5,) * 2, error=error) for error in (0, None)),
        *(Judged(problem="b", scores=(0.5,) * 2, error=error) for error in (0, None)),
        *(Judged(problem="c", scores=(0.5,) * 2, error=error) for error in (0, None)),
    ]
    predicted = [0, None, 0, 1, None, None]
    values = []
    for drawn in product(range(3), repeat=3):
        chosen = [index for p in drawn for index in (2 * p, 2 * p + 1)]
        values.append(f1_of([judged[i] for i in chosen], [predicted[i] for i in chosen]))

    found = measure(judged, predicted).f1

    assert (found.low, found.high) == pytest.approx((min(values), max(values)))
    assert found.n == 3


def test_intervals_stay_open_at_the_ends():
    """All hits of ten is no proof of 100 %: the interval reaches below 1, also when solutions share problems."""
    alone = accuracy([True] * 10, [f"p{i}" for i in range(10)])
    shared = accuracy([True] * 40, [f"p{i % 10}" for i in range(40)])

    assert alone.value == shared.value == 1.0
    assert alone.low == shared.low == pytest.approx(0.7225, abs=1e-4)
    assert measure(rows([0, 1, None, None]), [0, 1, None, 2]).f1.low < 0.5


def test_solutions_of_one_problem_count_less_than_as_many_problems():
    """Ten copies of five solutions are five observations: the interval does not shrink."""
    hits = [True, False, True, True, False]
    few = accuracy(hits, list("abcde"))
    many = accuracy(hits * 10, list("abcde") * 10)

    assert many.n == few.n == 5
    assert many.high - many.low > 0.5


def test_an_error_outside_the_solution_is_refused():
    """A first error must be a step of the solution."""
    with pytest.raises(ValueError, match="first error 2 in a solution of 2 steps"):
        Judged(problem="p", scores=(0.1, 0.2), error=2)
