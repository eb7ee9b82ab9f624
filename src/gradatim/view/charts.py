"""SVG charts for a report, written by hand: no script, colours from the page's style sheet, every text escaped.

Each function returns one `<svg>` element. Classes `c0` to `c7` carry the series colours (see report.html.j2); line
styles repeat with another period than colours, so that no two of 40 series look alike.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from gradatim import heat
from gradatim.core import Estimate
from gradatim.view.parts import Case, Curve, Histogram, Reliability, Series

COLOURS = 8
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4")
_WIDTH, _HEIGHT = 440, 290
_LEFT, _TOP, _BOTTOM = 54, 12, 44
_LABELS = 128
"""Width at the right for the names of the series."""
_FEW = 6
"""A series of so many points has a dot at each of them; a longer one only where the axis has a tick."""


@dataclass(frozen=True, slots=True)
class _Axes:
    """Maps values to pixels inside the frame of a chart."""

    x0: float
    x1: float
    y0: float
    y1: float
    right: float
    log_x: bool = False

    def x(self, value: float) -> float:
        low, high, at = (self.x0, self.x1, value)
        if self.log_x:
            low, high, at = math.log2(low), math.log2(high), math.log2(at)
        return _LEFT + (at - low) / ((high - low) or 1.0) * (self.right - _LEFT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - self.y0) / ((self.y1 - self.y0) or 1.0) * (_HEIGHT - _BOTTOM - _TOP)


def curve(chart: Curve) -> str:
    """Lines with their intervals as bands, each named at its right end."""
    shown = [series for series in chart.series if any(map(math.isfinite, series.y))]
    if not shown:
        return _empty(chart.title)
    axes = _curve_axes(shown, log_x=chart.log_x)
    ticks = _powers(axes.x0, axes.x1) if chart.log_x else _ticks(axes.x0, axes.x1)
    body = [_frame(axes, ticks, chart.x_label, chart.y_label)]
    body += [_band(axes, series, index) for index, series in enumerate(shown)]
    body += [_line(axes, series, index, ticks) for index, series in enumerate(shown)]
    body.append(_names(axes, shown))
    return _svg(chart.title, body)


def reliability(chart: Reliability) -> str:
    """Share of right steps against mean score, a band for the interval, the diagonal for perfect calibration."""
    if not chart.bins:
        return _empty(chart.title)
    axes = _Axes(0.0, 1.0, 0.0, 1.0, _WIDTH - 16)
    series = Series(
        name="steps",
        x=tuple(one.score for one in chart.bins),
        y=tuple(one.right.value for one in chart.bins),
        low=tuple(one.right.low for one in chart.bins),
        high=tuple(one.right.high for one in chart.bins),
    )
    marks = [
        f'<circle class="c0 dot" cx="{axes.x(one.score):.1f}" cy="{axes.y(one.right.value):.1f}" r="4">'
        f"<title>score {one.score:.3f}: right {one.right}, {one.count} steps</title></circle>"
        for one in chart.bins
        if math.isfinite(one.right.value)
    ]
    diagonal = (
        f'<line class="diagonal" x1="{axes.x(0):.1f}" y1="{axes.y(0):.1f}" x2="{axes.x(1):.1f}" y2="{axes.y(1):.1f}"/>'
    )
    frame = _frame(axes, _ticks(0, 1), "mean score of the steps", "share that is right")
    return _svg(chart.title, [frame, diagonal, _band(axes, series, 0), _line(axes, series, 0, ()), *marks])


def histogram(chart: Histogram) -> str:
    """Outlines of the groups' shares over common bins, overlaid."""
    groups = {name: counts for name, counts in chart.counts.items() if sum(counts)}
    if not groups:
        return _empty(chart.title)
    shares = {name: [count / sum(counts) for count in counts] for name, counts in groups.items()}
    top = max(max(values) for values in shares.values())
    axes = _Axes(chart.edges[0], chart.edges[-1], 0.0, top * (1.08 + 0.07 * len(groups)), _WIDTH - 16)
    body = [_frame(axes, _ticks(axes.x0, axes.x1), chart.x_label, "share of the group")]
    for index, (name, values) in enumerate(shares.items()):
        points = [(axes.x(chart.edges[0]), axes.y(0))]
        for left, right, value in zip(chart.edges, chart.edges[1:], values, strict=False):
            points += [(axes.x(left), axes.y(value)), (axes.x(right), axes.y(value))]
        points.append((axes.x(chart.edges[-1]), axes.y(0)))
        title = f"<title>{html.escape(name)} (n={sum(groups[name])})</title>"
        body.append(f'<polygon class="c{index % COLOURS} area" points="{_points(points)}">{title}</polygon>')
        body.append(_key(index, f"{name} (n={sum(groups[name]):,})"))
    return _svg(chart.title, body)


