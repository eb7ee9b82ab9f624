"""Renderings in tokens: as the published code tokenises the whole string, with no text posing as a control token."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_checkpoints import CORPUS, qwen_tokenizer, solution
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from gradatim.core import Prefix
from gradatim.errors import CheckpointError, InputError
from gradatim.models.formats.rendering import Assembler, Piece, PieceEncoder

TEXTS = ["Janet has 3 bags.", " with 4 apples", "\n\nSo 3 * 4 = 12.", "\n", "", "ж 漢字 🙂", "  a  b  ", ".\n\n"]


def metaspace(scheme: str) -> Any:
    """As Llama 2's and Mistral's: words begin with ▁, which is put in front of the first word or of every segment."""
    inner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    legacy = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    if scheme == "legacy":
        inner.normalizer = legacy
    else:
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    inner.decoder = decoders.Metaspace()
    names = [AddedToken(name, special=True, normalized=False) for name in ("<unk>", "<s>", "</s>")]
    alphabet = [*"▁JanetSo.3*4=12 \n", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=names, initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def stripping() -> Any:
    """As Phi 3's: control tokens swallow the white space behind them."""
    made = qwen_tokenizer()
    made.add_special_tokens({"additional_special_tokens": [AddedToken("<|end|>", rstrip=True, lstrip=True)]})
    return made


TOKENIZERS = {
    "byte level": (qwen_tokenizer, "<extra_0>"),
    "added, not special": (lambda: qwen_tokenizer(tag="plain"), "<extra_0>"),
    "first word": (lambda: metaspace("first"), "</s>"),
    "every segment": (lambda: metaspace("always"), "</s>"),
    "legacy": (lambda: metaspace("legacy"), "</s>"),
    "swallows white space": (stripping, "<|end|>"),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_ids_are_those_of_the_whole_string(name: str) -> None:
    """Neighbouring texts merge, and texts behind control tokens begin, as in the published code."""
    make, control = TOKENIZERS[name]
    made = make()
    assembler = Assembler(made, [control])
    pieces = [Piece(control, "control")]
    for index, text in enumerate(TEXTS):
        pieces += [Piece(text), Piece(control, "control")] if index % 3 == 2 else [Piece(text)]

    found = assembler.assemble(pieces)

    whole = "".join(piece.text for piece in pieces)
    assert list(found.ids) == made(whole, add_special_tokens=False)["input_ids"]
    for piece, (first, after) in zip(pieces, found.spans, strict=True):
        if piece.kind == "control":
            assert made.convert_ids_to_tokens(found.ids[first:after]) == [control]
        elif name in ("byte level", "added, not special"):
            assert piece.text in made.decode(found.ids[first:after])


@pytest.mark.parametrize("name", TOKENIZERS)
def test_control_tokens_in_texts_are_text(name: str) -> None:
    """A text may spell any control token, beside a real one or cut in two pieces."""
    make, control = TOKENIZERS[name]
    made = make()
    assembler = Assembler(made, [control])
    forged = [Piece(f"a{control}b"), Piece(control, "control"), Piece(control[:3]), Piece(control[3:] + "c")]

    found = assembler.assemble([*forged, *assembler.trusted(f"and{control}")])

    tokens = made.convert_ids_to_tokens(found.ids)
    assert tokens.count(control) == 2
    assert tokens[found.spans[1][0]] == control
    if name.startswith(("byte", "added")):
        assert made.decode(found.ids) == f"a{control}b{control}{control}cand{control}"


def test_reads_follow_from_places() -> None:
    """A mark is read at the last token that has a character of it, though other tokens look the same."""
    made = qwen_tokenizer()
    assembler = Assembler(made)
    pieces = [Piece("a\n\nb"), Piece("\n\n", step=0), Piece("🙂"), Piece("ж", step=1)]

    def render(_: object) -> list[Piece]:
        return pieces

    encoding = PieceEncoder(assembler, made, render, settings={}, max_length=None).encode(solution("a", "b"))

    assert [made.decode(encoding.ids[: read + 1]) for read in encoding.reads if read is not None] == [
        "a\n\nb\n\n",
        "a\n\nb\n\n🙂ж",
    ]


def test_a_mark_that_has_no_token_of_its_own_is_refused() -> None:
    """Two steps read at one token would share a score."""
    made = qwen_tokenizer()
    encoder = PieceEncoder(
        Assembler(made), made, lambda _: [Piece(" ", step=0), Piece("has", step=1)], settings={}, max_length=None
    )
    with pytest.raises(InputError, match=r"step 1 of the solution of problem 'p'.* no token of its own"):
        encoder.encode(solution("a", "b"))


WORDS = st.lists(st.sampled_from([*"ab \n.<>|_0жé🙂", "<extra_0>", "<|im_end|>"]), max_size=12).map("".join)


@given(prompt=WORDS, steps=st.lists(WORDS, min_size=1, max_size=4))
def test_every_step_is_read_once_whatever_it_says(prompt: str, steps: list[str]) -> None:
    """As many reads as steps, each at a tag, and as many tags as steps."""
    encoder = _encoder()
    encoding = encoder.encode(solution(*steps, prompt=prompt))
    tag = encoder.tokenizer.convert_tokens_to_ids("<extra_0>")
    assert [index for index, token in enumerate(encoding.ids) if token == tag] == list(encoding.reads)
    assert len(encoding.reads) == len(steps)


@cache
def _encoder() -> PieceEncoder:
    made = qwen_tokenizer(tag="plain")

    def render(prefix: Prefix) -> list[Piece]:
        steps = [(Piece(step.text), Piece("<extra_0>", "control", k)) for k, step in enumerate(prefix.steps)]
        return [Piece(prefix.prompt), Piece("<|im_end|>", "control"), *(piece for both in steps for piece in both)]

    return PieceEncoder(Assembler(made, ["<extra_0>"]), made, render, settings={}, max_length=None)


def test_a_vocabulary_that_spells_control_tokens_in_words() -> None:
    """There text can't be anything else: it becomes unknown, or an error where nothing is unknown."""

    def words(unknown: str | None) -> Any:
        inner = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "a": 2}, unk_token="<unk>"))
        inner.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
        return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token=unknown, bos_token="<s>")

    pieces = [Piece("<s>", "control"), Piece("a <s> a")]

    assert Assembler(words("<unk>")).assemble(pieces).ids == (1, 2, 0, 2)
    with pytest.raises(InputError, match="a control token that this tokenizer can't write as plain text"):
        Assembler(words(None)).assemble(pieces)


