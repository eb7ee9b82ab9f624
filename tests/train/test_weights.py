"""Balance by class, by number of steps and by source: what is asked for is met, in what the lessons owe."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import tiny_tasks

import tiny_models
from gradatim.core import Labels, Solution, Tally
from gradatim.errors import ConfigError
from gradatim.train.config import TrainConfig
from gradatim.train.items import Item
from gradatim.train.lessons import Lesson, Match, Tokens, Weighting
from gradatim.train.materials import Materials, from_labelled, joined
from gradatim.train.prepare import Prepared, prepare
from gradatim.train.rankings import from_matches
from gradatim.train.targets import Evidence, TargetConfig
from gradatim.train.weights import cell_of, evidence_by_cell, found_weights
from gradatim.trees import chains

COUNTS = TargetConfig(mask_after_error=False)
HARD = TargetConfig(target="hard", mask_after_error=False)


def mixed(targets: TargetConfig = COUNTS) -> Materials:
    """Three sources of solutions with one to five steps, with counts, that share problems and first steps."""
    draw = random.Random(3)
    parts = []
    for steps in (1, 3, 5):
        rows: list[tuple[Solution, Labels]] = []
        for solution, labels in tiny_tasks.labelled(problems=4, draws=steps + 1, steps=steps, seed=steps):
            tallies = tuple(Tally(draw.randint(0, 3), 4) for _ in labels.tallies)
            rows.append((solution, replace(labels, tallies=tallies)))
        parts.append(from_labelled(rows, targets))
    return joined(parts)


def prepared(**settings: Any) -> Prepared:
    config = TrainConfig(held_out=0, targets=COUNTS, step_bins=(2, 4), **settings)
    return prepare(config, mixed(), tiny_models.reward_model())


def owed(lessons: list[Lesson]) -> tuple[float, float]:
    """Evidence for and against, as the loss counts it."""
    goal = lessons[0].goal
    every = [evidence for lesson in lessons for evidence in lesson.evidence]
    return goal.positive_weight * sum(one.good for one in every), sum(one.bad for one in every)


def sums(found: Prepared, axis: int) -> dict[int, float]:
    """What each source or bin owes, with its weights."""
    total: Counter[int] = Counter()
    for cell, (good, bad) in found.evidence.items():
        total[cell[axis]] += found.weights.factor(cell) * (found.weights.positive * good + bad)  # type: ignore[assignment]
    return dict(total)


@pytest.mark.parametrize("weighting", ["prefix", "trajectory"])
@pytest.mark.parametrize("balance", [(), ("class",), ("source", "steps", "class")])
def test_cells_add_up_to_what_the_lessons_owe(balance: tuple[str, ...], weighting: Weighting) -> None:
    """Class by class, what the cells say is what the loss is made of: under either weighting of shared prefixes."""
    found = prepared(balance=balance, weighting=weighting)
    good, bad = owed(found.lessons)

    cells = [(found.weights.factor(cell), evidence) for cell, evidence in found.evidence.items()]
    assert found.weights.positive * sum(f * e.good for f, e in cells) == pytest.approx(good)
    assert sum(f * e.bad for f, e in cells) == pytest.approx(bad)
    assert sum(found.rows.values()) == found.used


def test_each_balance_is_met_alone_and_all_together() -> None:
    """Classes owe alike; so do bins; sources owe in the shares asked for; nothing asked changes nothing."""
    sources = {"data": ("a", "b", "c"), "source_weights": (1.0, 1.0, 2.0)}
    plain, by_class, by_steps = prepared(), prepared(balance=("class",)), prepared(balance=("steps",))
    everything = prepared(balance=("source", "class"), **sources)

    assert plain.weights.positive == 1
    assert set(plain.weights.bins) == set(plain.weights.sources) == {1.0}
    good, bad = owed(by_class.lessons)
    assert good == pytest.approx(bad)
    assert owed(plain.lessons)[0] != pytest.approx(owed(plain.lessons)[1])
    assert len(set(sums(plain, 1).values())) == 3
    assert max(sums(by_steps, 1).values()) == pytest.approx(min(sums(by_steps, 1).values()))
    shares = sums(everything, 0)
    assert shares[2] == pytest.approx(2 * shares[0])
    assert shares[1] == pytest.approx(shares[0])
    good, bad = owed(everything.lessons)
    assert good == pytest.approx(bad)


def test_ranked_solutions_are_balanced_as_whole_ones() -> None:
    """For PQM each distinct solution owes once, however many steps it has: the bins' rankings weigh alike."""
    config = TrainConfig(held_out=0, objective="pqm", balance=("steps",), step_bins=(2, 4), targets=HARD)
    found = prepare(config, mixed(HARD), tiny_models.reward_model())
    weights: Counter[int] = Counter()
    for lesson in found.lessons:
        for ranking in lesson.rankings:
            weights[len(ranking.reads)] += ranking.weight  # type: ignore[assignment]

    assert sorted(weights) == [1, 3, 5]
    assert max(weights.values()) == pytest.approx(min(weights.values()))


