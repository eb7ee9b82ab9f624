"""Lessons in which several nodes owe together: pairs of solutions, siblings, and the steps of one solution.

What is compared is never torn: all nodes of a pair, of the siblings at one prefix or of one solution lie in one lesson,
which is larger than the size of a block where it has to be. What counts once is decided by the weighting:

                   "prefix"                                       "trajectory"
    pairs          each distinct pair                             each pair, as often as it occurs
    siblings       each step once, with its solutions' mean       each step with the sum of its solutions'
                   evidence                                       evidence
    one solution's each distinct solution, its copies sharing     each solution
    steps          its weight
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from gradatim import trees
from gradatim.errors import ConfigError
from gradatim.train.goals import LOGISTIC, Goal
from gradatim.train.lessons import (
    Grower,
    Lesson,
    Match,
    Ranking,
    Spans,
    Tokens,
    Weighting,
    counted_nodes,
    digests,
    grown,
    prefix_keys,
)
from gradatim.train.targets import Evidence


def from_matches(
    matches: Sequence[Match], weighting: Weighting, grow: Grower, budget: int, goal: Goal = LOGISTIC
) -> list[Lesson]:
    """Lessons of whole pairs; pairs that share tokens share a lesson of up to `budget` tokens.

    Under "prefix" a pair that occurs several times counts once, with the mean of its weights.
    """
    copies: dict[tuple[tuple[int, ...], tuple[int, ...], float], list[Match]] = defaultdict(list)
    for match in matches:
        copies[match.pair].append(match)
    weighed = []
    for _, same in sorted(copies.items()):
        weight = sum(match.weight for match in same)
        weighed.append([(same[0], weight / len(same) if weighting == "prefix" else weight)])
    return _packed(weighed, grow, budget, goal)


def from_siblings(
    solutions: Sequence[Tokens], weighting: Weighting, grow: Grower, budget: int, goal: Goal = LOGISTIC
) -> list[Lesson]:
    """Lessons of whole sets of siblings: the different steps that solutions take after one prefix.

    A pair of siblings with evidence (g, b) of n = g + b and (g', b') of n' owes, with Bradley-Terry's loss,

        g b' / (n + n') for the first above the second, and g' b / (n + n') for the second above the first:

    each success of one beside each failure of the other, with the weight of Mantel and Haenszel (1959). At the minimum the
    difference of the logits is that of the log-odds, ln(g / b) - ln(g' / b'). Two that are right in all, or wrong in
    all, owe nothing.
    """
    groups = []
    for siblings in _sibling_groups(solutions, weighting):
        ids = {sibling: sibling.solution.ids[: sibling.length] for sibling in siblings}
        groups.append(sorted((ids[a], ids[b], owed) for a, b, owed in _compared(siblings)))
    matches = [[(Match(a, b), owed) for a, b, owed in group] for group in sorted(groups) if group]
    return _packed(matches, grow, budget, goal)


def without_siblings(solutions: Sequence[Tokens]) -> set[int]:
    """The solutions (their indices) from which `from_siblings` learns nothing: no step has a sibling that differs."""
    taking: dict[bytes, list[int]] = defaultdict(list)
    for index, solution in enumerate(solutions):
        for key in prefix_keys(solution):
            taking[key].append(index)
    left = set(range(len(solutions)))
    for siblings in _sibling_groups(solutions, "prefix"):
        for a, b, _ in _compared(siblings):
            left.difference_update(taking[a.key], taking[b.key])
    return left


def from_rankings(solutions: Sequence[Tokens], weighting: Weighting, grow: Grower, goal: Goal) -> list[Lesson]:
    """One lesson a block, in which each solution's steps are ranked; ConfigError for evidence that is for and against."""
    kinds = [tuple(_is_right(evidence) for _, evidence in solution.evidence) for solution in solutions]
    copies = Counter(solution.ids for solution in solutions)
    lessons = []
    for block, distinct in grown(solutions, grow):
        paths = {member: block.path(member) for member in block.members}
        steps = {m: [path[token] for token, _ in solutions[m].evidence] for m, path in paths.items()}
        nodes = tuple(sorted(set().union(*steps.values())))
        read = {node: place for place, node in enumerate(nodes)}
        weights: dict[tuple[tuple[int, ...], tuple[bool, ...]], float] = defaultdict(float)
        for member in block.members:
            share = copies[solutions[member].ids] if weighting == "prefix" else 1
            reads = tuple(read[node] for node in steps[member])
            weights[reads, kinds[member]] += solutions[member].weight / share
        rankings = tuple(Ranking(reads, good, weight) for (reads, good), weight in weights.items())
        lessons.append(Lesson((block,), (nodes,), rankings=rankings, distinct=distinct, goal=goal))
    return lessons


