"""Objectives over several reads on trees: loss and gradients are those of separate, padded sequences."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import Any

import pytest
import tiny_tasks
import torch

import tiny_models
from gradatim import trees
from gradatim.core import Pair, Prefix
from gradatim.models import logprobs
from gradatim.models.encoding import StepEncoder
from gradatim.models.forward import logits_at
from gradatim.models.implicit import ImplicitModel, StepResponses
from gradatim.models.model import RewardModel
from gradatim.models.reference import Reference
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.implicit import log_ratios
from gradatim.train.lessons import Lesson, micro_batches
from gradatim.train.loop import forward
from gradatim.train.materials import from_labelled, from_pairs, from_solutions
from gradatim.train.objectives import loss_of
from gradatim.train.prepare import prepare
from gradatim.train.targets import TargetConfig

HARD = TargetConfig(target="hard", mask_after_error=False)
ROWS = tiny_tasks.labelled(problems=2, draws=4)


def on_trees(module: Any, read: Any, lessons: list[Lesson], block_tokens: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of all lessons as one step of the optimiser."""
    module.zero_grad()
    weight, total = sum(lesson.weight for lesson in lessons), 0.0
    for part in micro_batches(lessons, block_tokens):
        loss = loss_of(logits_at(module, read(part)), part) / weight
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total, gradients(module)


def gradients(module: Any) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in module.named_parameters() if weight.grad is not None}


def agree(found: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    assert found.keys() == want.keys()
    for name, gradient in want.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5 * gradient.abs().max().item() + 1e-7)


def logit(model: RewardModel, prefix: Prefix) -> torch.Tensor:
    """Of the last step of a prefix, run alone."""
    module: Any = model.module
    both = module(torch.tensor([model.encoder.encode(prefix).ids])).logits[0, -1]
    return both[1] - both[0]


@pytest.mark.parametrize("block_tokens", [30, 1000])
def test_pqm_on_trees(block_tokens: int) -> None:
    """The mean over solutions of the formula with exponentials."""
    model = tiny_models.reward_model()
    config = TrainConfig(
        objective="pqm", held_out=0, weighting="trajectory", targets=HARD, fit=FitConfig(block_tokens=block_tokens)
    )
    lessons = prepare(config, from_labelled(ROWS, HARD), model).lessons
    loss, found = on_trees(model.module, forward(model.module, config.fit), lessons, block_tokens)

    model.module.zero_grad()
    costs = []
    for solution, labels in ROWS:
        q = [logit(model, solution.prefix.first(k + 1)).double() for k in range(3)]
        good = [tally.good == 1 for tally in labels.tallies]
        wrong = sum((math.exp(4) * one.exp() for one, right in zip(q, good, strict=True) if not right), q[0] * 0)
        right = [one for one, is_right in zip(q, good, strict=True) if is_right]
        terms = [(one.exp() / (1 + sum(x.exp() for x in right[: t + 1]) + wrong)).log() for t, one in enumerate(right)]
        terms += [] if all(good) else [(1 / (1 + wrong)).log()]
        costs.append(-torch.stack(terms).mean())
    want = torch.stack(costs).mean()
    want.backward()  # type: ignore[no-untyped-call]

    assert loss == pytest.approx(want.item(), rel=1e-5)
    agree(found, gradients(model.module))


@pytest.mark.parametrize("block_tokens", [30, 1000])
def test_sibling_ranking_on_trees(block_tokens: int) -> None:
    """Every right step above every wrong one that some solution took after the same steps; each pair once."""
    model = tiny_models.reward_model()
    config = TrainConfig(
        objective="sibling-ranking", held_out=0, targets=HARD, fit=FitConfig(block_tokens=block_tokens)
    )
    lessons = prepare(config, from_labelled(ROWS, HARD), model).lessons
    loss, found = on_trees(model.module, forward(model.module, config.fit), lessons, block_tokens)

    model.module.zero_grad()
    steps: dict[Prefix, dict[Prefix, bool]] = defaultdict(dict)
    for solution, labels in ROWS:
        for k, tally in enumerate(labels.tallies):
            steps[solution.prefix.first(k)][solution.prefix.first(k + 1)] = tally.good == 1
    costs = [
        -torch.nn.functional.logsigmoid(logit(model, a) - logit(model, b))
        for taken in steps.values()
        for a, b in itertools.permutations(taken, 2)
        if taken[a] and not taken[b]
    ]
    want = torch.stack(costs).mean()
    want.backward()  # type: ignore[no-untyped-call]

    assert len(costs) > 3
    assert loss == pytest.approx(want.item(), rel=1e-5)
    agree(found, gradients(model.module))


def implicit_pair(beta: float = 0.3) -> tuple[ImplicitModel, Any]:
    """A model that has moved away from its reference, and the reference."""
    tokenizer = tiny_models.bpe_tokenizer()
    policy, reference = (tiny_models.causal("llama", len(tokenizer), seed) for seed in (1, 2))
    policy.score = torch.nn.Identity()
    model = ImplicitModel(
        module=policy,
        reference=Reference("reference", lambda: reference, identity="seed 2"),
        encoder=StepResponses(StepEncoder(tokenizer)),
        name="tiny implicit",
        beta=beta,
    )
    return model, reference


