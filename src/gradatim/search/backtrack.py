"""Backtracking self-correction: a step after which the score drops is written again, within a budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from gradatim.search.frontier import Ask, Node, Search, Tree, ranked


@dataclass(eq=False, slots=True)
class _Chain:
    """One solution in the making."""

    node: Node
    left: int
    """Steps that may still be written again."""
    tried: list[Node] = field(default_factory=list)
    """What was written after `node` and turned down."""
    lost: bool = False
    """Whether there is no draw to go on with: all failed."""


def backtrack(tree: Tree, *, n: int, retries: int, drop: float, patience: int) -> Search:
    """`n` solutions, each written one step at a time.

    A step is turned down if its own score is lower by more than `drop` than that of the step before it (1 before the
    first: scores are taken to lie in [0, 1]; of an outcome model it is the value of the prefix). Then the next draw is
    tried. After `patience` draws that were turned down at one place the step before it is given up, too, and written
    again. Each new try takes one of a solution's `retries`; when they are used up the best of what was tried goes on.
    Several chains at one prefix get different draws of it.
    """
    chains = [_Chain(tree.root, retries) for _ in range(n)]
    while chains:
        found = yield [Ask(chain.node, 1) for chain in chains]
        for chain, nodes in zip(chains, found, strict=True):
            tree.counts["turned_down"] += _advance(chain, nodes, drop, patience)
            if chain.node.finished:
                tree.win(chain.node)
        chains = [chain for chain in chains if not chain.node.finished and not chain.lost]


def _advance(chain: _Chain, found: list[Node], drop: float, patience: int) -> bool:
    """Go on with what was written, or turn it down (then True). A draw that failed takes a retry as well."""
    if found and not _step_score(found[0]) < _step_score(chain.node) - drop:
        chain.node, chain.tried = found[0], []
        return False
    chain.tried += found
    if chain.left > 0:
        chain.left -= 1
        if len(chain.tried) >= patience and chain.node.above is not None:
            chain.node, chain.tried = chain.node.above, [chain.node]
        return bool(found)
    if chain.tried:
        chain.node, chain.tried = min(chain.tried, key=_by_step), []
    else:
        chain.lost = True
    return False


def _step_score(node: Node) -> float:
    """The last step's own score, or the value where there is none; 1 for no steps."""
    if node.above is None:
        return 1.0
    last = node.score.steps[-1] if node.score is not None and node.score.steps else math.nan
    return node.value if math.isnan(last) else last


def _by_step(node: Node) -> tuple[float, tuple[int, ...]]:
    return ranked(_step_score(node), node.draws)
