"""Examples -> lessons: trees of tokens with the evidence at their nodes, ready to be run and paid for.

A step that several solutions share is one node. What the node owes is decided by the weighting:

    "trajectory"  the sum of the evidence of all solutions through it: what separate sequences would cost
    "prefix"      their mean, so that each distinct labelled prefix counts once, however many solutions begin with it

A tree that is split over blocks repeats the path that its parts share. Under "prefix" a repeated node owes in the first
block only; under "trajectory" each solution lies in one block and owes there.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Literal, Protocol

from gradatim import trees
from gradatim.train.targets import Evidence

Weighting = Literal["prefix", "trajectory"]


class Grower(Protocol):
    """Makes blocks of token sequences; `trees.build` and `trees.chains` are such."""

    def __call__(self, sequences: Sequence[Sequence[int]]) -> list[trees.Block]: ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """A solution as the model reads it, with the evidence at some of its tokens."""

    ids: tuple[int, ...]
    evidence: tuple[tuple[int, Evidence], ...]
    """(index into ids, evidence), in rising order."""


@dataclass(frozen=True, slots=True)
class Match:
    """Two solutions in tokens of which the first should get the higher reward, read at their last tokens."""

    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    margin: float = 0.0


@dataclass(frozen=True, eq=False)
class Lesson:
    """Blocks that must be run together, the nodes that are read in them, and what the logits there should be.

    Two lessons are the same only if they are one object.
    """

    blocks: tuple[trees.Block, ...]
    nodes: tuple[tuple[int, ...], ...]
    """For each block the nodes to read. Below, a read is an index into all of them in order."""
    evidence: tuple[Evidence, ...] = ()
    """One a read, or none where matches are learnt from."""
    matches: tuple[tuple[int, int, float, float], ...] = ()
    """(read of the chosen, read of the rejected, margin, weight)."""
    distinct: int = 0
    """Tokens in it that no earlier lesson holds."""

    @cached_property
    def weight(self) -> float:
        """What the loss of this lesson is divided by, together with its batch."""
        return sum(map(sum, self.evidence)) + sum(match[3] for match in self.matches)

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


def from_evidence(solutions: Sequence[Tokens], weighting: Weighting, grow: Grower) -> list[Lesson]:
    """One lesson a block, for logistic losses; blocks in which nothing is owed are left out."""
    blocks = grow([solution.ids for solution in solutions])
    owed = _means(solutions) if weighting == "prefix" else {}
    lessons: list[Lesson] = []
    last: tuple[int, ...] = ()
    for block in blocks:
        # Blocks are in the order of their tokens: what a block repeats, it shares with the sequence before it.
        distinct = len(block) - trees.shared(last, solutions[block.members[0]].ids)
        last = solutions[block.members[-1]].ids
        found: dict[int, Evidence] = {}
        for member in block.members:
            solution = solutions[member]
            path = block.path(member)
            keys = _keys(solution) if weighting == "prefix" else ()
            for place, (token, evidence) in enumerate(solution.evidence):
                node = path[token]
                if weighting == "trajectory":
                    found[node] = _sum(found.get(node), evidence)
                elif keys[place] in owed:
                    # Taken out when it is first met: a later block that repeats the node owes nothing for it.
                    found[node] = owed.pop(keys[place])
        if found:
            reads = tuple(sorted(found))
            lessons.append(Lesson((block,), (reads,), tuple(found[node] for node in reads), distinct=distinct))
    return lessons


def from_matches(matches: Sequence[Match], weighting: Weighting, grow: Grower, budget: int) -> list[Lesson]:
    """Lessons of whole pairs, for Bradley-Terry; pairs that share tokens share a lesson of up to `budget` tokens.

    Under "prefix" a pair that occurs several times counts once.
    """
    counts: dict[Match, float] = {}
    for match in matches:
        counts[match] = 1.0 if weighting == "prefix" else counts.get(match, 0.0) + 1.0
    lessons: list[Lesson] = []
    pending: list[Match] = []
    sequences: list[tuple[int, ...]] = []
    size = 0
    for match in sorted(counts, key=lambda match: (match.chosen, match.rejected, match.margin)):
        grown = [*sequences, match.chosen, match.rejected]
        new_size = trees.distinct_tokens(grown)
        # Sharing nothing with what is there, a pair starts its own lesson: padding would cost more than it saves.
        alone = new_size == size + trees.distinct_tokens(grown[-2:])
        if pending and (new_size > budget or alone):
            lessons.append(_matched(pending, counts, grow))
            pending, grown = [], grown[-2:]
            new_size = trees.distinct_tokens(grown)
        pending.append(match)
        sequences, size = grown, new_size
    if pending:
        lessons.append(_matched(pending, counts, grow))
    return lessons


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


def _matched(matches: Iterable[Match], counts: dict[Match, float], grow: Grower) -> Lesson:
    index: dict[tuple[int, ...], int] = {}
    for match in matches:
        index.setdefault(match.chosen, len(index))
        index.setdefault(match.rejected, len(index))
    blocks = grow(list(index))
    # A read a member, block by block.
    read = {member: place for place, member in enumerate(m for block in blocks for m in block.members)}
    return Lesson(
        tuple(blocks),
        tuple(block.leaves for block in blocks),
        matches=tuple(
            (read[index[match.chosen]], read[index[match.rejected]], match.margin, counts[match]) for match in matches
        ),
        distinct=trees.distinct_tokens(list(index)),
    )


def _means(solutions: Sequence[Tokens]) -> dict[bytes, Evidence]:
    """The mean evidence for each distinct labelled prefix, over the solutions that have any for it."""
    sums: dict[bytes, Evidence] = {}
    counts: dict[bytes, int] = {}
    for solution in solutions:
        for key, (_, evidence) in zip(_keys(solution), solution.evidence, strict=True):
            sums[key] = _sum(sums.get(key), evidence)
            counts[key] = counts.get(key, 0) + 1
    return {key: Evidence(total.good / counts[key], total.bad / counts[key]) for key, total in sums.items()}


def _keys(solution: Tokens) -> list[bytes]:
    """A digest of the tokens up to and with each token that has evidence."""
    content, digest, done, keys = array("q", solution.ids), blake2b(digest_size=16), 0, []
    for token, _ in solution.evidence:
        digest.update(content[done : token + 1])
        done = token + 1
        keys.append(digest.digest())
    return keys


def _sum(a: Evidence | None, b: Evidence) -> Evidence:
    return b if a is None else Evidence(a.good + b.good, a.bad + b.bad)