def q(model: ImplicitModel, reference: Any, prefix: Prefix) -> torch.Tensor:
    """beta times the log-ratio of all tokens behind the prompt, with full logits over the vocabulary."""
    ids, begin = model.encoder.encode(prefix).ids, len(model.own_encoder.encode(prefix.first(0)).ids)
    tokens = torch.tensor(ids[1:])[:, None]
    ours = model.module(torch.tensor([ids])).logits[0, :-1].log_softmax(-1).gather(1, tokens)[begin - 1 :]
    with torch.no_grad():
        theirs = reference(torch.tensor([ids])).logits[0, :-1].log_softmax(-1).gather(1, tokens)[begin - 1 :]
    return model.beta * (ours - theirs).sum()


@pytest.mark.parametrize("block_tokens", [30, 1000])
@pytest.mark.parametrize("objective", ["implicit-ce", "implicit-dpo"])
def test_implicit_objectives_on_trees(objective: Any, block_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross-entropy of q with the verdict, or of q_w - q_l with 1, with no more than a few columns of logits at once."""
    monkeypatch.setattr(logprobs, "CHUNK", 2000)
    (model, reference), (moved, _) = implicit_pair(), implicit_pair()
    module: Any = model.module
    solutions = [solution for solution, _ in tiny_tasks.labelled(problems=2, draws=6, steps=2)]
    right = [solution.prefix for solution in solutions if solution.verdict == "correct"]
    wrong = [solution.prefix for solution in solutions if solution.verdict == "incorrect"]
    pairs = [Pair(a, b) for a in right for b in wrong if a.problem_id == b.problem_id]
    config = TrainConfig(
        objective=objective, held_out=0, weighting="trajectory", beta=0.3, fit=FitConfig(block_tokens=block_tokens)
    )
    materials = from_pairs(pairs) if objective == "implicit-dpo" else from_solutions(solutions, config.targets)
    lessons = prepare(config, materials, model).lessons
    # What is there when the read is made is the reference: so begin with its weights, then move.
    module.load_state_dict(reference.state_dict())
    read = log_ratios(model, lessons, None, config.fit, block_tokens=block_tokens, quiet=True)
    assert sum(read([lesson]).abs().sum().item() for lesson in lessons) < 1e-4
    module.load_state_dict(moved.module.state_dict())
    loss, found = on_trees(module, read, lessons, block_tokens)

    module.zero_grad()
    if objective == "implicit-dpo":
        gaps = [q(model, reference, pair.chosen) - q(model, reference, pair.rejected) for pair in pairs]
        want = torch.stack([-torch.nn.functional.logsigmoid(gap) for gap in gaps]).mean()
    else:
        signs = [1 if solution.verdict == "correct" else -1 for solution in solutions]
        values = [sign * q(model, reference, one.prefix) for sign, one in zip(signs, solutions, strict=True)]
        want = torch.stack([-torch.nn.functional.logsigmoid(value) for value in values]).mean()
    want.backward()  # type: ignore[no-untyped-call]

    assert len(pairs) > 3
    assert loss == pytest.approx(want.item(), rel=1e-4)
    agree(found, gradients(module))


def test_q_is_the_references_view_of_the_reward_to_come() -> None:
    """q of a prefix = beta ln E[e^(r / beta)] over all ways in which the reference would go on: the published identity."""
    model, reference = implicit_pair()
    prefix = tiny_tasks.labelled(problems=1, draws=1, steps=1)[0][0].prefix
    ids, begin = model.encoder.encode(prefix).ids, len(model.own_encoder.encode(prefix.first(0)).ids)
    vocabulary = int(model.module.config.vocab_size)  # type: ignore[union-attr, arg-type]
    whole = trees.build([(*ids, token) for token in range(vocabulary)], 10_000)
    nodes = [tuple(node for node in range(len(block)) if block.depth[node] >= begin) for block in whole]

    with torch.no_grad():
        ratios = model.logits(whole, nodes)
        theirs = reference(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    [block], [counted] = whole, nodes
    ratio = dict(zip(counted, ratios.tolist(), strict=True))
    start = sum(ratio[node] for node in counted if block.depth[node] < len(ids))
    leaves = [leaf for _, leaf in sorted(zip(block.members, block.leaves, strict=True))]
    ends = torch.tensor([start + ratio[leaf] for leaf in leaves])

    expected = model.beta * torch.logsumexp(theirs + ends, 0).item()

    assert model.step_logits(
        model.encoder.encode(prefix), [ratio[n] for n in counted if block.depth[n] < len(ids)]
    ) == (pytest.approx(expected, abs=1e-4),)
    assert abs(expected) > 0.01


def test_siblings_and_solutions_that_are_split_still_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rankings on chains, where a model takes no trees, owe what they owe on trees."""
    model = tiny_models.reward_model()
    for objective in ("pqm", "sibling-ranking"):
        config = TrainConfig(objective=objective, held_out=0, targets=HARD)  # type: ignore[arg-type]
        whole = prepare(config, from_labelled(ROWS, HARD), model).lessons
        with monkeypatch.context() as patch:
            patch.setattr("gradatim.train.prepare.tree_depth", lambda _: 0)
            split = prepare(config, from_labelled(ROWS, HARD), model).lessons
        losses = [on_trees(model.module, forward(model.module, config.fit), part, 200)[0] for part in (whole, split)]

        assert all(lesson.is_chain for lesson in split)
        assert sum(lesson.weight for lesson in split) == pytest.approx(sum(lesson.weight for lesson in whole))
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
