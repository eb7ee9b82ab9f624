"""What a token costs a reward model, counted from the shapes that it was made with."""

from __future__ import annotations

from pathlib import Path

from tiny_checkpoints import qwen_checkpoint, qwen_tokenizer

from gradatim import load
from gradatim.cli.searching import _prices
from gradatim.models.cost import read_by
from gradatim.solutions.local import LocalPolicy
from gradatim.solutions.settings import PolicySettings
from tiny_models import bpe_tokenizer, causal, reward_model

LAYER = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48
"""Matrices of a layer of the tiny Llama and Qwen 2: of width 32, with grouped keys and values, and 48 inside."""


def test_parameters_of_reward_models(tmp_path: Path) -> None:
    """Ours and a public one with a body under a head of its own: two layers and the head. An implicit one has two language
    models with their heads."""
    assert read_by(reward_model()) == 2 * LAYER + 2 * 32
    public = load(qwen_checkpoint(tmp_path / "prm"), device="cpu")
    assert read_by(public.model) == 2 * LAYER + 32 * 32 + 2 * 32

    tokenizer = qwen_tokenizer()
    for name, more in (("policy", 0), ("reference", 7)):
        causal("qwen2", len(tokenizer) + more).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    implicit = load(tmp_path / "policy", format="implicit", device="cpu", reference=str(tmp_path / "reference"))
    assert read_by(implicit.model) == 4 * LAYER + 32 * (2 * len(tokenizer) + 7)


def test_a_search_with_a_public_model_has_a_price(tmp_path: Path) -> None:
    """What the verb pays for each token that its reward model reads."""
    public = load(qwen_checkpoint(tmp_path / "prm"), device="cpu")
    tokenizer = bpe_tokenizer(bos=False)
    writes = LocalPolicy(causal("llama", len(tokenizer)), tokenizer, PolicySettings(device="cpu"), name="x")
    prices = _prices(writes, public)
    assert prices is not None
    assert prices.score == 2 * (2 * LAYER + 32 * 32 + 2 * 32)
