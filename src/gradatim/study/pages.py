"""What every study leaves: report.json with all numbers, report.html, figure.svg, and the tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradatim import runs
from gradatim.core import Estimate
from gradatim.view.figure import write_figure
from gradatim.view.parts import Cell, Curve, Report, Series, Table
from gradatim.view.report import write_report


def leave(run: runs.Run, report: Report) -> dict[str, Any]:
    """Write the report and its curves as one figure into the run's folder; the paths, the tables as rows, the summary."""
    page = write_report(report, run.folder)
    drawn = write_figure(report.curves, run.path("figure.svg"))
    return {
        "summary": report.summary,
        "tables": {table.title: rows(table) for table in report.tables},
        "report": str(page),
        "figure": str(drawn),
        "seconds": run.seconds(),
    }


def rows(table: Table) -> list[dict[str, Any]]:
    """A table's rows by column, estimates as {"value", "low", "high"}."""
    return [dict(zip(table.columns, map(_plain, row), strict=True)) for row in table.rows]


def line(name: str, x: Sequence[float], found: Sequence[Estimate]) -> Series:
    """Estimates over x as a series with its band."""
    return Series(
        name=name,
        x=tuple(map(float, x)),
        y=tuple(one.value for one in found),
        low=tuple(one.low for one in found),
        high=tuple(one.high for one in found),
    )


def curve(title: str, x: str, y: str, series: Sequence[Series], note: str = "", *, log_x: bool = True) -> Curve:
    """Series over a common axis, that of x in powers of two unless `log_x` is False."""
    return Curve(title=title, x_label=x, y_label=y, series=tuple(series), log_x=log_x, note=note)


def facts(run: runs.Run, config: Any) -> dict[str, Cell]:
    """What was asked, how long it took, and on what."""
    stages = run.manifest()["stages"].values()
    environment: Mapping[str, Any] = next((one["environment"] for one in stages if "environment" in one), {})
    asked = {
        name.replace("_", " "): ", ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in runs.plain(config).items()
    }
    return {
        **asked,
        "seconds": run.seconds(),
        "hardware": f"{environment.get('cores')} cores, {environment.get('device')}, {environment.get('platform')}",
    }


def _plain(cell: Cell) -> Any:
    return {"value": cell.value, "low": cell.low, "high": cell.high} if isinstance(cell, Estimate) else cell
