"""Laws of splitting: nothing is lost, no step is empty, whatever the text."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gradatim.core import Splitter
from gradatim.errors import ConfigError
from gradatim.steps import (
    SPLITTERS,
    audit,
    by_blank_line,
    by_line,
    by_marker,
    by_pattern,
    by_sentence,
    by_think,
    by_tool_call,
    math_spans,
)

FRAGMENTS = [
    *(
        "\n",
        "\n\n",
        " \n\t\n",
        " ",
        "\r\n",
        "\u2028",
        ". ",
        "! Then",
        "? 7",
        "Step 1: ",
        "**step 12** ",
        "e.g. X",
        "1. A",
    ),
    *("$", "$$", "\\$", "\\\\[", "\\(", "\\)", "\\[", "\\]", "\\begin{align*}", "\\end{align*}", "x=2.", "$5", "word"),
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "<observation>", "</observation>", "<answer>", "</answer>"),
    *("```python\n", "\n```\n", "```output\n", "。", "\ud800", "\udfff", "\x00", "é", "🙂"),
]
texts = st.text(st.characters(exclude_categories=[]), max_size=60) | st.lists(
    st.sampled_from(FRAGMENTS), max_size=25
).map("".join)
everyone = [*SPLITTERS.items(), ("pattern", by_pattern(r"[,;]|(?=x)")), ("empty matches", by_pattern(""))]


@pytest.mark.parametrize("splitter", [f for _, f in everyone], ids=[name for name, _ in everyone])
@given(text=texts)
@example(text="")
@example(text=" \n\n ")
def test_lossless(splitter: Splitter, text: str) -> None:
    """The steps join to the text, no step is empty, and none is blank unless the whole text is."""
    steps = splitter(text)

    assert "".join(step.text for step in steps) == text
    assert all(step.text for step in steps)
    assert all(step.text.strip() for step in steps) or not text.strip()


@given(text=texts)
def test_lines_by_the_book(text: str) -> None:
    """`by_line` has one step for each line with something in it, and one for a blank text."""
    lines = [line for line in text.split("\n") if line.strip()]

    assert [step.text.strip() for step in by_line(text)] == ([line.strip() for line in lines] or [""] * bool(text))


@given(text=texts)
def test_no_sentence_ends_inside_mathematics(text: str) -> None:
    """`by_sentence` has no border inside of what `math_spans` finds, and the audit agrees."""
    place, borders = 0, []
    for step in by_sentence(text)[:-1]:
        place += len(step.text)
        borders.append(place)

    assert not any(start < border < end for border in borders for start, end in math_spans(text))
    assert audit([text], by_sentence)["findings"]["inside_latex"] == 0


@given(text=texts)
def test_spans_are_in_order(text: str) -> None:
    """Pieces of mathematics do not overlap, and begin and end with a delimiter."""
    spans = math_spans(text)

    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert all(re.match(r"\$|\\[(\[]|\\begin", text[start:end]) for start, end in spans)


def shown(splitter: Splitter, text: str) -> list[str]:
    return [step.text for step in splitter(text)]


@pytest.mark.parametrize(
    ("splitter", "text", "expected"),
    [
        (by_line, "a\n\n  b\n", ["a\n\n", "  b\n"]),
        (by_line, "\n\na", ["\n\na"]),
        (by_blank_line, "a\nb\n \n\nc", ["a\nb\n \n\n", "c"]),
        (by_marker, "So:\n**Step 1:** a\nstep over\nStep 2. b", ["So:\n", "**Step 1:** a\nstep over\n", "Step 2. b"]),
        (by_marker, "no marks", ["no marks"]),
        (by_sentence, "A is 3.5 here. Then B! Is it? Yes.", ["A is 3.5 here. ", "Then B! ", "Is it? ", "Yes."]),
        (by_sentence, "See e.g. Fig. 3. Mr. X is right.", ["See e.g. Fig. 3. ", "Mr. X is right."]),
        (by_sentence, "1. First\n2. Second. Third", ["1. First\n2. Second. ", "Third"]),
        (by_sentence, "Let $a. B$ be. Then", ["Let $a. B$ be. ", "Then"]),
        (by_sentence, "We get $x = 2.$ Then\n\\[ y. Z \\] on", ["We get $x = 2.$ ", "Then\n\\[ y. Z \\] on"]),
        (by_sentence, "He pays $5. Then $7. Done", ["He pays $5. ", "Then $7. ", "Done"]),
        (by_sentence, "\\begin{a}x. Y\n\nz\\end{a} q", ["\\begin{a}x. Y\n\nz\\end{a} q"]),
        (by_sentence, "one\n\ntwo", ["one\n\n", "two"]),
        (by_think, "<think>\n\na\n\nb\n</think>\n\nc", ["<think>\n\na\n\n", "b\n</think>\n\n", "c"]),
        (by_think, "<think>\n\n</think>\n\nc", ["<think>\n\n</think>\n\n", "c"]),
        (by_pattern(";"), "a;b;;c", ["a;", "b;", ";", "c"]),
    ],
)
def test_examples(splitter: Splitter, text: str, expected: list[str]) -> None:
    """Where borders fall, case by case."""
    assert shown(splitter, text) == expected


def test_kinds() -> None:
    """Trajectories get the kinds of their blocks; what follows a thought is the answer; open blocks go to the end."""
    blocks = "```python\nf()\n```\n```output\n3\n```\n<answer>3</answer>"
    text = f"a <search>q</search>\n<information>i</information>b\n{blocks}"

    assert [step.kind for step in by_tool_call(text)] == [
        *("reasoning", "query", "observation", "reasoning", "tool_call", "observation", "answer"),
    ]
    assert [step.kind for step in by_tool_call("a <tool_call>f(<answer>")] == ["reasoning", "tool_call"]
    assert [step.kind for step in by_think("<think>a\n\nb</think>c")] == ["reasoning", "reasoning", "answer"]
    assert {step.kind for step in by_think("<think>a\n\nb")} == {"reasoning"}


def test_a_pattern_that_is_none() -> None:
    """A broken regular expression is a fault of the settings, named."""
    with pytest.raises(ConfigError, match=r"'\(' is not a regular expression"):
        by_pattern("(")


@pytest.mark.parametrize("name", SPLITTERS)
@pytest.mark.parametrize(
    "piece", ["a ", "$a ", "$a$ ", "\\(", "\\begin{a}", "\n", " \n", ". A", "<think>", "<answer>", "> "]
)
def test_a_hundred_thousand_characters(name: str, piece: str) -> None:
    """A step of 100,000 characters takes well under a second, and loses nothing."""
    text = piece * (100_000 // len(piece))
    start = time.process_time()
    steps = SPLITTERS[name](text)

    assert time.process_time() - start < 5
    assert "".join(step.text for step in steps) == text


def test_audit() -> None:
    """The audit counts texts by steps, measures steps, and shows where borders cut mathematics."""
    found = audit(["a\nbb", "", "   ", "\\[ x\ny \\]", "z" * 2000], by_line)

    assert found["texts"] == 5
    assert found["steps"] == 6
    assert found["steps_per_text"] == {"0": 1, "1": 2, "2": 2}
    assert found["characters"] == 4 + 3 + 9 + 2000
    assert found["step_length"]["max"] == 2000
    assert found["step_length"]["min"] == 2
    assert found["findings"] == {
        "no_steps": 1,
        "one_step": 2,
        "blank": 1,
        "very_long": 1,
        "inside_latex": 1,
        "lossy": 0,
    }
    assert found["examples"]["inside_latex"] == [{"text": 3, "step": 0, "excerpt": "\\[ x\n"}]
    assert len(found["examples"]["very_long"][0]["excerpt"]) < 130


def test_audit_finds_a_splitter_that_loses_text() -> None:
    """A splitter that breaks the law is found out."""
    assert audit(["a\nb"], lambda text: by_line(text)[:1])["findings"]["lossy"] == 1