def whisker(estimate: Estimate, low: float, high: float) -> str:
    """A dot with its interval on the range from `low` to `high`, zero marked: what stands beside an estimate in a table."""
    if not all(map(math.isfinite, (estimate.value, estimate.low, estimate.high))):
        return ""
    span = (high - low) or 1.0
    left, at, right = (4 + 72 * (value - low) / span for value in (estimate.low, estimate.value, estimate.high))
    place = 4 - 72 * low / span
    zero = f'<line class="axis" x1="{place:.1f}" x2="{place:.1f}" y1="1" y2="13"/>' if low < 0 < high else ""
    return (
        '<svg class="whisker" viewBox="0 0 80 14" width="80" height="14" aria-hidden="true">'
        f'<line class="rail" x1="4" x2="76" y1="7" y2="7"/>{zero}'
        f'<rect class="c0 band" x="{left:.1f}" y="3" width="{max(right - left, 1):.1f}" height="8" rx="2"/>'
        f'<circle class="c0 dot" cx="{at:.1f}" cy="7" r="3.2"/></svg>'
    )


def heat_cell(score: float) -> str:
    """The CSS colour of a score, clipped to [0, 1]."""
    return heat.colour(score)


def heat_map(cases: Sequence[Case], ids: Sequence[str]) -> str:
    """One row a case, one cell a step: colour is the score, a ring the true first error, a cross the predicted one.

    Each row links to the element of its id.
    """
    widest = max((len(case.steps) for case in cases), default=0)
    if not widest:
        return _empty("Step scores")
    cell, label = 22, 150
    width, height = label + widest * cell + 8, 22 + len(cases) * cell
    body = [
        f'<text class="tick" text-anchor="middle" x="{label + (step + 0.5) * cell:.1f}" y="14">{step + 1}</text>'
        for step in range(widest)
        if widest <= 20 or step % 5 == 4 or step == 0
    ]
    for row, (case, target) in enumerate(zip(cases, ids, strict=True)):
        body.append(_heat_row(case, target, 22 + row * cell, cell, label))
    return (
        f'<svg class="map" role="group" aria-label="Step scores of {len(cases)} cases" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">{"".join(body)}</svg>'
    )


def _heat_row(case: Case, target: str, top: int, cell: int, label: int) -> str:
    name = html.escape(_clip(case.title, 21))
    parts = [f'<text class="name" x="{label - 8}" y="{top + 15}" text-anchor="end">{name}</text>']
    for step, score in enumerate(case.scores):
        left = label + step * cell
        said = "no score" if math.isnan(score) else f"{score:.3f}"
        parts.append(
            f'<rect x="{left + 1}" y="{top + 1}" width="{cell - 2}" height="{cell - 2}" rx="3" '
            f'fill="{heat.colour(score)}"><title>step {step + 1}: {said}</title></rect>'
        )
        if case.true_known and step == case.true:
            parts.append(
                f'<rect class="ring" x="{left + 3.5}" y="{top + 3.5}" width="{cell - 7}" height="{cell - 7}" rx="2"/>'
            )
        if step == case.predicted:
            parts.append(f'<text class="cross" text-anchor="middle" x="{left + cell / 2}" y="{top + 16}">✗</text>')
    title = f"<title>{html.escape(case.title)}</title>"
    return f'<a href="#{html.escape(target)}">{title}{"".join(parts)}</a>'


def _curve_axes(shown: Sequence[Series], *, log_x: bool) -> _Axes:
    xs = [x for series in shown for x in series.x if math.isfinite(x)]
    ys = [y for series in shown for y in (*series.y, *series.low, *series.high) if math.isfinite(y)]
    low, high = min(ys), max(ys)
    pad = 0.06 * ((high - low) or abs(high) or 1.0)
    inside = low >= 0 and high <= 1
    y0, y1 = (max(0.0, low - pad), min(1.0, high + pad)) if inside else (low - pad, high + pad)
    return _Axes(min(xs), max(xs), y0, y1, _WIDTH - _LABELS, log_x=log_x)


def _frame(axes: _Axes, x_ticks: Sequence[float], x_label: str, y_label: str) -> str:
    bottom = _HEIGHT - _BOTTOM
    parts = []
    ticks = _ticks(axes.y0, axes.y1)
    for value in ticks:
        y = axes.y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{axes.right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(value, ticks)}</text>'
        )
    for value in x_ticks:
        x = axes.x(value)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{_short(value, x_ticks)}</text>'
        )
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{axes.right:.1f}" y1="{bottom}" y2="{bottom}"/>')
    middle = (_LEFT + axes.right) / 2
    parts.append(
        f'<text class="label" x="{middle:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{html.escape(x_label)}</text>'
    )
    up = (_TOP + bottom) / 2
    parts.append(
        f'<text class="label" transform="translate(12 {up:.1f}) rotate(-90)" text-anchor="middle">{html.escape(y_label)}</text>'
    )
    return "".join(parts)


