"""One candidate out of several: best-of-n, majority, weighted majority, with ties stated."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gradatim import stats

Same = Callable[[str, str], bool]
"""Whether two answers are one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One candidate out of several."""

    index: int
    """Its position among the candidates."""
    answer: str | None
    value: float
    """What it was chosen by: its score, its answer's votes, or the sum of its answer's scores."""
    tied: int
    """How many others have the same: candidates for best-of-n, answers for votes. The first in order was taken."""


def best_of_n(values: Sequence[float], answers: Sequence[str | None] | None = None) -> Choice | None:
    """The candidate with the highest value, the first of several. A NaN is never chosen; None if there is nothing
    else."""
    seen = [index for index, value in enumerate(values) if not math.isnan(value)]
    if not seen:
        return None
    best = max(seen, key=lambda index: (values[index], -index))
    tied = sum(values[index] == values[best] for index in seen) - 1
    return Choice(best, None if answers is None else answers[best], values[best], tied)


def majority(answers: Sequence[str | None], same: Same | None = None) -> Choice | None:
    """The first candidate of the most frequent answer. An unread answer (None) casts no vote; None if all are unread.

    `same` says whether two answers are one (default: the same text). Of tied answers the one that came first is taken.
    """
    return weighted_majority([1.0] * len(answers), answers, same)


def weighted_majority(
    values: Sequence[float], answers: Sequence[str | None], same: Same | None = None
) -> Choice | None:
    """The answer whose candidates' values have the largest sum, and of these the candidate with the highest value.

    As `majority`; a candidate whose value is NaN casts no vote. Sums that differ by rounding only are tied
    (`stats.TIE`).
    """
    voters = [None if math.isnan(value) else answer for value, answer in zip(values, answers, strict=True)]
    groups = group_answers(voters, same)
    members: defaultdict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        if group >= 0:
            members[group].append(index)
    if not members:
        return None
    sums = {group: math.fsum(values[index] for index in indices) for group, indices in members.items()}
    slack = stats.TIE * math.fsum(abs(values[index]) for indices in members.values() for index in indices)
    tied = [group for group in sums if sums[group] >= max(sums.values()) - slack]
    winner = min(tied)  # groups are numbered in order of their first candidate
    best = max(members[winner], key=lambda index: (values[index], -index))
    return Choice(best, answers[best], max(sums.values()), len(tied) - 1)


def group_answers(answers: Sequence[str | None], same: Same | None = None) -> list[int]:
    """For each answer the number of its group, in order of first appearance; -1 for an unread one.

    Without `same`, equal texts make a group. With it an answer joins the first group whose first answer is the same.
    """
    groups: dict[str, int] = {}
    heads: list[str] = []
    for answer in answers:
        if answer is None or answer in groups:
            continue
        found = next((k for k, head in enumerate(heads) if same(head, answer)), None) if same is not None else None
        groups[answer] = len(heads) if found is None else found
        if found is None:
            heads.append(answer)
    return [-1 if answer is None else groups[answer] for answer in answers]