def test_truncation_and_padding_saved_with_a_tokenizer_are_not_used() -> None:
    """Some published tokenizer files cut at 512 tokens."""
    made = qwen_tokenizer()
    made.backend_tokenizer.enable_truncation(4)
    made.backend_tokenizer.enable_padding(length=40)

    found = Assembler(made).assemble([Piece("Janet has 3 bags with 4 apples each.")])

    assert made.decode(found.ids) == "Janet has 3 bags with 4 apples each."


def test_half_of_a_surrogate_pair_is_refused_by_name() -> None:
    """The others of a batch are encoded."""
    bad, good = _encoder().try_encode([solution("a\ud83d"), solution("a")])
    assert isinstance(bad, InputError)
    assert "the solution of problem 'p'" in str(bad)
    assert "half of a surrogate pair; expected Unicode text" in str(bad)
    assert not isinstance(good, InputError)


def test_a_control_token_must_be_one_token_of_the_tokenizer() -> None:
    """A word of the text, or several tokens, is none."""
    for name in ("<extra_1>", "has"):
        with pytest.raises(CheckpointError, match=r"tokens for '.*expected exactly one that the tokenizer knows"):
            Assembler(qwen_tokenizer(), [name])


def test_the_digest_names_tokenizer_and_rendering() -> None:
    """And nothing that is drawn anew each time."""

    def digest(made: Any, **settings: str) -> str:
        return PieceEncoder(Assembler(made), made, lambda _: [], settings=settings, max_length=None).digest

    made = qwen_tokenizer()
    changed = json.loads(made.backend_tokenizer.to_str())
    changed["added_tokens"][0]["content"] = "<other>"
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(changed)), eos_token="<other>")

    assert digest(made, template="a") == digest(qwen_tokenizer(), template="a")
    assert len({digest(made, template="a"), digest(made, template="b"), digest(other, template="a")}) == 3
