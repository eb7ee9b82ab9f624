"""The report: every number in JSON, one page that loads nothing, all text escaped."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gradatim.core import Estimate
from gradatim.view.report import (
    LONGEST_TEXT,
    Bin,
    Case,
    Curve,
    Histogram,
    Reliability,
    Report,
    Series,
    Table,
    curve_numbers,
    page,
    shown,
    write_report,
)

EVIL = "<script>alert('x')</script><img src=x onerror=y>\"'&{{ 7 * 7 }}</style>\u202e"


class Page(HTMLParser):
    """What a browser would see: the tags with their attributes, in order, and whether they are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "img", "link", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def report(text: str = "plain", cases: int = 2) -> Report:
    """A report with one of everything and the same text wherever text can stand."""
    estimate = Estimate(0.5, 0.4, 0.6, 100)
    return Report(
        title=text,
        summary=text,
        command=f"gradatim loop {text}",
        facts={text: text, "missing": None, "seconds": 12345.6, "share": estimate},
        tables=(
            Table(title=text, columns=(text, "accuracy"), rows=((text, estimate), (text, math.nan)), note=text),
            Table(title="more", columns=("name", "count"), rows=(("a", 1234), ("b", 2))),
        ),
        curves=(
            Curve(
                title=text,
                x_label=text,
                y_label=text,
                series=(
                    Series(
                        name=text, x=(1, 2, 4), y=(0.1, math.nan, 0.3), low=(0.0, math.nan, 0.2), high=(0.2, 1, 0.4)
                    ),
                ),
                log_x=True,
                note=text,
            ),
        ),
        reliability=(Reliability(title=text, bins=(Bin(0.5, estimate, 10),), note=text),),
        histograms=(Histogram(title=text, x_label=text, edges=(0, 0.5, 1), counts={text: (1, 2)}, note=text),),
        cases=tuple(
            Case(
                title=f"{index} {text}",
                prompt=text,
                steps=(text, text, text),
                scores=(0.9, math.nan, 0.2),
                predicted=2,
                true=1,
                true_known=True,
                value=0.2,
                facts={text: text},
            )
            for index in range(cases)
        ),
    )


def test_untrusted_text_stays_text():
    """A page full of markup has the same tags as a page full of plain words, and shows the markup as text."""
    evil, plain = Page(page(report(EVIL))), Page(page(report("plain")))

    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attributes) for _, attributes in evil.tags] == [sorted(attributes) for _, attributes in plain.tags]
    assert not evil.open
    assert EVIL in [text.strip() for text in evil.texts]


def test_the_page_asks_for_nothing():
    """No script, no element that loads anything, links inside the page only, and a policy that forbids the rest."""
    seen = Page(page(report()))
    tags = {tag for tag, _ in seen.tags}
    style = page(report()).split("<style>")[1].split("</style>")[0]

    assert not tags & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
        "audio",
        "video",
        "image",
        "use",
    }
    assert {"content": "default-src 'none'; style-src 'unsafe-inline'", "http-equiv": "Content-Security-Policy"} in [
        attributes for tag, attributes in seen.tags if tag == "meta"
    ]
    for _, attributes in seen.tags:
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "srcset")}
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in style
    assert "@import" not in style


def test_links_lead_somewhere_and_scrolling_parts_take_the_focus():
    """Every link's target is on the page once; whatever scrolls can be reached and named by keyboard."""
    seen = Page(page(report()))
    ids = [attributes["id"] for _, attributes in seen.tags if "id" in attributes]

    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in seen.tags if tag == "a"]
    assert "#case-2" in links
    assert all(link and link[1:] in ids for link in links)
    for tag, attributes in seen.tags:
        if tag == "div" and (attributes.get("class") or "").startswith("scroll"):
            assert attributes["tabindex"] == "0"
            assert attributes["aria-label"]
        if tag == "svg" and attributes.get("aria-hidden") != "true":
            assert attributes["aria-label"]


