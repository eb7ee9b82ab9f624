"""Golden scores: what a reward model said when, or where, it was right; one row a solution, step texts included.

    {"problem": "...", "steps": ["...", "..."], "scores": [0.98, 0.12], "value": 0.12, "encoder": "d45d5bc34e024d35"}

`scores` has one number (or null) a step, `value` is the solution's; one of the two is enough. `encoder`, the digest of
how text became tokens, is optional. `joiner` is written behind every step but the last: a blank line where a row does not
say, as in any row of bare steps, and nothing ("") in rows that we recorded, whose steps end as they did. Rows can be
written by hand from what a model's authors publish.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim import records
from gradatim.core import Prefix, Score, Step
from gradatim.errors import InputError
from gradatim.records import Row


@dataclass(frozen=True, slots=True)
class Golden:
    """One solution and what should be said of it."""

    prefix: Prefix
    """The solution."""
    steps: tuple[float, ...]
    """Its step scores; empty if only its value is known."""
    value: float
    """Its value; NaN if only its step scores are known."""
    encoder: str | None
    """Digest of the encoder that was used, if it is known."""
    place: str
    """File and line."""


def read_golden(path: str | Path) -> tuple[Golden, ...]:
    """All golden scores of a file; InputError for a malformed row, and for a file without any."""
    found = tuple(records.convert(records.read_rows(path), _golden))
    if not found:
        raise InputError("no golden scores", expected="at least one row", file=path, fix="check the file")
    return found


def golden_rows(scores: Iterable[Score], encoder: str) -> Iterable[dict[str, Any]]:
    """Scores, with the solutions that they are of, as golden rows."""
    for score in scores:
        if score.prefix is None:
            raise ValueError("a score without its solution can't be recorded")
        yield {
            "problem": score.prefix.prompt,
            "steps": records.steps_row(score.prefix.steps),
            "joiner": "",
            "scores": list(score.steps) or None,
            "value": score.value,
            "encoder": encoder,
        }


def _golden(row: Row) -> Golden:
    prompt, steps = row.text("problem", "prompt"), _steps(row)
    scores: tuple[float, ...] = ()
    if row.name_of("scores"):
        scores = tuple(row.number(f"scores[{k}]", value) for k, value in enumerate(row.items("scores")))
    if scores and len(scores) != len(steps):
        raise row.error(f"{len(scores)} scores for {len(steps)} steps", expected="scores: one a step")
    value = row.number("value", row.data["value"]) if row.name_of("value") else math.nan
    if not scores and math.isnan(value):
        raise row.error("neither 'scores' nor 'value'", expected="scores: one a step, or value: a number")
    prefix = Prefix(records.prompt_id(prompt), prompt, steps)
    return Golden(prefix, scores, value, row.optional_text("encoder"), f"{row.file}:{row.line}")


def _steps(row: Row) -> tuple[Step, ...]:
    given = records.steps_from(row, row.name_of("steps", "completions") or "steps")
    joiner = row.optional_text("joiner")
    texts = records.joined([step.text for step in given], records.JOINER if joiner is None else joiner)
    return tuple(Step(text.text, step.kind) for text, step in zip(texts, given, strict=True))
