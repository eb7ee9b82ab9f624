"""Rules without a model on the rows of a suite, against enumeration."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core import Prefix, Step
from gradatim.evaluate.bench import BenchRow
from gradatim.evaluate.first_error import Judged, f1_of
from gradatim.evaluate.guesses import FIRST_ERROR_GUESSES, _Sized, best_size_rule, first_error_guesses, step_features
from gradatim.stats import fold_of


def row(number: int, texts: list[str], error: int | None, problem: str | None = None) -> BenchRow:
    prefix = Prefix(problem or f"p{number}", "Q", tuple(map(Step, texts)))
    return BenchRow(id=f"r{number}", prefix=prefix, error=error, answer_correct=None)


@st.composite
def rows_of(draw: st.DrawFn) -> list[BenchRow]:
    found = []
    for number in range(draw(st.integers(2, 8))):
        texts = ["x" * draw(st.integers(1, 3)) for _ in range(draw(st.integers(1, 3)))]
        error = draw(st.integers(0, len(texts) - 1)) if number % 2 else None
        found.append(row(number, texts, error))
    return found


@settings(max_examples=50)
@given(rows_of())
def test_no_rule_on_size_beats_the_best(rows: list[BenchRow]) -> None:
    """All rules "at least / at most s characters: wrong at step j" are no better on the rows it is chosen on."""
    judged = [Judged(problem=one.id, scores=(0.0,) * len(one.prefix.steps), error=one.error) for one in rows]
    sizes = [float(len(one.prefix.text)) for one in rows]
    tried = [
        f1_of(
            judged,
            [
                min(step, len(one.prefix.steps) - 1) if (size >= cut if above else size <= cut) else None
                for one, size in zip(rows, sizes, strict=True)
            ],
        )
        for cut, step, above in product(range(10), range(3), (True, False))
    ]
    sized = [_Sized(one, size) for one, size in zip(rows, sizes, strict=True)]
    rule = best_size_rule(sized)

    assert f1_of(judged, [rule.says(one) for one in sized]) == pytest.approx(max(tried))


def test_position_guesses_from_other_problems() -> None:
    """The chance of the right guess is the share of rows of the other folds with the same first error."""
    rows = [row(k, ["a", "b", "c"], (None, 0, 2)[k % 3], f"p{k // 2}") for k in range(30)]
    folds = fold_of([one.prefix.problem_id for one in rows])
    found = first_error_guesses(rows)["position"]

    for one, fold, chance in zip(rows, folds, found, strict=True):
        others = Counter(other.error for other, at in zip(rows, folds, strict=True) if at != fold)
        assert chance == pytest.approx(others[one.error] / others.total())


def test_rules_by_hand() -> None:
    """Each simple rule on three rows; every rule has a row in the table of what they say."""
    rows = [row(0, ["a", "b"], 0), row(1, ["a", "b"], 1), row(2, ["a"], None)]
    found = first_error_guesses(rows)

    assert found["always_correct"].tolist() == [0, 0, 1]
    assert found["first_step"].tolist() == [1, 0, 0]
    assert found["random"].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 2])
    assert found.keys() == FIRST_ERROR_GUESSES.keys()


def test_one_problem_has_no_cross_fit() -> None:
    """What can't be chosen on other problems is NaN, not chosen on its own."""
    found = first_error_guesses([row(k, ["a", "b"], k - 1 if k else None, "p") for k in range(3)])

    assert all(math.isnan(one) for name in ("position", "step_count", "length") for one in found[name])


def test_features_are_higher_for_what_a_rule_calls_right() -> None:
    """Early, short, in a short solution."""
    assert step_features(row(0, ["aa\n", "b"], None)) == {
        "position": [-0.0, -1.0],
        "step_length": [-2.0, -1.0],
        "step_count": [-2.0, -2.0],
    }
