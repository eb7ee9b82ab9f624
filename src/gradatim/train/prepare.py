"""Materials -> lessons: encoded, too long ones counted, split by problem, weighed, grown into trees."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Protocol

from torch import nn

from gradatim import trees
from gradatim.errors import InputError
from gradatim.models.encoding import StepEncoder
from gradatim.models.forward import tree_depth
from gradatim.train import beginning
from gradatim.train.config import TrainConfig
from gradatim.train.goals import POINTWISE, Goal
from gradatim.train.items import Item, items_of
from gradatim.train.lessons import Grower, Lesson, Match, Tokens, from_evidence
from gradatim.train.loop import batches, block_size
from gradatim.train.materials import Materials
from gradatim.train.objectives import constant_loss
from gradatim.train.rankings import from_matches, from_rankings, from_siblings
from gradatim.train.split import chosen_problems, held_out_problems
from gradatim.train.targets import Evidence
from gradatim.train.weights import Cell, Weights, cell_of, evidence_by_cell, found_weights

FEW_STEPS = 50
"""Below this a training is said to have few steps: the warm-up and the end, where hardly anything is learnt, are most."""

REPEATED = 1.5
"""Above this an epoch is said to compute its distinct tokens so many times over."""

ENOUGH = 1.25
"""The smallest block is advised with which it is at most so many times."""


class Trainable(Protocol):
    """What a training needs of a model before it runs: how it is written in tokens, and what its body can take."""

    @property
    def module(self) -> nn.Module: ...

    @property
    def own_encoder(self) -> StepEncoder: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What the loop takes, and the counts that go into the report."""

    lessons: list[Lesson]
    """The training part."""
    held_out: list[Lesson]
    """The part kept apart."""
    problems: int
    """Problems in the training part."""
    held_out_problems: int
    """Problems kept apart."""
    read: int
    """Rows read."""
    used: int
    """Rows in either part."""
    drops: Counter[str]
    """Rows in neither, by reason."""
    distinct_tokens: int
    """Tokens of the one tree of everything: what an epoch has to compute at least."""
    separate_tokens: int
    """Tokens of everything as separate sequences."""
    constant_loss: float
    """Loss of the best constant prediction on the held-out part (on the training part if nothing is kept apart)."""
    weights: Weights
    """Factors of the evidence, found on the training part and used on both."""
    rows: Mapping[Cell, int]
    """Rows of the training part by source and bin of the number of steps."""
    evidence: Mapping[Cell, Evidence]
    """Their evidence, before it is weighed."""
    notes: tuple[str, ...]
    """What was done in another way than usual, and why."""


def prepare(config: TrainConfig, materials: Materials, model: Trainable) -> Prepared:
    """Make lessons of both parts. InputError for a solution that is too long, unless those are dropped and counted."""
    drops = Counter(materials.drops)
    materials = _chosen(config, materials, drops)
    items = items_of(config, materials, model.own_encoder, drops)
    if not items:
        dropped = [f"{count} x {reason}" for reason, count in drops.items()] + list(materials.notes)
        raise InputError(
            f"nothing is left to learn from: {', '.join(dropped) or 'no rows'}", fix="see what was left out, and why"
        )
    problems = dict.fromkeys(item.problem for item in items)
    apart = held_out_problems(list(problems), config.held_out, config.seed)
    trained = [item for item in items if item.problem not in apart]
    evidence = evidence_by_cell(trained, config)
    weights = found_weights(evidence, config)
    sequences = [sequence for item in items for sequence in item.sequences]
    longest, depth = max(map(len, sequences)), tree_depth(model.module)
    size = block_size(model.module, config.fit)
    grow: Grower = partial(trees.build, budget=size) if longest <= depth else trees.chains
    notes = [*materials.notes, *_one_sided(config, evidence)]
    if beginning.folder_of(config) is not None:
        notes.append(f"goes on from the reward model {config.backbone}, with its head")
    if longest > depth:
        notes.append(f"no trees: the attention of this backbone takes trees up to {depth} deep, not {longest}")
    else:
        notes += _repeated([sequence for item in trained for sequence in item.sequences], size)
    lessons = _lessons(config, trained, weights, grow, size)
    held_out = _lessons(config, [item for item in items if item.problem in apart], weights, grow, size)
    notes += _hurried(config, lessons)
    return Prepared(
        lessons=lessons,
        held_out=held_out,
        problems=len(problems) - len(apart),
        held_out_problems=len(apart),
        read=materials.rows,
        used=len(items),
        drops=drops,
        distinct_tokens=trees.distinct_tokens(sequences),
        separate_tokens=sum(map(len, sequences)),
        constant_loss=constant_loss(held_out or lessons),
        weights=weights,
        rows=Counter(cell_of(item, config) for item in trained),
        evidence=evidence,
        notes=tuple(notes),
    )


