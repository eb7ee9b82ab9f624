"""Lessons in which several nodes owe together: nothing that is compared is torn or lost, however trees are split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim import trees
from gradatim.errors import ConfigError
from gradatim.train.goals import Goal
from gradatim.train.lessons import Lesson, Tokens, Weighting
from gradatim.train.rankings import from_rankings, from_siblings, without_siblings
from gradatim.train.targets import Evidence

GOOD, BAD = Evidence(1, 0), Evidence(0, 1)
PQM = Goal(objective="pqm")
Path = tuple[int, ...]


def grower(budget: int) -> partial[list[trees.Block]]:
    return partial(trees.build, budget=budget)


@st.composite
def forests(draw: st.DrawFn, *, hard: bool = False) -> list[Tokens]:
    """Solutions of two problems with steps of one or two tokens, which share much, with evidence at some step ends."""
    counts = st.sampled_from([GOOD, BAD]) if hard else st.builds(Evidence, st.integers(0, 3), st.integers(1, 3))
    steps = st.lists(st.sampled_from([(1, 5), (2, 5), (3,)]), min_size=1, max_size=4)
    solutions = []
    for problem, texts in draw(st.lists(st.tuples(st.sampled_from([8, 9]), steps), min_size=1, max_size=10)):
        ids, begins, evidence = (problem,), [], []
        labelled = draw(st.lists(st.booleans(), min_size=len(texts) - 1, max_size=len(texts) - 1))
        for text, has in zip(texts, [*labelled, True], strict=True):
            if has:
                begins.append(len(ids))
                evidence.append((len(ids) + len(text) - 1, draw(counts)))
            ids += text
        weight = draw(st.sampled_from([1.0, 0.5]))
        solutions.append(Tokens(ids, tuple(evidence), tuple(begins), weight=weight))
    return solutions


def paths(lesson: Lesson) -> list[Path]:
    """The tokens of each read and of all before it."""
    found = []
    for block, nodes in zip(lesson.blocks, lesson.nodes, strict=True):
        for node in nodes:
            path, at = [], node
            while at >= 0:
                path.append(block.ids[at])
                at = block.parent[at]
            found.append(tuple(reversed(path)))
    return found


def sibling_weights(solutions: Sequence[Tokens], weighting: Weighting) -> dict[tuple[Path, Path], float]:
    """(better, worse) -> what they owe, by going over every two labelled steps of all solutions."""
    evidence: dict[Path, list[tuple[float, float]]] = defaultdict(list)
    parent: dict[Path, Path] = {}
    for one in solutions:
        for begin, (token, owed) in zip(one.begins, one.evidence, strict=True):
            evidence[one.ids[: token + 1]].append((one.weight * owed.good, one.weight * owed.bad))
            parent[one.ids[: token + 1]] = one.ids[:begin]
    share = {step: len(found) if weighting == "prefix" else 1 for step, found in evidence.items()}
    good = {step: sum(g for g, _ in found) / share[step] for step, found in evidence.items()}
    bad = {step: sum(b for _, b in found) / share[step] for step, found in evidence.items()}
    return {
        (a, b): good[a] * bad[b] / (good[a] + bad[a] + good[b] + bad[b])
        for a in parent
        for b in parent
        if a != b and parent[a] == parent[b] and good[a] * bad[b]
    }


@settings(max_examples=30, deadline=None)
@given(forests(), st.integers(1, 30), st.sampled_from(["prefix", "trajectory"]))
def test_every_two_siblings_owe_once(solutions: list[Tokens], budget: int, weighting: Weighting) -> None:
    """Whatever the budget, the pairs over all lessons, and their weights, are those of a search through everything."""
    found = [
        ((at[chosen], at[rejected]), weight)
        for lesson in from_siblings(solutions, weighting, grower(budget), budget)
        for at in [paths(lesson)]
        for chosen, rejected, _, weight in lesson.matches
    ]
    want = sibling_weights(solutions, weighting)

    assert len(found) == len(want)
    assert dict(found) == {pair: pytest.approx(weight) for pair, weight in want.items()}


@settings(max_examples=30, deadline=None)
@given(forests())
def test_solutions_without_a_differing_sibling_teach_nothing(solutions: list[Tokens]) -> None:
    """They are exactly those none of whose steps is in any pair: so they can be counted as dropped."""
    pairs = {side for pair in sibling_weights(solutions, "prefix") for side in pair}
    want = {
        index
        for index, one in enumerate(solutions)
        if not any(one.ids[: token + 1] in pairs for token, _ in one.evidence)
    }

    assert without_siblings(solutions) == want


@settings(max_examples=30, deadline=None)
@given(forests(hard=True), st.integers(1, 30), st.sampled_from(["prefix", "trajectory"]))
def test_every_solution_is_ranked_whole(solutions: list[Tokens], budget: int, weighting: Weighting) -> None:
    """Each solution's labelled steps, in order, with its weight; under "prefix" its copies share one."""
    want: dict[tuple[tuple[Path, ...], tuple[bool, ...]], float] = defaultdict(float)
    copies = [one.ids for one in solutions]
    for one in solutions:
        steps = tuple(one.ids[: token + 1] for token, _ in one.evidence)
        share = copies.count(one.ids) if weighting == "prefix" else 1
        want[steps, tuple(owed == GOOD for _, owed in one.evidence)] += one.weight / share

    found: dict[tuple[tuple[Path, ...], tuple[bool, ...]], float] = defaultdict(float)
    for lesson in from_rankings(solutions, weighting, grower(budget), PQM):
        at = paths(lesson)
        for ranking in lesson.rankings:
            found[tuple(at[read] for read in ranking.reads), ranking.good] += ranking.weight

    assert found == {key: pytest.approx(weight) for key, weight in want.items()}


def test_siblings_of_one_prefix_stay_together_above_the_budget() -> None:
    """Forty siblings of which a few fill a block: one lesson of several blocks, in which every two can be compared."""
    solutions = [
        Tokens((9, 9, step, 5), ((3, Evidence(step % 2, 1 - step % 2)),), begins=(2,)) for step in range(10, 50)
    ]

    [lesson] = from_siblings(solutions, "prefix", grower(10), 10)

    assert len(lesson.blocks) > 5
    assert len(lesson.matches) == 20 * 20
    assert lesson.weight == pytest.approx(20 * 20 / 2)


def test_pqm_refuses_evidence_that_is_for_and_against() -> None:
    """3 of 8 is neither a right nor a wrong step."""
    with pytest.raises(ConfigError, match="target=hard"):
        from_rankings([Tokens((1, 2), ((1, Evidence(3, 5)),))], "prefix", grower(9), PQM)