def item(source: int, steps: int, good: float, bad: float) -> Item:
    return Item("p", Tokens((source, steps, len(str(good))), ((2, Evidence(good, bad)),)), steps, source)


def test_sources_and_bins_that_cross_are_raked() -> None:
    """Two margins at once, none of which the other's factors would leave alone: both are met, and the total is kept."""
    items = [item(0, 1, 9, 1), item(0, 5, 1, 2), item(1, 1, 1, 3), item(1, 5, 2, 1)]
    config = TrainConfig(balance=("source", "steps", "class"), step_bins=(3,), weighting="trajectory", data=("a", "b"))
    cells = evidence_by_cell(items, config)

    weights = found_weights(cells, config)

    parts = {
        cell: (weights.factor(cell) * weights.positive * e.good, weights.factor(cell) * e.bad)
        for cell, e in cells.items()
    }
    total = sum(map(sum, parts.values()))
    for margin in (
        sum(sum(part) for (source, _), part in parts.items() if source == 0),
        sum(sum(part) for (_, steps), part in parts.items() if steps == 0),
        sum(good for good, _ in parts.values()),
    ):
        assert margin == pytest.approx(total / 2, rel=1e-9)


@pytest.mark.parametrize(
    ("cells", "config"),
    [
        (
            {(0, 0): Evidence(30.0, 0.0), (1, 0): Evidence(0.0, 10.0)},
            TrainConfig(data=("a", "b"), balance=("class", "source"), source_weights=(1.0, 3.0)),
        ),
        (
            {(0, 0): Evidence(30.0, 0.0), (0, 1): Evidence(0.0, 10.0), (0, 2): Evidence(0.0, 5.0)},
            TrainConfig(data=("a",), balance=("class", "steps")),
        ),
    ],
)
def test_balances_that_contradict_each_other_are_refused(cells: dict[tuple[int, int], Evidence], config: Any) -> None:
    """A class in a source or a bin of its own: both can't be level, and no factor runs away."""
    with pytest.raises(ConfigError, match=r"balance by class and .* can't be met together"):
        found_weights(cells, config)


def test_source_weights_without_balance_are_plain_factors() -> None:
    """Twice the weight is twice the evidence, for pairs too."""
    config = TrainConfig(data=("a", "b"), source_weights=(1.0, 2.0), weighting="trajectory")
    items = [item(0, 1, 1, 1), item(1, 1, 2, 0), Item("p", Match((1,), (2,)), 1, 1)]

    weights = found_weights(evidence_by_cell(items, config), config)

    assert weights.sources == (1.0, 2.0)
    assert items[2].weighted(weights.sources[1]).learnt.weight == 2.0


