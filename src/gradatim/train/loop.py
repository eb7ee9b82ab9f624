"""The one training loop, for process models, outcome models and preferences alike; read `fit` from top to bottom."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from gradatim.core import seed_for
from gradatim.errors import ConfigError
from gradatim.models.attention import as_now, tree_attention
from gradatim.models.forward import body_of, hidden_at, logits_at
from gradatim.progress import progress
from gradatim.train.config import FitConfig
from gradatim.train.features import Read
from gradatim.train.lessons import Lesson
from gradatim.train.objectives import loss_of
from gradatim.train.sharding import whole
from gradatim.train.state import Position, read_state, set_weights, trained_weights, write_state
from gradatim.train.workers import ALONE, Workers

Track = Callable[[int, Mapping[str, float]], None]
"""Told of values after so many steps."""

STATE = "state.pt"
"""Name of the file, in the folder of a training, from which it goes on after a stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """How a training went."""

    steps: int
    """Steps that the optimiser took."""
    stopped_early: bool
    """Whether the held-out loss ended it."""
    held_out_loss: float | None
    """The least held-out loss, which is that of the weights now in the module; None where nothing was held out."""
    history: tuple[Mapping[str, float], ...]
    """A row a check: steps and epochs done, training loss since the check before, held-out loss."""
    processed_tokens: int
    """Tokens that the reads of training ran through the model, or what is trained of it, padding included."""
    seconds: float
    """Wall time of the loop, over all its starts."""


def untracked(step: int, values: Mapping[str, float]) -> None:
    """Tell nobody."""


def fit(
    module: nn.Module,
    lessons: Sequence[Lesson],
    held_out: Sequence[Lesson],
    config: FitConfig,
    *,
    lr: float,
    seed: int,
    read: Read | None = None,
    cost: Callable[[Sequence[Lesson]], int] | None = None,
    folder: Path | None = None,
    key: str = "",
    workers: Workers = ALONE,
    track: Track = untracked,
    quiet: bool = False,
) -> Fitted:
    """Train the weights of `module` that require gradients and leave the best in it (without a held-out part the last).

    `read` replaces the forward pass below the head, for what was computed before, and `cost` says how many tokens it runs
    through the model (None: all of a plain pass). With a `folder` the state is saved
    there now and then; if one is there already the training goes on from it, and ends as if it had never stopped.
    `key` names what is trained on what: a saved state with another key is a ConfigError. `workers` are the processes
    that share the work, all of which call this alike. `track` is told of every step and check.
    """
    read, size, cost = read or forward(module, config), block_size(module, config), cost or processed_tokens
    epochs = [batches(lessons, config.batch_tokens, seed, epoch) for epoch in range(config.epochs)]
    steps = [batch for epoch in epochs for batch in epoch]
    checks = check_points([len(epoch) for epoch in epochs], config.checks)
    optimizer = adamw(module, config.weight_decay)
    at = read_state(folder / STATE, key, module, optimizer) if folder else Position()
    clock = time.monotonic()

    with progress("train", len(steps) - at.step, "steps", quiet=quiet or not workers.is_main) as shown:
        while at.step < len(steps) and not at.stopped:
            batch, loss, processed = steps[at.step], 0.0, 0.0
            weight = sum(lesson.weight for lesson in batch)
            for part, counted in workers.passes(batch, size):
                owed = counted * loss_of(logits_at(module, read(part)), part)
                (owed / weight).backward()  # type: ignore[no-untyped-call]
                loss += owed.item()
                processed += cost(part)
            workers.add_up_gradients(module)
            late = workers.is_main and time.monotonic() - clock >= 60 * config.save_minutes
            loss, processed, due = workers.add_up([loss, processed, late])
            _finite("loss", loss, at, lr, config)
            for group in optimizer.param_groups:
                group["lr"] = lr * share_of_lr(at.step, len(steps), config)
            norm = whole(nn.utils.clip_grad_norm_(module.parameters(), config.clip)).item()
            _finite("norm of the gradient", norm, at, lr, config)
            optimizer.step()
            optimizer.zero_grad()
            at.step, at.processed = at.step + 1, at.processed + int(processed)
            at.loss, at.weight = at.loss + loss, at.weight + weight
            ran = {"processed": processed} if processed else {}
            shown.advance(1, distinct=sum(lesson.distinct for lesson in batch), **ran)
            shown.show(loss=at.loss / at.weight)
            track(at.step, {"batch_loss": loss / weight, "lr": group["lr"], "gradient_norm": norm})

            if at.step in checks:
                _check(module, held_out, read, config, at, checks[at.step], workers)
                _finite("held-out loss", at.history[-1].get("held_out_loss", 0.0), at, lr, config)
                shown.show(**{name: value for name, value in at.history[-1].items() if name == "held_out_loss"})
                track(at.step, at.history[-1])
            if folder and (at.step in checks or due):
                at.seconds, clock = at.seconds + time.monotonic() - clock, time.monotonic()
                write_state(folder / STATE, key, module, optimizer, at, write=workers.is_main)

    if at.best_weights:
        set_weights(module, at.best_weights)
    return Fitted(
        steps=at.step,
        stopped_early=at.stopped,
        held_out_loss=at.best,
        history=tuple(at.history),
        processed_tokens=at.processed,
        seconds=at.seconds + time.monotonic() - clock,
    )


