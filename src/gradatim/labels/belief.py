"""Where is the first error? One belief about it, from all that was seen of a solution, at all of its prefixes.

With V0 the problem's own rate, a prefix before the first error is *alive*: most likely V is V0 still, for most right steps
decide nothing, or it is anything above V0. Behind the error it is *dead*: V is anything up to V0 / 4. V0 itself is only
known as far as the problem's solutions say. Given V0 and the place of the error the tallies are taken to be independent, so
that the belief is Bayes' rule over a grid of V0 and all places, and nothing about it is approximate but the grid.

It is a model of the policy. Where a policy often mends its errors, dead prefixes succeed and it is as wrong as any count of
rollouts is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from gradatim.core import Tally

Floats = NDArray[np.float64]

DEAD = 0.25
"""A dead prefix succeeds at most at this share of the problem's own rate."""

KEPT = 0.9
"""How many of the alive prefixes are as good as the bare problem; the rates of the others are uniform above that."""

_STARTS = (np.arange(20) + 0.5) / 20
_RATES = (np.arange(100) + 0.5) / 100  # every start is one of them, and some are below a quarter of the least


@dataclass(frozen=True)
class Belief:
    """What is believed of a solution with `places` prefixes to test before anything is seen of them.

    Hypothesis j of 0..places: the first j prefixes are alive and the others dead; with j = places all are alive, and what
    that says of the solution is for the search to know.
    """

    start: Tally
    """The problem's own tally."""
    places: int
    ended: bool | None
    """How the finished solution ended: right, wrong or nobody knows (None too for a solution that was cut off)."""

    @cached_property
    def prior(self) -> Floats:
        """Chances of the hypotheses. Every step, the last one too, goes wrong with the same chance, such that none does
        with chance V0 = (s+1)/(n+2); a right answer behind an error is luck, of the mean chance of a dead prefix."""
        rate = self.start.smoothed
        kept = rate ** (1 / (self.places + 1))
        reach = kept ** np.arange(self.places + 1)
        chances = np.asarray(reach * (1 - kept), dtype=np.float64)
        if self.ended is None:
            chances[-1] = reach[-1]
        elif self.ended:
            chances *= rate * DEAD / 2
            chances[-1] = rate
        return np.asarray(chances / chances.sum())

    def chances(self, tallies: Sequence[Tally]) -> Floats:
        """The posterior of the hypotheses, given a tally for every place."""
        return np.asarray(self._joint(tallies).sum(axis=0))

    def gains(self, tallies: Sequence[Tally]) -> Floats:
        """For every place: how many bits about the first error one more draw is expected to tell."""
        joint = self._joint(tallies)
        good = np.empty((self.places, self.places + 1))
        for place, tally in enumerate(tallies):
            before = _evidence(tally.good, tally.tried - tally.good)
            after = _evidence(tally.good + 1, tally.tried - tally.good)
            dead, alive = np.exp(after - before) @ joint
            good[place] = np.where(self._alive[place], alive, dead)
        now = joint.sum(axis=0)
        bad = np.maximum(now - good, 0.0)
        return np.asarray(_bits(now) - _bits(good) - _bits(bad))

    def _joint(self, tallies: Sequence[Tally]) -> Floats:
        """Chances of the problem's own rate (rows) with each hypothesis (columns)."""
        good, bad = self.start.good, self.start.tried - self.start.good
        logs = (good * np.log(_STARTS) + bad * np.log1p(-_STARTS))[:, None] + np.log(self.prior)
        for place, tally in enumerate(tallies):
            dead, alive = _evidence(tally.good, tally.tried - tally.good)
            logs = logs + np.where(self._alive[place], alive[:, None], dead[:, None])
        joint = np.exp(logs - logs.max())
        return np.asarray(joint / joint.sum())

    @cached_property
    def _alive(self) -> NDArray[np.bool_]:
        """Whether a place (rows) is alive by a hypothesis (columns)."""
        return np.arange(self.places)[:, None] < np.arange(self.places + 1)


def _bits(chances: Floats) -> Floats:
    """Entropy of the chances over the last axis where they are given that one of them holds, times the chance of that."""
    whole = chances.sum(axis=-1, keepdims=True)
    share = np.divide(chances, whole, out=np.ones_like(chances), where=chances > 0)
    return np.asarray(-(chances * np.log2(share)).sum(axis=-1))


@lru_cache(maxsize=1 << 14)
def _evidence(good: int, bad: int) -> Floats:
    """ln of the likelihood of a tally at a dead prefix and at an alive one (rows), for each rate of the problem."""
    logs = good * np.log(_RATES) + bad * np.log1p(-_RATES)
    most = logs.max()
    return np.asarray(np.log(_densities() @ np.exp(logs - most) + 1e-300) + most)


@lru_cache(maxsize=1)
def _densities() -> Floats:
    """How rates are distributed at a dead prefix and at an alive one (2 x V0 x rate)."""
    own = _STARTS[:, None]
    alive = KEPT * _shares(np.isclose(_RATES, own)) + (1 - KEPT) * _shares(own <= _RATES)
    return np.stack([_shares(own * DEAD >= _RATES), alive])


def _shares(chosen: NDArray[np.bool_]) -> Floats:
    return np.asarray(chosen / chosen.sum(axis=1, keepdims=True))
