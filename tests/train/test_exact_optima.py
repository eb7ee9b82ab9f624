"""A table with a free logit for every prefix, trained to the end: what each objective recovers, known in closed form."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import partial

import pytest
import torch

from gradatim import trees
from gradatim.train.goals import Goal, Objective
from gradatim.train.lessons import Lesson, Match, Tokens, Weighting, from_evidence
from gradatim.train.objectives import constant_loss, loss_of
from gradatim.train.rankings import from_matches, from_rankings, from_siblings
from gradatim.train.targets import Evidence

GROW = partial(trees.build, budget=12)
PROMPT = (9,)


def value(prefix: Sequence[int]) -> float:
    """V of a prefix: anything between 0 and 1 that differs from prefix to prefix."""
    return random.Random(str(tuple(prefix))).uniform(0.1, 0.9)


def rated(weights: int = 1) -> list[Tokens]:
    """All solutions of three steps over two tokens, some of them several times, with V as the rate of every step."""
    solutions = []
    for number in range(8):
        ids = (*PROMPT, *(1 + (number >> bit & 1) for bit in (2, 1, 0)))
        evidence = tuple(
            (token, Evidence(weights * value(ids[: token + 1]), weights * (1 - value(ids[: token + 1]))))
            for token in (1, 2, 3)
        )
        solutions += [Tokens(ids, evidence, begins=(1, 2, 3))] * (1 + number % 3)
    return solutions


def fitted(lessons: Sequence[Lesson], wanted: set[tuple[int, ...]] | None = None) -> dict[tuple[int, ...], float]:
    """The logit of each prefix that is read, at the minimum of the loss (Newton-like steps in float64)."""
    names: dict[tuple[int, ...], int] = {}
    places = []
    for lesson in lessons:
        for block, nodes in zip(lesson.blocks, lesson.nodes, strict=True):
            for node in nodes:
                path, at = [], node
                while at >= 0:
                    path.append(block.ids[at])
                    at = block.parent[at]
                places.append(names.setdefault(tuple(reversed(path)), len(names)))
    table = torch.zeros(len(names), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [table], max_iter=300, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def owed() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(table[torch.tensor(places)], lessons) / sum(lesson.weight for lesson in lessons)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(owed)  # type: ignore[arg-type]
    return {name: table[place].item() for name, place in names.items()}


def logit(rate: float) -> float:
    return math.log(rate / (1 - rate))


@pytest.mark.parametrize("weighting", ["prefix", "trajectory"])
@pytest.mark.parametrize("weight", [1.0, 5.0])
@pytest.mark.parametrize("objective", ["logistic", "mse"])
def test_proper_scores_recover_the_value(objective: Objective, weight: float, weighting: Weighting) -> None:
    """Every logit ends at ln(V / (1 - V)): also with a positive weight, which the shift takes out of it again."""
    goal = Goal(objective=objective, positive_weight=weight)

    found = fitted(from_evidence(rated(8), weighting, GROW, goal))

    assert len(found) == 14
    assert found == {prefix: pytest.approx(logit(value(prefix)), abs=1e-4) for prefix in found}


def test_a_positive_weight_without_its_shift_would_move_every_logit() -> None:
    """The control: with w times the evidence for each step and no shift, every logit ends ln w too high."""
    heavy = [
        Tokens(one.ids, tuple((token, Evidence(5 * owed.good, owed.bad)) for token, owed in one.evidence))
        for one in rated()
    ]

    found = fitted(from_evidence(heavy, "prefix", GROW))

    assert found == {prefix: pytest.approx(logit(value(prefix)) + math.log(5), abs=1e-4) for prefix in found}


def test_focal_keeps_the_order_and_is_no_proper_score() -> None:
    """Its minimum lies nearer to 1/2 than V on every prefix; with gamma = 0 it is the logistic loss's."""
    soft, plain = (
        fitted(from_evidence(rated(), "prefix", GROW, Goal(objective="focal", gamma=gamma))) for gamma in (2.0, 0.0)
    )

    assert all(abs(soft[prefix]) < abs(logit(value(prefix))) for prefix in soft)
    assert sorted(soft, key=soft.__getitem__) == sorted(soft, key=value)
    assert plain == {prefix: pytest.approx(logit(value(prefix)), abs=1e-4) for prefix in plain}


