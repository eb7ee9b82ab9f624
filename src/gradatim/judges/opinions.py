"""What a critic says of a solution, and what several of its draws come to: labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gradatim.core import Labels, Solution, Step, Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """One draw of a critic: for each step right (True), wrong (False) or not judged (None), and the first error."""

    votes: tuple[bool | None, ...]
    error: int | None = None
    """0-based index of the first wrong step, None for none; meaningful only if there is no `reason`."""
    reason: str = ""
    """Why the critic names no first error and does not say either that there is none: it abstains."""

    @property
    def decided(self) -> bool:
        """Whether it says where the first error is, or that there is none."""
        return not self.reason


def names(steps: Sequence[Step], error: int | None) -> Opinion:
    """The opinion that `error` is the first wrong step (None: that all are right); steps behind it are not judged.

    To call what the environment wrote wrong is no opinion on the reasoning: it abstains.
    """
    if error is not None and steps[error].kind == "observation":
        return abstains(steps, "names an observation")
    reached = len(steps) if error is None else error
    said = [True] * reached + [False] * (error is not None) + [None] * (len(steps) - reached - 1)
    return Opinion(votes=_judged(steps, said), error=error)


def abstains(steps: Sequence[Step], reason: str) -> Opinion:
    """No opinion, and why: reasons are counted, so they hold nothing of the single row."""
    return Opinion(votes=(None,) * len(steps), reason=reason)


def from_votes(steps: Sequence[Step], said: Sequence[bool | None], reason: str) -> Opinion:
    """The opinion of votes that were given step by step; it abstains, for `reason`, where a step without a vote comes
    before the first wrong one."""
    votes = _judged(steps, said)
    for index, (step, vote) in enumerate(zip(steps, votes, strict=True)):
        if vote is False:
            return Opinion(votes=votes, error=index)
        if vote is None and step.kind != "observation":
            return Opinion(votes=votes, reason=reason)
    return Opinion(votes=votes)


def labels_of(solution: Solution, opinions: Sequence[Opinion], *, by: str, rule: str) -> Labels:
    """The labels that some draws of one critic come to.

    A step's tally counts the draws that judged it: a draw that abstains is (0, 0). The first error is the one that most
    of the deciding draws name ("no error" is one of the names); it is unknown where none decides, or where two are
    named equally often.
    """
    steps = solution.prefix.steps
    tallies = tuple(
        Tally(votes.count(True), votes.count(True) + votes.count(False))
        for votes in zip(*(opinion.votes for opinion in opinions), strict=True)
    )
    named = Counter(opinion.error for opinion in opinions if opinion.decided).most_common(2)
    known = bool(named) and (len(named) == 1 or named[0][1] > named[1][1])
    return Labels(
        solution_id=solution.id,
        tallies=tallies or (Tally(),) * len(steps),
        error=named[0][0] if known else None,
        error_known=known,
        truth="validity",
        source="judge",
        by=by,
        rule=rule,
    )


def _judged(steps: Sequence[Step], said: Sequence[bool | None]) -> tuple[bool | None, ...]:
    """The votes without those on observations, which are nobody's reasoning."""
    return tuple(None if step.kind == "observation" else vote for step, vote in zip(steps, said, strict=True))
