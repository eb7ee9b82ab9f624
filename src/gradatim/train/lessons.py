"""Examples -> lessons: trees of tokens with what is owed at their nodes, ready to be run and paid for.

A step that several solutions share is one node. What the node owes is decided by the weighting:

    "trajectory"  the sum of the evidence of all solutions through it: what separate sequences would cost
    "prefix"      their mean, so that each distinct labelled prefix counts once, however many solutions begin with it

A tree that is split over blocks repeats the path that its parts share. Under "prefix" a repeated node owes in the first
block only; under "trajectory" each solution lies in one block and owes there. What is owed by several nodes together
(pairs, rankings) is in `gradatim.train.rankings`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Literal, NamedTuple, Protocol

from gradatim import trees
from gradatim.train.goals import LOGISTIC, Goal
from gradatim.train.targets import Evidence

Weighting = Literal["prefix", "trajectory"]

Spans = tuple[tuple[int, int], ...]
"""Tokens of a sequence as (first, one past the last), in rising order."""


class Grower(Protocol):
    """Makes blocks of token sequences; `trees.build` and `trees.chains` are such."""

    def __call__(self, sequences: Sequence[Sequence[int]]) -> list[trees.Block]: ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """A solution as the model reads it, with the evidence at some of its tokens."""

    ids: tuple[int, ...]
    evidence: tuple[tuple[int, Evidence], ...]
    """(index into ids, evidence), in rising order."""
    begins: tuple[int, ...] = ()
    """For each entry of the evidence the first token of its step: what siblings share lies before it."""
    counted: Spans = ()
    """The tokens whose log-ratios an implicit model sums."""
    weight: float = 1.0
    """Factor of everything that is owed for it."""


@dataclass(frozen=True, slots=True)
class Match:
    """Two solutions in tokens of which the first should get the higher reward, read at their last tokens."""

    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    margin: float = 0.0
    weight: float = 1.0
    """Factor of what is owed for it."""
    counted: tuple[Spans, Spans] = ((), ())
    """The tokens of either whose log-ratios an implicit model sums."""

    @property
    def pair(self) -> tuple[tuple[int, ...], tuple[int, ...], float]:
        """What makes two of them the same pair, whatever they weigh."""
        return self.chosen, self.rejected, self.margin


class Ranking(NamedTuple):
    """Steps of one solution that are ranked among each other."""

    reads: tuple[int, ...]
    """The read of each step, in the order of the steps."""
    good: tuple[bool, ...]
    """Whether each step is right."""
    weight: float
    """Factor of what is owed for it."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """Blocks that must be run together, the nodes that are read in them, and what the logits there should be.

    Two lessons are the same only if they are one object. One of `evidence`, `matches` and `rankings` is there.
    """

    blocks: tuple[trees.Block, ...]
    nodes: tuple[tuple[int, ...], ...]
    """For each block the nodes to read. Below, a read is an index into all of them in order."""
    evidence: tuple[Evidence, ...] = ()
    """One a read."""
    matches: tuple[tuple[int, int, float, float], ...] = ()
    """(read of the chosen, read of the rejected, margin, weight)."""
    rankings: tuple[Ranking, ...] = ()
    """One a solution."""
    counted: tuple[tuple[int, ...], ...] = ()
    """For each block the nodes whose log-ratios an implicit model sums on the way to a read; none for other models."""
    distinct: int = 0
    """Tokens in it that no earlier lesson holds."""
    goal: Goal = LOGISTIC
    """What its logits are measured by."""

    @cached_property
    def weight(self) -> float:
        """What the loss of this lesson is divided by, together with its batch."""
        evidence = sum(self.goal.positive_weight * owed.good + owed.bad for owed in self.evidence)
        return evidence + sum(match[3] for match in self.matches) + sum(ranking.weight for ranking in self.rankings)

    @cached_property
    def width(self) -> int:
        """Tokens of the longest block: what the others are padded to."""
        return max(map(len, self.blocks))

    @cached_property
    def tokens(self) -> int:
        """Tokens that a forward pass computes, without padding."""
        return sum(map(len, self.blocks))

    @property
    def reads(self) -> int:
        """How many nodes are read."""
        return sum(map(len, self.nodes))

    @property
    def is_chain(self) -> bool:
        return all(block.is_chain for block in self.blocks)


def from_evidence(
    solutions: Sequence[Tokens], weighting: Weighting, grow: Grower, goal: Goal = LOGISTIC
) -> list[Lesson]:
    """One lesson a block, for losses of single reads; blocks in which nothing is owed are left out."""
    owed = _means(solutions) if weighting == "prefix" else {}
    lessons: list[Lesson] = []
    for block, distinct in grown(solutions, grow):
        found: dict[int, Evidence] = {}
        for member in block.members:
            solution = solutions[member]
            path = block.path(member)
            keys = prefix_keys(solution) if weighting == "prefix" else ()
            for place, (token, evidence) in enumerate(solution.evidence):
                node = path[token]
                if weighting == "trajectory":
                    found[node] = _sum(found.get(node), evidence, solution.weight)
                elif keys[place] in owed:
                    # Taken out when it is first met: a later block that repeats the node owes nothing for it.
                    found[node] = owed.pop(keys[place])
        if found:
            reads = tuple(sorted(found))
            counted = counted_nodes(block, {member: solutions[member].counted for member in block.members})
            evidence_at = tuple(found[node] for node in reads)
            lessons.append(Lesson((block,), (reads,), evidence_at, counted=counted, distinct=distinct, goal=goal))
    return lessons


def grown(solutions: Sequence[Tokens], grow: Grower) -> Iterator[tuple[trees.Block, int]]:
    """The blocks of some solutions, each with how many of its tokens no earlier one holds."""
    last: tuple[int, ...] = ()
    for block in grow([solution.ids for solution in solutions]):
        # Blocks are in the order of their tokens: what a block repeats, it shares with the sequence before it.
        yield block, len(block) - trees.shared(last, solutions[block.members[0]].ids)
        last = solutions[block.members[-1]].ids


def counted_nodes(block: trees.Block, counted: Mapping[int, Spans]) -> tuple[tuple[int, ...], ...]:
    """For `Lesson.counted`: the nodes in the spans of any of the block's members, () where there are no spans."""
    if not any(counted.values()):
        return ()
    nodes: set[int] = set()
    for member in block.members:
        path = block.path(member)
        for first, after in counted[member]:
            nodes.update(path[first:after])
    return (tuple(sorted(nodes)),)


