"""Rules that read nothing, against enumeration."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.evaluate.first_error import Judged, f1, f1_of
from gradatim.evaluate.nulls import LengthRule, best_length_rule, length_f1, nulls, random_f1
from gradatim.stats import fold_of


@st.composite
def rows_of(draw: st.DrawFn, most: int = 12) -> list[Judged]:
    """Rows of both kinds with 1 to 4 steps."""
    rows = []
    for index in range(draw(st.integers(2, most))):
        steps = draw(st.integers(1, 4))
        error = draw(st.integers(0, steps - 1)) if index % 2 else None
        rows.append(Judged(problem=f"p{draw(st.integers(0, 8))}", scores=(0.5,) * steps, error=error))
    return rows


@given(rows_of(most=5))
def test_random_is_the_f1_of_accuracies_averaged_over_all_guesses(rows: list[Judged]):
    """Every combination of guesses is listed; the accuracies averaged over them give the same F1."""
    guesses = list(product(*([None, *range(len(one.scores))] for one in rows)))
    share = {True: Fraction(0), False: Fraction(0)}
    for kind in share:
        group = [index for index, one in enumerate(rows) if (one.error is not None) == kind]
        hits = sum(guess[index] == rows[index].error for guess in guesses for index in group)
        share[kind] = Fraction(hits, len(guesses) * len(group))

    assert random_f1(rows) == pytest.approx(f1(float(share[True]), float(share[False])), abs=1e-12)


@given(rows_of())
def test_no_rule_on_step_count_beats_the_best(rows: list[Judged]):
    """All rules "at least / at most k steps: wrong at step j", for every k and j, are no better on the same rows."""
    counts = [len(one.scores) for one in rows]
    tried = [
        f1_of(rows, [rule(count, k, j) for count in counts])
        for k in range(6)
        for j in range(5)
        for rule in (
            lambda count, k, j: min(j, count - 1) if count >= k else None,
            lambda count, k, j: min(j, count - 1) if count <= k else None,
        )
    ]

    best = best_length_rule(rows)

    assert f1_of(rows, [best.predict(count) for count in counts]) == max(tried)


def test_the_length_rule_is_chosen_on_other_folds():
    """Cross-fitted by hand: each fold is predicted by the rule that is best on the other four."""
    rows = [
        Judged(problem=f"p{i}", scores=(0.5,) * (2 + i % 5), error=(i % 2) if i % 5 > 2 or i % 7 == 0 else None)
        for i in range(35)
    ]
    folds = fold_of([one.problem for one in rows])
    predicted = [
        best_length_rule([other for other, at in zip(rows, folds, strict=True) if at != fold]).predict(len(one.scores))
        for one, fold in zip(rows, folds, strict=True)
    ]

    assert length_f1(rows) == f1_of(rows, predicted)


def test_a_rule_for_long_solutions_holds_beyond_the_longest_seen():
    """ "At least 3 steps" includes 9 steps, even if none of the rows it was chosen on had them."""
    rows = [
        Judged(problem="a", scores=(0.5,) * 2, error=None),
        Judged(problem="b", scores=(0.5,) * 4, error=1),
    ]

    assert length_f1([Judged(problem="c", scores=(0.5,) * 9, error=1), rows[0]], chosen_on=rows) == 1.0
    assert LengthRule(1, 9, 5).predict(3) == 2


def test_always_correct_is_zero_and_first_step_counts_first_steps():
    """Calling nothing wrong finds no error; naming every first step is right as often as errors are there, but F1 is 0."""
    rows = [
        Judged(problem="a", scores=(0.5,) * 3, error=0),
        Judged(problem="b", scores=(0.5,) * 3, error=2),
        Judged(problem="c", scores=(0.5,) * 3, error=None),
    ]

    found = nulls(rows)

    assert (found["always_correct"], found["first_step"], found["random"]) == (0.0, 0.0, 0.25)


def test_without_a_class_there_is_no_null():
    """Only erroneous rows: no F1 for any rule, and no crash while choosing one."""
    rows = [Judged(problem=f"p{i}", scores=(0.5,) * 3, error=0) for i in range(4)]

    assert all(math.isnan(value) for value in nulls(rows).values())
    assert math.isnan(length_f1([Judged(problem="a", scores=(0.5,), error=0)]))
