"""What all searches share: trees of prefixes that a policy writes step by step and a scorer judges.

A search is a generator. It yields the draws that it wants next and is sent the nodes that they wrote; so the searches
of many problems go on side by side, in one call of the policy and one of the scorer a round. A node never sees the same
draw twice: asking for more goes on after its last draw. Draws of one node that wrote the same are one node, counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gradatim.core import Continuation, Policy, Prefix, Problem, Score, Scorer, Splitter
from gradatim.errors import BackendError, InputError
from gradatim.search.account import Account, Meter


@dataclass(eq=False, slots=True)
class Node:
    """A prefix in a search, and what was written after it."""

    prefix: Prefix
    finish: Literal["step", "stop", "length"] = "step"
    """"step" can be gone on from; "stop" ended by itself; "length" was cut off, by the policy or by the step limit."""
    draws: tuple[int, ...] = ()
    """The draw of each step on the way here; of several that wrote the same, the first."""
    above: Node | None = None
    score: Score | None = None
    """None for the root, and where the scorer refused the prefix."""
    count: int = 1
    """Draws of the node above that wrote this."""
    asked: int = 0
    """Draws that were asked for after this prefix: 0 to asked - 1."""
    children: dict[tuple[str, str], Node] = field(default_factory=dict)
    """What was written, by text and finish."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to write."""
        return self.finish != "step"

    @property
    def value(self) -> float:
        """What later stages rank by; NaN without a score."""
        return math.nan if self.score is None else self.score.value

    @property
    def rank(self) -> tuple[float, tuple[int, ...]]:
        """Sorts the best first: by value, NaN last; equal values by draws, the lower first."""
        return ranked(self.value, self.draws)


