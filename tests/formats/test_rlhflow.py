"""RLHFlow's conversations, asked turn by turn as the published scripts do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from token_checkpoints import AWKWARD, SOLUTIONS, TEMPLATE, all_logits, byte_level, with_tag, write

from gradatim.core import Prefix
from gradatim.errors import CheckpointError
from gradatim.models import formats
from gradatim.score.engine import ModelScorer

DATED = TEMPLATE.replace(
    "{{ bos_token }}", "{{ bos_token }}<|header|>system<|/header|>\n\nToday: {{ date_string }}<|end|>"
)
"""As Llama 3.1's, which writes a date first."""


def asked(model: Any, tokenizer: Any, messages: list[dict[str, str]]) -> float:
    """The published reading: the conversation ends in "+" and an end; what was expected three tokens before its end."""
    text = tokenizer.apply_chat_template(messages, tokenize=False, date_string="26 Jul 2024")
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    answers = [tokenizer(answer, add_special_tokens=False)["input_ids"][-1] for answer in ("+", "-")]
    return float(all_logits(model, ids)[-3, answers].softmax(dim=-1)[0])


def published(model: Any, tokenizer: Any, prefix: Prefix) -> list[float]:
    """A conversation that grows by a step and a "+" at a time."""
    messages, scores = list[dict[str, str]](), []
    for number, step in enumerate(prefix.steps):
        text = step.text.strip() if number else f"{prefix.prompt} {step.text.strip()}"
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "+"}]
        scores.append(asked(model, tokenizer, messages))
    return scores


def tokenizer_with(template: str | None) -> Any:
    """A tokenizer of its own with this chat template."""
    tokenizer = with_tag(byte_level(), "<|other|>")
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("template", [TEMPLATE, DATED], ids=["plain", "dated"])
def test_scores_are_those_of_the_turn_by_turn_recipe(tmp_path: Path, template: str) -> None:
    """One pass over the whole conversation gives what a pass a step gives, to 1e-5; solutions are averaged."""
    tokenizer = tokenizer_with(template)
    model = write(tmp_path, tokenizer)
    scorer = ModelScorer(formats.load(tmp_path, format="rlhflow", device="cpu"))

    for prefix, score in zip(SOLUTIONS, scorer.score(SOLUTIONS), strict=True):
        expected = published(model, tokenizer, prefix)
        assert score.steps == pytest.approx(expected, abs=1e-5)
        assert score.value == pytest.approx(sum(expected) / len(expected), abs=1e-5)


def test_the_outcome_model_reads_the_whole_solution_in_one_turn(tmp_path: Path) -> None:
    """Question and solution in one turn, answered once."""
    tokenizer = byte_level()
    model = write(tmp_path, tokenizer)
    scorer = ModelScorer(formats.load(tmp_path, format="rlhflow-orm", device="cpu"))

    for prefix, score in zip(SOLUTIONS, scorer.score(SOLUTIONS), strict=True):
        turn = {"role": "user", "content": f"{prefix.prompt} {prefix.text}"}
        expected = asked(model, tokenizer, [turn, {"role": "assistant", "content": "+"}])
        assert score.value == pytest.approx(expected, abs=1e-5)
        assert score.reduction == "outcome"


def test_nothing_in_a_text_poses_as_a_turn(tmp_path: Path) -> None:
    """Headers and ends inside texts stay text: one score a step, and as many control tokens as the template writes."""
    tokenizer = byte_level()
    write(tmp_path, tokenizer)
    scorer = ModelScorer(formats.load(tmp_path, format="rlhflow", device="cpu"))
    encoding = scorer.model.encoder.encode(AWKWARD)
    (score,) = scorer.score([AWKWARD])

    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert encoding.ids.count(end) == 2 * len(AWKWARD.steps)
    plus = tokenizer("+", add_special_tokens=False)["input_ids"][-1]
    assert {encoding.ids[place + 1] for place in encoding.reads if place is not None} == {plus}
    assert [math.isnan(step) for step in score.steps] == [step.kind == "observation" for step in AWKWARD.steps]


def test_no_steps_no_score(tmp_path: Path) -> None:
    """A bare question is written, and read nowhere."""
    write(tmp_path, byte_level())
    scorer = ModelScorer(formats.load(tmp_path, format="rlhflow", device="cpu"))

    assert math.isnan(scorer.score([Prefix("p", "Q?")])[0].value)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (None, "found for a chat template none"),
        (
            TEMPLATE.replace("<|end|>", "{{ '' if loop.last else '<|end|>' }}{{ loop.index }}"),
            "writes turns differently",
        ),
        (TEMPLATE.replace("\n\n", " "), "merges '\\+' or '-' with the header"),
    ],
    ids=["none", "numbered", "a space for the line ends"],
)
def test_templates_that_do_not_fit_are_refused(tmp_path: Path, template: str | None, told: str) -> None:
    """Without turns that are all alike there is no place to read from."""
    tokenizer = tokenizer_with(template)
    write(tmp_path, tokenizer)

    with pytest.raises(CheckpointError, match=told):
        formats.load(tmp_path, format="rlhflow", device="cpu")
