"""Token sequences -> blocks: trees that hold every shared beginning once, small enough for one masked forward pass.

A causal model that sees a node's ancestors and itself, at positions equal to the depth, computes for every node what it
would compute for that node's path alone. Nodes are in depth-first order, so the descendants of node j are j + 1 to
end[j] - 1, and "j is an ancestor of i, or i" is `j <= i < end[j]`: a mask is made without walking the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

MIN_SHARE = 1 / 16
"""A sequence joins a block only if it shares this part of its tokens: a smaller saving does not pay for the mask."""

MIN_FILL = 7 / 8
"""A block joins a batch only if it is at least this long beside the longest: padding is computed like any token."""


@dataclass(frozen=True)
class Block:
    """A forest of tokens in depth-first order, and where in it each member sequence ends."""

    ids: tuple[int, ...]
    """Token of each node."""
    depth: tuple[int, ...]
    """Number of ancestors of each node: its position id."""
    parent: tuple[int, ...]
    """Index of each node's parent, always smaller than its own; -1 for a first token."""
    end: tuple[int, ...]
    """One past the last descendant of each node."""
    members: tuple[int, ...]
    """Indices of the sequences that lie in this block, as they were given to `build`."""
    leaves: tuple[int, ...]
    """Node of the last token of each member."""

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def is_chain(self) -> bool:
        """Whether it is one sequence (and prefixes of it): a causal kernel needs no mask for it."""
        return len(self.depth) == self.depth[-1] + 1

    @cached_property
    def _leaf(self) -> dict[int, int]:
        return dict(zip(self.members, self.leaves, strict=True))

    def path(self, sequence: int) -> tuple[int, ...]:
        """The node of each token of a member; KeyError for a sequence that is not one."""
        node, path = self._leaf[sequence], []
        while node >= 0:
            path.append(node)
            node = self.parent[node]
        return tuple(reversed(path))

    def nodes(self, sequence: int, tokens: Sequence[int]) -> tuple[int, ...]:
        """The nodes of some tokens (indices into the sequence) of a member; IndexError outside it."""
        path = self.path(sequence)
        return tuple(path[token] for token in tokens)


def build(sequences: Sequence[Sequence[int]], budget: int) -> list[Block]:
    """Blocks that together hold every sequence once as a member, in the order of their tokens.

    Sequences are sorted, so that the result does not depend on their order. A block has at most `budget` nodes, except
    that one sequence longer than that has a block to itself (with its own prefixes). A tree that does not fit is split
    along its branches, repeating the path that they share. ValueError for an empty sequence or a budget below 1.
    """
    if budget < 1:
        raise ValueError(f"a block needs room for at least one token, got a budget of {budget}")
    return _grow(sequences, budget, MIN_SHARE)


def chains(sequences: Sequence[Sequence[int]]) -> list[Block]:
    """One chain a sequence (its prefixes and copies are members of the same chain): for models that take no mask."""
    return _grow(sequences, 0, 1.0)


def distinct_tokens(sequences: Sequence[Sequence[int]]) -> int:
    """Nodes of the one tree of all sequences: what has to be computed at least."""
    ordered = sorted(map(tuple, sequences))
    total = sum(map(len, ordered))
    return total - sum(shared(a, b) for a, b in pairwise(ordered))


def shared(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common beginning."""
    if a == b[: len(a)]:
        return len(a)
    return next((index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def batches(blocks: Sequence[Block], tokens: int) -> list[list[int]]:
    """Indices of blocks to run together, of like length, longest first, chains apart from trees (they need no mask).

    Padded to its longest block a batch has at most `tokens` tokens, except that a block longer than that runs alone.
    """
    order = sorted(range(len(blocks)), key=lambda index: (blocks[index].is_chain, -len(blocks[index])))
    groups: list[list[int]] = []
    for index in order:
        block, group = blocks[index], groups[-1] if groups else []
        first = blocks[group[0]] if group else None
        alike = first and first.is_chain == block.is_chain and len(block) >= MIN_FILL * len(first)
        if first and alike and len(first) * (len(group) + 1) <= tokens:
            group.append(index)
        else:
            groups.append([index])
    return groups


def _grow(sequences: Sequence[Sequence[int]], budget: int, share: float) -> list[Block]:
    blocks: list[Block] = []
    growing: _Growing | None = None
    texts = [tuple(sequence) for sequence in sequences]
    for index in sorted(range(len(texts)), key=lambda index: texts[index]):
        ids = texts[index]
        if not ids:
            raise ValueError(f"sequence {index} is empty")
        common = shared(growing.last, ids) if growing else 0
        if growing is None or not growing.takes(ids, common, budget, share):
            if growing:
                blocks.append(growing.done())
            growing, common = _Growing(), 0
        growing.add(index, ids, common)
    if growing:
        blocks.append(growing.done())
    return blocks


class _Growing:
    """A block while sequences are added to it in sorted order."""

    def __init__(self) -> None:
        self.last: tuple[int, ...] = ()
        self._path: list[int] = []
        self._ids: list[int] = []
        self._depth: list[int] = []
        self._parent: list[int] = []
        self._end: list[int] = []
        self._members: list[int] = []
        self._leaves: list[int] = []

    def takes(self, ids: tuple[int, ...], common: int, budget: int, share: float) -> bool:
        extends = common == len(self.last) == len(self._ids)
        if extends and common < len(ids):
            # A chain that stays a chain never needs a mask, however long it becomes.
            return True
        return common >= share * len(ids) and (common == len(ids) or len(self._ids) + len(ids) - common <= budget)

    def add(self, index: int, ids: tuple[int, ...], common: int) -> None:
        self._close(common)
        for depth in range(common, len(ids)):
            self._parent.append(self._path[-1] if self._path else -1)
            self._path.append(len(self._ids))
            self._ids.append(ids[depth])
            self._depth.append(depth)
            self._end.append(-1)
        self._members.append(index)
        self._leaves.append(self._path[-1])
        self.last = ids

    def done(self) -> Block:
        self._close(0)
        return Block(
            tuple(self._ids),
            tuple(self._depth),
            tuple(self._parent),
            tuple(self._end),
            tuple(self._members),
            tuple(self._leaves),
        )

    def _close(self, common: int) -> None:
        for node in self._path[common:]:
            self._end[node] = len(self._ids)
        del self._path[common:]
