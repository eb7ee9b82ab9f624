"""Laws of the encoder: a prefix encodes to a prefix, every step is read once, and text can't command the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from gradatim.core import Prefix, Step
from gradatim.errors import ConfigError, InputError
from gradatim.models.encoding import EncoderSettings, StepEncoder
from tiny_models import bpe_tokenizer, word_tokenizer

BPE, WORDS = bpe_tokenizer(), word_tokenizer()
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.lists(st.sampled_from(["<eos>", "<bos>", "<pad>", "<step>", "\n", " ", ".", "3", "ж"]), max_size=6).map("".join),
)
STEPS = st.lists(st.builds(Step, TEXTS, st.sampled_from(["reasoning", "observation", "answer"])), max_size=5)
ENCODERS = st.sampled_from(
    [
        StepEncoder(BPE),
        StepEncoder(BPE, EncoderSettings(separator="\n\n", prompt_template="{prompt}", bos=False)),
        StepEncoder(BPE, EncoderSettings(separator="<step>", prompt_template="<bos>Q: {prompt} {x}\nA:", bos=False)),
        StepEncoder(BPE, EncoderSettings(separator=" +\n")),
        StepEncoder(WORDS),
    ]
)


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@given(ENCODERS, TEXTS, STEPS, st.data())
def test_a_prefix_encodes_to_a_prefix(
    encoder: StepEncoder, prompt: str, steps: list[Step], data: st.DataObject
) -> None:
    """Ids and reads of the first k steps are the beginning of those of all steps, for every tokenizer and setting."""
    whole = Prefix("p", "Q" + prompt, tuple(steps))
    k = data.draw(st.integers(0, len(steps)))

    long, short = encoder.encode_many([whole, whole.first(k)])
    assert long.ids[: len(short.ids)] == short.ids
    assert long.reads[:k] == short.reads


@given(ENCODERS, TEXTS, STEPS)
def test_every_step_is_read_once_at_its_separator(encoder: StepEncoder, prompt: str, steps: list[Step]) -> None:
    """There is a read a step, rising, at a separator token; observations keep their place and have none."""
    encoding = encoder.encode(Prefix("p", "Q" + prompt, tuple(steps)))

    assert [read is None for read in encoding.reads] == [step.kind == "observation" for step in steps]
    places = [read for read in encoding.reads if read is not None]
    assert places == sorted(set(places))
    assert all(encoding.ids[read] == encoder.separator_id for read in places)
    if steps:
        assert encoding.ids[encoding.last] == encoder.separator_id


@given(ENCODERS, TEXTS, STEPS)
def test_text_never_becomes_a_control_token(encoder: StepEncoder, prompt: str, steps: list[Step]) -> None:
    """Control tokens stand only where the settings put them, whatever prompt and steps spell."""
    prefix = Prefix("p", "Q" + prompt, tuple(steps))
    empty = Prefix("p", "Q", tuple(Step("", step.kind) for step in steps))
    special = set(encoder.tokenizer.all_special_ids) - {encoder.tokenizer.unk_token_id}

    found, expected = encoder.encode(prefix), encoder.encode(empty)
    assert [i for i in found.ids if i in special] == [i for i in expected.ids if i in special]


def test_the_ids_are_the_pieces_ids() -> None:
    """The ids are bos, prompt, template and each stripped step and separator, tokenised one by one."""
    prefix = Prefix("p", "How many?", (Step("3 + 12 = 15.\n\n"), Step(" so\nit is 15. \n")))
    pieces = ["How many?", "\n", "3 + 12 = 15.", "\n", " so\nit is 15.", "\n"]

    encoding = StepEncoder(BPE).encode(prefix)
    assert list(encoding.ids) == [BPE.bos_token_id] + [i for piece in pieces for i in plain_ids(BPE, piece)]


def test_spelled_control_tokens_survive_as_text() -> None:
    """A tokenizer that can write "<eos>" as text does so; one whose vocabulary has it as a word calls it unknown."""
    prefix = Prefix("p", "Q", (Step("3 <eos> 12"),))

    ids = StepEncoder(BPE).encode(prefix).ids
    words = StepEncoder(WORDS).encode(prefix).ids
    assert "3 <eos> 12" in BPE.decode(ids)
    assert BPE.eos_token_id not in ids
    assert WORDS.eos_token_id not in words
    assert WORDS.unk_token_id in words


def test_without_an_unknown_token_a_spelled_control_token_is_an_error() -> None:
    """Where a text can't be written without a control token, the error names the solution."""
    with pytest.raises(InputError, match=r"step 0 of the solution of problem 'p7'.*control token"):
        StepEncoder(word_tokenizer(unknown=False)).encode(Prefix("p7", "3", (Step("<eos>"),)))


