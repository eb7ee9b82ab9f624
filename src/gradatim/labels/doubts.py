"""Which labels to look at first, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gradatim.core import Labels, Solution, Tally, Verdict
from gradatim.labels.given import Labelled

OTHER, TRAP, WRONG_END, UNKNOWN, RECOVERS = 0.5, 0.4, 0.4, 0.5, 0.3
"""How much each reason weighs in the order of rows. Of two labellers that contradict each other at most one is right, of an
unknown first error nothing is known, and the other reasons are hints. The weights make an order, no probabilities."""

Noise = Callable[[Labels, Tally], float]
"""The chance that a step's decision is not what more draws would say; NaN where the tally says nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A solution whose labels may be wrong."""

    solution: Solution
    labels: Labels
    other: Labels | None
    """What the other labeller says, where one was given."""
    reasons: tuple[str, ...]
    weight: float
    """From 0 to 1: reasons together, as if they were independent."""

    def row(self) -> dict[str, Any]:
        """As plain values, without the texts."""
        return {
            "solution_id": self.solution.id,
            "problem_id": self.solution.prefix.problem_id,
            "error": self.labels.error,
            "error_known": self.labels.error_known,
            "reasons": list(self.reasons),
            "weight": round(self.weight, 4),
        }


def bar(labels: Labels) -> float:
    """The rate from which on this labeller calls a step good: half for votes on validity, half of the problem's own rate
    for rollouts; NaN where the labels do not say (a single success decides, or the problem's rate is not known)."""
    if labels.truth == "validity":
        return 0.5
    if labels.rule.startswith("relative") and labels.start.tried:
        return labels.start.smoothed / 2
    return math.nan


def doubts(labelled: list[Labelled], others: Mapping[str, Labels], noise: Noise) -> list[Doubt]:
    """All solutions with a reason for doubt, the weightiest first; equal ones stay in the order of the file."""
    found = []
    for solution, labels in labelled:
        other = others.get(solution.id)
        reasons = [*_contradictions(solution, labels, other), *_own(labels, noise)]
        if reasons:
            weight = 1 - math.prod(1 - weight for _, weight in reasons)
            told = tuple(reason for reason, _ in reasons)
            found.append(Doubt(solution=solution, labels=labels, other=other, reasons=told, weight=weight))
    return sorted(found, key=lambda doubt: -doubt.weight)


def trap(solution: Solution, labels: Labels) -> bool:
    """Right answer, wrong step."""
    return solution.verdict is Verdict.CORRECT and labels.error_known and labels.error is not None


def wrong_end(solution: Solution, labels: Labels) -> bool:
    """Wrong answer, no wrong step: an error was missed, or the verifier refused a right answer."""
    return solution.verdict is Verdict.INCORRECT and labels.error_known and labels.error is None


def _contradictions(solution: Solution, labels: Labels, other: Labels | None) -> list[tuple[str, float]]:
    found = []
    if other is not None and other.error_known and labels.error_known and other.error != labels.error:
        found.append((f"first error {_named(labels)}, {_named(other)} by the other labeller", OTHER))
    if trap(solution, labels):
        found.append((f"right answer, wrong step ({_named(labels)})", TRAP))
    if wrong_end(solution, labels):
        found.append(("wrong answer, no wrong step", WRONG_END))
    return found


def _own(labels: Labels, noise: Noise) -> list[tuple[str, float]]:
    """Reasons in the labels themselves."""
    if not labels.error_known:
        return [("first error unknown", UNKNOWN)]
    found = []
    reached = len(labels.tallies) if labels.error is None else labels.error + 1
    chances = [chance for tally in labels.tallies[:reached] if (chance := noise(labels, tally)) == chance]
    worst = max(chances, default=0.0)
    if worst >= 0.1:
        place = next(i for i, tally in enumerate(labels.tallies) if noise(labels, tally) == worst)
        tally = labels.tallies[place]
        found.append((f"step {place + 1} has {tally.good} of {tally.tried}, close to where decisions turn", worst))
    at = bar(labels)
    behind = [tally for tally in labels.tallies[reached:] if tally.tried > 1 and tally.rate >= at]
    if labels.truth == "value" and behind:
        found.append(("rates recover behind the first error", RECOVERS))
    return found


def _named(labels: Labels) -> str:
    return "none" if labels.error is None else f"in step {labels.error + 1}"
