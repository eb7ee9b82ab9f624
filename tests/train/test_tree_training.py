from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import tiny_tasks
import torch
from transformers import OPTConfig, OPTForCausalLM

import tiny_models
from gradatim.core import Labels, Pair, Solution, Tally
from gradatim.models.forward import logits_at
from gradatim.models.model import RewardModel
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.lessons import Lesson, micro_batches
from gradatim.train.loop import batches, check_points, fit, forward, share_of_lr
from gradatim.train.materials import from_labelled, from_pairs, from_solutions
from gradatim.train.objectives import loss_of
from gradatim.train.prepare import prepare
from gradatim.train.targets import TargetConfig

COUNTS = TargetConfig(mask_after_error=False)


def counted() -> list[tuple[Solution, Labels]]:
    """Solutions of three problems, which share first steps, with tallies that differ between copies of a prefix."""
    draw_from, rows = random.Random(5), []
    for solution, labels in tiny_tasks.labelled(problems=3, draws=5):
        tallies = [Tally(draw_from.randint(0, 2), draw_from.randint(2, 4)) for _ in labels.tallies]
        rows.append((solution, replace(labels, tallies=tuple(tallies))))
    return rows


def tree_gradients(
    model: RewardModel, lessons: list[Lesson], config: FitConfig, block_tokens: int
) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of one optimiser batch of all lessons, and its gradients, in micro-batches of this size."""
    model.module.zero_grad()
    read, weight, total = forward(model.module, config), sum(lesson.weight for lesson in lessons), 0.0
    for part in micro_batches(lessons, block_tokens):
        loss = loss_of(logits_at(model.module, read(part)), part) / weight
        loss.backward()
        total += loss.item()
    return total, gradients(model)


def gradients(model: RewardModel) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in model.module.named_parameters() if weight.grad is not None}


def agree(found: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    """Gradients are equal to float32 rounding: to 1e-5 of the largest entry in each tensor."""
    assert found.keys() == want.keys()
    for name, gradient in want.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5 * gradient.abs().max().item() + 1e-9)


def padded(model: RewardModel, rows: list[tuple[int, ...]]) -> torch.Tensor:
    """Logits (rows, tokens, labels) of plain right-padded sequences, by the stock model's own body and head."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[2] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    module: Any = model.module
    return module.score(module.model(input_ids=ids, attention_mask=mask).last_hidden_state)


@pytest.mark.parametrize("block_tokens", [30, 1000])
@pytest.mark.parametrize("target", ["hard", "soft", "binomial"])
def test_trajectory_weighting_is_the_loss_of_separate_sequences(target: Any, block_tokens: int) -> None:
    """Whole trees or split ones: loss and every gradient equal those of a padded batch of separate solutions."""
    model, rows = tiny_models.reward_model(), counted()
    targets = replace(COUNTS, target=target)
    config = TrainConfig(held_out=0, weighting="trajectory", targets=targets, fit=FitConfig(block_tokens=block_tokens))
    materials = from_labelled(rows, targets)
    lessons = prepare(config, materials, model).lessons
    assert (len(lessons) > 3) == (block_tokens == 30)
    loss, found = tree_gradients(model, lessons, config.fit, block_tokens)

    model.module.zero_grad()
    encodings = [model.encoder.encode(solution.prefix) for solution, _ in rows]
    logits = padded(model, [encoding.ids for encoding in encodings])
    costs, weight = [], 0.0
    for row, encoding, example in zip(logits, encodings, materials.examples, strict=True):
        for read, evidence in zip(encoding.reads, example.evidence, strict=True):
            assert evidence is not None
            chance = torch.log_softmax(row[read], -1)
            costs.append(-(evidence.good * chance[1] + evidence.bad * chance[0]))
            weight += sum(evidence)
    want = torch.stack(costs).sum() / weight
    want.backward()

    assert loss == pytest.approx(want.item(), rel=1e-6)
    agree(found, gradients(model))


