"""Monte-Carlo tree search over steps: PUCT with the scorer's values in place of rollouts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from gradatim.search.frontier import Ask, Node, Search, Tree


@dataclass(eq=False, slots=True)
class _Arm:
    """A node with what the search learned below it."""

    node: Node
    prior: float
    """Share of its parent's draws that wrote it: what the policy thinks of it."""
    visits: int = 0
    total: float = 0.0
    below: list[_Arm] = field(default_factory=list)
    closed: bool = False
    """Nothing below it is left to expand."""


def mcts(tree: Tree, *, n: int, each: int, simulations: int, exploration: float) -> Search:
    """Expand the most promising prefix by `each` draws, `simulations` times or until `n` solutions are finished.

    From the root down, the child with the largest Q + exploration * P * sqrt(N) / (1 + N_child) is taken (PUCT, as in
    AlphaZero, arXiv 1712.01815), equal ones in the order of their draws: N are visits, P is the share of the draws
    that wrote the child, Q the mean of the scores of all nodes at and below it. A score of NaN counts as 0. Every new
    node is scored and backed up once, so there are no rollouts; what is finished is not visited again. If nothing is
    finished in the end, the prefix where Q leads is written on, always with the best of `each` draws, until one is.
    """
    root = _Arm(tree.root, 1.0)
    for _ in range(simulations):
        if root.closed or len(tree.won) >= n:
            return
        yield from _expand(tree, _descend(root, exploration), each)
    while not (root.closed or tree.won):
        path = _descend(root, 0.0)
        while not path[-1].node.finished:
            yield from _expand(tree, path, each)
            if not path[-1].below:
                break  # all draws failed
            path.append(min(path[-1].below, key=lambda arm: arm.node.rank))


def _expand(tree: Tree, path: list[_Arm], each: int) -> Search:
    """Expand the last of a path; its children's values count for all above them."""
    leaf = path[-1]
    [children] = yield [Ask(leaf.node, each)]
    drawn = sum(child.count for child in children)
    leaf.below = [_Arm(child, child.count / drawn, closed=child.finished) for child in children]
    for arm in leaf.below:
        value = 0.0 if math.isnan(arm.node.value) else arm.node.value
        for one in (*path, arm):
            one.visits += 1
            one.total += value
        if arm.node.finished:
            tree.win(arm.node)
    for one in reversed(path):
        one.closed = all(arm.closed for arm in one.below)


def _descend(root: _Arm, exploration: float) -> list[_Arm]:
    """From the root to a prefix that was not expanded yet."""
    path = [root]
    while path[-1].below:
        scale = exploration * math.sqrt(path[-1].visits)
        open_arms = [arm for arm in path[-1].below if not arm.closed]
        # max() takes the first of equals: the lowest draw.
        path.append(max(open_arms, key=lambda arm: arm.total / arm.visits + scale * arm.prior / (1 + arm.visits)))
    return path
