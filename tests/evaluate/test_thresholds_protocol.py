"""Thresholds: exact on the rows they are chosen on, and chosen on other rows than they are used on."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.errors import ConfigError
from gradatim.evaluate.first_error import Judged, f1_of, predict
from gradatim.evaluate.thresholds import best_threshold, cross_fit, cross_fitted, fixed
from gradatim.stats import fold_of

SCORES = st.sampled_from([0.0, 0.1, 0.3, 0.3000001, 0.5, 0.7, 0.9, 1.0, math.nan])


@st.composite
def judged_rows(draw: st.DrawFn) -> list[Judged]:
    """Rows of both kinds, with ties, NaN and few problems."""
    rows = []
    for index in range(draw(st.integers(2, 14))):
        scores = draw(st.lists(SCORES, min_size=1, max_size=5))
        error = draw(st.integers(0, len(scores) - 1)) if index % 2 else None
        rows.append(Judged(problem=f"p{draw(st.integers(0, 6))}", scores=tuple(scores), error=error))
    return rows


def f1_at(rows: list[Judged], threshold: float) -> float:
    return f1_of(rows, [predict(one.scores, threshold) for one in rows])


@given(judged_rows())
def test_no_threshold_beats_the_chosen_one(rows: list[Judged]):
    """Brute force over a threshold in every gap between scores finds no better F1."""
    scores = sorted({score for one in rows for score in one.scores if score == score})
    gaps = [-1.0, *scores, *((a + b) / 2 for a, b in pairwise(scores)), 2.0]

    assert f1_at(rows, best_threshold(rows)) == max(f1_at(rows, gap) for gap in gaps)


def test_the_threshold_lies_in_the_middle_of_the_widest_best_gap():
    """Between a wrong step at 0.2 and right ones at 0.8 any threshold will do; the middle is taken."""
    rows = [
        Judged(problem="a", scores=(0.8, 0.2), error=1),
        Judged(problem="b", scores=(0.8, 0.9), error=None),
    ]

    assert best_threshold(rows) == pytest.approx(0.5)


def test_neighbouring_floats_are_told_apart():
    """Where rounding leaves no middle, the upper score itself still parts the two."""
    low = 0.5
    high = math.nextafter(low, 1.0)
    rows = [Judged(problem="a", scores=(low,), error=0), Judged(problem="b", scores=(high,), error=None)]

    assert f1_at(rows, best_threshold(rows)) == 1.0


def test_rows_of_one_kind_can_not_choose():
    """Without correct (or erroneous) rows there is no F1 to choose by, and the error says what to do."""
    rows = [Judged(problem="a", scores=(0.8, 0.2), error=1)]

    with pytest.raises(ConfigError, match=r"use --threshold 0\.5"):
        best_threshold(rows)


@given(
    st.lists(st.sampled_from([f"p{i}" for i in range(12)]), min_size=2, max_size=60).filter(lambda p: len(set(p)) > 1)
)
def test_cross_fit_never_sees_a_row_of_the_same_problem(problems: list[str]):
    """What is chosen for a row is chosen on exactly the rows of the other folds, none of which shares its problem."""
    rows = list(enumerate(problems))

    seen = cross_fit(rows, problems, lambda others: tuple(others))

    folds = fold_of(problems)
    for (index, problem), others, fold in zip(rows, seen, folds, strict=True):
        assert problem not in {other for _, other in others}
        assert (index, problem) not in others
        assert others == tuple(row for row, at in zip(rows, folds, strict=True) if at != fold)


def test_folds_are_even_and_do_not_depend_on_order():
    """Five folds of 23 problems hold 4 or 5 each; reversing the rows moves no problem."""
    problems = [f"problem {i}" for i in range(23)] * 2
    folds = fold_of(problems)

    sizes = sorted(len({p for p, at in zip(problems, folds, strict=True) if at == fold}) for fold in range(5))
    assert sizes == [4, 4, 5, 5, 5]
    assert fold_of(problems[::-1]) == folds[::-1]


def test_cross_fitted_thresholds_are_the_best_of_the_other_folds():
    """Each row's threshold is `best_threshold` of the rows outside its fold; one a fold is reported."""
    rows = [Judged(problem=f"p{i}", scores=(0.9, 0.05 * (i % 11), 0.8), error=1 if i % 3 else None) for i in range(40)]

    cut = cross_fitted(rows)

    folds = fold_of([one.problem for one in rows])
    assert cut.rows == tuple(
        best_threshold([other for other, at in zip(rows, folds, strict=True) if at != fold]) for fold in folds
    )
    assert cut.chosen == tuple(cut.rows[folds.index(fold)] for fold in range(5))
    assert cut.value == sorted(cut.chosen)[2]
    assert cut.source == "cross-fit"


def test_one_problem_can_not_be_cross_fitted():
    """All rows of one problem share a fold, so nothing is left to choose on."""
    with pytest.raises(ConfigError, match="at least 2 problems, found 1"):
        cross_fitted([Judged(problem="a", scores=(0.1,), error=0), Judged(problem="a", scores=(0.9,), error=None)])


def test_fixed_is_what_was_asked():
    """A fixed threshold is the same for every row and bears its source."""
    cut = fixed([Judged(problem="a", scores=(0.1,), error=0)] * 3, 0.25)

    assert (cut.rows, cut.value, cut.source) == ((0.25,) * 3, 0.25, "fixed")
