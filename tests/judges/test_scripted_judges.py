"""Scripted judges err as often as they are told to, alone or together with another labeller."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gradatim.core import Prefix, Solution, Step, Tally
from gradatim.errors import ConfigError
from gradatim.judges.scripted import ScriptedJudge, like, shared_numbers

ROWS = 2000
SPREAD = 4 * 0.5 / ROWS**0.5
"""Four standard errors of a share of all rows, at most."""


def prefix(name: int, steps: int = 5) -> Prefix:
    return Prefix(f"p{name}", "What?", tuple(Step(f"step {index}\n") for index in range(steps)))


def share(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


ERRONEOUS = [(prefix(name), name % 5) for name in range(ROWS)]
RIGHT = [prefix(name) for name in range(ROWS, 2 * ROWS)]


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_rates_are_what_was_asked_for(correlation: float) -> None:
    """Misses, neighbours and false alarms come at their rates, whether the numbers are its own or shared."""
    judge = ScriptedJudge(miss=0.2, false_alarm=0.1, off_by_one=0.15, shared=shared_numbers(3), correlation=correlation)
    said = [(truth, judge.first_error(one, truth)) for one, truth in ERRONEOUS]
    assert share([found is None for _, found in said]) == pytest.approx(0.2, abs=SPREAD)
    assert share([found is not None and abs(found - truth) == 1 for truth, found in said]) == pytest.approx(
        0.15, abs=SPREAD
    )
    assert share([found == truth for truth, found in said]) == pytest.approx(0.65, abs=SPREAD)
    alarms = [found for one in RIGHT if (found := judge.first_error(one, None)) is not None]
    assert len(alarms) / ROWS == pytest.approx(0.1, abs=SPREAD)
    for step in range(5):
        assert alarms.count(step) / len(alarms) == pytest.approx(0.2, abs=4 * 0.4 / len(alarms) ** 0.5)


def test_it_depends_on_seed_prefix_and_draw_alone() -> None:
    """Asked again it says the same; another seed or another draw says something else now and then."""
    judge, other = ScriptedJudge(miss=0.5, seed=1), ScriptedJudge(miss=0.5, seed=2)
    first = [judge.first_error(one, truth) for one, truth in ERRONEOUS[:200]]
    assert first == [judge.first_error(one, truth) for one, truth in reversed(ERRONEOUS[:200])][::-1]
    for different in (
        [other.first_error(one, truth) for one, truth in ERRONEOUS[:200]],
        [judge.first_error(one, truth, 1) for one, truth in ERRONEOUS[:200]],
    ):
        assert share([a == b for a, b in zip(first, different, strict=True)]) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_correlated_judges_err_together(correlation: float) -> None:
    """Two judges that share numbers on a share c of the rows each: they miss together in .2 (.2 + .8 c^2) of them."""
    shared = shared_numbers(9)
    pair = [ScriptedJudge(miss=0.2, seed=seed, shared=shared, correlation=correlation) for seed in (1, 2)]
    both = [all(judge.first_error(one, truth) is None for judge in pair) for one, truth in ERRONEOUS]
    assert share(both) == pytest.approx(0.2 * (0.2 + 0.8 * correlation**2), abs=SPREAD)


def test_numbers_like_a_labellers_errors() -> None:
    """With the numbers behind another labeller's errors a judge errs where it did, points where it did, and keeps its
    own rates."""
    labeller = ScriptedJudge(miss=0.3, false_alarm=0.25, off_by_one=0.1, seed=5)
    rows = [*ERRONEOUS, *((one, None) for one in RIGHT)]
    theirs = {one: labeller.first_error(one, truth) for one, truth in rows}
    numbers = like([(one, truth, theirs[one]) for one, truth in rows], seed=6)
    twin = ScriptedJudge(miss=0.3, false_alarm=0.25, off_by_one=0.1, shared=numbers, correlation=1.0)
    alike = share([twin.first_error(one, truth) == theirs[one] for one, truth in rows])
    assert alike > 0.97  # its rates are the labeller's true ones, and the numbers know the observed ones
    better = ScriptedJudge(miss=0.1, false_alarm=0.05, shared=numbers, correlation=1.0)
    missed = [one for one, truth in ERRONEOUS if better.first_error(one, truth) is None]
    assert len(missed) / ROWS == pytest.approx(0.1, abs=SPREAD)
    assert all(theirs[one] is None for one in missed)
    alarms = [one for one in RIGHT if better.first_error(one, None) is not None]
    assert len(alarms) / ROWS == pytest.approx(0.05, abs=SPREAD)
    assert all(better.first_error(one, None) == theirs[one] for one in alarms)


def test_labels_count_the_draws() -> None:
    """A tally counts the draws that judged the step, and the first error is the one that most of them name."""
    one = prefix(1)
    solution = Solution(prefix=one, author="a", draw=0)
    judge = ScriptedJudge(miss=0.3, off_by_one=0.2, seed=4)
    said = [judge.first_error(one, 2, draw) for draw in range(9)]
    labels = judge.label(solution, 2, draws=9)
    ends = [5 if error is None else error for error in said]
    expected = [Tally(sum(step < end for end in ends), sum(step <= end for end in ends)) for step in range(5)]
    assert labels.tallies == tuple(expected)
    assert (labels.error, labels.error_known) == (max(set(said), key=said.count), True)
    assert (labels.source, labels.truth, labels.by) == ("judge", "validity", judge.name)


def test_a_tie_is_no_decision() -> None:
    """Two draws that name different errors leave the first error unknown, with their tallies."""
    one = prefix(7, 3)
    judge = next(
        judge
        for judge in (ScriptedJudge(miss=0.5, seed=seed) for seed in range(50))
        if [judge.first_error(one, 1, draw) for draw in (0, 1)] == [None, 1]
    )
    labels = judge.label(Solution(prefix=one, author="a", draw=0), 1, draws=2)
    assert not labels.error_known
    assert labels.tallies == (Tally(2, 2), Tally(1, 2), Tally(1, 1))


def test_a_lone_step_has_no_neighbour() -> None:
    """Off by one in a solution of one step is right, and at the ends it goes inwards."""
    judge = ScriptedJudge(off_by_one=1.0)
    assert judge.first_error(prefix(0, 1), 0) == 0
    assert {judge.first_error(prefix(name), 0) for name in range(20)} == {1}
    assert {judge.first_error(prefix(name), 4) for name in range(20)} == {3}
    assert {judge.first_error(prefix(name), 2) for name in range(20)} == {1, 3}


def test_impossible_rates_are_refused() -> None:
    """Rates that add up to more than 1, and correlation with nothing, are faults of the settings."""
    with pytest.raises(ConfigError, match=r"miss=0\.7"):
        ScriptedJudge(miss=0.7, off_by_one=0.4)
    with pytest.raises(ConfigError, match="shared numbers"):
        ScriptedJudge(correlation=0.5)
