from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_models
from gradatim import trees
from gradatim.models import attention, flex
from gradatim.models.attention import tree_attention
from gradatim.models.forward import TREES, forward_blocks


def blocks(budget: int, count: int = 40) -> list[trees.Block]:
    """Trees with deep and shallow branches, of so many sequences."""
    draws = torch.Generator().manual_seed(3)
    stem = torch.randint(5, 60, (40,), generator=draws).tolist()
    sequences = []
    for _ in range(count):
        cut = int(torch.randint(1, 40, (), generator=draws))
        tail = torch.randint(5, 60, (int(torch.randint(1, 30, (), generator=draws)),), generator=draws).tolist()
        sequences.append([*stem[:cut], *tail])
    return trees.build(sequences, budget)


def run(model: Any, found: list[trees.Block]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """All logits, and the gradients of the sum of their squares."""
    model.module.zero_grad()
    logits = forward_blocks(model.module, found, [range(len(block)) for block in found])
    logits.square().sum().backward()
    gradients = {
        name: weight.grad.clone() for name, weight in model.module.named_parameters() if weight.grad is not None
    }
    return logits.detach(), gradients


def agree(found: tuple[torch.Tensor, dict[str, torch.Tensor]], want: tuple[torch.Tensor, dict[str, Any]]) -> None:
    """Logits and gradients are equal to float32 rounding."""
    torch.testing.assert_close(found[0], want[0], rtol=1e-4, atol=1e-4)
    assert found[1].keys() == want[1].keys()
    for name, gradient in want[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-3, atol=1e-4 * gradient.abs().max().item() + 1e-6)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2", "neox"])
@pytest.mark.parametrize("budget", [60, 200, 5000])
def test_pieces_compute_what_the_dense_mask_does(
    architecture: str, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every logit and every gradient agree to float32 rounding, for one block or several padded ones, any architecture."""
    monkeypatch.setattr(attention, "PIECE", 16)
    model, found = tiny_models.reward_model(architecture=architecture), blocks(budget)

    want = run(model, found)
    with tree_attention(model.module, found):
        used = model.module.config._attn_implementation == TREES
        got = run(model, found)

    assert used == (len(found) == 1) or len(found) > 1
    assert model.module.config._attn_implementation == "sdpa"
    agree(got, want)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("architecture", "budget"), [("llama", 60), ("gpt2", 5000)])
def test_flex_attention_computes_what_the_dense_mask_does(
    architecture: str, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What GPUs run, computed eagerly: every logit agrees. (On CPUs PyTorch has no backward pass for it.)"""
    monkeypatch.setattr(flex, "SIZE", 16)
    monkeypatch.setattr(attention, "_chosen", flex.block_mask)
    model, found = tiny_models.reward_model(architecture=architecture), blocks(budget, 8)
    nodes = [range(len(block)) for block in found]

    with torch.no_grad():
        want = forward_blocks(model.module, found, nodes)
        with tree_attention(model.module, found):
            assert model.module.config._attn_implementation == TREES
            got = forward_blocks(model.module, found, nodes)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                rounded = forward_blocks(model.module, found, nodes)

    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    assert 0 < (rounded - want).abs().mean() < 0.1 * want.std()


FORESTS = st.lists(
    st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=9), min_size=1, max_size=12), min_size=1, max_size=3
)


@settings(max_examples=25)
@given(FORESTS, st.sampled_from([1, 2, 4]))
def test_blocks_of_a_mask_are_left_out_or_taken_whole_only_where_they_may(
    forests: list[list[list[int]]], size: int
) -> None:
    """Blocks that are skipped have nothing that any query sees, those taken whole have nothing that one does not see."""
    found = [block for forest in forests for block in trees.build(forest, 1000)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(flex, "SIZE", size)
        mask = flex.block_mask(found, torch.device("cpu"))

    width, count = max(map(len, found)), -(-max(map(len, found)) // size)
    seen = torch.zeros(len(found), count * size, count * size, dtype=torch.bool)
    for row, block in enumerate(found):
        for node in range(len(block)):
            above = node
            while above >= 0:
                seen[row, node, above] = True
                above = block.parent[above]
        for node in range(len(block), width):
            seen[row, node, node] = True
    inside = torch.arange(count * size) < width
    for row in range(len(found)):
        for queries in range(count):
            here = seen[row, queries * size : (queries + 1) * size]
            partly = mask.kv_indices[row, 0, queries, : mask.kv_num_blocks[row, 0, queries]].tolist()
            whole = mask.full_kv_indices[row, 0, queries, : mask.full_kv_num_blocks[row, 0, queries]].tolist()
            assert not set(partly) & set(whole)
            for keys in range(count):
                part = here[:, keys * size : (keys + 1) * size]
                if keys in whole:
                    assert part[inside[queries * size : (queries + 1) * size]].all()
                elif keys not in partly:
                    assert not part.any()
    b, q, k = torch.meshgrid(torch.arange(len(found)), torch.arange(width), torch.arange(width), indexing="ij")
    assert torch.equal(mask.mask_mod(b, torch.tensor(0), q, k), seen[:, :width, :width])


def test_pieces_are_used_where_they_save_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """One wide tree is cut; chains and small trees keep the model's own attention."""
    monkeypatch.setattr(attention, "PIECE", 16)
    module = tiny_models.reward_model().module
    used = []
    for found in (blocks(5000), trees.chains([[1, 2, 3], [4, 5]]), trees.build([[1, 2, 3], [1, 2, 4]], 100)):
        with tree_attention(module, found):
            used.append(module.config._attn_implementation)

    assert used == [TREES, "sdpa", "sdpa"]
