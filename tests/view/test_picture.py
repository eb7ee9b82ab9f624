"""The picture of one solution's step scores."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core import Prefix, Score, Step
from gradatim.view.picture import picture, write_picture

SVG = "{http://www.w3.org/2000/svg}"


def score(*steps: tuple[str, float]) -> Score:
    prefix = Prefix("p", "question", tuple(Step(text) for text, _ in steps))
    return Score(value=0.2, steps=tuple(value for _, value in steps), reduction="min", by="lab", prefix=prefix)


def test_each_step_stands_with_its_score_and_the_first_error_is_marked():
    """Scores, texts and one mark, in the order of the steps."""
    root = ElementTree.fromstring(picture(score(("one", 0.9), ("two <b>", 0.2), ("three", math.nan))))

    texts = [one.text for one in root.iter(f"{SVG}text")]
    assert texts == ["0.90", "one", "0.20", "✗", "two <b>", "–", "three", "0.20 (min, by lab)"]


@given(st.lists(st.tuples(st.text(max_size=400), st.floats(-2, 2) | st.just(math.nan)), min_size=1, max_size=5))
def test_any_text_makes_a_well_formed_document(steps: list[tuple[str, float]]):
    """Control characters, surrogates and markup included; no line is wider than the picture."""
    root = ElementTree.fromstring(picture(score(*steps)).encode())

    for text in root.iter(f"{SVG}text"):
        assert float(text.get("x") or 0) + 0.6 * 14 * len(text.text or "") <= 760


def test_a_very_long_step_is_cut(tmp_path: Path):
    """100,000 characters become four lines."""
    target = write_picture(score(("word " * 20_000, 0.9)), tmp_path / "new" / "p.svg")

    lines = [one.text or "" for one in ElementTree.parse(target).iter(f"{SVG}text") if one.get("x") == "142"]
    assert len(lines) == 4
    assert lines[-1].endswith("…")


def test_a_score_without_steps_has_no_picture():
    """An outcome score, or one that forgot its prefix, is refused in words."""
    with pytest.raises(ValueError, match="steps that knows its prefix"):
        picture(Score(value=0.5, by="orm"))
