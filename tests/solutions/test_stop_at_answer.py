"""Stopping at the answer: the text is the start of what would be written without, to the end of the line that states it."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gradatim.core import Prefix, Step
from gradatim.solutions.local import LocalPolicy
from gradatim.solutions.settings import PolicySettings
from gradatim.verify.answers import read_answer
from gradatim.verify.reading import to_answer
from tiny_models import causal

WORDS = ["<eos>", "<pad>", "####", "Answer:", "7", "x", "so", "the", "answer", "is", "\\boxed{", "}", "\n"]
PREFIXES = [Prefix("p", "x 7 so"), Prefix("p", "x 7 so", (Step("#### 7 \n "),))]


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("2 + 5 = 7\nAnswer: 7\nNo, wait.\nAnswer: 8\n", "2 + 5 = 7\nAnswer: 7\n"),
        ("#### 7\n", "#### 7\n"),
        ("so \\boxed{7}.\nand more", "so \\boxed{7}.\n"),
        ("\\boxed{\n7}\nmore\n", "\\boxed{\n7}\n"),
        ("Answer:\n\n7\nmore\n", "Answer:\n\n7\n"),
    ],
)
def test_the_first_line_that_states_an_answer_ends_the_text(text: str, stated: str) -> None:
    """A box, `####` and `Answer:`, once their line is whole."""
    assert to_answer(text) == stated
    assert read_answer(stated) == "7"


@pytest.mark.parametrize("text", ["", "Answer: 7", "\\boxed{7}", "so the answer is 7\nor not\n", "Answer:\n", "7\n"])
def test_no_answer_yet(text: str) -> None:
    """An unfinished line, prose and a mark without an answer end nothing."""
    assert to_answer(text) is None


def tokenizer() -> Any:
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="x"))
    inner.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>", unk_token="x")


def policy(model: Any, **changes: Any) -> LocalPolicy:
    settings = PolicySettings(
        max_new_tokens=40, batch_rows=5, device="cpu", prompt_template="{prompt}", temperature=3.0, **changes
    )
    return LocalPolicy(model, tokenizer(), settings, name="words")


def test_a_policy_writes_no_further() -> None:
    """Texts of a model that babbles answers: cut after the first stated one, as if all had been written."""
    model = causal("llama", len(WORDS)).double()
    model.generation_config.eos_token_id = 0
    free, brief = policy(model), policy(model, stop_at_answer=True)
    assert brief.name != free.name
    cut = 0
    for row, short in zip(*(some.write(PREFIXES, draws=range(30), seed=2) for some in (free, brief)), strict=True):
        for whole, made in zip(row, short, strict=True):
            stated = to_answer(whole.text)
            if stated is None:
                assert made == whole
                continue
            cut += made.tokens < whole.tokens
            assert (made.text, made.finish) == (stated, "stop") or (made == whole and whole.text == stated)
    assert cut > 3
    steps = brief.write(PREFIXES, draws=range(30), seed=2, one_step=True)
    assert all(made.finish in ("step", "stop", "length") for row in steps for made in row)
