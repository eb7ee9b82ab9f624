"""Searches for the first error, driven by tables in place of a policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import ceil, isnan, log2, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core import Tally
from gradatim.labels.search import Found, Path, Search, all_steps, bisection, nothing, successes
from gradatim.labels.sequential import FirstSuccess, Fixed, Sprt, StoppingRule

Choose = Callable[[StoppingRule, Path, dict[int, Tally]], Search]


def run(search: Search, draws: Mapping[int, Sequence[bool]]) -> tuple[Found, Counter[int]]:
    """What a search finds where the draws of each prefix come out so, and how many of them it asked for."""
    read: Counter[int] = Counter()
    try:
        asked = next(search)
        while True:
            assert asked
            for place, count in asked.items():
                assert count > read[place], "asked for nothing new"
                read[place] = count
            asked = search.send(
                {
                    place: Tally(sum(draws[place][:count]), count)
                    for place, count in asked.items()
                    if len(draws[place]) >= count
                }
            )
    except StopIteration as end:
        return end.value, read


def certain(alive: Sequence[bool], draws: int = 50) -> dict[int, list[bool]]:
    """Prefixes that always succeed, or never."""
    return {place: [good] * draws for place, good in enumerate(alive, start=1)}


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=6),
    st.sampled_from([0.0, 0.25, 0.5, nan]),
    st.sampled_from([None, True, False]),
)
def test_all_steps_is_the_rule_as_it_is_written(counts: list[tuple[int, int]], bar: float, right: bool | None) -> None:
    """The first step without a success or below the bar, if all before it were tried; then the answer's own verdict."""
    tallies = [Tally(min(pair), pair[1]) for pair in counts]
    search = all_steps(Fixed(8, bar), Path(tuple(range(1, len(tallies) + 1)), len(tallies) + 1, right), {})
    found: Found = (None, right is True) if right is not False else (len(tallies), True)
    for index, tally in enumerate(tallies):
        if not tally.tried or isnan(bar):
            found = None, False
            break
        if tally.good == 0 or tally.good / tally.tried < bar:
            found = index, True
            break
    given_tallies = dict(enumerate(tallies, start=1))
    assert driven(search, given_tallies) == (found, [dict.fromkeys(given_tallies, 8)] if tallies else [])


def driven(search: Search, answers: Mapping[int, Tally]) -> tuple[Found, list[dict[int, int]]]:
    """What a search finds if it is told these tallies, whatever it asks for; and what it asked for."""
    asked: list[dict[int, int]] = []
    sent: Mapping[int, Tally] | None = None
    while True:
        try:
            asked.append(next(search) if sent is None else search.send(sent))
        except StopIteration as end:
            return end.value, asked
        sent = {place: answers[place] for place in asked[-1]}


@given(st.integers(0, 12), st.integers(0, 12), st.sampled_from([Fixed(3), FirstSuccess(5), Sprt(0.1, 0.5, 0.05, 40)]))
def test_bisection_finds_what_all_steps_find_where_dead_stays_dead(places: int, first: int, stop: StoppingRule) -> None:
    """A wrong answer, at most log2 tests; the tests that it did make hold the same tallies."""
    alive = [index < first for index in range(places)]
    path = Path(tuple(range(1, places + 1)), places + 1, False)
    full: dict[int, Tally] = {}
    some: dict[int, Tally] = {}
    expected, _ = run(all_steps(stop, path, full), certain(alive))
    found, read = run(bisection(stop, path, some), certain(alive))
    assert found == expected == (min(first, places), True)
    assert len(read) <= ceil(log2(places + 1))
    assert all(full[place] == tally for place, tally in some.items())


@pytest.mark.parametrize(
    ("alive", "path", "found", "tested"),
    [
        # A right answer: one test in the middle, and on from there if that is dead (luck at the end).
        ([1, 1, 1, 1, 1], Path((1, 2, 3, 4, 5), 6, True), (None, True), {3}),
        ([1, 0, 0, 1, 1], Path((1, 2, 3, 4, 5), 6, True), (1, True), {3, 1, 2}),
        # Cut off: the last prefix is tested first.
        ([1, 1, 1], Path((1, 2, 3)), (None, True), {3}),
        ([1, 1, 0], Path((1, 2, 3)), (2, True), {3, 2, 1}),
        # Nobody knows whether the answer is right: alive to the end is not enough.
        ([1, 1, 1], Path((1, 2, 3), 4, None), (None, False), {3}),
        ([0, 0, 0], Path((1, 2, 3), 4, None), (0, True), {3, 1}),
        # Only the answer itself is wrong; observations (places 2 and 4) are not tested.
        ([1, 1, 1, 1, 1], Path((1, 3, 5), 6, False), (5, True), {3, 5}),
        ([1, 0, 0, 0, 0], Path((1, 3, 5), 6, False), (2, True), {3, 1}),
        # Nothing to test.
        ([], Path((), 1, False), (0, True), set()),
        ([], Path((), 1, None), (None, False), set()),
        ([], Path(()), (None, True), set()),
    ],
)
def test_what_bisection_tests(alive: list[int], path: Path, found: Found, tested: set[int]) -> None:
    """By hand: what is found, and which prefixes are rolled out for it."""
    got, read = run(bisection(Fixed(2), path, {}), certain(list(map(bool, alive))))
    assert got == found
    assert read == dict.fromkeys(tested, 2)


@pytest.mark.parametrize("choose", [all_steps, bisection])
def test_an_undecided_test_leaves_the_first_error_unknown(choose: Choose) -> None:
    """Half of the draws succeed, which is between the two rates of the test: the cap ends it, and the search."""
    draws = {place: [True, False] * 20 for place in (1, 2, 3)}
    found, read = run(choose(Sprt(0.3, 0.7, 0.01, 20), Path((1, 2, 3), 4, False), {}), draws)
    assert found == (None, False)
    assert max(read.values()) == 20
    found, _ = run(choose(Sprt(0.3, 0.7, 0.01, 21, True), Path((1, 2, 3), 4, False), {}), draws)
    assert found == (3, True), "likelier alive: 11 of 21"


def test_what_cannot_be_had_is_asked_for_once_and_unknown() -> None:
    """Prefix 2 gives nothing: the others are still tested by all steps, and no search says that it knows."""
    draws = {**certain([True] * 3), 2: []}
    tallies: dict[int, Tally] = {}
    found, read = run(all_steps(Fixed(2), Path((1, 2, 3), 4, False), tallies), draws)
    assert (found, set(read)) == ((None, False), {1, 2, 3})
    assert tallies == {1: Tally(2, 2), 2: Tally(), 3: Tally(2, 2)}
    assert run(bisection(Fixed(2), Path((1, 2, 3), 4, False), {}), draws) == ((None, False), {2: 2})


def test_evidence_that_was_there_before_counts() -> None:
    """What other solutions say is added to the draws, and may be enough without any."""
    tallies = {1: Tally(9, 9), 2: Tally(0, 1), 3: Tally(0, 30)}
    found, read = run(all_steps(Sprt(0.1, 0.5, 0.1, 40), Path((1, 2, 3), 4, False), tallies), certain([False] * 3))
    assert found == (1, True)
    assert set(read) == {2}
    assert tallies[2] == Tally(0, 1 + read[2])


def test_a_right_answer_where_one_success_is_enough() -> None:
    """It has no error by definition: rolled out for the rates, or not at all."""
    path = Path((1, 2), 3, True)
    assert run(successes(Fixed(4), path, {}), certain([False, False])) == ((None, True), {1: 4, 2: 4})
    assert run(nothing(Fixed(4), path, {}), {}) == ((None, True), {})
