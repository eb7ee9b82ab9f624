"""What saves memory or work changes nothing that is learnt."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_tasks
import torch

import tiny_models
from gradatim.models import attention
from gradatim.models import forward as passes
from gradatim.models.forward import logits_at
from gradatim.models.model import RewardModel
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.lessons import Lesson
from gradatim.train.loop import fit, forward
from gradatim.train.materials import from_labelled
from gradatim.train.objectives import loss_of
from gradatim.train.prepare import prepare
from gradatim.train.targets import TargetConfig

STEPS = TargetConfig(mask_after_error=False)


def lessons_of(model: RewardModel, block_tokens: int) -> list[Lesson]:
    config = TrainConfig(held_out=0, targets=STEPS, fit=FitConfig(block_tokens=block_tokens))
    return prepare(config, from_labelled(tiny_tasks.labelled(problems=3), STEPS), model).lessons


def gradients(config: FitConfig, block_tokens: int = 200) -> dict[str, torch.Tensor]:
    """Of one forward pass over all lessons, with a fresh model of always the same weights."""
    model = tiny_models.reward_model()
    lessons = lessons_of(model, block_tokens)
    loss_of(logits_at(model.module, forward(model.module, config)(lessons)), lessons).backward()
    return {name: weight.grad for name, weight in model.module.named_parameters() if weight.grad is not None}


def agree(found: dict[str, torch.Tensor], want: dict[str, torch.Tensor], rtol: float = 1e-4) -> None:
    assert found.keys() == want.keys()
    for name, gradient in want.items():
        torch.testing.assert_close(found[name], gradient, rtol=rtol, atol=rtol * float(gradient.abs().max()) + 1e-9)


def test_checkpointing_computes_pieces_again_as_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that are computed again in the backward pass see what they saw first, without any dense mask."""
    want = gradients(FitConfig())
    monkeypatch.setattr(attention, "PIECE", 8)
    monkeypatch.setattr(attention, "WORTH", 1e9)

    def never(*_: Any) -> None:
        raise AssertionError("a dense mask was made")

    monkeypatch.setattr(passes, "_mask", never)

    agree(gradients(FitConfig()), want)
    agree(gradients(FitConfig(checkpointing=True)), want)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_bfloat16_rounds_and_no_more(checkpointing: bool) -> None:
    """Gradients stay in float32 and point where those of float32 point."""
    want, found = gradients(FitConfig()), gradients(FitConfig(bfloat16=True, checkpointing=checkpointing))

    assert found.keys() == want.keys()
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}
    a, b = (torch.cat([gradient.flatten() for gradient in each.values()]) for each in (found, want))
    assert 0.97 < torch.cosine_similarity(a, b, dim=0) < 1 - 1e-7


def test_a_training_in_many_small_passes_is_that_in_large_ones(backbone: str) -> None:
    """Gradients are accumulated over a step: losses and weights do not depend on how much is run at once."""
    found = []
    for tokens in (40, 10_000):
        model = RewardModel.create(backbone, kind="prm", device="cpu")
        lessons = lessons_of(model, 40)
        config = FitConfig(epochs=2, lr=3e-3, batch_tokens=80, block_tokens=tokens, patience=0)
        fitted = fit(model.module, lessons, lessons[:3], config, lr=3e-3, seed=0, quiet=True)
        found.append((fitted, model.module.state_dict()))

    (small, weights), (large, want) = found
    assert small.processed_tokens != large.processed_tokens
    assert small.steps == large.steps > 1
    for row, expected in zip(small.history, large.history, strict=True):
        assert row == pytest.approx(expected, rel=1e-5)
    for name, weight in want.items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-3, atol=1e-5)
