"""Which prefixes of a solution to test, and what that says about its first error.

A search is a generator. It yields how many draws it wants to have read of which prefixes, `{steps: draws}`, and is sent
the tally of each (left out: they could not be had). It returns (0-based first error or None, whether that is known), and
keeps the evidence of every prefix that it looked at in `tallies`. Nothing here knows where rollouts come from.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gradatim.core import Tally
from gradatim.labels.belief import Belief, Floats
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


@dataclass(frozen=True, slots=True)
class Informed:
    """How far a search goes that asks where a rollout tells most about the first error."""

    start: Tally
    """The problem's own tally. Without one nothing is tested."""
    bits: float
    """Bits that a rollout as long as the whole solution has to tell; shorter ones their share by steps."""
    cap: int
    """Draws of a prefix after which no more are asked for."""
    doubt: float = 1.0
    """The first error is known if the chance that it is another one is at most this."""

    def search(self, path: Path, tallies: dict[int, Tally]) -> Search:
        """Draw where a step of text tells most about the first error, until none tells enough; then say the likeliest.

        It reads more than one draw at a time where it has read many, for rounds take time. Unknown where draws that it
        asked for could not be had or checked, and nothing else is known of their prefix.
        """
        before = {place: tallies.setdefault(place, Tally()) for place in path.places}
        drawn = dict.fromkeys(path.places, 0)
        while best := self._best(path, tallies, drawn):
            drawn[best] = min(self.cap, drawn[best] + 1 + drawn[best] // 8)
            sent = yield {best: drawn[best]}
            tallies[best] = before[best] + sent.get(best, Tally())
            if best not in sent:
                drawn[best] = self.cap
        if not self.start.tried or any(drawn[place] and not tallies[place].tried for place in path.places):
            return None, False
        chances = self.chances(path, tallies)
        likeliest = int(chances.argmax())
        if 1 - chances[likeliest] > self.doubt:
            return None, False
        return (path.places[likeliest] - 1, True) if likeliest < len(path.places) else _at_the_end(path)

    def bounds(self, path: Path, tallies: Mapping[int, Tally]) -> tuple[float, float]:
        """The chances that the first error is behind the likeliest one (what is alive was called dead), and before it."""
        chances = self.chances(path, tallies)
        likeliest = int(chances.argmax())
        return float(chances[likeliest + 1 :].sum()), float(chances[:likeliest].sum())

    def chances(self, path: Path, tallies: Mapping[int, Tally]) -> Floats:
        """The belief after these tallies; see `Belief`."""
        return self._belief(path).chances([tallies[place] for place in path.places])

    def _best(self, path: Path, tallies: Mapping[int, Tally], drawn: Mapping[int, int]) -> int:
        """Where to draw next; 0: nowhere."""
        if not self.start.tried or not path.places:
            return 0
        length = path.finished or path.places[-1] + 1
        gains = self._belief(path).gains([tallies[place] for place in path.places])
        worth = {
            place: float(gain) * length / (length - place)
            for place, gain in zip(path.places, gains, strict=True)
            if drawn[place] < self.cap
        }
        best = max(worth, key=lambda place: worth[place], default=0)
        return best if best and worth[best] >= self.bits else 0

    def _belief(self, path: Path) -> Belief:
        return _believed(self.start, len(path.places), path.right)


_believed = lru_cache(maxsize=1 << 12)(Belief)


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
