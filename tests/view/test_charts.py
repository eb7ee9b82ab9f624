"""Charts: well-formed, complete, and inside their frame."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core import Estimate
from gradatim.view import charts
from gradatim.view.parts import Bin, Case, Curve, Histogram, Reliability, Series

NUMBERS = st.floats(-1e6, 1e6) | st.just(math.nan)
NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff"), max_size=30)


def elements(svg: str, tag: str, name: str) -> list[ElementTree.Element]:
    return [one for one in ElementTree.fromstring(svg).iter(tag) if name in (one.get("class") or "").split()]


def places(svg: str) -> list[tuple[float, float]]:
    """All points of lines and bands."""
    points = [one.get("points") or "" for one in ElementTree.fromstring(svg).iter() if one.get("points")]
    return [tuple(map(float, pair.split(","))) for line in points for pair in line.split()]  # type: ignore[misc]


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    """Any curve, gaps, single points and constant values included."""
    series = []
    for _ in range(draw(st.integers(0, 12))):
        y = draw(st.lists(NUMBERS, min_size=1, max_size=9))
        x = tuple(float(2**k) for k in range(len(y)))
        low, high = (tuple(v - 1 for v in y), tuple(v + 1 for v in y)) if draw(st.booleans()) else ((), ())
        series.append(Series(name=draw(NAMES), x=x, y=tuple(y), low=low, high=high))
    return Curve(
        title=draw(NAMES), x_label=draw(NAMES), y_label=draw(NAMES), series=tuple(series), log_x=draw(st.booleans())
    )


@given(curves())
def test_any_curve_is_drawn_inside_its_frame(curve: Curve):
    """Well-formed for any names and numbers; every point lies in the view box; every series with a point is named."""
    svg = charts.curve(curve)

    width, height = map(float, (ElementTree.fromstring(svg).get("viewBox") or "").split()[2:])
    assert all(-0.1 <= x <= width + 0.1 and -0.1 <= y <= height + 0.1 for x, y in places(svg))
    drawn = [one for one in curve.series if any(map(math.isfinite, one.y))]
    assert len(elements(svg, "text", "name")) == len(drawn)
    assert (
        "nan" not in svg.replace(curve.title, "").lower()
        or "nan" in "".join((curve.x_label, curve.y_label, *(one.name for one in curve.series))).lower()
    )


def test_higher_is_further_up_and_gaps_stay_gaps():
    """Three points with one missing: two dots, no line across, the larger value above the smaller."""
    series = Series(name="s", x=(1, 2, 4), y=(0.2, math.nan, 0.8), low=(0.1, 0.1, 0.7), high=(0.3, 0.3, 0.9))
    svg = charts.curve(Curve(title="t", x_label="x", y_label="y", series=(series,), log_x=True))

    first, last = ((float(one.get("cx") or 0), float(one.get("cy") or 0)) for one in elements(svg, "circle", "dot"))
    assert first[0] < last[0]
    assert first[1] > last[1]
    assert all(len((one.get("points") or "").split()) == 1 for one in elements(svg, "polyline", "line"))


def test_log_axis_puts_powers_of_two_at_even_distances():
    """1, 2, 4, ..., 64: seven ticks with equal steps between them."""
    xs = tuple(range(1, 65))
    series = Series(name="s", x=xs, y=tuple(x / 64 for x in xs))
    svg = charts.curve(Curve(title="t", x_label="x", y_label="y", series=(series,), log_x=True))

    ticks = [one for one in elements(svg, "text", "tick") if one.get("text-anchor") == "middle"]
    at = [float(one.get("x") or 0) for one in ticks]
    assert [one.text for one in ticks] == ["1", "2", "4", "8", "16", "32", "64"]
    assert {round(b - a, 0) for a, b in pairwise(at)} in ({43.0}, {42.0, 43.0}, {43.0, 44.0})


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_round_and_inside(low: float, span: float):
    """Two to eight ticks, none outside the range, evenly spaced."""
    ticks = charts._ticks(low, low + span)

    assert 2 <= len(ticks) <= 8 or span / max(abs(low), 1.0) < 1e-9
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in ticks)


@given(st.lists(st.floats(0, 300), max_size=20))
def test_names_keep_apart(wanted: list[float]):
    """Labels never overlap while there is room, keep their order, and stay inside."""
    places = charts._apart(sorted(wanted), 14, 16, 246)

    gap = min(14, 230 / max(len(places) - 1, 1))
    assert all(b - a >= gap - 1e-6 for a, b in pairwise(places))
    assert all(16 - 1e-6 <= place <= 246 + 1e-6 for place in places)


def test_a_calibrated_model_lies_on_the_diagonal():
    """Each point's distance from the left is its distance from the bottom, in shares of the axes."""
    bins = tuple(Bin(share, Estimate(share, share - 0.05, share + 0.05, 9), 30) for share in (0.1, 0.5, 0.9))
    svg = charts.reliability(Reliability(title="t", bins=bins))

    (line,) = elements(svg, "line", "diagonal")
    x1, y1, x2, y2 = (float(line.get(name) or 0) for name in ("x1", "y1", "x2", "y2"))
    for dot in (one for one in elements(svg, "circle", "dot") if one.get("r") == "4"):
        share = (float(dot.get("cx") or 0) - x1) / (x2 - x1)
        assert float(dot.get("cy") or 0) == pytest.approx(y1 + share * (y2 - y1), abs=0.2)


