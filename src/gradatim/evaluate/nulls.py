"""First-error F1 of rules that read no step: what a model has to beat.

`always_correct` calls nothing wrong (F1 is 0 by definition); `first_step` calls every first step wrong; `random` names -1
(no error) or one of the T steps with equal chance, as the F1 of its expected accuracies; `length` looks at the number of
steps only: "all solutions of at least (or at most) k steps are wrong at step j", the best such rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradatim.evaluate.first_error import Judged, f1, f1_of
from gradatim.evaluate.thresholds import cross_fit


@dataclass(frozen=True, slots=True)
class LengthRule:
    """Calls step `step` (0-based; the last one of shorter solutions) wrong in solutions with `low` to `high` steps."""

    low: int
    high: int
    step: int

    def predict(self, steps: int) -> int | None:
        """The first error in a solution of `steps` steps."""
        return min(self.step, steps - 1) if self.low <= steps <= self.high else None


def nulls(judged: Sequence[Judged], *, chosen_on: Sequence[Judged] | None = None) -> dict[str, float]:
    """F1 of the four rules; NaN where a class is empty.

    The length rule is chosen on `chosen_on` where the model's threshold was, otherwise by cross-fit (there is no length
    rule to fix beforehand, and a rule chosen on the same rows would look better than it is).
    """
    return {
        "always_correct": f1_of(judged, [None] * len(judged)),
        "first_step": f1_of(judged, [0] * len(judged)),
        "random": random_f1(judged),
        "length": length_f1(judged, chosen_on=chosen_on),
    }


def random_f1(judged: Sequence[Judged]) -> float:
    """F1 of the expected accuracies of a guess that is uniform over -1 and the T steps: each is right once in T + 1."""
    wrong = [1 / (len(one.scores) + 1) for one in judged if one.error is not None]
    right = [1 / (len(one.scores) + 1) for one in judged if one.error is None]
    return f1(math.fsum(wrong) / len(wrong), math.fsum(right) / len(right)) if wrong and right else math.nan


def length_f1(judged: Sequence[Judged], *, chosen_on: Sequence[Judged] | None = None) -> float:
    """F1 of the best rule on step count, chosen on other rows; NaN where a class is empty or there is but one problem."""
    if chosen_on is not None:
        rules = [best_length_rule(chosen_on)] * len(judged)
    elif len({one.problem for one in judged}) < 2:
        return math.nan
    else:
        rules = cross_fit(judged, [one.problem for one in judged], best_length_rule)
    return f1_of(judged, [rule.predict(len(one.scores)) for rule, one in zip(rules, judged, strict=True)])


def best_length_rule(judged: Sequence[Judged]) -> LengthRule:
    """The rule with the best F1 on these rows, by trying all; of equals the first in the order tried.

    Without solutions of both kinds every F1 is NaN and the rule calls nothing wrong.
    """
    best, best_value = LengthRule(1, 0, 0), 0.0
    counts = np.array([len(one.scores) for one in judged])
    errors = np.array([-1 if one.error is None else one.error for one in judged])
    wrong = errors >= 0
    if not wrong.any() or wrong.all():
        return best
    longest = int(counts.max())
    spans = [(low, longest) for low in range(1, longest + 1)] + [(1, high) for high in range(1, longest)]
    for low, high in spans:
        inside = (counts >= low) & (counts <= high)
        right = float((~inside & ~wrong).sum() / (~wrong).sum())
        for step in range(min(high, longest)):
            hits = inside & wrong & (errors == np.minimum(step, counts - 1))
            value = f1(float(hits.sum() / wrong.sum()), right)
            if value > best_value:
                # "at least low" holds for solutions longer than any seen here
                best, best_value = LengthRule(low, 1 << 60 if high == longest else high, step), value
    return best