def test_a_training_on_trees_has_the_loss_curve_of_padded_sequences() -> None:
    """Twenty steps of AdamW, a problem each: every step's loss is that of a plain padded loop with the same batches."""
    rows, config = (
        counted(),
        FitConfig(epochs=7, batch_tokens=1, block_tokens=1000, warmup=0, decay="linear", weight_decay=0),
    )
    asked = TrainConfig(held_out=0, weighting="trajectory", targets=COUNTS, fit=config)
    model, plain = tiny_models.reward_model(), tiny_models.reward_model()
    problems = sorted({solution.prefix.problem_id for solution, _ in rows})
    own = [[row for row in rows if row[0].prefix.problem_id == problem] for problem in problems]
    lessons = [one for part in own for one in prepare(asked, from_labelled(part, COUNTS), model).lessons]
    order = [lessons.index(one) for epoch in range(7) for [one] in batches(lessons, 1, 0, epoch)]
    told: list[float] = []

    def track(step: int, values: Mapping[str, float]) -> None:
        if "batch_loss" in values:
            told.append(values["batch_loss"])

    fit(model.module, lessons, [], config, lr=3e-3, seed=0, track=track, quiet=True)

    optimizer, want = torch.optim.AdamW(plain.module.parameters(), weight_decay=0), []
    for step, problem in enumerate(order):
        part = own[problem]
        encodings = [plain.encoder.encode(solution.prefix) for solution, _ in part]
        chances = torch.log_softmax(padded(plain, [encoding.ids for encoding in encodings]), -1)
        loss, weight = torch.zeros(()), 0
        for row, encoding, (_, labels) in zip(chances, encodings, part, strict=True):
            for read, tally in zip(encoding.reads, labels.tallies, strict=True):
                loss = loss - tally.good * row[read, 1] - (tally.tried - tally.good) * row[read, 0]
                weight += tally.tried
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / len(order))
        optimizer.zero_grad()
        (loss / weight).backward()
        torch.nn.utils.clip_grad_norm_(plain.module.parameters(), 1.0)
        optimizer.step()
        want.append(loss.item() / weight)

    assert len(lessons) == 3
    assert len(told) == len(want) == 21
    assert told == pytest.approx(want, rel=1e-3)
    assert want[-1] < want[0]


@pytest.mark.parametrize("block_tokens", [30, 1000])
def test_prefix_weighting_is_the_loss_of_distinct_prefixes(block_tokens: int) -> None:
    """Loss and gradients equal those of every distinct labelled prefix run alone, once, with its mean evidence."""
    model, rows = tiny_models.reward_model(), counted()
    config = TrainConfig(held_out=0, targets=COUNTS, fit=FitConfig(block_tokens=block_tokens))
    lessons = prepare(config, from_labelled(rows, COUNTS), model).lessons
    loss, found = tree_gradients(model, lessons, config.fit, block_tokens)

    seen: dict[tuple[int, ...], list[Tally]] = {}
    for solution, labels in rows:
        for step, tally in enumerate(labels.tallies):
            seen.setdefault(model.encoder.encode(solution.prefix.first(step + 1)).ids, []).append(tally)
    model.module.zero_grad()
    weight = sum(sum(tally.tried for tally in tallies) / len(tallies) for tallies in seen.values())
    total = 0.0
    for ids, tallies in seen.items():
        good = sum(tally.good for tally in tallies) / len(tallies)
        bad = sum(tally.tried - tally.good for tally in tallies) / len(tallies)
        chance = torch.log_softmax(padded(model, [ids])[0, -1], -1)
        cost = -(good * chance[1] + bad * chance[0]) / weight
        cost.backward()
        total += cost.item()

    assert len(seen) < sum(len(labels.tallies) for _, labels in rows)
    assert loss == pytest.approx(total, rel=1e-5)
    agree(found, gradients(model))


def preference_rows() -> list[Pair]:
    """Every right solution of a problem above every wrong one."""
    rows = [solution for solution, _ in tiny_tasks.labelled(problems=4, draws=6, steps=2)]
    right = [solution.prefix for solution in rows if solution.verdict == "correct"]
    wrong = [solution.prefix for solution in rows if solution.verdict == "incorrect"]
    return [Pair(a, b, 0.25) for a in right for b in wrong if a.problem_id == b.problem_id]


