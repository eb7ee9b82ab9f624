"""What was said of first errors against the truth: shares counted by hand, and the law that a gain is a difference."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core import Labels, Prefix, Solution, Step, Tally
from gradatim.errors import InputError
from gradatim.evaluate.first_error import Judged, f1_of
from gradatim.study.against import Said, at_a_glance, f1_gain, kept, said


def row(problem: int, truth: int | None, error: int | None, here: bool = True) -> Said:
    return Said(truth=Judged(problem=str(problem), scores=(math.nan,) * 4, error=truth), error=error, kept=here)


ROWS = [
    row(0, 1, 1), row(1, 1, 2), row(2, 3, None), row(3, 0, None, here=False),
    row(4, None, None), row(5, None, None), row(6, None, 2), row(7, None, 0, here=False), row(8, None, 0, here=False),
]  # fmt: skip


def test_shares_are_those_counted_by_hand() -> None:
    """One of three kept errors found, two of three kept sound ones left alone; three of four and three of five kept."""
    found = kept(ROWS)

    assert found.found.error_accuracy.value == pytest.approx(1 / 3)
    assert found.found.correct_accuracy.value == pytest.approx(2 / 3)
    assert found.found.f1.value == pytest.approx(4 / 9)
    assert (found.errors.value, found.correct.value, found.all.value) == pytest.approx((3 / 4, 3 / 5, 6 / 9))
    assert found.f1_of_all == pytest.approx(2 * (1 / 4) * (2 / 5) / (1 / 4 + 2 / 5))
    assert at_a_glance(ROWS) == (pytest.approx(4 / 9), pytest.approx(3 / 5))


def test_labels_meet_their_solutions() -> None:
    """An unknown first error and a missing label are not kept; a label of another solution is refused."""
    solutions = [
        Solution(prefix=Prefix(f"p{index}", "?", (Step("a\n"), Step("b\n"))), author="me", draw=0) for index in range(3)
    ]
    known = [Judged(problem=one.prefix.problem_id, scores=(math.nan,) * 2, error=1) for one in solutions]
    labels = [
        Labels(
            solution_id=one.id, tallies=(Tally(),) * 2, error=1, error_known=one is solutions[0],
            truth="value", source="rollouts", by="me",
        )
        for one in solutions[:2]
    ]  # fmt: skip

    assert [one.kept for one in said(known, solutions, labels)] == [True, False, False]
    with pytest.raises(InputError, match="labels of other solutions"):
        said(known[:1], solutions[:1], labels)


errors = st.one_of(st.none(), st.integers(0, 3))


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 5), errors, errors, errors, st.booleans()), min_size=4, max_size=30))
def test_a_gain_is_the_difference_of_two_f1(rows: list[tuple[int, int | None, int | None, int | None, bool]]) -> None:
    """f1_gain(a, b) = F1(a) - F1(b) over all rows, by the plain formula; its interval holds it; swapped it is negative."""
    rows += [(9, 1, 1, 1, True), (9, None, None, None, True)]
    a = [row(problem, truth, first, here) for problem, truth, first, _, here in rows]
    b = [row(problem, truth, second) for problem, truth, _, second, _ in rows]
    plain = [f1_of([one.truth for one in some], [one.error if one.kept else -1 for one in some]) for some in (a, b)]

    gain, back = f1_gain(a, b), f1_gain(b, a)

    assert gain.value == pytest.approx(plain[0] - plain[1])
    assert (back.value, back.low, back.high) == pytest.approx((-gain.value, -gain.high, -gain.low))
    assert f1_gain(a, a).low == f1_gain(a, a).high == 0