@pytest.mark.parametrize("weighting", ["prefix", "trajectory"])
def test_sources_of_pairs_are_balanced_as_their_lessons_count_them(weighting: Weighting) -> None:
    """Eight copies of one pair in one source, eight pairs in the other, and one pair in both."""
    pairs = [(0, 1)] * 8 + [(1, n) for n in range(2, 10)] + [(0, 99), (1, 99)]
    items = [Item("p", Match((n, 0), (n, 1)), 1, source) for source, n in pairs]
    config = TrainConfig(
        kind="orm", objective="bradley-terry", balance=("source",), weighting=weighting, data=("a", "b")
    )
    weights = found_weights(evidence_by_cell(items, config), config)
    learnt = [one.weighted(weights.factor(cell_of(one, config))).learnt for one in items]

    lessons = from_matches([one for one in learnt if isinstance(one, Match)], weighting, chains, 1000)

    owed = {one.blocks[0].ids[0]: match[3] for one in lessons for match in one.matches}
    assert len(owed) == 10
    both = owed.pop(99) / sum(weights.sources)
    first = owed.pop(1) + both * weights.sources[0]
    assert first == pytest.approx(sum(owed.values()) + both * weights.sources[1])
    assert weights.sources[0] == pytest.approx({"prefix": 5 / 1.5, "trajectory": 1.0}[weighting])


def test_the_shift_is_the_logarithm_of_the_weight_and_focal_has_none() -> None:
    """What is recorded, and what the loss is shifted by."""
    found = prepared(balance=("class",))

    assert found.lessons[0].goal.logit_shift == pytest.approx(math.log(found.weights.positive))
    assert prepared(balance=("class",), objective="focal").lessons[0].goal.logit_shift == 0


def test_held_out_problems_are_weighed_as_the_training_part_is() -> None:
    """The factors come from the training part alone; the held-out loss is in the same currency."""
    config = TrainConfig(held_out=0.25, balance=("class",), targets=COUNTS)
    found = prepare(config, mixed(), tiny_models.reward_model())

    good, bad = owed(found.lessons)
    assert good == pytest.approx(bad)
    assert {lesson.goal for lesson in found.held_out} == {found.lessons[0].goal}
    assert owed(found.held_out)[0] != pytest.approx(owed(found.held_out)[1])


def test_one_class_can_not_be_balanced() -> None:
    """A training part without any wrong step is told, not divided by."""
    rows = [
        (solution, replace(labels, tallies=(Tally(1, 1),) * 3)) for solution, labels in tiny_tasks.labelled(problems=3)
    ]
    config = TrainConfig(held_out=0, balance=("class",), targets=COUNTS)

    with pytest.raises(ConfigError, match="balance by class"):
        prepare(config, from_labelled(rows, COUNTS), tiny_models.reward_model())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"balance": ("colour",)}, "colour"),
        ({"step_bins": (4, 2)}, "step_bins"),
        ({"step_bins": (0, 2)}, "step_bins"),
        ({"source_weights": (1.0,)}, "source_weights"),
        ({"data": ("a",), "source_weights": (0.0,)}, "source_weights"),
        ({"objective": "pqm", "balance": ("class",)}, "ranks"),
        ({"objective": "sibling-ranking", "targets": TargetConfig(positive_weight=2)}, "ranks"),
        ({"balance": ("class",), "targets": TargetConfig(positive_weight=2)}, "set one of them"),
        ({"objective": "pqm", "targets": TargetConfig(step_weight="solution")}, "step_weight"),
        ({"kind": "orm", "targets": TargetConfig(step_weight="position")}, "step_weight"),
        ({"kind": "orm", "objective": "pqm"}, 'needs kind="prm"'),
        ({"objective": "implicit-ce", "freeze": True}, "whole language model"),
        ({"gamma": -1.0}, "gamma"),
        ({"zeta": float("nan")}, "zeta"),
        ({"beta": 0.0}, "beta"),
    ],
)
def test_weights_and_objectives_that_contradict_each_other_are_refused(wrong: dict[str, Any], message: str) -> None:
    """Each impossible combination names the setting."""
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**wrong)
