"""What a notebook shows of a score."""

from __future__ import annotations

from gradatim.core import Prefix, Score, Step


def test_names_and_texts_stay_text() -> None:
    """A model's name comes from a file of scores, and steps from a model: neither becomes markup."""
    prefix = Prefix("p", "P?", (Step("<script>alert(1)</script>\n"),))
    score = Score(value=0.2, steps=(0.2,), reduction="min", by="<img src=x onerror=alert(1)>", prefix=prefix)

    shown = score._repr_html_()

    assert "<img" not in shown
    assert "<script" not in shown
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown
