"""A tree gives each of its paths what the path alone would get: values and gradients, for several architectures."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from transformers import BloomConfig, BloomForTokenClassification, GPTNeoConfig, GPTNeoForTokenClassification

from gradatim import trees
from gradatim.models.forward import body_of, forward_blocks, head_of, tree_depth
from tiny_models import reward_model

ARCHITECTURES = ["llama", "qwen2", "mistral", "neox", "gpt2"]


def family(count: int = 10, seed: int = 1) -> list[tuple[int, ...]]:
    """Sequences that branch off one another at random places, at most 32 tokens long."""
    draws = random.Random(seed)
    sequences = [tuple(draws.randrange(300) for _ in range(12))]
    while len(sequences) < count:
        base = draws.choice(sequences)
        kept = base[: draws.randrange(1, min(len(base), 20) + 1)]
        sequences.append(kept + tuple(draws.randrange(300) for _ in range(draws.randrange(1, 13))))
    return sequences


def alone(module: Any, sequence: tuple[int, ...]) -> torch.Tensor:
    """Log-odds at every token, by the stock model's own forward pass of one sequence."""
    logits = module(torch.tensor([sequence])).logits[0]
    return logits[:, 1] - logits[:, 0]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("split", ["one tree", "several", "chains"])
def test_a_tree_equals_its_sequences(architecture: str, attention: str, split: str) -> None:
    """Every token's logit agrees with the stock forward pass of its sequence alone, to 1e-5."""
    module = reward_model("prm", architecture, attn_implementation=attention).module
    sequences = family()
    budget = {"one tree": 1000, "several": 30}
    blocks = trees.chains(sequences) if split == "chains" else trees.build(sequences, budget[split])

    with torch.inference_mode():
        expected = [alone(module, sequence) for sequence in sequences]
        for group in trees.batches(blocks, 120):
            batch = [blocks[index] for index in group]
            nodes = [[node for member in block.members for node in block.path(member)] for block in batch]
            found = forward_blocks(module, batch, nodes)
            wanted = torch.cat([expected[member] for block in batch for member in block.members])
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert max(value.std() for value in expected) > 0.1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_tree_has_the_gradients_of_its_sequences(architecture: str) -> None:
    """A weighted sum over all tokens of all sequences has the same gradient from one tree as from separate passes."""
    module = reward_model("prm", architecture).module
    sequences = family(6)
    weights = [torch.linspace(-1, 1, len(sequence)) for sequence in sequences]

    module.zero_grad()
    sum((alone(module, ids) * weight).sum() for ids, weight in zip(sequences, weights, strict=True)).backward()
    separate = {name: value.grad.clone() for name, value in module.named_parameters() if value.grad is not None}
    module.zero_grad()
    blocks = trees.build(sequences, 1000)
    nodes = [[node for member in block.members for node in block.path(member)] for block in blocks]
    order = [member for block in blocks for member in block.members]
    (forward_blocks(module, blocks, nodes) * torch.cat([weights[member] for member in order])).sum().backward()

    for name, value in module.named_parameters():
        if name in separate:
            scale = separate[name].abs().max().clamp_min(1)
            torch.testing.assert_close(value.grad / scale, separate[name] / scale, rtol=0, atol=1e-5)
    assert head_of(module).weight.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_numbers(dtype: torch.dtype) -> None:
    """Padding rows of a mask are no rows of NaN, which half precision would spread."""
    module = reward_model("prm").module.to(dtype)
    blocks = [*trees.build(family(8, 1), 1000), *trees.build(family(3, 2), 1000)]

    found = forward_blocks(module, blocks, [range(len(block)) for block in blocks])
    found.sum().backward()
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert all(value.grad.isfinite().all() for value in module.parameters() if value.grad is not None)


def test_windows_bound_the_depth() -> None:
    """A sliding window of 32 takes trees of 32 levels; full attention takes any."""
    assert tree_depth(reward_model(architecture="mistral").module) == 32
    assert tree_depth(reward_model(architecture="mistral", sliding_window=None).module) == float("inf")
    assert tree_depth(reward_model(architecture="qwen2").module) == float("inf")
    assert tree_depth(reward_model(architecture="llama").module) == float("inf")


def test_models_that_take_no_mask_say_so() -> None:
    """Relative biases (Bloom) and windows over the row (GPT-Neo) rule trees out."""
    bloom = BloomForTokenClassification(BloomConfig(vocab_size=50, hidden_size=16, n_layer=1, n_head=2))
    neo = GPTNeoForTokenClassification(
        GPTNeoConfig(
            vocab_size=50, hidden_size=16, num_layers=2, attention_types=[[["global", "local"], 1]], num_heads=2,
            bos_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip

    assert tree_depth(bloom) == 0
    assert tree_depth(neo) == 0


def test_a_window_really_is_shorter_than_a_tree() -> None:
    """Beyond its window a model with a mask differs from itself alone: the depth bound is needed."""
    module = reward_model("prm", "mistral", sliding_window=4).module
    (block,) = trees.build(family(4), 1000)

    with torch.inference_mode():
        found = forward_blocks(module, [block], [block.path(0)])
        assert (found - alone(module, family(4)[0])).abs().max() > 1e-2


def test_the_body_is_run_without_its_language_model() -> None:
    """What is run below the head has no output over the vocabulary."""
    module = reward_model("prm").module

    hidden = body_of(module)(input_ids=torch.tensor([[1, 2, 3]])).last_hidden_state
    assert hidden.shape == (1, 3, 32)
    assert not hasattr(module, "lm_head")
