"""Where rollouts say the first error is: a rule from tallies to a step."""

from __future__ import annotations

from collections.abc import Sequence

from gradatim.core import Tally, Verdict


def rule_name(rule: str, k: int) -> str:
    """The rule with its settings, as `Labels.rule` records it."""
    said = {"any": "first step with no good rollout", "relative": "first step with rate < start/2, start = (s+1)/(n+2)"}
    return f"{rule} ({said[rule]}; k={k})"


def first_error(
    rule: str, tallies: Sequence[Tally], looked_at: Sequence[int], start: Tally, verdict: Verdict | None
) -> tuple[int | None, bool]:
    """(0-based first error or None, whether that is known) of a solution with these tallies.

    `looked_at` are the steps that count (no observations), `start` the problem's own tally without this solution.

    - "any": the first step from which nothing succeeded. A solution with the right answer is itself a success of all
      its prefixes, so it has no error. P(a good step is called an error) = (1 - V)^k.
    - "relative": the first step whose rate good/tried is below half of the start rate (s+1)/(n+2), which is smoothed so
      that a problem the policy never solved still has a bar above 0. Right answers are judged like all others:
      luck is not soundness.

    Unknown if a step before the error, or any step where no error is found, has nothing tried; or, under "relative", if
    nothing is known of the start.
    """
    if rule == "any" and verdict == Verdict.CORRECT:
        return None, True
    if rule == "relative" and not start.tried:
        return None, False
    bar = 0.5 * (start.good + 1) / (start.tried + 2)
    for index in looked_at:
        tally = tallies[index]
        if not tally.tried:
            return None, False
        if tally.good == 0 if rule == "any" else tally.rate < bar:
            return index, True
    return None, True
