from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import tiny_models
from gradatim import trees
from gradatim.errors import ConfigError
from gradatim.models.forward import body_of, forward_blocks
from gradatim.models.layers import cut_below, layers_of

TREE = [[5, 6, 7, 8, 9], [5, 6, 7, 3], [5, 6, 4, 4, 4, 2], [5, 9]]
BLOCKS = [*trees.build(TREE, 100), *trees.build([[7, 8, 9, 10], [7, 8, 1]], 100)]
NODES = [range(len(block)) for block in BLOCKS]


def gradients(module: nn.Module, logits: torch.Tensor) -> dict[str, torch.Tensor]:
    module.zero_grad()
    logits.square().sum().backward()
    return {name: weight.grad.clone() for name, weight in module.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral", "gpt2", "neox"])
def test_the_upper_part_computes_what_the_whole_model_does(architecture: str) -> None:
    """From the states at the cut: the same logits and gradients as a full pass through frozen lower layers."""
    module = tiny_models.reward_model(architecture=architecture, sliding_window=64).module
    cut = cut_below(module, 1)
    want = forward_blocks(module, BLOCKS, NODES)
    want_gradients = gradients(module, want)

    with torch.no_grad():
        states = cut.states(BLOCKS)
    with cut.above(states):
        found = forward_blocks(module, BLOCKS, NODES)
    found_gradients = gradients(module, found)

    assert [len(rows) for rows in states] == [len(block) for block in BLOCKS]
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-5)
    assert found_gradients.keys() == want_gradients.keys()
    for name, gradient in want_gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))
    # Outside, all is as it was.
    torch.testing.assert_close(forward_blocks(module, BLOCKS, NODES), want, rtol=0, atol=0)


def test_only_what_lies_above_the_cut_is_trained() -> None:
    """The last layer, the norm after it and the head; not the embeddings and not the layer below."""
    module = tiny_models.reward_model().module

    cut_below(module, 1)

    trained = {name for name, weight in module.named_parameters() if weight.requires_grad}
    assert all(name.startswith(("model.layers.1.", "model.norm.", "score.")) for name in trained)
    assert {"model.layers.1.self_attn.q_proj.weight", "model.norm.weight", "score.weight"} <= trained
    assert all(weight.grad is None for weight in module.parameters())


@pytest.mark.parametrize("count", [0, 2, 3])
def test_a_cut_needs_layers_on_both_sides(count: int) -> None:
    """The error says how many layers there are."""
    with pytest.raises(ConfigError, match=f"train_layers={count} of a backbone with 2 layers; expected 1 to 1"):
        cut_below(tiny_models.reward_model().module, count)


def test_a_model_that_hands_on_more_than_states_is_not_cut() -> None:
    """Where the upper part gives something else than the whole model, that is found before anything is trained."""
    module = tiny_models.reward_model().module
    body: Any = body_of(module)
    first: Any = layers_of(body)[0]
    memory: list[torch.Tensor] = []
    first.mlp.register_forward_hook(lambda _, given, found: memory.append(found))
    body.norm.register_forward_pre_hook(lambda _, given: given[0] + memory.pop() if memory else None)

    with pytest.raises(ConfigError, match="can't be run from its layer 1 on"):
        cut_below(module, 1)
