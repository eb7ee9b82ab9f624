from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim import trees
from gradatim.train.lessons import Lesson, Match, Tokens, Weighting, from_evidence, micro_batches
from gradatim.train.rankings import from_matches
from gradatim.train.targets import Evidence

GOOD, BAD = Evidence(1, 0), Evidence(0, 1)


def grower(budget: int) -> partial[list[trees.Block]]:
    return partial(trees.build, budget=budget)


@st.composite
def forests(draw: st.DrawFn) -> list[Tokens]:
    """Solutions over two tokens, which share much, with evidence at some of their tokens."""
    solutions = []
    for ids in draw(st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=8), min_size=1, max_size=12)):
        reads = sorted(draw(st.sets(st.integers(0, len(ids) - 1), min_size=1)))
        counts = [draw(st.tuples(st.integers(0, 3), st.integers(0, 3))) for _ in reads]
        evidence = tuple((read, Evidence(*count)) for read, count in zip(reads, counts, strict=True) if sum(count))
        solutions.append(Tokens(tuple(ids), evidence))
    return solutions


def paid(lessons: Sequence[Lesson]) -> dict[tuple[int, ...], list[Evidence]]:
    """The prefix that each read stands for -> what is owed there, over all lessons."""
    found: dict[tuple[int, ...], list[Evidence]] = {}
    for lesson in lessons:
        owed = iter(lesson.evidence)
        for block, nodes in zip(lesson.blocks, lesson.nodes, strict=True):
            for node in nodes:
                path, at = [], node
                while at >= 0:
                    path.append(block.ids[at])
                    at = block.parent[at]
                found.setdefault(tuple(reversed(path)), []).append(next(owed))
    return found


def by_prefix(solutions: Sequence[Tokens]) -> dict[tuple[int, ...], list[Evidence]]:
    """Every labelled prefix -> the evidence of each solution that begins with it."""
    found: dict[tuple[int, ...], list[Evidence]] = {}
    for solution in solutions:
        for token, evidence in solution.evidence:
            found.setdefault(solution.ids[: token + 1], []).append(evidence)
    return found


@settings(max_examples=40, deadline=None)
@given(forests(), st.integers(1, 30))
def test_prefix_weighting_pays_each_distinct_prefix_once(solutions: list[Tokens], budget: int) -> None:
    """However a tree is split, each labelled prefix is read once, and owes the mean of its solutions' evidence."""
    want = {
        prefix: (sum(e.good for e in all_) / len(all_), sum(e.bad for e in all_) / len(all_))
        for prefix, all_ in by_prefix(solutions).items()
    }

    found = paid(from_evidence(solutions, "prefix", grower(budget)))

    assert {prefix: len(owed) for prefix, owed in found.items()} == dict.fromkeys(want, 1)
    assert {prefix: tuple(owed[0]) for prefix, owed in found.items()} == {
        prefix: pytest.approx(pair) for prefix, pair in want.items()
    }


@settings(max_examples=40, deadline=None)
@given(forests(), st.integers(1, 30))
def test_trajectory_weighting_pays_every_solution(solutions: list[Tokens], budget: int) -> None:
    """However a tree is split, what is owed for a prefix adds up to the evidence of all solutions through it."""
    want = {
        prefix: (sum(e.good for e in all_), sum(e.bad for e in all_)) for prefix, all_ in by_prefix(solutions).items()
    }

    lessons = from_evidence(solutions, "trajectory", grower(budget))
    found = {p: (sum(e.good for e in owed), sum(e.bad for e in owed)) for p, owed in paid(lessons).items()}

    assert found == want
    assert sum(lesson.weight for lesson in lessons) == sum(map(sum, want.values()))


@settings(max_examples=40, deadline=None)
@given(forests(), st.integers(1, 30))
def test_distinct_tokens_of_lessons_add_up(solutions: list[Tokens], budget: int) -> None:
    """With evidence in every solution, the lessons' distinct tokens are those of one tree of everything."""
    known = [solution for solution in solutions if solution.evidence]
    whole = [Tokens(solution.ids, ((len(solution.ids) - 1, GOOD),)) for solution in known]

    lessons = from_evidence(whole, "trajectory", grower(budget))

    assert sum(lesson.distinct for lesson in lessons) == trees.distinct_tokens([solution.ids for solution in whole])


def test_chains_pay_like_trees() -> None:
    """Where a model takes no trees, shared prefixes are computed again, and still paid once."""
    solutions = [Tokens((1, 2, 3), ((1, GOOD), (2, BAD))), Tokens((1, 2, 4), ((1, GOOD), (2, GOOD)))]

    found = paid(from_evidence(solutions, "prefix", trees.chains))

    assert found == {(1, 2): [GOOD], (1, 2, 3): [BAD], (1, 2, 4): [GOOD]}


@pytest.mark.parametrize(("weighting", "weights"), [("prefix", [1, 1]), ("trajectory", [2, 1])])
def test_pairs_share_what_they_can(weighting: Weighting, weights: list[int]) -> None:
    """Pairs of one problem share a lesson; a pair that occurs twice counts once or twice, by the weighting."""
    matches = [Match((1, 2, 3), (1, 2, 4)), Match((1, 2, 3), (1, 2, 4)), Match((1, 2, 3), (1, 2, 5), 0.5)]

    [lesson] = from_matches(matches, weighting, grower(20), 20)

    reads = [block.ids[node] for block, nodes in zip(lesson.blocks, lesson.nodes, strict=True) for node in nodes]
    found = [(reads[chosen], reads[rejected], margin, weight) for chosen, rejected, margin, weight in lesson.matches]
    assert found == [(3, 4, 0.0, weights[0]), (3, 5, 0.5, weights[1])]
    assert lesson.tokens == 5


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(*[st.lists(st.integers(1, 2), min_size=1, max_size=6).map(tuple)] * 2), min_size=1, max_size=10),
    st.integers(1, 20),
)
def test_a_pair_is_never_torn(sides: list[tuple[tuple[int, ...], tuple[int, ...]]], budget: int) -> None:
    """Whatever the budget, every pair is in exactly one lesson, with both of its sides at their last tokens."""
    matches = [Match(*pair) for pair in sides]
    found = []
    lessons = from_matches(matches, "prefix", grower(budget), budget)
    assert sum(lesson.distinct for lesson in lessons) == trees.distinct_tokens(
        [side for pair in sides for side in pair]
    )
    for lesson in lessons:
        ends = []
        for block, nodes in zip(lesson.blocks, lesson.nodes, strict=True):
            for node in nodes:
                path, at = [], node
                while at >= 0:
                    path.append(block.ids[at])
                    at = block.parent[at]
                ends.append(tuple(reversed(path)))
        found += [(ends[chosen], ends[rejected]) for chosen, rejected, *_ in lesson.matches]

    assert sorted(found) == sorted(set(sides))


@settings(max_examples=40, deadline=None)
@given(forests(), st.integers(1, 40))
def test_micro_batches_hold_every_lesson_once_and_keep_to_the_size(solutions: list[Tokens], tokens: int) -> None:
    """Padded batches stay below the size, except for a lesson that is alone; chains are never mixed with trees."""
    lessons = from_evidence(solutions, "prefix", grower(10))

    groups = micro_batches(lessons, tokens)

    assert sorted(map(id, lessons)) == sorted(id(lesson) for group in groups for lesson in group)
    for group in groups:
        padded = max(lesson.width for lesson in group) * sum(len(lesson.blocks) for lesson in group)
        assert len(group) == 1 or padded <= tokens
        assert len({lesson.is_chain for lesson in group}) == 1