def _band(axes: _Axes, series: Series, index: int) -> str:
    polygons = []
    for run in _runs(series):
        if not series.low:
            continue
        sides = (-3.0, 3.0) if len(run) == 1 else (0.0,)  # a point by itself has a bar
        over = [(axes.x(series.x[i]) + side, axes.y(series.high[i])) for i in run for side in sides]
        under = [(axes.x(series.x[i]) + side, axes.y(series.low[i])) for i in reversed(run) for side in reversed(sides)]
        polygons.append(f'<polygon class="{_tone(series, index)} band" points="{_points(over + under)}"/>')
    return "".join(polygons)


def _line(axes: _Axes, series: Series, index: int, marked: Sequence[float]) -> str:
    dash = _DASHES[(index if series.colour is None else series.colour) % len(_DASHES)]
    style = f' stroke-dasharray="{dash}"' if dash else ""
    parts = []
    for run in _runs(series):
        at = [(axes.x(series.x[i]), axes.y(series.y[i])) for i in run]
        parts.append(f'<polyline class="{_tone(series, index)} line"{style} points="{_points(at)}"/>')
        for i, (x, y) in zip(run, at, strict=True):
            few = len(run) == 1 or (marked and len(series.x) <= _FEW)
            if few or any(math.isclose(series.x[i], tick) for tick in marked):
                said = f"{series.name}, {series.x[i]:g}: {series.y[i]:.3f}"
                if series.low:
                    said += f" [{series.low[i]:.3f}, {series.high[i]:.3f}]"
                parts.append(
                    f'<circle class="{_tone(series, index)} dot" cx="{x:.1f}" cy="{y:.1f}" r="2.6">'
                    f"<title>{html.escape(said)}</title></circle>"
                )
    return "".join(parts)


def _tone(series: Series, index: int) -> str:
    """The class of a series' colour."""
    return f"c{(index if series.colour is None else series.colour) % COLOURS}"


def _runs(series: Series) -> list[list[int]]:
    """Indices of the points without a gap, in order."""
    runs: list[list[int]] = [[]]
    bounds = zip(series.low, series.high, strict=True) if series.low else ((0.0, 0.0),) * len(series.y)
    for index, (y, bound) in enumerate(zip(series.y, bounds, strict=True)):
        if all(map(math.isfinite, (series.x[index], y, *bound))):
            runs[-1].append(index)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _names(axes: _Axes, shown: Sequence[Series]) -> str:
    """The series' names beside their last points, pushed apart where they would overlap."""
    last = [next(y for y in reversed(series.y) if math.isfinite(y)) for series in shown]
    order = sorted(range(len(shown)), key=lambda index: axes.y(last[index]))
    places = _apart([axes.y(last[index]) for index in order], 14, _TOP + 4, _HEIGHT - _BOTTOM)
    parts = []
    for index, place in zip(order, places, strict=True):
        start = axes.right + 4
        parts.append(
            f'<line class="{_tone(shown[index], index)} lead" x1="{start:.1f}" y1="{axes.y(last[index]):.1f}" '
            f'x2="{start + 8:.1f}" y2="{place:.1f}"/>'
            f'<text class="{_tone(shown[index], index)} name" x="{start + 11:.1f}" y="{place + 4:.1f}">'
            f"{html.escape(_clip(shown[index].name, 17))}<title>{html.escape(shown[index].name)}</title></text>"
        )
    return "".join(parts)


def _apart(places: Sequence[float], gap: float, top: float, bottom: float) -> list[float]:
    """Ascending places moved as little as two sweeps need, to be `gap` apart where there is room."""
    gap = min(gap, (bottom - top) / max(len(places) - 1, 1))
    out: list[float] = []
    for place in places:
        out.append(max(place, out[-1] + gap if out else top))
    limit = bottom
    for index in range(len(out) - 1, -1, -1):
        out[index] = min(out[index], limit)
        limit = out[index] - gap
    return out


def _key(index: int, name: str) -> str:
    y = _TOP + 8 + 16 * index
    return (
        f'<rect class="c{index % COLOURS} area" x="{_LEFT + 8}" y="{y - 8}" width="14" height="10"/>'
        f'<text class="c{index % COLOURS} name" x="{_LEFT + 27}" y="{y + 1}">{html.escape(_clip(name, 44))}</text>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers inside the range."""
    span = high - low
    if span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 7)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """Powers of two inside the range, thinned to eight at most."""
    powers = [2.0**k for k in range(math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9) + 1)]
    every = max(1, math.ceil(len(powers) / 8))
    return powers[::-1][::every][::-1] or [low]


def _short(value: float, ticks: Sequence[float]) -> str:
    """The tick with as many decimals as its neighbours need."""
    step = min((abs(b - a) for a, b in pairwise(ticks)), default=1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return f"{value:,.{decimals}f}"


def _clip(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _svg(title: str, body: Sequence[str]) -> str:
    return f'<svg role="img" aria-label="{html.escape(title)}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{"".join(body)}</svg>'


def _empty(title: str) -> str:
    return _svg(
        title, [f'<text class="label" x="{_WIDTH / 2}" y="{_HEIGHT / 2}" text-anchor="middle">nothing to draw</text>']
    )
