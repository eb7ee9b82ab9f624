"""Step scores as a strip of coloured cells: the one picture that notebooks, the command line and reports share."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence


def colour(value: float) -> str:
    """CSS colour of a score in [0, 1]: vermilion for 0, blue-green for 1 (safe for colour-blind readers), grey for NaN."""
    if math.isnan(value):
        return "hsl(0 0% 60%)"
    clipped = min(1.0, max(0.0, value))
    hue = 18 + clipped * (172 - 18)
    return f"hsl({hue:.0f} 70% {52 - 10 * abs(clipped - 0.5):.0f}%)"


def strip(values: Sequence[float], texts: Sequence[str] | None = None, error: int | None = None) -> str:
    """HTML of one solution: a row a step with its score as a coloured bar; the first error is marked with ✗.

    `texts` may be left out (the rows then bear numbers only). Texts are escaped.
    """
    rows = []
    for index, value in enumerate(values):
        text = html.escape(texts[index].strip()) if texts is not None else f"step {index + 1}"
        shown = "–" if math.isnan(value) else f"{value:.2f}"
        mark = " ✗" if index == error else ""
        rows.append(
            f'<tr><td style="background:{colour(value)};color:#111;padding:2px 8px;text-align:right;'
            f'font-variant-numeric:tabular-nums">{shown}{mark}</td>'
            f'<td style="padding:2px 8px;text-align:left;white-space:pre-wrap">{text}</td></tr>'
        )
    return f'<table style="border-collapse:separate;border-spacing:0 2px">{"".join(rows)}</table>'
