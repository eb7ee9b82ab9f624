"""Choosing one candidate: the right one, ties stated, whatever the order."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.choose import Choice, best_of_n, group_answers, majority, weighted_majority

CANDIDATES = st.lists(
    st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.7, -0.5, math.nan]), st.sampled_from(["1", "2", "3", None])),
    min_size=1,
    max_size=9,
)


def test_best_of_n_takes_the_first_of_the_best() -> None:
    """The highest value; the first of several, which are counted."""
    assert best_of_n([0.2, 0.9, 0.9, math.nan], ["a", "b", "c", "d"]) == Choice(1, "b", 0.9, 1)
    assert best_of_n([0.2]) == Choice(0, None, 0.2, 0)


def test_nothing_to_choose_is_none() -> None:
    """No candidates, no values, no answers: None, never an arbitrary candidate."""
    assert best_of_n([]) is None
    assert best_of_n([math.nan, math.nan]) is None
    assert majority([]) is None
    assert majority([None, None]) is None
    assert weighted_majority([math.nan, 0.5], ["a", None]) is None


def test_majority_counts_what_can_be_read() -> None:
    """Unread answers cast no vote; of tied answers the one that came first is taken."""
    assert majority(["a", None, None, None, "b", "b"]) == Choice(4, "b", 2.0, 0)
    assert majority(["b", "a", "a", "b", "c"]) == Choice(0, "b", 2.0, 1)


def test_weighted_majority_sums_values() -> None:
    """Two middling candidates outvote a good one; the better of the two stands for them; rounding breaks no tie."""
    assert weighted_majority([0.9, 0.5, 0.6], ["a", "b", "b"]) == Choice(2, "b", pytest.approx(1.1), 0)
    assert weighted_majority([0.3, 0.1, 0.2], ["a", "b", "b"]) == Choice(0, "a", pytest.approx(0.3), 1)


@given(CANDIDATES, st.randoms(use_true_random=False))
def test_choosers_ignore_the_order_of_candidates(candidates: list[tuple[float, str | None]], random: object) -> None:
    """In any order the value and the ties are the same, and without ties so is the answer."""
    mixed = list(candidates)
    random.shuffle(mixed)  # type: ignore[attr-defined]

    def chosen(items: list[tuple[float, str | None]]) -> list[Choice | None]:
        values, answers = [v for v, _ in items], [a for _, a in items]
        return [best_of_n(values, answers), majority(answers), weighted_majority(values, answers)]

    for a, b in zip(chosen(candidates), chosen(mixed), strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert a.value == b.value
            assert a.tied == b.tied
            assert a.tied or a.answer == b.answer


@given(CANDIDATES)
def test_choosers_agree_with_their_definitions(candidates: list[tuple[float, str | None]]) -> None:
    """The best value is the largest, the majority the most common, and every choice is one of the candidates."""
    values, answers = [v for v, _ in candidates], [a for _, a in candidates]
    best, most = best_of_n(values, answers), majority(answers)

    if best is not None:
        assert best.value == max(v for v in values if not math.isnan(v)) == values[best.index]
        assert best.answer == answers[best.index]
    if most is not None:
        count = Counter(a for a in answers if a is not None)
        assert most.value == max(count.values()) == count[str(most.answer)]
        assert most.tied == sum(c == most.value for c in count.values()) - 1
        assert most.index == answers.index(most.answer)


def test_equivalent_answers_vote_together() -> None:
    """With `same`, an answer joins the first group whose first answer is the same; unread ones join none."""

    def same(a: str, b: str) -> bool:
        return float(a) == float(b)

    answers = ["2", "26.00", None, "26", "26.0", "2"]

    assert group_answers(answers) == [0, 1, -1, 2, 3, 0]
    assert group_answers(answers, same) == [0, 1, -1, 1, 1, 0]
    assert majority(answers, same) == Choice(1, "26.00", 3.0, 0)