@pytest.mark.parametrize("block_tokens", [30, 1000])
def test_preferences_on_trees_are_those_of_separate_sequences(block_tokens: int) -> None:
    """Bradley-Terry: loss and gradients equal those of padded pairs, margins included."""
    model, pairs = tiny_models.reward_model("orm"), preference_rows()
    config = TrainConfig(
        kind="orm",
        objective="bradley-terry",
        held_out=0,
        weighting="trajectory",
        fit=FitConfig(block_tokens=block_tokens),
    )
    lessons = prepare(config, from_pairs(pairs), model).lessons
    loss, found = tree_gradients(model, lessons, config.fit, block_tokens)

    model.module.zero_grad()
    costs = []
    for pair in pairs:
        rows = [model.encoder.encode(side).ids for side in (pair.chosen, pair.rejected)]
        rewards = [logits[len(ids) - 1, 0] for logits, ids in zip(padded(model, rows), rows, strict=True)]
        costs.append(-torch.nn.functional.logsigmoid(rewards[0] - rewards[1] - pair.margin))
    want = torch.stack(costs).mean()
    want.backward()

    assert len(pairs) > 5
    assert loss == pytest.approx(want.item(), rel=1e-6)
    agree(found, gradients(model))


def test_outcomes_are_read_where_the_stock_model_reads_them() -> None:
    """The ORM's loss equals binary cross-entropy on the logits of the stock sequence classifier."""
    model = tiny_models.reward_model("orm")
    solutions = [solution for solution, _ in tiny_tasks.labelled(problems=3)]
    config = TrainConfig(kind="orm", held_out=0, weighting="trajectory")
    lessons = prepare(config, from_solutions(solutions, TargetConfig()), model).lessons
    loss, _ = tree_gradients(model, lessons, config.fit, 200)

    module: Any = model.module
    rows = [torch.tensor([model.encoder.encode(solution.prefix).ids]) for solution in solutions]
    logits = torch.cat([module(ids).logits[:, 0] for ids in rows])
    targets = torch.tensor([float(solution.verdict == "correct") for solution in solutions])
    want = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)

    assert loss == pytest.approx(want.item(), rel=1e-5)


def test_accumulated_gradients_equal_those_of_one_large_batch() -> None:
    """One optimiser batch in many forward passes or in one: the same gradients, whatever each pass holds."""
    model = tiny_models.reward_model()
    config = TrainConfig(held_out=0, targets=COUNTS, fit=FitConfig(block_tokens=40))
    lessons = prepare(config, from_labelled(counted(), COUNTS), model).lessons

    loss, small = tree_gradients(model, lessons, config.fit, 1)
    want, large = tree_gradients(model, lessons, config.fit, 100_000)

    assert len(micro_batches(lessons, 1)) == len(lessons) > 5
    assert loss == pytest.approx(want, rel=1e-6)
    agree(small, large)


def test_recomputed_activations_give_the_same_gradients() -> None:
    """Gradient checkpointing changes memory, not the result."""
    model = tiny_models.reward_model()
    config = TrainConfig(held_out=0, targets=COUNTS)
    lessons = prepare(config, from_labelled(counted(), COUNTS), model).lessons

    _, want = tree_gradients(model, lessons, config.fit, 200)
    _, found = tree_gradients(model, lessons, FitConfig(checkpointing=True), 200)

    agree(found, want)


def test_recomputing_draws_no_dropout() -> None:
    """Layers that look at their training mode by themselves (OPT's) are as deterministic as without it."""
    tokenizer = tiny_models.bpe_tokenizer()
    shape = OPTConfig(
        vocab_size=len(tokenizer), hidden_size=32, word_embed_proj_dim=32, ffn_dim=48, num_hidden_layers=2,
        num_attention_heads=4, dropout=0.5, attention_dropout=0.5, max_position_embeddings=512, init_std=0.3,
    )  # fmt: skip
    model = RewardModel.grow(OPTForCausalLM(shape), tokenizer, kind="orm", name="opt")
    solutions = [solution for solution, _ in tiny_tasks.labelled(problems=3)]
    config = TrainConfig(kind="orm", held_out=0)
    lessons = prepare(config, from_solutions(solutions, TargetConfig()), model).lessons
    before = torch.get_rng_state()

    _, want = tree_gradients(model, lessons, config.fit, 200)
    _, found = tree_gradients(model, lessons, FitConfig(checkpointing=True), 200)

    agree(found, want)
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.module.training
    assert not any("forward" in vars(layer) for layer in model.module.modules())


