"""Why a solution has its score: the weakest step, the first error under three rules, and how solutions rank.

All functions take one solution's step scores, pass over NaN steps (observations) and answer with 0-based indices of the
steps as given. The first step can be the first error under every rule: relative drop and change point compare it with
`start`, what the scorer would say of a solution without steps. That is 1 for the validity of steps; for a value it is the
rate at which the problem is solved at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradatim.core import Score

START = 1.0
"""The score before any step, for a scorer of validity."""

_LEAST_DROP = 0.1
"""A change of level smaller than this is called none."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What stands out in a solution's step scores; None where a rule finds nothing."""

    weakest: int | None
    """The step with the lowest score."""
    below: int | None
    """First error by threshold: the first step that scores below it."""
    drop: int | None
    """First error by relative drop: the first step that keeps less than the given share of the score before it."""
    change: int | None
    """First error by change point: the first step of the lower level, if the scores fall from one level to another."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A solution's place among others: 1 is best, equal values share a place, and NaN comes last."""

    place: int
    index: int
    score: Score


def explain(score: Score, threshold: float = 0.5, share: float = 0.5, start: float = START) -> Explanation:
    """All of it for one score with step scores; nothing is found where there are none."""
    steps = score.steps
    return Explanation(
        weakest=weakest(steps),
        below=score.first_error(threshold),
        drop=relative_drop(steps, share, start),
        change=change_point(steps, start=start),
    )


def weakest(steps: Sequence[float]) -> int | None:
    """The step with the lowest score, the first of several; None without scores."""
    seen = _seen(steps)
    return min(seen, key=lambda item: item[1])[0] if seen else None


def relative_drop(steps: Sequence[float], share: float = 0.5, start: float = START) -> int | None:
    """The first step that scores less than `share` of the scored step before it (the first step: of `start`); scores
    from 0 up. None if none does.

    It finds the fall of a scorer whose level says little, if `start` is that level: a value under a weak policy starts
    low.
    """
    seen = _seen(steps)
    before = [start, *(value for _, value in seen)]
    return next((index for (index, value), last in zip(seen, before, strict=False) if value < share * last), None)


def change_point(steps: Sequence[float], least: float = _LEAST_DROP, start: float = START) -> int | None:
    """The first step of the lower level, by the split into two levels with the smallest squared error (the earliest of
    equals).

    None if the level does not fall by at least `least`. With `start` before the steps the lower level may be all of
    them; then the first step is found if they lie below half of `start`.
    """
    seen = _seen(steps)
    values = [value for _, value in seen]
    if not values:
        return None
    if _split([start, *values]) == 1 and _mean(values) < start / 2:
        return seen[0][0]
    k = _split(values)
    return seen[k][0] if k and _mean(values[:k]) - _mean(values[k:]) >= least else None


def _split(values: list[float]) -> int:
    """Where the second of the two levels begins; 0 if there are fewer than two values."""
    splits = [(_squared(values[:k]) + _squared(values[k:]), k) for k in range(1, len(values))]
    return min(splits)[1] if splits else 0


def ranked(scores: Sequence[Score]) -> list[Ranked]:
    """The solutions from best to worst; equal values share a place, in the order given; NaN values come last."""
    order = sorted(range(len(scores)), key=lambda i: (math.isnan(scores[i].value), -scores[i].value, i))
    places: list[Ranked] = []
    for position, index in enumerate(order):
        score = scores[index]
        tied = bool(places) and _same(places[-1].score.value, score.value)
        places.append(Ranked(places[-1].place if tied else position + 1, index, score))
    return places


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _seen(steps: Sequence[float]) -> list[tuple[int, float]]:
    return [(index, value) for index, value in enumerate(steps) if not math.isnan(value)]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _squared(values: Sequence[float]) -> float:
    middle = _mean(values)
    return math.fsum((value - middle) ** 2 for value in values)