@pytest.mark.parametrize("weighting", ["prefix", "trajectory"])
def test_siblings_differ_by_their_log_odds(weighting: Weighting) -> None:
    """Of every two steps from one prefix the logits differ as ln(V / (1 - V)) does, whatever a level above does."""
    found = fitted(from_siblings(rated(8), weighting, GROW, 12))

    assert len(found) == 14
    for prefix in found:
        sibling = (*prefix[:-1], 3 - prefix[-1])
        want = logit(value(prefix)) - logit(value(sibling))
        assert found[prefix] - found[sibling] == pytest.approx(want, abs=1e-4)


def test_the_weights_of_siblings_are_those_of_mantel_and_haenszel() -> None:
    """Where all pairs of siblings have one odds ratio to find, it is the Mantel-Haenszel estimate."""
    tables = [((3, 5), (1, 7)), ((6, 2), (2, 4)), ((4, 1), (5, 5))]
    solutions = [
        Tokens((9, prompt, step), ((2, Evidence(*counts)),), begins=(2,))
        for prompt, pair in enumerate(tables)
        for step, counts in zip((1, 2), pair, strict=True)
    ]
    top = sum(a * d / (a + b + c + d) for (a, b), (c, d) in tables)
    bottom = sum(b * c / (a + b + c + d) for (a, b), (c, d) in tables)
    lessons = from_siblings(solutions, "trajectory", GROW, 12)

    def loss(difference: float) -> float:
        ends = [
            block.ids[node]
            for lesson in lessons
            for block, nodes in zip(lesson.blocks, lesson.nodes, strict=True)
            for node in nodes
        ]
        return loss_of(
            torch.tensor([difference if end == 1 else 0.0 for end in ends], dtype=torch.float64), lessons
        ).item()

    best = math.log(top / bottom)
    assert loss(best) < min(loss(best - 1e-3), loss(best + 1e-3))


def test_bradley_terry_recovers_the_log_odds_of_winning() -> None:
    """Three solutions that win over each other as strengths 1, 2 and 5 have it differ by the strengths' logarithms."""
    strengths = {(9, 1): 1.0, (9, 2): 2.0, (9, 3): 5.0}
    matches = [Match(a, b, weight=x / (x + y)) for a, x in strengths.items() for b, y in strengths.items() if a != b]

    found = fitted(from_matches(matches, "trajectory", GROW, 12))

    base = found[9, 1]
    assert {side: found[side] - base for side in found} == {
        side: pytest.approx(math.log(strength), abs=1e-4) for side, strength in strengths.items()
    }


def test_pqm_puts_wrong_below_zero_below_right_in_their_order() -> None:
    """Where one table must serve right and wrong solutions, wrong < 0 < first right < second right."""
    solutions = [
        Tokens((9, 1, 2, 3), ((1, Evidence(1, 0)), (2, Evidence(1, 0)), (3, Evidence(0, 1)))),
        Tokens((9, 1, 2, 4), ((1, Evidence(1, 0)), (2, Evidence(1, 0)), (3, Evidence(1, 0)))),
    ]
    lessons = from_rankings(solutions, "prefix", GROW, Goal(objective="pqm"))

    found = fitted(lessons)

    assert found[9, 1, 2, 3] < 0 < found[9, 1] < found[9, 1, 2] < found[9, 1, 2, 4]


@pytest.mark.parametrize("objective", ["logistic", "mse", "focal", "pqm", "sibling-ranking"])
def test_the_constant_to_beat_is_the_best_one(objective: Objective) -> None:
    """`constant_loss` is the least over a fine grid of constants, whatever is learnt."""
    goal = Goal(objective=objective, positive_weight=1.0 if objective in ("pqm", "sibling-ranking") else 3.0)
    if objective == "pqm":
        votes = (Evidence(1, 0), Evidence(0, 1))
        solutions = [Tokens(one.ids, tuple((t, votes[one.ids[t] - 1]) for t, _ in one.evidence)) for one in rated()]
        lessons = from_rankings(solutions, "prefix", GROW, goal)
    elif objective == "sibling-ranking":
        lessons = from_siblings(rated(), "prefix", GROW, 12, goal)
    else:
        lessons = from_evidence(rated(), "prefix", GROW, goal)
    reads, weight = sum(lesson.reads for lesson in lessons), sum(lesson.weight for lesson in lessons)

    grid = [
        loss_of(torch.full((reads,), z / 100, dtype=torch.float64), lessons).item() / weight for z in range(-600, 601)
    ]

    assert constant_loss(lessons) <= min(grid) + 1e-12
    assert constant_loss(lessons) == pytest.approx(min(grid), abs=1e-4)
