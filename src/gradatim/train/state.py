"""What a training needs to go on after a stop: written in one move, read without running any code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from gradatim.errors import CheckpointError, ConfigError
from gradatim.train.sharding import divided_like, whole


@dataclass(slots=True, kw_only=True)
class Position:
    """How far a training is. The learning rate and the order of batches follow from `step`."""

    step: int = 0
    """Steps that the optimiser took."""
    processed: int = 0
    """Tokens that went through the model, padding included."""
    seconds: float = 0.0
    """Time it took, over all its starts."""
    loss: float = 0.0
    """Training loss since the last check, times `weight`."""
    weight: float = 0.0
    """Evidence learnt from since the last check."""
    best: float | None = None
    """The least held-out loss so far."""
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    """The trained weights that had it."""
    since: int = 0
    """Checks in a row without a better one."""
    stopped: bool = False
    """Whether that was enough of them."""
    history: list[dict[str, float]] = field(default_factory=list)
    """A row a check."""


def trained_weights(module: nn.Module) -> dict[str, Tensor]:
    """The weights that are trained, by name; not copied."""
    return {name: weight.detach() for name, weight in module.named_parameters() if weight.requires_grad}


def set_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Set the trained weights of a module; CheckpointError if they are not the ones that it trains."""
    own = trained_weights(module)
    if own.keys() != weights.keys():
        raise CheckpointError("the saved state trains other weights than this run; remove it to start again")
    for name, weight in own.items():
        weight.copy_(divided_like(weights[name], weight))


def write_state(
    path: Path, key: str, module: nn.Module, optimizer: torch.optim.Optimizer, position: Position, *, write: bool = True
) -> None:
    """Replace the state file: after a kill at any moment the old or the new one is there, whole.

    Every process of a training calls it, and one of them has `write`.
    """
    weights = {name: whole(weight) for name, weight in trained_weights(module).items()}
    at = {part.name: getattr(position, part.name) for part in fields(position)}
    at["best_weights"] = {name: whole(weight) for name, weight in position.best_weights.items()}
    learnt = optimizer.state_dict()
    learnt["state"] = {
        index: {name: whole(value) for name, value in values.items()} for index, values in learnt["state"].items()
    }
    if not write:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".fresh")
    try:
        with fresh.open("wb") as file:
            torch.save({"key": key, "weights": weights, "optimizer": learnt, "position": at}, file)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        fresh.unlink(missing_ok=True)  # on a full disk it takes what the old state, which is kept, leaves
        raise
    fresh.replace(path)


def read_state(path: Path, key: str, module: nn.Module, optimizer: torch.optim.Optimizer) -> Position:
    """Put a saved state into module and optimiser and give its position; the beginning where there is no file.

    ConfigError if the state belongs to a training with another key, CheckpointError if it can't be read.
    """
    if not path.exists():
        return Position()
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, UnpicklingError) as error:
        raise CheckpointError(
            f"{path}: no state of a training ({type(error).__name__}); remove it to start again"
        ) from error
    if state["key"] != key:
        raise ConfigError(
            f"{path} is the state of another training (other data, settings or backbone); "
            "choose another folder, or remove it to start again"
        )
    set_weights(module, state["weights"])
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, values in state["optimizer"]["state"].items():
        for name, value in values.items():
            if value.ndim:
                values[name] = divided_like(value, weights[index])
    optimizer.load_state_dict(state["optimizer"])
    return Position(**state["position"])