def test_json_has_everything(tmp_path: Path):
    """report.json holds all numbers and texts whole, NaN as null."""
    long = "x" * (LONGEST_TEXT + 50)

    target = write_report(report(long, cases=1), tmp_path / "new" / "folder")

    assert target == tmp_path / "new" / "folder" / "report.html"
    found = json.loads((target.parent / "report.json").read_text())
    assert found["schema"] == 1
    assert found["cases"][0]["steps"] == [long] * 3
    assert found["cases"][0]["scores"] == [0.9, None, 0.2]
    assert found["tables"][0]["rows"][0][1] == {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100}
    assert found["tables"][0]["rows"][1][1] is None
    assert "(50 more characters in report.json)" in target.read_text()


def test_half_a_character_stops_nothing(tmp_path: Path):
    """A lone surrogate, as models may write, is an escape in the JSON and a question mark on the page."""
    target = write_report(report("a\ud800b"), tmp_path)

    assert json.loads((tmp_path / "report.json").read_text())["title"] == "a\ud800b"
    assert "<title>a?b</title>" in target.read_text()


def test_marks_name_the_true_and_the_predicted_error():
    """Steps are counted from 1; a hit and a miss read differently."""
    miss = page(report(cases=1))
    assert "true first error: <b>step 2</b>" in miss
    assert '<b class="miss">step 3 ✗</b>' in miss
    assert '<b class="miss">predicted first error</b>' in miss

    sound = Case(title="t", prompt="p", steps=("a",), scores=(0.9,), true_known=True)
    hit = page(Report(title="t", summary="", command="c", cases=(sound,)))
    assert "true first error: <b>none</b>" in hit
    assert '<b class="hit">none ✓</b>' in hit

    unknown = Case(title="t", prompt="p", steps=("a",), scores=(0.3,), predicted=0)
    assert "true first error: " not in page(Report(title="t", summary="", command="c", cases=(unknown,)))


def test_an_empty_report_is_a_page():
    """No tables, curves or cases: no empty headings either."""
    text = page(Report(title="t", summary="s", command="c"))

    assert not Page(text).open
    assert "Curves" not in text
    assert "Cases" not in text


def test_a_case_of_very_many_characters_is_quick_and_small():
    """A step of 100,000 characters does not bloat the page."""
    case = Case(title="t", prompt="p" * 100_000, steps=("s" * 100_000,) * 5, scores=(0.5,) * 5)

    assert len(page(Report(title="t", summary="s", command="c", cases=(case,)))) < 60_000


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (0.12345, "0.123"),
        (-0.5, "-0.500"),
        (12345.6, "12,346"),
        (1234, "1,234"),
        (math.nan, "–"),
        (math.inf, "–"),
        (None, "–"),
        (True, "yes"),
        ("text", "text"),
    ],
)
def test_cells_as_they_are_shown(cell: str | int | float | None, expected: str):
    """Three decimals for shares, thousands apart for counts, a dash for what is missing."""
    assert shown(cell) == expected


def test_long_curves_are_thinned_and_keep_their_last_point():
    """64 points become powers of two on a logarithmic axis and about 20 even ones on a plain axis, each with its interval."""
    xs = tuple(range(1, 65))
    series = Series(name="s", x=xs, y=tuple(x / 100 for x in xs), low=(0.0,) * 64, high=(1.0,) * 64)

    powers = curve_numbers(Curve(title="t", x_label="n", y_label="y", series=(series,), log_x=True))
    even = curve_numbers(Curve(title="t", x_label="n", y_label="y", series=(series,)))

    assert [row[0] for row in powers.rows] == ["1", "2", "4", "8", "16", "32", "64"]
    assert powers.rows[-1] == ("64", "0.640 [0.000, 1.000]")
    assert even.rows[-1] == powers.rows[-1]
    assert 12 <= len(even.rows) <= 24


@pytest.mark.parametrize(
    "build",
    [
        lambda: Table(title="t", columns=("a", "b"), rows=((1,),)),
        lambda: Series(name="s", x=(1, 2), y=(1,)),
        lambda: Series(name="s", x=(1,), y=(1,), low=(0,)),
        lambda: Histogram(title="h", x_label="x", edges=(0, 1), counts={"g": (1, 2)}),
        lambda: Case(title="c", prompt="p", steps=("a",), scores=()),
    ],
)
def test_parts_that_do_not_fit_are_refused(build):
    """A row without its cell, a curve without its bound, a case without its score: refused where they are made."""
    with pytest.raises(ValueError):
        build()