def forward(module: nn.Module, config: FitConfig) -> Read:
    """Hidden states by running the body on the lessons' blocks; dropout is off."""
    module.eval()
    device = next(module.parameters()).device

    def read(lessons: Sequence[Lesson]) -> Tensor:
        blocks = [block for lesson in lessons for block in lesson.blocks]
        nodes = [nodes for lesson in lessons for nodes in lesson.nodes]
        rounded = torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.bfloat16)
        with tree_attention(module, blocks), recomputed(module, config), rounded:
            return hidden_at(module, blocks, nodes).float()

    return read


@contextmanager
def recomputed(module: nn.Module, config: FitConfig) -> Iterator[None]:
    """Where that is asked for, what layers compute meanwhile is computed again in the backward pass instead of kept.

    The layers stay in evaluation mode: transformers' own switch needs them in training mode, in which some draw dropout.
    ConfigError for a model without layers of the known kind.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, GradientCheckpointingLayer)]
    if not config.checkpointing:
        layers = []
    elif not layers:
        raise ConfigError(f"{type(body_of(module)).__name__} can't recompute its layers; set checkpointing=False")
    again: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False, "context_fn": partial(as_now, module)}
    # What a cut passes on, or gives as it was kept, is not computed again.
    own = [layer for layer in layers if "forward" not in vars(layer)]
    for layer in own:
        layer.forward = partial(checkpoint, layer.forward, **again)
    try:
        yield
    finally:
        for layer in own:
            del layer.forward


def block_size(module: nn.Module, config: FitConfig) -> int:
    """Most tokens in one forward pass, as far as single solutions allow it."""
    if config.block_tokens is not None:
        return config.block_tokens
    width: int = body_of(module).config.hidden_size  # type: ignore[assignment, union-attr]
    return 4 * width


def measure(
    lessons: Sequence[Lesson], read: Read, module: nn.Module, block_tokens: int, workers: Workers = ALONE
) -> float:
    """The mean loss of some lessons, a unit of evidence each, without learning from them."""
    total = 0.0
    with torch.no_grad():
        for part, counted in workers.passes(lessons, block_tokens):
            total += counted * loss_of(logits_at(module, read(part)), part).item()
    [total] = workers.add_up([total])
    return total / sum(lesson.weight for lesson in lessons)


def batches(lessons: Sequence[Lesson], tokens: int, seed: int, epoch: int) -> list[list[Lesson]]:
    """One epoch's steps: the lessons in an order that seed and epoch decide, in groups of about equally many distinct tokens.

    Every group's loss is divided by its own evidence, so a small rest at the end would weigh as much as a full batch:
    the groups are evened out instead, to as near to `tokens` as a whole number of them allows.
    """
    order = list(lessons)
    random.Random(seed_for(seed, "order", epoch)).shuffle(order)
    total = sum(lesson.distinct for lesson in order)
    count = max(1, round(total / tokens))
    groups: list[list[Lesson]] = [[] for _ in range(count)]
    done = 0
    for lesson in order:
        # By the middle of the lesson, so that a large one goes where most of it lies.
        groups[min(count - 1, int((done + lesson.distinct / 2) * count / total))].append(lesson)
        done += lesson.distinct
    return [group for group in groups if group]


def share_of_lr(step: int, steps: int, config: FitConfig) -> float:
    """The share of the peak learning rate at a step (0-based): up in a line to 1, then down to 0 after the last."""
    rise = math.ceil(config.warmup * steps)
    if step < rise:
        return (step + 1) / rise
    left = 1 - (step - rise) / (steps - rise)
    return left if config.decay == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)


def check_points(epochs: Sequence[int], checks: int) -> dict[int, float]:
    """Steps after which to check -> epochs done by then; `epochs` are the numbers of steps in each."""
    points, before = {}, 0
    for epoch, steps in enumerate(epochs):
        for part in range(1, checks + 1):
            points[before + math.ceil(steps * part / checks)] = epoch + part / checks
        before += steps
    return points


def adamw(module: nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over the weights that require gradients; only matrices decay."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": weight_decay},
            {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
        ]
    )


def processed_tokens(part: Sequence[Lesson]) -> int:
    """Tokens of one forward pass over these lessons, with the padding."""
    return max(lesson.width for lesson in part) * sum(len(lesson.blocks) for lesson in part)


def _finite(name: str, value: float, at: Position, lr: float, config: FitConfig) -> None:
    """ConfigError for what is no number: the weights are lost then, or will be."""
    if not math.isfinite(value):
        raise ConfigError(f"the {name} is {value} at step {at.step}; lower lr={lr}, or clip below {config.clip}")


def _check(
    module: nn.Module,
    held_out: Sequence[Lesson],
    read: Read,
    config: FitConfig,
    at: Position,
    epochs: float,
    workers: Workers,
) -> None:
    """Note how it goes, keep the weights if they are the best so far, and say when to stop."""
    row = {"step": float(at.step), "epochs": epochs, "loss": at.loss / at.weight}
    at.loss = at.weight = 0.0
    if held_out:
        row["held_out_loss"] = found = measure(held_out, read, module, block_size(module, config), workers)
        at.since += 1
        if at.best is None or found < at.best:
            at.best, at.since = found, 0
            at.best_weights = {name: weight.clone() for name, weight in trained_weights(module).items()}
        at.stopped = 0 < config.patience <= at.since
    at.history.append(row)
