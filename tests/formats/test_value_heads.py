"""Skywork-o1-Open-PRM and PQM: language models with a value head beside."""

from __future__ import annotations

import math
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from token_checkpoints import AWKWARD, SOLUTIONS, all_values, byte_level, value_head, with_tag, write

from gradatim.core import Prefix, Step
from gradatim.errors import CheckpointError, InputError
from gradatim.models import formats
from gradatim.score.engine import ModelScorer


def lines_of(tokenizer: Any, prefix: Prefix) -> tuple[list[int], list[int]]:
    """Skywork's published preparation: ids, and the place of every line end behind a line of the solution."""
    solution = "\n".join(step.text.rstrip() for step in prefix.steps)
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"][-1]
    begin = tokenizer(tokenizer.bos_token + prefix.prompt + "\n", add_special_tokens=False)["input_ids"]
    lines = [tokenizer(line, add_special_tokens=False)["input_ids"] + [newline] for line in solution.split("\n")]
    ends = accumulate(map(len, lines), initial=len(begin) - 1)
    return [*begin, *(token for line in lines for token in line)], list(ends)[1:]


def test_skywork_s_scores_are_those_of_its_last_lines(tmp_path: Path) -> None:
    """The published code scores every line; a step has the score of its last."""
    tokenizer, head = byte_level(), value_head()
    model = write(tmp_path, tokenizer, "qwen2", extra=head, config={"architectures": ["Qwen2ForPrmModel"]})
    loaded = formats.load(tmp_path, device="cpu")

    assert loaded.name == f"skywork-prm {tmp_path.name}"
    for prefix, score in zip(SOLUTIONS, ModelScorer(loaded).score(SOLUTIONS), strict=True):
        ids, ends = lines_of(tokenizer, prefix)
        values = all_values(model, head, ids).sigmoid()
        last = accumulate(step.text.rstrip().count("\n") + 1 for step in prefix.steps)
        assert loaded.encoder.encode(prefix).ids == tuple(ids)
        assert score.steps == pytest.approx([float(values[ends[line - 1]]) for line in last], abs=1e-5)


def test_skywork_writes_blank_lines_and_scores_empty_steps(tmp_path: Path) -> None:
    """Blank lines inside a step are lines of their own; each step has one score, and no text a control token."""
    tokenizer = byte_level()
    write(tmp_path, tokenizer, "qwen2", extra=value_head())
    scorer = ModelScorer(formats.load(tmp_path, device="cpu"))
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"][-1]

    encoding = scorer.model.encoder.encode(Prefix("p", "Q?\n\nR?", (Step("a\n\nb\n\n"), Step(""), Step("c"))))
    assert encoding.ids[-7:].count(newline) == 5
    assert encoding.reads == (len(encoding.ids) - 4, len(encoding.ids) - 3, len(encoding.ids) - 1)
    awkward = scorer.model.encoder.encode(AWKWARD)
    assert not set(tokenizer.all_special_ids) & set(awkward.ids[1:])
    assert [math.isnan(step) for step in scorer.score([AWKWARD])[0].steps] == [
        step.kind == "observation" for step in AWKWARD.steps
    ]


def test_skywork_needs_a_beginning(tmp_path: Path) -> None:
    """The backbone's own tokenizer has none; the published code dies of it."""
    write(tmp_path, byte_level(bos=False), "qwen2", extra=value_head())

    with pytest.raises(CheckpointError, match="found BOS None"):
        formats.load(tmp_path, format="skywork-prm", device="cpu")


def test_what_is_too_long_or_no_text_is_named(tmp_path: Path) -> None:
    """Nothing is cut."""
    write(tmp_path, byte_level(), "qwen2", extra=value_head(), max_position_embeddings=16)
    encoder = formats.load(tmp_path, device="cpu").encoder

    with pytest.raises(InputError, match="tokens long; expected at most 16"):
        encoder.encode(SOLUTIONS[0])
    with pytest.raises(InputError, match="half of a surrogate pair"):
        encoder.encode(Prefix("p", "Q", (Step("\ud800"),)))