def _one_sided(config: TrainConfig, evidence: Mapping[Cell, Evidence]) -> list[str]:
    """Says so where there is nothing to tell apart: such a training learns a constant."""
    if config.objective not in (*POINTWISE, "implicit-ce"):
        return []
    good, bad = (sum(owed[side] for owed in evidence.values()) for side in (0, 1))
    return (
        []
        if good and bad
        else [f"all evidence to train on is {'against' if bad else 'for'}: nothing is to be told apart"]
    )


def _hurried(config: TrainConfig, lessons: Sequence[Lesson]) -> list[str]:
    """Says so where little data in large batches leave the optimiser no time to get anywhere."""
    steps = config.fit.epochs * len(batches(lessons, config.fit.batch_tokens, config.seed, 0))
    if steps >= FEW_STEPS:
        return []
    more = "more epochs make more of them"
    wanted = max(1, sum(lesson.distinct for lesson in lessons) // math.ceil(FEW_STEPS / config.fit.epochs))
    if config.fit.epochs * len(batches(lessons, wanted, config.seed, 0)) > steps:  # trees are not cut for a batch
        more = f"a batch_tokens of {wanted}, or more epochs, make more of them"
    return [f"the optimiser takes only about {steps} steps; {more}"]


def _repeated(sequences: Sequence[Sequence[int]], size: int) -> list[str]:
    """Says so where trees are cut into so small blocks that most of what is computed are paths computed before."""
    distinct, whole = trees.distinct_tokens(sequences), sum(map(len, sequences))

    def times(budget: int) -> float:
        return sum(map(len, trees.build(sequences, budget))) / distinct

    if (now := times(size)) <= REPEATED:
        return []
    larger = 2 * size
    while (then := times(larger)) > ENOUGH and larger < whole:
        larger *= 2
    if then > REPEATED:
        return []  # what they share is too short to make trees of
    return [
        f"trees are cut at {size} tokens, so that an epoch computes {now:.2f} times its distinct tokens; with a block_tokens "
        f"of {larger} it is {then:.2f} times (checkpointing keeps the memory of large blocks small)"
    ]


def content(lessons: Sequence[Lesson]) -> str:
    """16 hex digits of everything in some lessons."""
    digest = blake2b(digest_size=8)
    for lesson in lessons:
        for block, nodes in zip(lesson.blocks, lesson.nodes, strict=True):
            for numbers in (block.ids, block.depth, nodes):
                digest.update(array("q", [len(numbers), *numbers]).tobytes())
        owed = (lesson.evidence, lesson.matches, lesson.rankings, lesson.counted, lesson.goal)
        digest.update(repr(owed).encode())
    return digest.hexdigest()


def _chosen(config: TrainConfig, materials: Materials, drops: Counter[str]) -> Materials:
    """The materials of as many problems as are asked for; the rest is counted."""
    if config.problems is None:
        return materials
    kept = chosen_problems(problems := materials.problems, config.problems, config.seed)
    if left_out := sum(problem not in kept for problem in problems):
        drops[f"not of the {config.problems} chosen problems"] = left_out
    return replace(
        materials,
        examples=tuple(e for e, problem in zip(materials.examples, problems, strict=False) if problem in kept),
        pairs=tuple(p for p, problem in zip(materials.pairs, problems, strict=False) if problem in kept),
        origins=tuple(s for s, problem in zip(materials.sources, problems, strict=True) if problem in kept),
    )


def _lessons(config: TrainConfig, items: Sequence[Item], weights: Weights, grow: Grower, size: int) -> list[Lesson]:
    goal = Goal(objective=config.objective, gamma=config.gamma, zeta=config.zeta, positive_weight=weights.positive)
    learnt = [item.weighted(weights.factor(cell_of(item, config))).learnt for item in items]
    matches = [one for one in learnt if isinstance(one, Match)]
    solutions = [one for one in learnt if isinstance(one, Tokens)]
    if matches:
        return from_matches(matches, config.weighting, grow, size, goal)
    if config.objective == "sibling-ranking":
        return from_siblings(solutions, config.weighting, grow, size, goal)
    if config.objective == "pqm":
        return from_rankings(solutions, config.weighting, grow, goal)
    return from_evidence(solutions, config.weighting, grow, goal)
