"""What a model said of one solution, and how sure it was where it was mistaken.

A step lies on the *wrong side* of a threshold if it is right and scores below it, or wrong and scores at it or above. How sure a
model was of a mistake is the largest distance from its threshold of a step on the wrong side (of first-error suites: a step
up to the first error); of a choice among solutions, how far the chosen wrong one is above the best right one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gradatim.runs import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one model said of one solution, or of the answers to one prompt."""

    kind: str
    """Of a mistake: missed (an error), false alarm (no error), wrong step, missed and false alarm, undecided, wrong choice;
    otherwise: found, right, right choice, not chosen, tie."""
    mistaken: bool
    sureness: float
    """Of a mistake, from 0 on, in units of the scores; 0 where there is none."""
    scores: tuple[float, ...] = ()
    """One a step; of answers one each."""
    value: float | None = None
    """Of the solution as a whole, where solutions are chosen by it."""
    named: int | None = None
    """0-based index of the first step that is called wrong."""
    threshold: float | None = None
    """A step that scores below this is called wrong."""

    def as_json(self) -> dict[str, Any]:
        """As report.json holds it; numbers that are not there are null."""
        return dict(plain(self))


def of_first_error(
    scores: Sequence[float], error: int | None, named: int | None, cut: float, *, decided: bool = True
) -> Said:
    """What a model, or a judge, said of a solution whose first error is known; `named` is the first error that it names."""
    if not decided:
        kind = "undecided"
    elif error == named:
        kind = "right" if error is None else "found"
    else:
        kind = "missed" if named is None else "false alarm" if error is None else "wrong step"
    reached = scores if error is None else scores[: error + 1]
    marks = [-1 if index == error else 1 for index in range(len(reached))]
    sureness = 0.0 if kind in ("right", "found") else max(_wrong_side(reached, marks, cut).values(), default=0.0)
    return Said(
        kind=kind,
        mistaken=kind not in ("right", "found"),
        sureness=sureness,
        scores=tuple(scores),
        named=named if decided else None,
        threshold=cut,
    )


def of_marks(scores: Sequence[float], marks: Sequence[int | None], cut: float) -> Said:
    """What a model said of a solution whose steps are marked 1 right, -1 wrong, None not known."""
    wrong = _wrong_side(scores, marks, cut)
    sides = {marks[index] for index in wrong}
    kind = {
        frozenset[int | None](): "found" if -1 in marks else "right",
        frozenset({-1}): "missed",
        frozenset({1}): "false alarm",
    }.get(frozenset(sides), "missed and false alarm")
    named = next((index for index, score in enumerate(scores) if score < cut), None)
    return Said(
        kind=kind,
        mistaken=bool(wrong),
        sureness=max(wrong.values(), default=0.0),
        scores=tuple(scores),
        named=named,
        threshold=cut,
    )


def _wrong_side(scores: Sequence[float], marks: Sequence[int | None], cut: float) -> dict[int, float]:
    """The steps on the wrong side of the threshold, and how far each is from it."""
    return {
        index: abs(score - cut)
        for index, (score, mark) in enumerate(zip(scores, marks, strict=True))
        if (mark == 1 and score < cut) or (mark == -1 and score >= cut)
    }


def of_candidates(values: Sequence[float], right: Sequence[bool], steps: Sequence[Sequence[float]]) -> list[Said]:
    """What a scorer said of the candidates of one problem. A wrong choice: only wrong ones have the highest value, and there
    are right ones."""
    known = [-math.inf if math.isnan(value) else value for value in values]
    top = max(known)
    best = max((value for value, good in zip(known, right, strict=True) if good), default=math.inf)
    found = []
    for value, good, scores in zip(known, right, steps, strict=True):
        mistaken = value == top > best
        kind = "wrong choice" if mistaken else "right choice" if good and value == top else "not chosen"
        sureness = top - best if mistaken and math.isfinite(best) else 0.0
        found.append(Said(kind=kind, mistaken=mistaken, sureness=sureness, scores=tuple(scores), value=value))
    return found


def of_answers(values: Sequence[float], chosen: int) -> Said:
    """What a model said of the answers to one prompt, the first `chosen` of which should be above the others."""
    margin = max(values[:chosen]) - max(values[chosen:])
    kind = "right choice" if margin > 0 else "wrong choice" if margin < 0 else "tie"
    return Said(kind=kind, mistaken=margin < 0, sureness=max(0.0, -margin), scores=tuple(values))


def kinds_of(said: Iterable[Said]) -> dict[str, int]:
    """How many mistakes there are of each kind."""
    found: dict[str, int] = {}
    for one in said:
        if one.mistaken:
            found[one.kind] = found.get(one.kind, 0) + 1
    return dict(sorted(found.items()))
