"""Qwen2.5-Math-RM against a plain run of the card's recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoints import HELPFUL_SYSTEM, MATH, SOLUTIONS, qwen_checkpoint, qwen_tokenizer
from transformers import Qwen2Model

import gradatim
from gradatim.core import Prefix


def test_scores_are_those_of_the_card(tmp_path: Path) -> None:
    """The raw number at the very last token, the line end after `<|im_end|>`, whatever the template's default system."""
    made = qwen_tokenizer(HELPFUL_SYSTEM)
    folder = qwen_checkpoint(tmp_path / "model", labels=1, tokenizer=made)
    weights = load_file(folder / "model.safetensors")
    body = Qwen2Model.from_pretrained(folder, dtype=torch.float32).eval()

    scores = gradatim.load(folder, device="cpu").score(SOLUTIONS)

    for prefix, score in zip(SOLUTIONS, scores, strict=True):
        messages = [
            {"role": "system", "content": MATH},
            {"role": "user", "content": prefix.prompt},
            {"role": "assistant", "content": prefix.text},
        ]
        ids = made(made.apply_chat_template(messages, tokenize=False))["input_ids"]
        assert made.decode(ids[-2:]) == "<|im_end|>\n"
        with torch.no_grad():
            hidden = body(torch.tensor([ids])).last_hidden_state[0, -1]
            inner = torch.relu(weights["score.0.weight"] @ hidden + weights["score.0.bias"])
            expected = (weights["score.2.weight"] @ inner + weights["score.2.bias"]).item()
        assert score.value == pytest.approx(expected, abs=1e-5)
        assert (score.steps, score.reduction, score.by) == ((), "outcome", "qwen-rm model")
    assert len({round(score.value, 3) for score in scores}) == len(scores)


def test_nothing_to_score_has_no_score(tmp_path: Path) -> None:
    """A question without an answer is NaN, which choosers pass over."""
    scorer = gradatim.load(qwen_checkpoint(tmp_path / "model", labels=1), device="cpu")
    value = scorer.score([Prefix("p", "Why?")])[0].value
    assert value != value