def micro_batches(lessons: Sequence[Lesson], tokens: int) -> list[list[Lesson]]:
    """Lessons to run in one forward pass: of like length, chains apart from trees, padded to at most `tokens` tokens.

    A lesson that is larger than that runs alone.
    """
    groups: list[list[Lesson]] = []
    rows = width = 0
    for lesson in sorted(lessons, key=lambda lesson: (lesson.is_chain, -lesson.width)):
        rows += len(lesson.blocks)
        alike = groups and groups[-1][0].is_chain == lesson.is_chain and lesson.width >= trees.MIN_FILL * width
        if alike and rows * width <= tokens:
            groups[-1].append(lesson)
        else:
            groups.append([lesson])
            rows, width = len(lesson.blocks), lesson.width
    return groups


def prefix_keys(solution: Tokens) -> list[bytes]:
    """A digest of the tokens up to and with each token that has evidence."""
    return digests(solution.ids, [token + 1 for token, _ in solution.evidence])


def digests(ids: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
    """A digest of the first tokens of a sequence, for each of some lengths in rising order."""
    content, digest, done, keys = array("q", ids), blake2b(digest_size=16), 0, []
    for length in lengths:
        digest.update(content[done:length])
        done = length
        keys.append(digest.digest())
    return keys


def _means(solutions: Sequence[Tokens]) -> dict[bytes, Evidence]:
    """The mean evidence for each distinct labelled prefix, over the solutions that have any for it."""
    sums: dict[bytes, Evidence] = {}
    counts: dict[bytes, int] = {}
    for solution in solutions:
        for key, (_, evidence) in zip(prefix_keys(solution), solution.evidence, strict=True):
            sums[key] = _sum(sums.get(key), evidence, solution.weight)
            counts[key] = counts.get(key, 0) + 1
    return {key: Evidence(total.good / counts[key], total.bad / counts[key]) for key, total in sums.items()}


def _sum(total: Evidence | None, more: Evidence, weight: float) -> Evidence:
    good, bad = total or (0.0, 0.0)
    return Evidence(good + weight * more.good, bad + weight * more.bad)
