"""One solution's step scores as an SVG file of its own: for a README, a paper, an issue."""

from __future__ import annotations

import html
import math
import re
import textwrap
from pathlib import Path

from gradatim import heat
from gradatim.core import Score
from gradatim.runs import atomic_write

_WIDTH = 760
_COLUMNS = 70
"""Characters of a step's line; the font is monospaced, 0.6 em a character."""
_LINES = 4
"""Lines of a step that are shown."""
_ROW, _LINE, _TOP = 14, 18, 16
_FONT = "ui-monospace, 'SFMono-Regular', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STYLE = (
    ".paper{fill:#fff;stroke:#d5d7da}.text{fill:#1b1c1f}.soft{fill:#5c6068}.bad{fill:#b3340a}.rail{fill:#ececea}"
    "@media (prefers-color-scheme:dark){.paper{fill:#15171a;stroke:#363a41}.text{fill:#e9e8e4}.soft{fill:#a3a7af}"
    ".bad{fill:#ff9468}.rail{fill:#2a2e34}}"
)


def picture(score: Score, *, threshold: float = 0.5) -> str:
    """The steps with their scores as bars, the first one below `threshold` marked, and the value below; an SVG document.

    Texts are cut at four lines. Characters that XML can't hold become "?". ValueError for a score that does not know what
    it scored, or has no steps.
    """
    if score.prefix is None or not score.steps:
        raise ValueError("a picture needs a score with steps that knows its prefix")
    error = score.first_error(threshold)
    body: list[str] = []
    top = _TOP
    for index, (step, value) in enumerate(zip(score.prefix.steps, score.steps, strict=True)):
        lines = _wrapped(step.text)
        body.append(_step(lines, value, top, wrong=index == error))
        top += max(len(lines), 1) * _LINE + _ROW
    said = f"{_shown(score.value)} ({score.reduction}, by {_clean(score.by)})"
    body.append(f'<text class="soft" x="16" y="{top + 14}">{html.escape(said)}</text>')
    height = top + 30
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-label="Step scores of one solution" font-family="{_FONT}" font-size="14">'
        f"<style>{_STYLE}</style>"
        f'<rect class="paper" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="10"/>{"".join(body)}</svg>\n'
    )


def write_picture(score: Score, path: str | Path, *, threshold: float = 0.5) -> Path:
    """Writes `picture(score)` to a file, whose folder is made if missing; returns its path."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(target, picture(score, threshold=threshold))
    return target


def _step(lines: list[str], value: float, top: int, *, wrong: bool) -> str:
    share = 0.0 if math.isnan(value) else min(1.0, max(0.0, value))
    middle = top + 13
    parts = [
        f'<rect class="rail" x="16" y="{top + 4}" width="56" height="11" rx="3"/>',
        f'<rect x="16" y="{top + 4}" width="{max(56 * share, 2):.1f}" height="11" rx="3" fill="{heat.colour(value)}"/>',
        f'<text class="text" x="80" y="{middle + 1}">{_shown(value)[:5]}</text>',
    ]
    if wrong:
        parts.append(f'<text class="bad" x="125" y="{middle + 1}" font-weight="700">✗</text>')
    for number, line in enumerate(lines):
        parts.append(f'<text class="text" x="142" y="{middle + 1 + number * _LINE}">{html.escape(line)}</text>')
    return "".join(parts)


def _wrapped(text: str) -> list[str]:
    # A step's beginning is enough: wrapping 100,000 characters to show 300 takes seconds.
    lines = textwrap.wrap(_clean(text.strip())[: _COLUMNS * (_LINES + 2)], _COLUMNS, max_lines=_LINES, placeholder=" …")
    return lines or [""]


def _clean(text: str) -> str:
    return _NO_XML.sub("?", text)


def _shown(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
