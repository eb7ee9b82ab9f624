"""A backbone cut in two between two of its layers: the lower part is run once, the upper part as often as one likes.

Nothing of a model's own forward pass is written anew. Layers that should not compute pass on what they are given, and the
last one below the cut gives what it gave before. So any stock model works whose layers hand on one tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradatim import trees
from gradatim.errors import ConfigError
from gradatim.models.forward import body_of, hidden_at


@dataclass(frozen=True, slots=True)
class Cut:
    """A model cut below its last layers; see `cut_below`."""

    module: nn.Module
    lower: tuple[nn.Module, ...]
    """The layers below the cut, at least one."""
    upper: tuple[nn.Module, ...]
    """Those above it, at least one."""

    def states(self, blocks: Sequence[trees.Block]) -> list[Tensor]:
        """For each block the hidden states (tokens, hidden size) at the cut."""
        caught: list[Any] = []
        hook = self.lower[-1].register_forward_hook(lambda *call: caught.append(call[-1]))
        try:
            with _computing_otherwise(dict.fromkeys(self.upper, _pass_on)):
                hidden_at(self.module, blocks, [[0]] * len(blocks))
        finally:
            hook.remove()
        if not isinstance(caught[0], Tensor):
            raise ConfigError(f"the layers of {type(body_of(self.module)).__name__} hand on more than hidden states")
        return [caught[0][row, : len(block)] for row, block in enumerate(blocks)]

    @contextmanager
    def above(self, states: Sequence[Tensor]) -> Iterator[None]:
        """Inside, a forward pass over the blocks that had these states computes the upper part only."""
        weight = next(self.module.parameters())
        padded = nn.utils.rnn.pad_sequence([rows.to(weight.device, weight.dtype) for rows in states], batch_first=True)

        def give(*_: Any, **__: Any) -> Tensor:
            return padded

        with _computing_otherwise({**dict.fromkeys(self.lower, _pass_on), self.lower[-1]: give}):
            yield


def cut_below(module: nn.Module, count: int) -> Cut:
    """Cut a stock model below its last `count` layers, and let only the weights above the cut require gradients.

    The head is above; so is a final norm. ConfigError if there are no layers left below, or if the upper part does not
    give from the states at the cut what the whole model gives.
    """
    body = body_of(module)
    layers = layers_of(body)
    if not 0 < count < len(layers):
        raise ConfigError(
            f"train_layers={count} of a backbone with {len(layers)} layers; expected 1 to {len(layers) - 1}"
        )
    cut = Cut(module, layers[:-count], layers[-count:])
    module.requires_grad_(True)
    blocks, nodes = trees.build([[1, 2, 3], [1, 2, 0]], 9), [[2, 3]]
    with torch.no_grad():
        want, states = hidden_at(module, blocks, nodes), cut.states(blocks)
    with cut.above(states):
        found = hidden_at(module, blocks, nodes)
    if not torch.allclose(found, want, rtol=1e-4, atol=1e-5 * float(want.abs().max())):
        raise ConfigError(
            f"{type(body).__name__} can't be run from its layer {len(cut.lower)} on; leave train_layers out"
        )
    found.sum().backward()  # type: ignore[no-untyped-call]
    for weight in body.parameters():
        # What the upper part does not use has no gradient.
        weight.requires_grad_(weight.grad is not None)
        weight.grad = None
    return cut


def layers_of(body: nn.Module) -> tuple[nn.Module, ...]:
    """The layers of a body, from below; ConfigError if it has no one list of them."""
    config: Any = body.config
    count = config.get_text_config().num_hidden_layers
    found = [child for child in body.children() if isinstance(child, nn.ModuleList) and len(child) == count]
    if len(found) != 1:
        raise ConfigError(f"{type(body).__name__} has no one list of its {count} layers: it can only be run whole")
    return tuple(found[0])


def _pass_on(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    return hidden_states


@contextmanager
def _computing_otherwise(layers: Mapping[nn.Module, Callable[..., Tensor]]) -> Iterator[None]:
    """Have some layers compute something else for a while; everything else about them stays."""
    for layer, compute in layers.items():
        layer.forward = compute
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
