"""A transformer and a small head in one module, laid out as `gradatim.models.forward` expects a classifier."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradatim.errors import CheckpointError
from gradatim.models.formats.contract import Facts
from gradatim.models.formats.weights import check_present

MLP_KEYS = ("score.0.weight", "score.0.bias", "score.2.weight", "score.2.bias")
"""Tensors of the two-layer head of Qwen's reward models."""


class Headed(nn.Module):
    """A body and its head: (..., hidden) -> (..., 2), ordered bad, good, or (..., 1)."""

    base_model_prefix = "model"

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        """The head is moved to where the body is, and to its number format."""
        super().__init__()
        weight = next(body.parameters())
        self.model, self.score = body, head.to(weight.device, weight.dtype)
        self.eval()

    @property
    def config(self) -> Any:
        """The body's configuration."""
        return self.model.config


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A layer with these weights, (out, in) and (out,); CheckpointError if they do not fit each other."""
    fits = weight.ndim == 2 and (bias is None or bias.shape == weight.shape[:1])
    if not fits:
        found = f"{tuple(weight.shape)} and {None if bias is None else tuple(bias.shape)}"
        raise CheckpointError(f"found head weights of shapes {found}, expected (labels, hidden size) and (labels,)")
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


def mlp(facts: Facts, labels: int) -> nn.Sequential:
    """The two-layer head of Qwen's reward models: linear, ReLU, linear; CheckpointError unless all of it is there."""
    check_present(facts, MLP_KEYS)
    faults = mlp_faults(facts, labels)
    if faults:
        raise CheckpointError(f"{facts.folder}: {'; '.join(faults)}")
    first, first_bias, second, second_bias = map(facts.tensor, MLP_KEYS)
    return nn.Sequential(linear(first, first_bias), nn.ReLU(), linear(second, second_bias))


def mlp_faults(facts: Facts, labels: int) -> list[str]:
    """What keeps a checkpoint from having that head, with `labels` outputs; empty if it has it."""
    size = facts.config.get("hidden_size")
    shapes = dict(zip(MLP_KEYS, ((size, size), (size,), (labels, size), (labels,)), strict=True))
    faults = [
        f"found {facts.shapes.get(name, 'no weight')} for {name}, expected shape {shape}"
        for name, shape in shapes.items()
        if facts.shapes.get(name) != shape
    ]
    extra = sorted(name for name in facts.shapes if name.startswith("score.") and name not in MLP_KEYS)
    return faults + [f"found {name}, expected no such weight" for name in extra]