def _is_right(evidence: Evidence) -> bool:
    if evidence.good and evidence.bad:
        raise ConfigError(
            f"objective=pqm ranks right steps above wrong ones; {evidence.good:g} for a step and {evidence.bad:g} "
            "against it is neither: set target=hard"
        )
    return evidence.good > 0


@dataclass(frozen=True, slots=True, eq=False)
class _Sibling:
    """A labelled step: of which solution, up to which token, and what is known of it from all solutions that take it."""

    key: bytes
    solution: Tokens
    length: int
    owed: Evidence


def _sibling_groups(solutions: Sequence[Tokens], weighting: Weighting) -> list[list[_Sibling]]:
    """The different labelled steps after each prefix."""
    groups: dict[bytes, dict[bytes, list[tuple[Tokens, int]]]] = defaultdict(lambda: defaultdict(list))
    for solution in solutions:
        starts = digests(solution.ids, solution.begins)
        for place, (start, step) in enumerate(zip(starts, prefix_keys(solution), strict=True)):
            groups[start][step].append((solution, place))
    return [[_sibling(key, taken, weighting) for key, taken in steps.items()] for steps in groups.values()]


def _sibling(key: bytes, taken: Sequence[tuple[Tokens, int]], weighting: Weighting) -> _Sibling:
    share = len(taken) if weighting == "prefix" else 1
    owed = [(solution.weight / share, solution.evidence[place][1]) for solution, place in taken]
    solution, place = taken[0]
    evidence = Evidence(sum(w * e.good for w, e in owed), sum(w * e.bad for w, e in owed))
    return _Sibling(key, solution, solution.evidence[place][0] + 1, evidence)


def _compared(siblings: Sequence[_Sibling]) -> Iterator[tuple[_Sibling, _Sibling, float]]:
    """(better, worse, what they owe) for every two of them, in either order."""
    for a, b in permutations(siblings, 2):
        if owed := a.owed.good * b.owed.bad:
            yield a, b, owed / (sum(a.owed) + sum(b.owed))


def _packed(groups: Iterable[Sequence[tuple[Match, float]]], grow: Grower, budget: int, goal: Goal) -> list[Lesson]:
    """Lessons of whole groups of (match, weight), in their order; groups that share tokens share one, up to `budget`."""
    lessons: list[Lesson] = []
    seen: list[tuple[int, ...]] = []
    pending: list[tuple[Match, float]] = []
    sequences: dict[tuple[int, ...], None] = {}
    size = 0
    for group in groups:
        new = dict.fromkeys(side for match, _ in group for side in (match.chosen, match.rejected))
        together = sequences | new
        new_size = trees.distinct_tokens(list(together))
        # Sharing nothing with what is there, a group starts its own lesson: padding would cost more than it saves.
        alone = new_size == size + trees.distinct_tokens(list(new))
        if pending and (new_size > budget or alone):
            lessons.append(_matched(pending, seen, grow, goal))
            pending, together = [], new
            new_size = trees.distinct_tokens(list(new))
        pending.extend(group)
        sequences, size = together, new_size
    if pending:
        lessons.append(_matched(pending, seen, grow, goal))
    return lessons


def _matched(matches: Sequence[tuple[Match, float]], seen: list[tuple[int, ...]], grow: Grower, goal: Goal) -> Lesson:
    """One lesson. Its sequences are added to `seen`, the sorted ones of all lessons before it."""
    counted: dict[tuple[int, ...], Spans] = {}
    for match, _ in matches:
        counted.setdefault(match.chosen, match.counted[0])
        counted.setdefault(match.rejected, match.counted[1])
    index = {side: place for place, side in enumerate(counted)}
    spans = list(counted.values())
    blocks = grow(list(index))
    # A read a member, block by block.
    read = {member: place for place, member in enumerate(m for block in blocks for m in block.members)}
    counts = [counted_nodes(block, {member: spans[member] for member in block.members}) for block in blocks]
    return Lesson(
        tuple(blocks),
        tuple(block.leaves for block in blocks),
        matches=tuple(
            (read[index[match.chosen]], read[index[match.rejected]], match.margin, weight) for match, weight in matches
        ),
        counted=tuple(nodes for found in counts for nodes in found),
        distinct=sum(_added(side, seen) for side in index),
        goal=goal,
    )


def _added(sequence: tuple[int, ...], seen: list[tuple[int, ...]]) -> int:
    """How many nodes a sequence adds to the tree of the sorted ones that were seen, to which it is added."""
    place = bisect_left(seen, sequence)
    near = seen[max(0, place - 1) : place + 1]  # no other shares a longer beginning with it
    seen.insert(place, sequence)
    return len(sequence) - max((trees.shared(sequence, other) for other in near), default=0)
