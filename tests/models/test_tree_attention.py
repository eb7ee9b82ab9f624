from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch

import tiny_models
from gradatim import trees
from gradatim.models import attention
from gradatim.models.attention import in_pieces
from gradatim.models.forward import forward_blocks


def blocks(budget: int) -> list[trees.Block]:
    """Trees with deep and shallow branches."""
    draws = torch.Generator().manual_seed(3)
    stem = torch.randint(5, 60, (40,), generator=draws).tolist()
    sequences = []
    for _ in range(40):
        cut = int(torch.randint(1, 40, (), generator=draws))
        tail = torch.randint(5, 60, (int(torch.randint(1, 30, (), generator=draws)),), generator=draws).tolist()
        sequences.append([*stem[:cut], *tail])
    return trees.build(sequences, budget)


def run(model: Any, found: list[trees.Block], pieces: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.module.zero_grad()
    nodes = [range(len(block)) for block in found]
    with in_pieces(model.module, found) if pieces else nullcontext():
        used = model.module.config._attn_implementation == attention.NAME
        logits = forward_blocks(model.module, found, nodes)
    logits.square().sum().backward()
    gradients = {
        name: weight.grad.clone() for name, weight in model.module.named_parameters() if weight.grad is not None
    }
    assert used == (pieces and len(found) == 1) or len(found) > 1
    return logits.detach(), gradients


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2", "neox"])
@pytest.mark.parametrize("budget", [60, 200, 5000])
def test_pieces_compute_what_the_dense_mask_does(
    architecture: str, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every logit and every gradient agree to float32 rounding, for one block or several padded ones, any architecture."""
    monkeypatch.setattr(attention, "PIECE", 16)
    model, found = tiny_models.reward_model(architecture=architecture), blocks(budget)

    want, want_gradients = run(model, found, pieces=False)
    logits, gradients = run(model, found, pieces=True)

    assert model.module.config._attn_implementation == "sdpa"
    torch.testing.assert_close(logits, want, rtol=1e-4, atol=1e-4)
    assert gradients.keys() == want_gradients.keys()
    for name, gradient in want_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-4 * gradient.abs().max().item() + 1e-6)


def test_pieces_are_used_where_they_save_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """One wide tree is cut; chains and small trees keep the model's own attention."""
    monkeypatch.setattr(attention, "PIECE", 16)
    module = tiny_models.reward_model().module
    used = []
    for found in (blocks(5000), trees.chains([[1, 2, 3], [4, 5]]), trees.build([[1, 2, 3], [1, 2, 4]], 100)):
        with in_pieces(module, found):
            used.append(module.config._attn_implementation)

    assert used == [attention.NAME, "sdpa", "sdpa"]
