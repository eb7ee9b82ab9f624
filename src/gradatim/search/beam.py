"""Beam search over steps, with a look ahead where it is asked for, and diverse verifier tree search."""

from __future__ import annotations

from collections.abc import Generator

from gradatim.search.frontier import Ask, Node, Search, Tree, ranked


def beam(tree: Tree, *, n: int, width: int, keep: int, ahead: int = 0) -> Search:
    """Rounds of `width` draws of one step; the best `keep` prefixes go on, each with an equal share of the draws.

    A finished solution competes like any other: if it is among the best it holds its place from then on and fewer
    prefixes go on; if not it is still kept. Over when `n` solutions have won a place; no more prefixes go on than there
    are places left, so `keep` is at most `n`.

    With `ahead` a prefix is judged by the score that it has so many steps later, on a path written by draw 0 after
    each (lookahead search, arXiv 2408.03314, there at temperature 0). Those draws are used when the prefix is
    expanded, so that a look ahead costs only what it adds.
    """
    beams = [tree.root]
    while beams and len(tree.won) < n:
        each = width // len(beams)
        yield [Ask(node, each - min(each, node.asked)) for node in beams]
        candidates = [child for node in beams for child in node.children.values() if child not in tree.won]
        ends = yield from _look(candidates, ahead)
        candidates.sort(key=lambda node: ranked(ends[node].value, node.draws))
        best = candidates[: min(keep, n - len(tree.won))]
        for node in best:
            if node.finished:
                tree.win(node)
        beams = [node for node in best if not node.finished]


def _look(nodes: list[Node], ahead: int) -> Generator[list[Ask], list[list[Node]], dict[Node, Node]]:
    """Where the path of first draws leads from each node, at most `ahead` steps on."""
    ends = {node: node for node in nodes}
    for _ in range(ahead):
        going = [node for node, end in ends.items() if not end.finished]
        yield [Ask(ends[node], int(ends[node].asked == 0)) for node in going]
        ends.update({node: _first(ends[node]) for node in going})
    return ends


def _first(node: Node) -> Node:
    """What draw 0 wrote after a node; the node itself if it wrote nothing (it failed)."""
    return next((child for child in node.children.values() if child.draws[-1] == 0), node)


def dvts(tree: Tree, *, n: int, width: int, keep: int) -> Search:
    """Diverse verifier tree search: `keep` trees of their own, in each of which the best of width / keep draws goes on.

    (Beeching, Tunstall and Rush, "Scaling test-time compute with open models", 2024.) Trees that stand at the same
    prefix get different draws. Over when every tree has finished, or `n` solutions have won.
    """
    each = width // keep
    heads = [tree.root] * keep
    while heads and len(tree.won) < n:
        found = yield [Ask(node, each) for node in heads]
        best = [min(children, key=lambda node: node.rank) for children in found if children]
        for node in best:
            if node.finished and len(tree.won) < n:
                tree.win(node)
        heads = [node for node in best if not node.finished]
