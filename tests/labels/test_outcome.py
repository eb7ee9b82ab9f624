"""Outcome labels and preference pairs from verdicts."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core import Prefix, Solution, Step, Tally, Verdict
from gradatim.errors import ConfigError
from gradatim.labels.outcome import outcome_labels, outcome_pairs


def made(problem: str, text: str, verdict: Verdict | None, *, draw: int = 0, finish: str = "stop") -> Solution:
    steps = (Step("first\n"), Step(text)) if text else ()
    prefix = Prefix(problem, f"{problem}?", steps)
    return Solution(prefix=prefix, author="x", draw=draw, verdict=verdict, finish=finish)  # type: ignore[arg-type]


def test_the_outcome_is_the_tally_of_the_last_step() -> None:
    """Right 1 of 1, wrong 0 of 1, unread and cut off 0 of 1 and lost, unverified nothing; other steps say nothing."""
    solutions = [
        made("p", "a", Verdict.CORRECT),
        made("p", "b", Verdict.INCORRECT),
        made("p", "c", Verdict.UNPARSED),
        made("p", "d", Verdict.UNPARSED, finish="length"),
        made("p", "e", None),
    ]
    labels = outcome_labels(solutions, by="exact")
    expected = [Tally(1, 1), Tally(0, 1), Tally(0, 1, 1), Tally(0, 1, 1), Tally()]
    assert [row.tallies for row in labels] == [(Tally(), last) for last in expected]
    assert [row.solution_id for row in labels] == [solution.id for solution in solutions]
    assert outcome_labels([made("p", "", Verdict.INCORRECT)], by="exact")[0].tallies == ()


VERDICTS = st.lists(st.sampled_from([*Verdict, None]), max_size=12)


@given(st.lists(VERDICTS, max_size=4), st.integers(1, 10), st.integers(0, 3))
def test_pairs_are_a_correct_before_an_incorrect_of_one_problem(
    verdicts: list[list[Verdict | None]], most: int, seed: int
) -> None:
    """All possible pairs where they are few, otherwise `per_problem` different ones of them; other problems have no part."""
    solutions = [
        made(str(problem), f"text {draw}", verdict, draw=draw)
        for problem, column in enumerate(verdicts)
        for draw, verdict in enumerate(column)
    ]
    pairs, counts = outcome_pairs(solutions, per_problem=most, seed=seed)
    for problem, column in enumerate(verdicts):
        mine = [solution for solution in solutions if solution.prefix.problem_id == str(problem)]
        right, wrong = ([s.prefix for s in mine if s.verdict == v] for v in (Verdict.CORRECT, Verdict.INCORRECT))
        possible = set(product(right, wrong))
        found = [(pair.chosen, pair.rejected) for pair in pairs if pair.chosen.problem_id == str(problem)]
        assert len(set(found)) == len(found) == min(most, len(possible))
        assert set(found) <= possible
        alone, _ = outcome_pairs(mine, per_problem=most, seed=seed)
        assert [(pair.chosen, pair.rejected) for pair in alone] == found
        assert len(column) == len(mine)
    assert counts["unread"] == sum(column.count(Verdict.UNPARSED) for column in verdicts)
    assert counts["unverified"] == sum(column.count(None) for column in verdicts)
    shown = [column for column in verdicts if column]
    none = sum(not (Verdict.CORRECT in column and Verdict.INCORRECT in column) for column in shown)
    assert counts["all correct"] + counts["all incorrect"] + counts["without verdicts"] == none


def test_repeats_and_cut_texts_make_no_pairs() -> None:
    """Solutions that say the same are one; a cut-off text is never the rejected one."""
    solutions = [
        made("p", "right", Verdict.CORRECT),
        made("p", "right", Verdict.CORRECT, draw=1),
        made("p", "wrong", Verdict.INCORRECT, draw=2),
        made("p", "cut", Verdict.INCORRECT, draw=3, finish="length"),
    ]
    pairs, counts = outcome_pairs(solutions)
    assert [(pair.chosen.steps[1].text, pair.rejected.steps[1].text) for pair in pairs] == [("right", "wrong")]
    assert counts == {"repeated": 1, "unread": 1}
    with pytest.raises(ConfigError):
        outcome_pairs(solutions, per_problem=0)