def pqm_text(prefix: Prefix) -> str:
    """The published evaluation's text."""
    question = (
        "Below is an instruction that describes a task.\nWrite a response that appropriately completes the request.\n\n"
        f"### Instruction:\n{prefix.prompt}\n\n### Response: Let's think step by step"
    )
    return question + "\n" + "\n".join(f"Step {k}: {step.text.strip()} [PRM]" for k, step in enumerate(prefix.steps, 1))


@pytest.mark.parametrize("wrapper", ["", "pretrained_model."])
def test_pqm_s_scores_are_those_of_the_published_recipe(tmp_path: Path, wrapper: str) -> None:
    """The raw value at [PRM], whatever the training script's wrapper called the tensors; the worst step counts."""
    tokenizer, head = with_tag(byte_level(), "[PRM]"), value_head()
    model = write(tmp_path, tokenizer, extra=head, wrapper=wrapper)
    loaded = formats.load(tmp_path, format="pqm", device="cpu")
    tag = tokenizer.convert_tokens_to_ids("[PRM]")

    assert loaded.threshold == 0
    for prefix, score in zip(SOLUTIONS, ModelScorer(loaded).score(SOLUTIONS), strict=True):
        ids = tokenizer(pqm_text(prefix), add_special_tokens=False)["input_ids"]
        values = all_values(model, head, ids)
        expected = [float(value) for token, value in zip(ids, values, strict=True) if token == tag]
        assert loaded.encoder.encode(prefix).ids == tuple(ids)
        assert score.steps == pytest.approx(expected, abs=1e-5)
        assert score.value == pytest.approx(min(expected), abs=1e-5)


def test_pqm_numbers_steps_anew_and_keeps_its_tag_to_itself(tmp_path: Path) -> None:
    """A label gives way to the step's own number; a tag inside a text is text."""
    tokenizer = with_tag(byte_level(), "[PRM]")
    write(tmp_path, tokenizer, extra=value_head())
    encoder = formats.load(tmp_path, device="cpu").encoder
    tag = tokenizer.convert_tokens_to_ids("[PRM]")

    labelled = encoder.encode(Prefix("p", "Q?", (Step("Step 4: a\n"), Step(" Step 9: b"))))
    assert labelled == encoder.encode(Prefix("p", "Q?", (Step("a"), Step("b"))))
    awkward = encoder.encode(AWKWARD)
    assert awkward.ids.count(tag) == len(AWKWARD.steps)
    assert {awkward.ids[place] for place in awkward.reads if place is not None} == {tag}


def test_the_tag_tells_pqm_from_skywork(tmp_path: Path) -> None:
    """The same weights; the tokenizer decides which of the two they are."""
    for name, tokenizer in (("skywork-prm", byte_level()), ("pqm", with_tag(byte_level(), "[PRM]"))):
        folder = tmp_path / name
        write(folder, tokenizer, extra=value_head())
        assert formats.load(folder, device="cpu").name == f"{name} {name}"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"extra": {"v_head.summary.weight": torch.ones(1, 32)}}, r"found no v_head\.summary\.bias"),
        ({"extra": {**value_head(), "v_head.more": torch.ones(1)}}, r"unexpected keys: v_head\.more"),
        ({"extra": value_head(16)}, r"shapes \(\(1, 16\), \(1,\)\), expected \(\(1, 32\), \(1,\)\)"),
        ({"extra": value_head(), "without": ("model.norm.weight",)}, r"missing keys: norm\.weight"),
    ],
    ids=["half a head", "more than a head", "another width", "no norm"],
)
@pytest.mark.parametrize("format", ["skywork-prm", "pqm"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, format: str, changes: Any, told: str) -> None:
    """A head is never made up, and a tensor that nobody knows never passed over."""
    write(tmp_path, with_tag(byte_level(), "[PRM]"), **changes)

    with pytest.raises(CheckpointError, match=told):
        formats.load(tmp_path, format=format, device="cpu")