def test_too_long_is_an_error_that_names_the_solution() -> None:
    """A prefix longer than the model can take is never cut; `try_encode` gives the error in its place."""
    short, long = Prefix("p1", "Q", (Step("a"),)), Prefix("p2", "Q", (Step("a" * 100_000),))
    encoder = StepEncoder(BPE, max_length=50)

    fine, error = encoder.try_encode([short, long])
    assert fine == encoder.encode(short)
    assert isinstance(error, InputError)
    with pytest.raises(InputError, match=r"problem 'p2' that has 1 steps.*tokens long; expected at most 50"):
        encoder.encode_many([short, long])


def test_half_a_surrogate_pair_is_an_error_that_names_the_place() -> None:
    """Text that is no Unicode is refused where it stands; its neighbours are encoded."""
    good, bad = Prefix("p1", "Q", (Step("a"),)), Prefix("p2", "Q", (Step("a"), Step("\ud83d")))

    fine, error = StepEncoder(BPE).try_encode([good, bad])
    assert fine == StepEncoder(BPE).encode(good)
    assert "step 1 of the solution of problem 'p2'" in str(error)


def test_nothing_at_all_is_an_error() -> None:
    """Without BOS, prompt and steps there is no token to begin with."""
    encoder = StepEncoder(BPE, EncoderSettings(prompt_template="{prompt}", bos=False))

    with pytest.raises(InputError, match="neither prompt nor steps"):
        encoder.encode(Prefix("p", ""))


def test_the_digest_names_tokenizer_and_settings(tmp_path: Path) -> None:
    """Saving and loading keep the digest; another separator, template, BOS or vocabulary changes it."""
    BPE.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    others = [
        StepEncoder(BPE, EncoderSettings(separator="\n\n")),
        StepEncoder(BPE, EncoderSettings(prompt_template="{prompt}")),
        StepEncoder(BPE, EncoderSettings(bos=False)),
        StepEncoder(bpe_tokenizer(bos=False)),
        StepEncoder(WORDS),
    ]

    assert StepEncoder(again).digest == StepEncoder(BPE).digest == StepEncoder(BPE, max_length=9).digest
    assert len({StepEncoder(BPE).digest, *(other.digest for other in others)}) == 1 + len(others)


def test_use_of_a_tokenizer_leaves_its_digest_alone() -> None:
    """Padding and truncating with the same tokenizer object elsewhere is no other encoder."""
    before = StepEncoder(BPE)
    BPE(["a", "a b c"], padding=True, truncation=True, max_length=2)

    after = StepEncoder(BPE)
    prefix = Prefix("p", "How many apples?", (Step("3 + 12 = 15"),))
    assert after.digest == before.digest
    assert after.encode(prefix) == before.encode(prefix)


@pytest.mark.parametrize(
    "wrong", [{"separator": ""}, {"prompt_template": "Q:"}, {"prompt_template": "{prompt}{prompt}"}]
)
def test_settings_that_can_not_work_are_refused(wrong: dict[str, str]) -> None:
    """A separator is needed, and the prompt exactly once."""
    with pytest.raises(ConfigError, match=r"separator|prompt_template"):
        EncoderSettings(**wrong)
