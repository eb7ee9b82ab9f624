"""Writes a report: `report.json` with every number, and `report.html`, one page that needs nothing but a browser.

The page loads nothing and runs no script, and says so in its content security policy: step texts come from models and
are escaped wherever they are shown.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gradatim.core import Estimate
from gradatim.runs import atomic_write, plain
from gradatim.view import charts
from gradatim.view.parts import Bin, Case, Cell, Curve, Histogram, Reliability, Report, Series, Table

__all__ = [
    "Bin",
    "Case",
    "Cell",
    "Curve",
    "Histogram",
    "Reliability",
    "Report",
    "Series",
    "Table",
    "page",
    "report_files",
    "write_report",
]

SCHEMA = 1
"""Version of report.json."""

LONGEST_TEXT = 4000
"""Characters of a prompt or step that the page shows; report.json has all of them."""

_MOST_ROWS = 24
"""Rows of the number table under a curve; report.json has all of them."""


def report_files(folder: str | Path) -> tuple[Path, Path]:
    """What a report's folder holds: its numbers and its page."""
    return Path(folder) / "report.json", Path(folder) / "report.html"


def write_report(report: Report, folder: str | Path) -> Path:
    """Writes `report.json` and `report.html` into `folder` (made if missing); returns the path of the page.

    Characters that are no text (lone surrogates) become escapes in the JSON and question marks on the page.
    """
    numbers_file, page_file = report_files(folder)
    page_file.parent.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps({"schema": SCHEMA, **plain(report)}, ensure_ascii=False, allow_nan=False, indent=1)
    atomic_write(numbers_file, (numbers + "\n").encode("utf-8", "backslashreplace"))
    atomic_write(page_file, page(report).encode("utf-8", "replace"))
    return page_file


def page(report: Report) -> str:
    """The report as one HTML document."""
    ids = [f"case-{index}" for index in range(1, len(report.cases) + 1)]
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            report=report,
            cases=list(zip(ids, report.cases, strict=True)),
            heat_map=Markup(charts.heat_map(report.cases, ids)) if report.cases else "",
        )
    )


@cache
def templates() -> Environment:
    """The templates of all pages. Everything that is put into them is escaped, unless it is markup of our own."""
    environment = Environment(
        loader=PackageLoader("gradatim", "view"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    environment.filters["clipped"] = clipped
    environment.filters["colour"] = charts.heat_cell
    environment.globals.update(
        curve=lambda chart: Markup(charts.curve(chart)),
        reliability=lambda chart: Markup(charts.reliability(chart)),
        histogram=lambda chart: Markup(charts.histogram(chart)),
        whisker=lambda estimate, low, high: Markup(charts.whisker(estimate, low, high)),
        is_estimate=lambda cell: isinstance(cell, Estimate),
        is_number=lambda cell: isinstance(cell, int | float) and not isinstance(cell, bool),
        whisker_range=whisker_range,
        numeric=numeric,
        common_n=common_n,
        curve_numbers=curve_numbers,
        reliability_numbers=reliability_numbers,
        histogram_numbers=histogram_numbers,
    )
    return environment


def shown(cell: Cell) -> str:
    """A number as the page prints it: three decimals below 100, thousands apart above, a dash for what is missing."""
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        if not math.isfinite(cell):
            return "–"
        return f"{cell:.3f}" if abs(cell) < 100 else f"{cell:,.0f}"
    return str(cell)


def clipped(text: str) -> str:
    """The text without white space around it, cut at LONGEST_TEXT with a note of how much is left out."""
    bare = text.strip()
    if len(bare) <= LONGEST_TEXT:
        return bare
    return f"{bare[:LONGEST_TEXT]} … ({len(bare) - LONGEST_TEXT:,} more characters in report.json)"


def whisker_range(table: Table, column: int) -> tuple[float, float] | None:
    """From the lowest to the highest interval end of a column's estimates; None with fewer than two of them."""
    cells = [cell for row in table.rows if isinstance(cell := row[column], Estimate)]
    ends = [end for cell in cells for end in (cell.low, cell.high) if math.isfinite(end)]
    return (min(ends), max(ends)) if len(ends) >= 4 else None


def numeric(table: Table, column: int) -> bool:
    """Whether a column holds plain numbers only (and gaps): those are aligned right."""
    cells = [row[column] for row in table.rows if row[column] is not None]
    return bool(cells) and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells)


def common_n(table: Table) -> int | None:
    """The number of problems that all estimates of the table rest on; None if they differ or there are none."""
    counts = {cell.n for row in table.rows for cell in row if isinstance(cell, Estimate)}
    return counts.pop() if len(counts) == 1 else None


def curve_numbers(curve: Curve) -> Table:
    """The points of a curve as a table, thinned where there are many: to powers of two if x is logarithmic."""
    places = sorted({x for series in curve.series for x in series.x})
    if len(places) > _MOST_ROWS:
        last = places[-1]
        powers = [x for x in places[:-1] if x > 0 and math.log2(x).is_integer()]
        every = math.ceil(len(places) / _MOST_ROWS)
        places = [*(powers if curve.log_x else places[:-1][::-every][::-1]), last]
    found = [dict(zip(series.x, range(len(series.x)), strict=True)) for series in curve.series]
    rows: list[tuple[Cell, ...]] = [
        (
            shown(int(x) if x == int(x) else x),
            *(_point(series, at.get(x)) for series, at in zip(curve.series, found, strict=True)),
        )
        for x in places[-_MOST_ROWS:]
    ]
    columns = (curve.x_label, *(series.name for series in curve.series))
    return Table(title=curve.title, columns=columns, rows=tuple(rows))


def reliability_numbers(chart: Reliability) -> Table:
    """The bins of a reliability diagram as a table."""
    rows = tuple((one.score, one.right, one.count) for one in chart.bins)
    return Table(title=chart.title, columns=("mean score", "share right", "steps"), rows=rows)


def histogram_numbers(chart: Histogram) -> Table:
    """The counts of a histogram as a table, a row a bin."""
    bins = [f"{shown(low)} to {shown(high)}" for low, high in zip(chart.edges, chart.edges[1:], strict=False)]
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, *(counts[index] for counts in chart.counts.values())) for index, name in enumerate(bins)
    )
    return Table(title=chart.title, columns=(chart.x_label, *chart.counts), rows=rows)


def _point(series: Series, index: int | None) -> Cell:
    if index is None:
        return None
    if not series.low:
        return series.y[index]
    return _interval_text(series.y[index], series.low[index], series.high[index])


def _interval_text(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{shown(value)} [{shown(low)}, {shown(high)}]"