def test_a_model_that_takes_no_trees_trains_on_chains() -> None:
    """A window shorter than a solution: the same loss and gradients by plain sequences, and the report says so."""
    rows = counted()
    found = []
    for window in (32, 8):
        model = tiny_models.reward_model(architecture="mistral", sliding_window=window)
        config = TrainConfig(held_out=0, targets=COUNTS)
        prepared = prepare(config, from_labelled(rows, COUNTS), model)
        found.append((prepared.notes, prepared.lessons))

    [few_steps] = found[0][0]
    assert "steps" in few_steps
    assert not all(lesson.is_chain for lesson in found[0][1])
    assert "trees up to 8 deep" in found[1][0][0]
    assert all(lesson.is_chain for lesson in found[1][1])
    assert sum(lesson.weight for lesson in found[1][1]) == pytest.approx(sum(lesson.weight for lesson in found[0][1]))


@pytest.mark.parametrize("tokens", [40, 100, 10_000])
def test_an_epoch_holds_every_lesson_once_in_even_batches(tokens: int) -> None:
    """Each lesson once an epoch, batches of about the asked size, another order in another epoch, the same by seed."""
    model = tiny_models.reward_model()
    config = TrainConfig(held_out=0, targets=COUNTS, fit=FitConfig(block_tokens=40))
    lessons = prepare(config, from_labelled(tiny_tasks.labelled(), COUNTS), model).lessons
    total, largest = sum(lesson.distinct for lesson in lessons), max(lesson.distinct for lesson in lessons)

    epochs = [batches(lessons, tokens, 0, epoch) for epoch in (0, 1)]

    for epoch in epochs:
        assert sorted(id(lesson) for batch in epoch for lesson in batch) == sorted(map(id, lessons))
        even = total / max(1, round(total / tokens))
        assert all(abs(sum(lesson.distinct for lesson in batch) - even) <= largest for batch in epoch)
    assert epochs[0] == batches(lessons, tokens, 0, 0)
    assert epochs[0] != epochs[1]


def test_a_batch_is_so_many_distinct_tokens_whatever_the_blocks() -> None:
    """Small blocks repeat what their solutions share; the steps of the optimiser stay about as many."""
    model = tiny_models.reward_model()
    rows = from_labelled(tiny_tasks.labelled(problems=20, draws=6, steps=4), COUNTS)
    found = {}
    for size in (30, 120):
        config = TrainConfig(held_out=0, targets=COUNTS, fit=FitConfig(block_tokens=size))
        lessons = prepare(config, rows, model).lessons
        found[size] = sum(lesson.tokens for lesson in lessons), len(batches(lessons, 200, 0, 0))

    assert found[30][0] > 1.5 * found[120][0]
    assert found[30][1] == found[120][1] > 4


def test_the_learning_rate_rises_and_falls() -> None:
    """A straight rise over the warm-up to exactly the peak, then down by cosine or line, above 0 to the last step."""
    config = FitConfig(warmup=0.2)
    line = replace(config, decay="linear")

    assert [share_of_lr(step, 10, config) for step in (0, 1, 2)] == [0.5, 1.0, 1.0]
    assert share_of_lr(6, 10, config) == pytest.approx(0.5)
    assert share_of_lr(4, 10, config) == pytest.approx(0.5 + 0.5 * math.cos(math.pi / 4))
    assert [share_of_lr(step, 10, line) for step in (2, 6, 9)] == pytest.approx([1, 0.5, 0.125])
    assert share_of_lr(0, 1, FitConfig(warmup=0)) == 1


def test_checks_are_spread_over_the_epochs() -> None:
    """Two checks an epoch, the second at its end."""
    assert check_points([4, 5], 2) == {2: 0.5, 4: 1.0, 7: 1.5, 9: 2.0}
