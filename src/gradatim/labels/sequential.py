"""When is a prefix alive? Rules that read rollouts until the evidence decides, or until they have read enough.

A prefix is *alive* if the policy still reaches the right answer from it about as often as from the bare problem, and *dead*
if it hardly ever does. With V0 the problem's own rate, the bar between them is V0 / 2. The rates on which a test stopped
early are biased, and a V0 that was itself estimated voids the error rates that a test was built for: they are nominal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from gradatim.core import Tally


class StoppingRule(Protocol):
    """Reads the rollouts of one prefix in the order of their draws. Frozen and without state: the tally is all it knows.

    Law: `more` is the least number of draws after which the test can be over, so that nothing is drawn that could not
    matter, and asking for them together or one by one comes to the same.
    """

    def more(self, tally: Tally, drawn: int) -> int:
        """How many draws to read next; 0 when the test is over. `drawn` counts the draws that were read: `tally` may
        hold fewer (the check of some failed) or more (evidence that was there before)."""
        ...

    def alive(self, tally: Tally) -> bool | None:
        """The decision when the test is over; None: undecided."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """`k` draws, whatever they say. Alive: something succeeded and the rate is at least `bar`; dead otherwise.

    Undecided if nothing was tried, or if `bar` is NaN.
    """

    k: int
    bar: float = 0.0

    def more(self, tally: Tally, drawn: int) -> int:
        return max(0, self.k - drawn)

    def alive(self, tally: Tally) -> bool | None:
        if not tally.tried or math.isnan(self.bar):
            return None
        return tally.good > 0 and tally.rate >= self.bar


@dataclass(frozen=True, slots=True)
class FirstSuccess:
    """Draws until the first success, at most `k`: alive if there was one.

    The decision is `Fixed(k).alive`'s, at (1 - (1 - V)^k) / V draws on average instead of k.
    """

    k: int

    def more(self, tally: Tally, drawn: int) -> int:
        return 0 if tally.good else min(1, self.k - drawn)

    def alive(self, tally: Tally) -> bool | None:
        return tally.good > 0 if tally.tried else None


@dataclass(frozen=True, slots=True)
class Sprt:
    """Wald's sequential probability ratio test of V = `low` against V = `high`, over after `cap` draws.

    It stops when the log likelihood ratio leaves (ln(b / (1 - a)), ln((1 - b) / a)), with a = b = `nominal` the chances
    of either error at the two values (Wald 1945, Annals of Mathematical Statistics 16; overshoot ignored). At the cap it
    is undecided, or says the likelier value.
    """

    low: float
    high: float
    nominal: float
    cap: int
    likelier: bool = False

    def more(self, tally: Tally, drawn: int) -> int:
        ratio, bound = self._ratio(tally), self._bound
        if abs(ratio) >= bound:
            return 0
        up = math.ceil((bound - ratio) / self._success)
        down = math.ceil((bound + ratio) / self._failure)
        return max(0, min(max(1, min(up, down)), self.cap - drawn))

    def alive(self, tally: Tally) -> bool | None:
        ratio = self._ratio(tally)
        decided = abs(ratio) >= self._bound or (self.likelier and tally.tried)
        return ratio > 0 if decided else None

    def _ratio(self, tally: Tally) -> float:
        return tally.good * self._success - (tally.tried - tally.good) * self._failure

    @property
    def _bound(self) -> float:
        return math.log((1 - self.nominal) / self.nominal)

    @property
    def _success(self) -> float:
        return math.log(self.high / self.low)

    @property
    def _failure(self) -> float:
        return math.log((1 - self.low) / (1 - self.high))


@dataclass(frozen=True, slots=True)
class Posterior:
    """Stops when P(V > `start` / 2 | tally) is outside (`nominal`, 1 - `nominal`), over after `cap` draws.

    The prior is Beta(1, b), b the whole number that puts its mean nearest to the problem's own rate `start`: a uniform one
    takes a single success on a hard problem for proof, since it expects a rate of one half. At the cap it is undecided, or
    says the likelier side.
    """

    start: float
    nominal: float
    cap: int
    likelier: bool = False

    def more(self, tally: Tally, drawn: int) -> int:
        left = max(0, self.cap - drawn)
        if self._outside(tally):
            return 0
        for n in range(1, left):
            runs = Tally(tally.good + n, tally.tried + n), Tally(tally.good, tally.tried + n)
            if any(map(self._outside, runs)):
                return n
        return left

    def alive(self, tally: Tally) -> bool | None:
        decided = self._outside(tally) or (self.likelier and tally.tried)
        return self._chance(tally) > 0.5 if decided else None

    def _outside(self, tally: Tally) -> bool:
        return not self.nominal < self._chance(tally) < 1 - self.nominal

    def _chance(self, tally: Tally) -> float:
        b = max(1, round(1 / self.start - 1))
        return chance_above(self.start / 2, tally.good + 1, tally.tried - tally.good + b)


@lru_cache(maxsize=1 << 16)
def chance_above(bar: float, a: int, b: int) -> float:
    """P(V > bar) for V with the distribution Beta(a, b), a and b whole: the chance of fewer than a successes in a + b - 1
    trials with chance `bar` each."""
    n = a + b - 1
    return math.fsum(math.comb(n, i) * bar**i * (1 - bar) ** (n - i) for i in range(a))
