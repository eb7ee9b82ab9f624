"""Which kind of row this is, and what such a row may hold.

Each row that we write bears its schema ("gradatim.solution/1"); a row that bears one may have no fields that the schema
does not know. What a person wrote by hand needs no schema and may have other fields beside those that are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gradatim.records.rows import Row, convert, once, read_rows, shown

T = TypeVar("T")

VERSION = 1
"""Of the schemas that this package writes; a row with a higher one is refused."""

_FIELDS = {
    "problem": ("id", "prompt", "answer", "source", "meta"),
    "solution": (
        *("id", "problem_id", "prompt", "steps", "author", "draw"),
        *("finish", "verdict", "answer", "joiner"),
    ),
    "labels": (
        *("solution_id", "tallies", "error", "error_known", "truth"),
        *("source", "by", "rule", "bounds", "ratings", "optional_stopping", "start", "note"),
    ),
    "score": ("solution_id", "value", "steps", "logits", "reduction", "by", "calibrated", "checkpoint"),
    "calibration": (
        *("method", "scale", "numbers", "truth", "target"),
        *("scorer", "checkpoint", "reduction", "items", "problems"),
    ),
    "first_error_sets": (
        *("scorer", "checkpoint", "calibrated", "miss", "by_class"),
        *("thresholds", "target", "problems"),
    ),
    "abstention": (
        *("chooser", "scorer", "checkpoint", "reduction", "calibrated", "same_answer"),
        *("risk", "promise", "doubt", "threshold", "problems"),
    ),
    "pair": ("problem_id", "prompt", "chosen", "rejected", "margin"),
    "labelled": ("solution", "labels"),
    "disagreement": ("solution", "labels", "kept"),
    "critique": ("solution_id", "by", "draw", "seed", "words", "votes", "error", "reason", "tokens"),
}


def schema_of(row: Row) -> str | None:
    """Which of our kinds of row this is ("problem", "solution", ...), None for a row without a schema.

    InputError for a schema that this version does not know, and for fields that the schema does not have.
    """
    schema = row.data.get("schema")
    if schema is None:
        return None
    kind, _, version = schema.removeprefix("gradatim.").partition("/") if isinstance(schema, str) else ("", "", "")
    if kind not in _FIELDS or version not in map(str, range(1, VERSION + 1)):
        expected = f"a schema gradatim.KIND/1..{VERSION}"
        raise row.error(f"schema: {shown(schema)}", expected=expected, fix="update gradatim, or write the file again")
    unknown = sorted(row.data.keys() - {"schema", *_FIELDS[kind]})
    if unknown:
        raise row.error(f"field {shown(unknown[0])}", expected=f"only the fields of {schema}", fix="remove the field")
    return str(kind)


def is_own(row: Row, kind: str) -> bool:
    """Whether the row bears our schema of this kind; InputError if it bears another, False if it bears none."""
    found = schema_of(row)
    if found not in (None, kind):
        raise row.error(f"a row of schema {row.data['schema']}", expected=f"rows of gradatim.{kind}")
    return found is not None


def read_once(
    path: str | Path,
    read: Callable[[Row], T],
    what: str,
    key: Callable[[T], str],
    skip_bad: bool,
    drops: Counter[str] | None,
) -> list[T]:
    """All items of a file; a key that comes twice is a malformed row."""
    first = once(what)

    def read_row(row: Row) -> T:
        item = read(row)
        first(row, key(item))
        return item

    return list(convert(read_rows(path, skip_bad=skip_bad, drops=drops), read_row, skip_bad=skip_bad, drops=drops))
