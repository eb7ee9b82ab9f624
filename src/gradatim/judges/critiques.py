"""Critiques as rows, and back: what a critic wrote of a solution, and how it was read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.judges.opinions import Opinion
from gradatim.records import Row, convert, read_rows, schema_of, shown, write_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Critique:
    """One draw of a critic on one solution."""

    solution_id: str
    by: str
    """The critic, and the policy that played it with its settings."""
    draw: int
    seed: int
    words: tuple[str, ...]
    """All that the critic wrote, in order: one text, or one a question."""
    opinion: Opinion
    tokens: int


def critiques_path(out: str | Path) -> Path:
    """Where the critiques lie of labels that are written to `out`: "labels.jsonl" has "labels.critiques.jsonl"."""
    return beside(out, "critiques")


def beside(out: str | Path, what: str) -> Path:
    """A second file beside `out`: the same name with `what` in it, before its endings."""
    out = Path(out)
    ending = next((ending for ending in (".jsonl.zst", ".jsonl.gz", ".jsonl") if out.name.endswith(ending)), "")
    return out.with_name(f"{out.name.removesuffix(ending)}.{what}{ending or '.jsonl'}")


def opinion_row(opinion: Opinion) -> dict[str, Any]:
    """An opinion as fields of a row."""
    return {"votes": list(opinion.votes), "error": opinion.error, "reason": opinion.reason}


def opinion_from(data: Mapping[str, Any]) -> Opinion:
    """The opinion in the fields of a row of ours."""
    return Opinion(votes=tuple(data["votes"]), error=data["error"], reason=data["reason"])


def write_critiques(path: str | Path, critiques: Iterable[Critique]) -> int:
    """Write critiques; returns how many."""
    return write_rows(path, map(_row, critiques))


def read_critiques(path: str | Path) -> list[Critique]:
    """All critiques of a file that `write_critiques` wrote."""
    return list(convert(read_rows(path), _critique))


def _row(critique: Critique) -> dict[str, Any]:
    return {
        "schema": "gradatim.critique/1",
        "solution_id": critique.solution_id,
        "by": critique.by,
        "draw": critique.draw,
        "seed": critique.seed,
        "words": list(critique.words),
        **opinion_row(critique.opinion),
        "tokens": critique.tokens,
    }


def _critique(row: Row) -> Critique:
    if schema_of(row) != "critique":
        raise row.error(f"schema {shown(row.data.get('schema'))}", expected="rows of gradatim.critique")
    votes, words = row.items("votes"), row.items("words")
    if not all(vote is None or isinstance(vote, bool) for vote in votes):
        raise row.error(f"votes: {shown(votes)}", expected="votes: true, false or null")
    if not all(isinstance(text, str) for text in words):
        raise row.error(f"words: {shown(words)}", expected="words: texts")
    opinion = Opinion(votes=tuple(votes), error=row.count("error"), reason=row.optional_text("reason") or "")
    return Critique(
        solution_id=row.text("solution_id"),
        by=row.text("by"),
        draw=row.count("draw") or 0,
        seed=row.count("seed") or 0,
        words=tuple(words),
        opinion=opinion,
        tokens=row.count("tokens") or 0,
    )
