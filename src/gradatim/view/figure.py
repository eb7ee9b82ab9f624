"""Curves as an SVG file of its own, for a page of the docs or a paper: the charts of a report, side by side."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from gradatim.runs import atomic_write
from gradatim.view import charts
from gradatim.view.parts import Curve

_WIDTH, _HEIGHT, _TITLE, _GAP = 440, 290, 30, 14
"""A chart's size, the room for its title, and the room around it, in pixels."""

_LIGHT = ("#0b6bb3", "#c4500a", "#00795a", "#9a3f86", "#8a6500", "#2e8fc2", "#55585f", "#b02a4c")
_DARK = ("#5fb2f2", "#f59055", "#3ecfa4", "#df92cc", "#e0b84a", "#9ad7f5", "#b9bdc5", "#ff8fa8")
_STYLE = (
    "text{font:12px system-ui,'Segoe UI','DejaVu Sans',sans-serif;fill:#1b1c1f}.title{font-size:14px;font-weight:600}"
    ".tick,.label{fill:#5c6068}.grid{stroke:#dedcd6}.axis{stroke:#5c6068}.paper{fill:#fff}"
    ".line{fill:none;stroke:currentColor;stroke-width:2.2;stroke-linejoin:round}.lead{stroke:currentColor}"
    ".band{fill:currentColor;stroke:none;opacity:.07}.dot{fill:currentColor}text.name{fill:currentColor}"
    + "".join(f".c{index}{{color:{colour}}}" for index, colour in enumerate(_LIGHT))
    + "@media (prefers-color-scheme:dark){text{fill:#e9e8e4}.tick,.label{fill:#a3a7af}.grid{stroke:#363a41}"
    ".axis{stroke:#a3a7af}.paper{fill:#15171a}"
    + "".join(f".c{index}{{color:{colour}}}" for index, colour in enumerate(_DARK))
    + "}"
)


def figure(curves: Sequence[Curve], *, columns: int = 2) -> str:
    """The curves in rows of `columns`, each under its title; an SVG document that follows the reader's colour scheme."""
    wide = min(columns, len(curves)) or 1
    rows = -(-len(curves) // wide)
    width, height = wide * (_WIDTH + _GAP) + _GAP, rows * (_HEIGHT + _TITLE + _GAP)
    body = [_placed(curve, index % wide, index // wide) for index, curve in enumerate(curves)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<style>{_STYLE}</style><rect class="paper" width="{width}" height="{height}"/>{"".join(body)}</svg>\n'
    )


def write_figure(curves: Sequence[Curve], path: str | Path, *, columns: int = 2) -> Path:
    """Writes `figure(curves)` to a file and returns its path."""
    atomic_write(path, figure(curves, columns=columns))
    return Path(path)


def _placed(curve: Curve, column: int, row: int) -> str:
    left, top = _GAP + column * (_WIDTH + _GAP), row * (_HEIGHT + _TITLE + _GAP)
    chart = charts.curve(curve).replace("<svg ", f'<svg width="{_WIDTH}" height="{_HEIGHT}" ', 1)
    title = f'<text class="title" x="{left + 4}" y="{top + 21}">{html.escape(curve.title)}</text>'
    return f'{title}<g transform="translate({left} {top + _TITLE})">{chart}</g>'
