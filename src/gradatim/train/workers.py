"""The processes that train one model together, as `accelerate launch` and `torchrun` start them; usually it is one.

Each holds the model and takes its share of every step's lessons. The loss is divided by the weight of the whole step and
gradients are added up, once a step, so the model learns what it would learn in one process, but for rounding.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import distributed, nn

from gradatim.errors import ConfigError
from gradatim.train.lessons import Lesson, micro_batches


@dataclass(frozen=True, slots=True)
class Workers:
    """One of `count` processes. All of them call the same methods in the same order."""

    count: int = 1
    """How many there are."""
    rank: int = 0
    """Which one this is, from 0."""
    device: str = "auto"
    """Where this one computes."""
    spread: bool = False
    """Whether each holds a part of the weights only (FSDP), as `accelerate launch --use_fsdp` asks for."""

    @property
    def is_main(self) -> bool:
        """Whether this one speaks and writes for all."""
        return self.rank == 0

    def passes(self, lessons: Sequence[Lesson], block_tokens: int) -> list[tuple[list[Lesson], float]]:
        """This process's forward passes over its share of some lessons, and how often each one counts: 1 or 0.

        All processes get equally many. One whose share needs fewer makes up for it with passes that do not count, so
        that it still has a gradient for each weight, if only 0, and waits for the others in step with them.
        """
        shares = [micro_batches(share, block_tokens) for share in divided(lessons, self.count)]
        own, most = shares[self.rank], max(map(len, shares))
        spare = [min(lessons, key=lambda lesson: lesson.tokens)]
        return [*((part, 1.0) for part in own), *[(spare, 0.0)] * (most - len(own))]

    def add_up(self, values: Sequence[float]) -> list[float]:
        """The sums of each value over all processes."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(sums)
        return [float(value) for value in sums]

    def add_up_gradients(self, module: nn.Module) -> None:
        """Replace each gradient by its sum over all processes, the same to the last bit in each of them."""
        if self.count == 1:
            return
        gradients = [weight.grad for weight in module.parameters() if weight.grad is not None]
        if self.spread:
            # Their means have been taken already, in the backward pass.
            for gradient in gradients:
                gradient.mul_(self.count)
        else:
            for under_way in [distributed.all_reduce(gradient, async_op=True) for gradient in gradients]:
                under_way.wait()

    def wait(self) -> None:
        """Go on when all processes have come to this point."""
        self.add_up([0.0])

    def leave(self) -> None:
        """Take leave of the others; the last call of each process."""
        if self.count > 1:
            distributed.destroy_process_group()


ALONE = Workers()
"""The one process of a usual training."""


def workers_for(device: str) -> Workers:
    """This process among those that were started with it; joins them the first time. "auto": a GPU each, if there are.

    ConfigError where several processes would share the one GPU that `device` names.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Workers(device=device)
    if device not in ("auto", "cpu"):
        raise ConfigError(f"device={device!r} names one device for several processes; leave device=auto, or use cpu")
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu")
    spread = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("true", "1")
    return Workers(state.num_processes, state.process_index, str(state.device), spread)


def divided(lessons: Sequence[Lesson], count: int) -> list[list[Lesson]]:
    """So many shares of about equally many tokens, each in the order of the lessons; some may be empty."""
    loads, owners = [0] * count, [0] * len(lessons)
    # The longest first, always to the one that has least.
    for index in sorted(range(len(lessons)), key=lambda index: -lessons[index].tokens):
        owners[index] = owner = min(range(count), key=loads.__getitem__)
        loads[owner] += lessons[index].tokens
    return [[lesson for lesson, owner in zip(lessons, owners, strict=True) if owner == own] for own in range(count)]
