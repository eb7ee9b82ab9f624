"""Prefixes encode to prefixes, text never becomes a control token, and nothing is lost between tokens and text."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from gradatim.core import Prefix, Step
from gradatim.errors import ConfigError
from gradatim.solutions.local import TextCodec
from tiny_models import bpe_tokenizer

CHAT = "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}<step>{% endfor %}[assistant]"
TEXTS = st.text(st.sampled_from("ab 3=+\n.<>é漢🙂"), min_size=1, max_size=12) | st.just("<eos><step>")


@cache
def chatting() -> Any:
    tokenizer = bpe_tokenizer()
    tokenizer.chat_template = CHAT
    return tokenizer


@cache
def dropping() -> Any:
    """A tokenizer that marks words by a space before them and drops the first one when it decodes, as SentencePiece's do;
    it begins every text with <s>."""
    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    inner.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    inner.train_from_iterator(["a bad cab = a cab"] * 3, trainer)
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


@given(TEXTS, st.lists(TEXTS, max_size=4), st.sampled_from(["auto", "{prompt}", "Q: {prompt}<step>"]))
def test_prefix_law_and_control_tokens(prompt: str, texts: list[str], template: str) -> None:
    """The first k steps encode to the start of the whole; control tokens come from the template alone."""
    for tokenizer in (bpe(), chatting()):
        codec = TextCodec(tokenizer, template)
        prefix = Prefix("p", prompt, tuple(map(Step, texts)))
        whole = codec.encode(prefix)
        for k in range(len(texts) + 1):
            start = codec.encode(prefix.first(k))
            assert whole[: len(start)] == start
        control = set(tokenizer.all_special_ids) & set(whole)
        written = codec.encode(Prefix("p", "a"))
        assert control == set(tokenizer.all_special_ids) & set(written)
        assert [token for token in whole if token in control] == [token for token in written if token in control]
        shown = tokenizer.decode(whole, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert shown.endswith("".join(texts))
        assert prompt in shown


@cache
def bpe() -> Any:
    return bpe_tokenizer()


def test_chat_template() -> None:
    """ "auto" is the tokenizer's chat template where there is one: its control tokens, and the user's text between."""
    tokenizer = chatting()
    codec = TextCodec(tokenizer)
    assert codec.template == "chat"
    shown = tokenizer.decode(codec.encode(Prefix("p", "a<eos>")), clean_up_tokenization_spaces=False)
    assert shown == "<bos>[user]a<eos><step>[assistant]"
    assert tokenizer.eos_token_id not in codec.encode(Prefix("p", "a<eos>"))
    tokenizer = bpe_tokenizer()
    with pytest.raises(ConfigError, match="no chat template"):
        TextCodec(tokenizer, "chat")
    tokenizer.chat_template = "always the same"
    with pytest.raises(ConfigError, match="does not hold"):
        TextCodec(tokenizer)


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_decoding_is_the_inverse(texts: list[str]) -> None:
    """What is decoded after a context is what was encoded there."""
    codec = TextCodec(bpe())
    context = codec.encode(Prefix("p", "a 3"))
    whole = codec.encode(Prefix("p", "a 3", tuple(map(Step, texts))))
    assert codec.decode(context, whole[len(context) :]) == "".join(texts)


def test_leading_space_is_kept() -> None:
    """A tokenizer that drops a space where decoding starts loses none between a prefix and what comes after it."""
    codec = TextCodec(dropping(), "{prompt}")
    ids = codec.encode(Prefix("p", "a bad cab = a cab"))
    assert ids[0] == 1
    for cut in range(1, len(ids)):
        assert codec.decode([], ids[:cut]) + codec.decode(ids[:cut], ids[cut:]) == "a bad cab = a cab"