def test_histogram_groups_are_shares():
    """A group of ten and one of a thousand with the same shape have the same outline."""
    chart = Histogram(
        title="t", x_label="x", edges=(0, 1, 2), counts={"few": (4, 6), "many": (400, 600), "none": (0, 0)}
    )

    outlines = [one.get("points") for one in elements(charts.histogram(chart), "polygon", "area")]

    assert len(outlines) == 2
    assert outlines[0] == outlines[1]


def test_heat_map_marks_true_and_predicted_errors():
    """One cell a step, a ring for the truth, a cross for the prediction, a link to each case."""
    cases = (
        Case(title="a", prompt="", steps=("x",) * 3, scores=(0.9, 0.1, math.nan), predicted=1, true=0, true_known=True),
        Case(title="b", prompt="", steps=("x",), scores=(0.9,)),
    )
    svg = charts.heat_map(cases, ["one", "two"])

    root = ElementTree.fromstring(svg)
    assert [one.get("href") for one in root.iter("a")] == ["#one", "#two"]
    assert len([one for one in root.iter("rect") if one.get("fill")]) == 4
    assert len(elements(svg, "rect", "ring")) == 1
    assert len(elements(svg, "text", "cross")) == 1
    assert "no score" in svg


@pytest.mark.parametrize(
    "svg",
    [
        charts.curve(Curve(title="t", x_label="x", y_label="y", series=())),
        charts.reliability(Reliability(title="t", bins=())),
        charts.histogram(Histogram(title="t", x_label="x", edges=(0, 1), counts={})),
        charts.heat_map((), ()),
    ],
)
def test_nothing_to_draw_is_said(svg: str):
    """An empty chart says so instead of showing an empty frame."""
    assert "nothing to draw" in svg


def test_whisker_spans_its_interval():
    """The bar covers the interval's share of the range; an estimate without an interval has no whisker."""
    svg = charts.whisker(Estimate(0.5, 0.25, 0.75, 10), 0.0, 1.0)

    assert re.search(r'class="c0 band" x="22\.0" y="3" width="36\.0"', svg)
    assert charts.whisker(Estimate(0.5, math.nan, math.nan, 1), 0.0, 1.0) == ""
    assert "axis" not in svg
    assert '<line class="axis" x1="40.0" x2="40.0"' in charts.whisker(Estimate(0.5, 0.2, 0.8, 10), -1.0, 1.0)


def test_a_series_keeps_its_colour():
    """A series that names its colour has it wherever it stands."""
    lines = (Series(name="a", x=(0, 1), y=(0, 1), colour=5), Series(name="b", x=(0, 1), y=(1, 0)))
    svg = charts.curve(Curve(title="t", x_label="x", y_label="y", series=lines))

    assert re.findall(r'<polyline class="(c\d) line"', svg) == ["c5", "c1"]
