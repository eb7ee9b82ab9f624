"""Stock sequence classifiers against transformers' own forward pass."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tiny_checkpoints import LLAMA, SOLUTIONS, llama_classifier, llama_tokenizer, solution, write
from transformers import (
    AutoModelForSequenceClassification,
    Gemma3TextConfig,
    Gemma3TextForSequenceClassification,
    LlamaForSequenceClassification,
)

import gradatim
from gradatim.core import Prefix
from gradatim.errors import CheckpointError, ConfigError


def stock_value(folder: Path, prefix: Prefix) -> float:
    """What the stock class says of the whole templated text, tokenised as the cards do."""
    made = llama_tokenizer()
    messages = [
        {"role": "user", "content": prefix.prompt},
        {"role": "assistant", "content": prefix.text},
    ]
    text = made.apply_chat_template(messages, tokenize=False)
    ids = torch.tensor([made(text, add_special_tokens=False)["input_ids"]])
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return float(model(ids).logits[0, 0])


def test_scores_are_those_of_the_stock_class(tmp_path: Path) -> None:
    """The raw number, contents trimmed as the template does, and one beginning of text."""
    folder = llama_classifier(tmp_path / "model")
    scorer = gradatim.load(folder, device="cpu")
    padded = solution("\n Each bag has 4 apples.\n\n", "So 12.\n", prompt="  How many apples?\n\n")

    for prefix in [*SOLUTIONS, padded]:
        score = scorer.score([prefix])[0]
        assert score.value == pytest.approx(stock_value(folder, prefix), abs=1e-5)
        assert (score.steps, score.by) == ((), "sequence-classification model")
        ids = scorer.model.encoder.encode(prefix).ids
        assert ids.count(scorer.model.encoder.tokenizer.bos_token_id) == 1


def test_a_last_token_that_is_padding_is_passed_over(tmp_path: Path) -> None:
    """Stock classes read the last token that is not `pad_token_id`: with the end of a turn as padding, the one before."""
    end = llama_tokenizer().convert_tokens_to_ids("<|eot_id|>")
    folder = llama_classifier(tmp_path / "model", pad_token_id=end)
    other = llama_classifier(tmp_path / "other")

    value = gradatim.load(folder, device="cpu").score(SOLUTIONS[:1])[0].value

    assert value == pytest.approx(stock_value(folder, SOLUTIONS[0]), abs=1e-5)
    assert value != pytest.approx(stock_value(other, SOLUTIONS[0]), abs=1e-3)


def test_an_outcome_model_can_be_read_as_a_probability(tmp_path: Path) -> None:
    """activation="sigmoid" is the sigmoid of the raw number; other words are refused."""
    folder = llama_classifier(tmp_path / "model")
    raw = gradatim.load(folder, device="cpu").score(SOLUTIONS)
    probable = gradatim.load(folder, device="cpu", activation="sigmoid").score(SOLUTIONS)

    assert [score.value for score in probable] == pytest.approx([1 / (1 + math.exp(-score.value)) for score in raw])
    with pytest.raises(ConfigError, match="activation='softmax'; expected one of none, sigmoid"):
        gradatim.load(folder, activation="softmax")


def test_a_default_system_message_is_written(tmp_path: Path) -> None:
    """The template's own default belongs to the rendering, though nobody passed it."""
    default = "{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date_string + '<|eot_id|>' }}"
    made = llama_tokenizer(LLAMA.replace("{{- bos_token }}", "{{- bos_token }}" + default))
    encoder = gradatim.load(llama_classifier(tmp_path / "model", made), device="cpu").model.encoder

    text = made.decode(encoder.encode(SOLUTIONS[0]).ids)

    assert text.startswith(
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024<|eot_id|>"
    )


def test_two_labels_are_refused(tmp_path: Path) -> None:
    """Which of them is good is not written anywhere."""
    folder = llama_classifier(tmp_path / "model", num_labels=2)
    with pytest.raises(
        CheckpointError, match=r"found \(2, 32\) score.weight, expected one of shape \(1, hidden size\)"
    ):
        gradatim.load(folder)


def test_a_missing_head_is_refused(tmp_path: Path) -> None:
    """The stock loader would draw one at random."""
    folder = llama_classifier(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    body = LlamaForSequenceClassification.from_pretrained(folder).state_dict()
    del body["score.weight"]
    write(tmp_path / "headless", config, body, llama_tokenizer())

    for format in (None, "sequence-classification"):
        with pytest.raises(CheckpointError, match=r"found no score.weight, expected"):
            gradatim.load(tmp_path / "headless", format=format)


def test_a_model_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    """Where a token sees those after it, padding and shared beginnings would change scores."""
    made = llama_tokenizer()
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "head_dim": 8,
    }
    config = Gemma3TextConfig(
        vocab_size=400, **sizes, num_key_value_heads=4, num_labels=1, use_bidirectional_attention=True
    )
    for ahead in (True, False):
        config.use_bidirectional_attention = ahead
        told = {**config.to_dict(), "architectures": ["Gemma3TextForSequenceClassification"]}
        write(tmp_path / str(ahead), told, Gemma3TextForSequenceClassification(config).state_dict(), made)

    with pytest.raises(CheckpointError, match=r"found Gemma3TextForSeq.* whose tokens see those after them, expected"):
        gradatim.load(tmp_path / "True")
    assert math.isfinite(gradatim.load(tmp_path / "False").score(SOLUTIONS[:1])[0].value)