def ranked(value: float, draws: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
    """The key of `Node.rank`."""
    return (math.inf if math.isnan(value) else -value, draws)


@dataclass(frozen=True, slots=True)
class Ask:
    """So many more draws of one step after a node."""

    node: Node
    draws: int


Search = Generator[list[Ask], list[list[Node]], None]
"""Yields what it wants, is sent for each the nodes that these draws wrote: distinct, in the order of their first draw."""


class Tree:
    """What the search of one problem has found so far."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.root = Node(problem.start())
        self.finished: list[Node] = []
        """Every finished solution that was written, once, in the order in which they were found."""
        self.won: list[Node] = []
        """Those among them that the search counts against the number it was asked for."""
        self.generated = 0
        """Tokens that the policy wrote."""
        self.counts: Counter[str] = Counter()
        """Events by their names; see `Found.counts`."""
        self.failures: Counter[str] = Counter()
        """Draws that the policy could not write, by reason."""
        self.scored: list[Prefix] = []

    def win(self, node: Node) -> None:
        """Count a finished solution; a second time changes nothing."""
        if node not in self.won:
            self.won.append(node)


Method = Callable[[Tree], Search]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """Writes and scores what searches ask for."""

    policy: Policy
    scorer: Scorer
    splitter: Splitter
    """Gives the steps their kinds; where a step ends is the policy's to say."""
    step_limit: int
    """Steps after which a solution is cut off."""
    token_budget: int | None
    """No more is asked for a problem once the policy wrote so many tokens for it; the last round may exceed it."""
    seed: int

    def run(self, problems: Sequence[Problem], method: Method) -> tuple[list[Tree], Account]:
        """Search for solutions of some problems side by side: a tree for each, and what all of them cost."""
        meter = Meter(self.policy, self.scorer)
        trees = [Tree(problem) for problem in problems]
        live = [(tree, search, next(search, None)) for tree in trees for search in [method(tree)]]
        while wanted := [(tree, search, asks) for tree, search, asks in live if asks is not None and self._may(tree)]:
            found = iter(self._expand([(tree, ask) for tree, _, asks in wanted for ask in asks]))
            live = [(tree, search, _go_on(search, [next(found) for _ in asks])) for tree, search, asks in wanted]
        generated = sum(tree.generated for tree in trees)
        return trees, meter.account(generated, [prefix for tree in trees for prefix in tree.scored])

    def _may(self, tree: Tree) -> bool:
        spent = self.token_budget is not None and tree.generated >= self.token_budget
        tree.counts["out_of_budget"] += spent
        return not spent

    def _expand(self, asks: Sequence[tuple[Tree, Ask]]) -> list[list[Node]]:
        """For each ask the nodes that its draws wrote, all of them scored."""
        ranges = [_next_draws(ask) for _, ask in asks]
        rows = self._write([ask.node.prefix for _, ask in asks], ranges)
        fresh: list[tuple[Tree, Node]] = []
        found = []
        for (tree, ask), draws, row in zip(asks, ranges, rows, strict=True):
            nodes = [self._settle(tree, ask.node, *pair, fresh) for pair in zip(draws, row, strict=True)]
            found.append(list(dict.fromkeys(node for node in nodes if node is not None)))
        self._score(fresh)
        return found

    def _write(self, prefixes: Sequence[Prefix], ranges: Sequence[range]) -> list[list[Continuation]]:
        """The continuations of each prefix, in one call of the policy for all that want the same draws."""
        places: dict[range, list[int]] = {}
        for place, draws in enumerate(ranges):
            places.setdefault(draws, []).append(place)
        rows: list[list[Continuation]] = [[] for _ in prefixes]
        for draws, some in places.items():
            if not draws:
                continue
            try:
                written = self.policy.write(
                    [prefixes[place] for place in some], draws=draws, one_step=True, seed=self.seed
                )
            except BackendError as error:
                written = [[Continuation("", "failed", 0, str(error)) for _ in draws] for _ in some]
            for place, row in zip(some, written, strict=True):
                rows[place] = row
        return rows

    def _settle(
        self, tree: Tree, node: Node, draw: int, text: Continuation, fresh: list[tuple[Tree, Node]]
    ) -> Node | None:
        """The node that a draw wrote, which may be there already; None for a draw that failed."""
        tree.generated += text.tokens
        if text.finish == "failed":
            tree.failures[text.error] += 1
            return None
        tree.counts["draws"] += 1
        key = (text.text, text.finish)
        if (known := node.children.get(key)) is not None:
            known.count += 1
            tree.counts["duplicates"] += 1
            return known
        child = node.children[key] = self._child(node, draw, text)
        tree.counts.update({"empty": not text.text, "truncated": child.finish == "length"})
        if child.finished:
            tree.finished.append(child)
        if text.text:
            fresh.append((tree, child))
        return child

    def _child(self, node: Node, draw: int, text: Continuation) -> Node:
        prefix = node.prefix
        for step in self.splitter(text.text):
            prefix = prefix.then(step)
        finish: Literal["step", "stop", "length"]
        if text.finish != "step":
            finish = "stop" if text.finish == "stop" else "length"
        elif not text.text:
            # A policy that says it wrote a step of nothing would say so for ever.
            finish = "stop"
        else:
            finish = "length" if len(prefix.steps) >= self.step_limit else "step"
        # Nothing was added to an empty one: it is worth what its prefix is worth.
        return Node(prefix, finish, (*node.draws, draw), node, None if text.text else node.score)

    def _score(self, fresh: Sequence[tuple[Tree, Node]]) -> None:
        for (tree, node), score in zip(fresh, score_each(self.scorer, [node.prefix for _, node in fresh]), strict=True):
            if isinstance(score, InputError):
                tree.counts["refused"] += 1
                continue
            node.score = score
            tree.scored.append(node.prefix)


def score_each(scorer: Scorer, prefixes: Sequence[Prefix]) -> list[Score | InputError]:
    """For each prefix its score, or why the scorer refuses it."""
    try:
        return [*scorer.score(prefixes)] if prefixes else []
    except InputError as error:
        if len(prefixes) == 1:
            return [error]
    return [found for prefix in prefixes for found in score_each(scorer, [prefix])]


def _next_draws(ask: Ask) -> range:
    draws = range(ask.node.asked, ask.node.asked + ask.draws)
    ask.node.asked += ask.draws
    return draws


def _go_on(search: Search, found: list[list[Node]]) -> list[Ask] | None:
    """What a search wants next; None if it is over."""
    try:
        return search.send(found)
    except StopIteration:
        return None
