"""Which prefixes of a solution to test, and what that says about its first error.

A search is a generator. It yields how many draws it wants to have read of which prefixes, `{steps: draws}`, and is sent
the tally of each (left out: they could not be had). It returns (0-based first error or None, whether that is known), and
keeps the evidence of every prefix that it looked at in `tallies`. Nothing here knows where rollouts come from.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from gradatim.core import Tally
from gradatim.labels.sequential import StoppingRule

Asked = dict[int, int]
"""For some prefixes, by number of steps, how many draws from draw 0 on are wanted."""
Found = tuple[int | None, bool]
"""0-based first error (None: no error), and whether that is known."""
Search = Generator[Asked, Mapping[int, Tally], Found]


@dataclass(frozen=True, slots=True)
class Path:
    """What there is to test in a solution, in numbers of steps."""

    places: tuple[int, ...]
    """The prefixes from which something can be written, in rising order; none that ends in an observation."""
    finished: int | None = None
    """The steps of a finished solution; None if it was cut off, and its last prefix is a place."""
    right: bool | None = None
    """Whether the finished solution's answer is right; None if nobody knows."""


def all_steps(stop: StoppingRule, path: Path, tallies: dict[int, Tally]) -> Search:
    """Test every prefix, side by side; the first dead one is the first error if all before it are alive."""
    yield from _settle(stop, path.places, tallies)
    for place in path.places:
        alive = stop.alive(tallies[place])
        if not alive:
            return (None, False) if alive is None else (place - 1, True)
    return _at_the_end(path)


def bisection(stop: StoppingRule, path: Path, tallies: dict[int, Tally]) -> Search:
    """Halve the stretch between the last prefix known alive and the first known dead: log2(steps) tests, not all.

    It takes dead prefixes to stay dead, so it misses errors that the policy mends. A wrong answer is dead at its end. A
    right one gets one test, in its middle: at the end everything leads to the right answer, by luck or not. A solution
    that was cut off gets one at its end. An undecided test ends the search.
    """
    places = path.places
    alive_at, dead_at = -1, len(places)
    if places and (path.finished is None or path.right is not False):
        dead_at = len(places) // 2 if path.right else len(places) - 1
        alive = yield from _test(stop, places[dead_at], tallies)
        if alive is not False:
            return (None, False) if alive is None else _at_the_end(path)
    while dead_at - alive_at > 1:
        middle = (alive_at + dead_at) // 2
        alive = yield from _test(stop, places[middle], tallies)
        if alive is None:
            return None, False
        alive_at, dead_at = (middle, dead_at) if alive else (alive_at, middle)
    return (places[dead_at] - 1, True) if dead_at < len(places) else _at_the_end(path)


def successes(stop: StoppingRule, path: Path, tallies: dict[int, Tally]) -> Search:
    """Test every prefix for its rate alone: where one success is enough, a right answer has no error."""
    yield from _settle(stop, path.places, tallies)
    return None, True


def nothing(stop: StoppingRule, path: Path, tallies: dict[int, Tally]) -> Search:
    """Test nothing: where one success is enough, a right answer has no error and costs nothing."""
    yield from _settle(stop, (), tallies)
    return None, True


def _at_the_end(path: Path) -> Found:
    """What is known if every prefix is alive."""
    if path.finished is None or path.right:
        return None, True
    return (None, False) if path.right is None else (path.finished - 1, True)


def _test(
    stop: StoppingRule, place: int, tallies: dict[int, Tally]
) -> Generator[Asked, Mapping[int, Tally], bool | None]:
    yield from _settle(stop, [place], tallies)
    return stop.alive(tallies[place])


def _settle(
    stop: StoppingRule, places: Sequence[int], tallies: dict[int, Tally]
) -> Generator[Asked, Mapping[int, Tally], None]:
    """Ask about some prefixes until the test of each is over; what can't be had is asked for once."""
    before = {place: tallies.setdefault(place, Tally()) for place in places}
    drawn = dict.fromkeys(places, 0)
    running = list(places)
    while asked := {p: drawn[p] + n for p in running if (n := stop.more(tallies[p], drawn[p]))}:
        sent = yield asked
        running = [place for place in asked if place in sent]
        for place in running:
            tallies[place] = before[place] + sent[place]
            drawn[place] = asked[place]
