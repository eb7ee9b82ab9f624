"""How a reward model is grown on a language model: stock class, seeded head, padding that hides nothing."""

from __future__ import annotations

import pytest
import torch

from gradatim.core import Prefix, Step
from gradatim.errors import ConfigError
from gradatim.models.encoding import EncoderSettings
from gradatim.models.forward import head_of
from gradatim.models.model import Kind, RewardModel
from gradatim.trees import chains
from tiny_models import bpe_tokenizer, causal, prefixes, reward_model


@pytest.mark.parametrize(
    ("kind", "architecture", "expected"),
    [
        ("prm", "llama", "LlamaForTokenClassification"),
        ("orm", "llama", "LlamaForSequenceClassification"),
        ("prm", "gpt2", "GPT2ForTokenClassification"),
        ("orm", "qwen2", "Qwen2ForSequenceClassification"),
    ],
)
def test_the_class_is_stock(kind: Kind, architecture: str, expected: str) -> None:
    """A PRM has two labels a token, an ORM one a sequence, in classes that other programs know."""
    module = reward_model(kind, architecture).module

    assert type(module).__name__ == expected
    assert module.config.num_labels == (2 if kind == "prm" else 1)


def test_the_seed_decides_the_head() -> None:
    """One seed gives one head, another seed another, and no global generator is touched."""
    tokenizer = bpe_tokenizer()
    state = torch.random.get_rng_state()
    heads = [
        head_of(RewardModel.grow(causal("llama"), tokenizer, kind="prm", name="m", seed=seed).module).weight
        for seed in (1, 1, 2)
    ]

    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_body_is_the_language_model_s() -> None:
    """The hidden states below the new head are those of the causal model."""
    tokenizer, ids = bpe_tokenizer(), torch.tensor([[5, 6, 7]])
    expected = causal("qwen2").model(ids).last_hidden_state
    model = RewardModel.grow(causal("qwen2"), tokenizer, kind="prm", name="m")

    assert torch.equal(model.module.model(ids).last_hidden_state, expected)


def test_a_new_model_is_close_to_undecided() -> None:
    """A fresh head gives logits near 0, so that no label starts with a large loss."""
    model = RewardModel.grow(causal("llama"), bpe_tokenizer(), kind="prm", name="m")
    encoding = model.encoder.encode(prefixes()[2])
    (block,) = chains([encoding.ids])

    found = model.logits([block], [model.reads(encoding)])
    assert found.shape == (4,)
    assert 0 < found.abs().max() < 1


def test_padding_is_never_the_separator() -> None:
    """Without a padding token another one is found that does not end an encoding; eos is kept where it can."""
    no_pad = RewardModel.grow(causal("llama"), bpe_tokenizer(pad=False), kind="orm", name="m")
    pad_ends = RewardModel.grow(
        causal("llama"), bpe_tokenizer(), kind="orm", name="m", settings=EncoderSettings(separator="<pad>")
    )

    for model in (no_pad, pad_ends):
        eos = model.encoder.tokenizer.eos_token_id
        assert model.module.config.pad_token_id == model.encoder.tokenizer.pad_token_id == eos
        assert model.encoder.separator_id != eos


def test_no_padding_token_at_all_is_an_error() -> None:
    """If only the separator itself could pad, the stock class would lose the last token: refused."""
    tokenizer = bpe_tokenizer(pad=False, bos=False)

    with pytest.raises(ConfigError, match="no pad, eos, unk or bos token beside the separator"):
        RewardModel.grow(causal("llama"), tokenizer, kind="orm", name="m", settings=EncoderSettings(separator="<eos>"))


def test_a_prm_reads_steps_and_an_orm_reads_the_end() -> None:
    """Observations are never read, an ORM reads the last separator, an empty solution is read nowhere."""
    steps = (Step("a"), Step("seen", "observation"), Step("b"), Step("seen", "observation"))
    prm, orm = reward_model("prm"), reward_model("orm")
    encoding = prm.encoder.encode(Prefix("p", "Q", steps))

    assert prm.reads(encoding) == (encoding.reads[0], encoding.reads[2])
    assert orm.reads(encoding) == (len(encoding.ids) - 1,)
    empty = prm.encoder.encode(Prefix("p", "Q"))
    assert prm.reads(empty) == orm.reads(empty) == ()


@pytest.mark.parametrize(("kind", "reduction"), [("prm", "outcome"), ("orm", "min")])
def test_reductions_fit_their_kind(kind: Kind, reduction: str) -> None:
    """ "outcome" is what an ORM has, and only an ORM."""
    model = reward_model(kind)

    with pytest.raises(ConfigError, match="does not fit"):
        RewardModel(module=model.module, encoder=model.encoder, kind=kind, name="m", reduction=reduction)
