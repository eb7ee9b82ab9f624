"""Preference pairs, read and written: our own rows, and TRL's `{prompt, chosen, rejected}`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from gradatim.core import Pair, Prefix, Splitter
from gradatim.errors import InputError
from gradatim.problems.sources import rows_of
from gradatim.records import (
    Row,
    convert,
    margin_from,
    pair_from,
    prompt_id,
    row_id,
    same_prompt,
    schema_of,
    shown,
    write_rows,
)
from gradatim.steps import by_blank_line

__all__ = ["load_pairs", "write_trl_pairs"]


def load_pairs(
    path: str | Path,
    *,
    splitter: Splitter = by_blank_line,
    skip_bad: bool = False,
    drops: Counter[str] | None = None,
) -> list[Pair]:
    """The preference pairs of a file (or of "hf:NAME[@CONFIG][:SPLIT]"): our rows, or TRL's preference rows.

    The texts of TRL's rows are split by `splitter`, which loses nothing. A message list is taken where it is one turn:
    a user's prompt, an assistant's answer. InputError for a malformed row (counted with `skip_bad`), for two sides
    that are the same, and for a file without any pair.
    """
    prompt_holds = same_prompt()

    def read(row: Row) -> Pair:
        pair = _trl_pair(row, splitter) if schema_of(row) is None and not _is_steps(row) else pair_from(row)
        prompt_holds(row, pair.chosen)
        return pair

    rows = rows_of(path, skip_bad=skip_bad, drops=drops)
    pairs = list(convert(rows, read, skip_bad=skip_bad, drops=drops))
    if not pairs:
        raise InputError("no row that could be used", expected="at least one preference pair", file=path)
    return pairs


def _is_steps(row: Row) -> bool:
    chosen = row.data.get("chosen")
    return isinstance(chosen, list) and not any(isinstance(item, dict) and "role" in item for item in chosen)


def _trl_pair(row: Row, splitter: Splitter) -> Pair:
    prompt = _message(row, "prompt", "user")
    sides = [_message(row, name, "assistant") for name in ("chosen", "rejected")]
    if sides[0] == sides[1]:
        raise row.error("chosen and rejected are the same", expected="two different solutions", fix="drop the row")
    problem_id = row_id(row, "problem_id", "id") or prompt_id(prompt)
    chosen, rejected = (Prefix(problem_id, prompt, splitter(side)) for side in sides)
    return Pair(chosen, rejected, margin_from(row))


def _message(row: Row, name: str, role: str) -> str:
    """The text of a field, or of the one message in it."""
    value = row.data.get(name)
    if not isinstance(value, list):
        return row.text(name)
    if len(value) != 1 or not isinstance(value[0], dict) or value[0].get("role") != role:
        raise row.error(
            f"{name}: {shown(value)}",
            expected=f"{name}: a text, or one message of the {role}",
            fix="render longer conversations with your chat template first",
        )
    return row.inside({name: value[0].get("content")}).text(name)


def write_trl_pairs(path: str | Path, pairs: Iterable[Pair]) -> int:
    """Write TRL's preference rows (texts, with a margin column if one is not 0); returns how many."""
    items = list(pairs)
    margins = any(pair.margin for pair in items)
    return write_rows(path, (_trl_row(pair, margins) for pair in items))


def _trl_row(pair: Pair, margins: bool) -> dict[str, Any]:
    texts = {"prompt": pair.chosen.prompt, "chosen": pair.chosen.text, "rejected": pair.rejected.text}
    return dict(chain(texts.items(), [("margin", pair.margin)] if margins else []))
