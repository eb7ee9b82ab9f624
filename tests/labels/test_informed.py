"""The search that draws where a rollout tells most: what it finds, what it asks for, and whether its doubts hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core import Tally
from gradatim.labels.belief import DEAD, KEPT
from gradatim.labels.search import Found, Informed, Path

HALF = Tally(8, 16)


def run(
    rule: Informed, path: Path, draws: Mapping[int, Sequence[bool]], tallies: dict[int, Tally]
) -> tuple[Found, Counter[int]]:
    """What is found where the draws of each prefix come out so (what has none can't be had), and how many were read."""
    read: Counter[int] = Counter()
    search = rule.search(path, tallies)
    try:
        asked = next(search)
        while True:
            ((place, count),) = asked.items()
            assert read[place] < count <= rule.cap, "nothing new, or too many"
            read[place] = count
            had = {place: Tally(sum(draws[place][:count]), count)} if draws[place] else {}
            asked = search.send(had)
    except StopIteration as end:
        return end.value, read


def certain(alive: Sequence[int]) -> dict[int, list[bool]]:
    """Prefixes that always succeed, or never."""
    return {place: [bool(good)] * 64 for place, good in enumerate(alive, start=1)}


@given(st.integers(1, 10), st.data(), st.sampled_from([Tally(2, 16), HALF, Tally(15, 16)]))
@settings(max_examples=40)
def test_it_finds_what_never_fails_and_never_succeeds(places: int, data: st.DataObject, start: Tally) -> None:
    """A wrong answer: the step where prefixes turn from sure to hopeless, and the same draws for the same question."""
    first = data.draw(st.integers(0, places))
    path = Path(tuple(range(1, places + 1)), places + 1, False)
    draws = certain([index < first for index in range(places)])
    rule, tallies = Informed(start, 0.015, 64), dict[int, Tally]()
    found, read = run(rule, path, draws, tallies)
    assert found == (first, True)
    assert tallies == {place: Tally(sum(draws[place][: read[place]]), read[place]) for place in path.places}
    assert run(rule, path, draws, {}) == (found, read)


@pytest.mark.parametrize(
    ("path", "alive", "found"),
    [
        (Path((1, 2, 3), 4, True), [1, 1, 1], (None, True)),
        (Path((1, 2, 3), 4, None), [1, 1, 1], (None, False)),  # nobody knows whether the answer is right
        (Path((1, 2, 3), 4, None), [1, 0, 0], (1, True)),
        (Path((1, 2, 3)), [1, 1, 1], (None, True)),  # cut off
        (Path((1, 2, 3)), [1, 1, 0], (2, True)),
        (Path((1, 3, 5), 6, False), [1, 0, 1, 0, 0], (4, True)),  # places 2 and 4 are observations
        (Path((), 1, False), [], (0, True)),
        (Path(()), [], (None, True)),
    ],
)
def test_how_a_solution_can_end(path: Path, alive: list[int], found: Found) -> None:
    """By hand."""
    assert run(Informed(HALF, 0.005, 64), path, certain(alive), {})[0] == found


def test_asking_for_more_bits_draws_less() -> None:
    """Fewer draws, none in the end; a search that is not sure enough does not know, unless it is asked for the likeliest."""
    path, draws = Path((1, 2, 3), 4, False), certain([1, 1, 0])
    spent = [run(Informed(Tally(2, 16), bits, 64), path, draws, {})[1].total() for bits in (0.001, 0.01, 0.1, 0.9)]
    assert spent == sorted(spent, reverse=True)
    assert spent[0] > spent[1] > spent[3] == 0
    assert run(Informed(Tally(2, 16), 0.9, 64, 0.1), path, draws, {})[0] == (None, False)
    assert run(Informed(Tally(2, 16), 0.9, 64), path, draws, {})[0] == (0, True)
    assert run(Informed(Tally(2, 16), 0.001, 64, 0.1), path, draws, {})[0] == (2, True)


def test_what_cannot_be_known() -> None:
    """No rate of the problem: nothing is drawn. Draws that can't be had are asked for once, and nothing is known then."""
    path = Path((1, 2, 3), 4, False)
    assert run(Informed(Tally(), 0.01, 64), path, certain([1, 1, 1]), {}) == ((None, False), Counter())
    found, read = run(Informed(HALF, 0.01, 64), path, {1: [], 2: [], 3: []}, {})
    assert found == (None, False)
    assert set(read.values()) == {1}


def test_evidence_that_was_there_before_is_not_drawn_again() -> None:
    """What other solutions say of the prefixes is enough."""
    tallies = {1: Tally(30, 60), 2: Tally(0, 60), 3: Tally(0, 60)}
    found, read = run(Informed(HALF, 0.01, 64), Path((1, 2, 3), 4, False), certain([1, 0, 0]), dict(tallies))
    assert (found, read) == ((1, True), Counter())


def test_bounds_are_the_chances_on_both_sides() -> None:
    """Of errors behind the one that is said, and before it; the three chances sum to one."""
    rule, path, tallies = (
        Informed(HALF, 0.01, 64),
        Path((1, 2, 3), 4, False),
        {1: Tally(1, 3), 2: Tally(0, 2), 3: Tally()},
    )
    chances = rule.chances(path, tallies)
    assert chances.argmax() == 1
    assert rule.bounds(path, tallies) == pytest.approx((chances[2] + chances[3], chances[0]))


def test_its_doubts_hold_where_its_model_does() -> None:
    """Solutions drawn from the very model that it believes in: errors are as frequent as it says, wherever it stops."""
    rng, path = np.random.default_rng(0), Path((1, 2, 3), 4, False)
    wrong, said = [], []
    for _ in range(150):
        v0 = rng.choice((np.arange(20) + 0.5) / 20)
        start = Tally(int(rng.binomial(15, v0)), 15)
        rule = Informed(start, 0.03, 32)
        error = int(rng.choice(4, p=rule.chances(path, dict.fromkeys(path.places, Tally()))))
        draws = {}
        for place in path.places:
            alive = v0 if rng.random() < KEPT else rng.uniform(v0, 1)
            draws[place] = (rng.random(32) < (alive if place <= error else rng.uniform(0, v0 * DEAD))).tolist()
        tallies: dict[int, Tally] = {}
        found, _ = run(rule, path, draws, tallies)
        wrong.append(found[0] != error)
        said.append(sum(rule.bounds(path, tallies)))
    spread = np.sqrt(sum(p * (1 - p) for p in said))
    assert abs(sum(wrong) - sum(said)) < 3 * spread
    assert 10 < sum(said) < 75
