"""Weakest step, first error under three rules, and ranks."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from gradatim.core import Score
from gradatim.score.explain import change_point, explain, ranked, relative_drop, weakest

NAN = math.nan
STEPS = st.lists(st.one_of(st.just(NAN), st.floats(0, 1)), max_size=10)


def score(value: float, steps: tuple[float, ...] = ()) -> Score:
    return Score(value=value, steps=steps, by="test")


def test_the_weakest_step_is_the_first_lowest() -> None:
    """The lowest score wins, the first of several; observations don't count."""
    assert weakest([0.5, NAN, 0.2, 0.2]) == 2
    assert weakest([NAN]) is None
    assert weakest([]) is None


def test_a_relative_drop_is_measured_against_the_step_before() -> None:
    """The first step below half of the scored step before it; a level that starts low is a drop of the first step,
    unless the start is said to be low."""
    assert relative_drop([0.1, 0.1, 0.1]) == 0
    assert relative_drop([NAN, 0.1, 0.9]) == 1
    assert relative_drop([0.1, 0.1, 0.1], start=0.1) is None
    assert relative_drop([0.8, NAN, 0.3, 0.1]) == 2
    assert relative_drop([0.5]) is None
    assert relative_drop([]) is None
    assert relative_drop([0.8, 0.7, 0.5], share=0.9, start=0.8) == 1


def test_a_change_point_is_where_the_level_falls() -> None:
    """The first step of the lower level, which may be all of them; noise, a rise, or a single good step is none."""
    assert change_point([0.9, 0.8, 0.9, 0.3, 0.2, 0.3]) == 3
    assert change_point([0.9, NAN, 0.1]) == 2
    assert change_point([0.3, 0.9]) is None
    assert change_point([0.5, 0.5, 0.5]) is None
    assert change_point([0.9]) is None
    assert change_point([0.90, 0.85], least=0.01) == 1
    assert change_point([0.2, 0.1, 0.2]) == 0
    assert change_point([NAN, 0.2]) == 1
    assert change_point([0.2, 0.1, 0.2], start=0.2) is None
    assert change_point([0.8, 0.8, 0.8]) is None
    assert change_point([0.9, 0.1, 0.1, 0.1]) == 1
    assert change_point([]) is None


def test_the_first_step_can_be_the_first_error_under_every_rule() -> None:
    """A solution that is wrong from its first step on: threshold, drop and change agree."""
    found = explain(score(0.1, (0.1, 0.05, 0.1)))

    assert (found.below, found.drop, found.change, found.weakest) == (0, 0, 0, 1)


@given(STEPS)
def test_whatever_is_found_is_a_scored_step(steps: list[float]) -> None:
    """Every rule answers with a step that has a score, or with None; the weakest is found whenever there is one."""
    found = explain(score(0.0, tuple(steps)))

    for index in (found.weakest, found.below, found.drop, found.change):
        assert index is None or not math.isnan(steps[index])
    assert (found.weakest is None) == all(math.isnan(x) for x in steps)
    if found.below is not None:
        assert steps[found.below] < 0.5
        assert all(math.isnan(x) or x >= 0.5 for x in steps[: found.below])


def test_ranks_share_places_and_put_nan_last() -> None:
    """Equal values share a place, the next place counts them, and what has no value comes last."""
    places = ranked([score(0.2), score(NAN), score(0.9), score(0.2), score(0.1), score(NAN)])

    assert [(one.place, one.index) for one in places] == [(1, 2), (2, 0), (2, 3), (4, 4), (5, 1), (5, 5)]
    assert ranked([]) == []
