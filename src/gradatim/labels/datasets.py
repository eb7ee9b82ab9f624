"""Labelled step data sets by name, read and written.

    prm800k:PATH         any of its three forms (gradatim.labels.prm800k)
    math-shepherd:PATH   {input, label} with the tag "ки"
    processbench:PATH    {id, generator, problem, steps, final_answer_correct, label}
    plain:PATH           {problem, steps, labels} with 1, 0, -1
    trl:PATH             {prompt, completions, labels} with true, false
    PATH                 our own: labelled rows, or labels with a solutions file beside them, or a run's folder;
                         otherwise the form is told from the first row's fields

PATH is a file of JSON Lines or "hf:NAME[@CONFIG][:SPLIT]".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from gradatim.core import Labels, Solution, Tally
from gradatim.errors import ConfigError, InputError
from gradatim.labels import plain, prm800k, processbench, shepherd
from gradatim.labels.given import Given, Labelled, collector
from gradatim.problems.sources import rows_of
from gradatim.records import (
    JOINER,
    Row,
    bare,
    belongs,
    convert,
    labelled_from,
    labelled_row,
    labels_from,
    once,
    read_solutions,
    schema_of,
    write_rows,
)

__all__ = ["load_labelled", "write_labelled", "write_plain", "write_trl"]

Reader = Callable[[Row], list[Given]]


def load_labelled(
    source: str, *, skip_bad: bool = False, drops: Counter[str] | None = None, joiner: str = JOINER
) -> list[Labelled]:
    """The solutions of a source (see the head of this module) with their labels.

    Steps of foreign rows are bare: `joiner` is appended to all but the last and recorded. A malformed row is an
    InputError, or with `skip_bad` one more in `drops`. InputError for a source without any usable row.
    """
    scheme, _, rest = source.partition(":")
    if scheme in _READERS and not rest:
        raise ConfigError(f"{source!r} names no data; write {scheme}:PATH")
    path = rest if scheme in _READERS else source
    if Path(path).is_dir():
        path = str(Path(path) / "labels.jsonl")
    rows = rows_of(path, skip_bad=skip_bad, drops=drops)
    if scheme in _READERS:
        found = list(_foreign(rows, scheme, joiner, skip_bad, drops))
    else:
        found = list(_detected(rows, path, joiner, skip_bad, drops))
    if not found:
        raise InputError("no row that could be used", expected="at least one labelled solution", file=path)
    return found


def _detected(
    rows: Iterator[Row], path: str, joiner: str, skip_bad: bool, drops: Counter[str] | None
) -> Iterator[Labelled]:
    told = next(convert(rows, lambda row: (row, _form(row)), skip_bad=skip_bad, drops=drops), None)
    if told is None:
        return iter(())
    first, kind = told
    rows = chain([first], rows)
    if kind in _READERS:
        return _foreign(rows, kind, joiner, skip_bad, drops)
    if kind not in ("labelled", "labels"):
        fix = "label the solutions first" if kind == "solution" else None
        raise first.error(f"rows of gradatim.{kind}", expected="labelled solutions", fix=fix)
    read = labelled_from if kind == "labelled" else _beside(path, skip_bad, drops)
    return convert(rows, _once(read), skip_bad=skip_bad, drops=drops)


def _once(read: Callable[[Row], Labelled]) -> Callable[[Row], Labelled]:
    first = once("labels")

    def read_once(row: Row) -> Labelled:
        solution, labels = read(row)
        first(row, f"of {solution.id} by {labels.by} {labels.rule}".strip())
        return solution, labels

    return read_once


def _beside(path: str, skip_bad: bool, drops: Counter[str] | None) -> Callable[[Row], Labelled]:
    """A reader of our labels rows that finds each one's solution in the solutions file in the same folder."""
    folder = Path(path).parent
    names = [folder / f"solutions.jsonl{ending}" for ending in ("", ".zst", ".gz")]
    file = next((name for name in names if name.exists()), None)
    if file is None:
        raise InputError(f"labels without {names[0].name} beside them", file=path, fix="put both in one folder")
    solutions = {solution.id: solution for solution in read_solutions(file, skip_bad=skip_bad, drops=drops)}

    def read(row: Row) -> Labelled:
        labels = labels_from(row)
        solution = solutions.get(labels.solution_id)
        if solution is None:
            raise row.error(f"labels of {labels.solution_id}", expected=f"labels of a solution in {file.name}")
        return solution, belongs(row, solution, labels)

    return read


def _form(row: Row) -> str:
    """Which of our schemas a row bears, or which of the foreign forms it has, told from its fields."""
    if (kind := schema_of(row)) is not None:
        return kind
    data = row.data
    labels = data.get("labels")
    if isinstance(data.get("label"), dict) or "ratings" in data:
        return "prm800k"
    if isinstance(data.get("input"), str) and isinstance(data.get("label"), str):
        return "math-shepherd"
    if "steps" in data and "label" in data:
        return "processbench"
    if isinstance(labels, list) and ("steps" in data or "completions" in data):
        return "trl" if any(isinstance(label, bool) for label in labels) else "plain"
    raise row.error(
        f"fields {', '.join(sorted(data)) or 'none'}",
        expected="labelled steps",
        fix=f"name the form, as in plain:PATH (there are {', '.join(_READERS)})",
    )


def _foreign(
    rows: Iterable[Row], form: str, joiner: str, skip_bad: bool, drops: Counter[str] | None
) -> Iterator[Labelled]:
    read, collect, first = _READERS[form], collector(joiner), once("row")
    seen: Counter[int | None] = Counter()
    solutions = 0

    def read_row(row: Row) -> list[Labelled]:
        given = read(row)
        if form == "processbench" and given[0].problem_id is not None:
            first(row, given[0].problem_id)
        return [collect(row, one) for one in given]

    for labelled in convert(rows, read_row, skip_bad=skip_bad, drops=drops):
        for solution, labels in labelled:
            solutions += 1
            seen.update(labels.ratings or ())
            yield solution, labels
    if form == "plain" and solutions >= _MANY and seen[0] and not seen[-1]:
        raise InputError(
            f"{seen[0]} labels 0 and none -1 in {solutions} rows",
            expected="1 good, 0 neutral, -1 bad",
            fix="write -1 where 0 means wrong, or read the rows as trl:PATH, where 0 is false",
        )


_MANY = 20
"""Plain rows from which on zeros without any -1 are taken for a file that means wrong by 0."""

_READERS: dict[str, Reader] = {
    "prm800k": prm800k.read,
    "math-shepherd": shepherd.read,
    "processbench": processbench.read,
    "plain": plain.read,
    "trl": plain.read_trl,
}


# Writing


def write_labelled(path: str | Path, items: Iterable[Labelled]) -> int:
    """Write solutions with their labels as rows of our own, which lose nothing; returns how many."""
    return write_rows(path, (labelled_row(solution, labels) for solution, labels in items))


def write_plain(path: str | Path, items: Iterable[Labelled]) -> int:
    """Write plain rows: `problem`, bare `steps`, `labels` 1, 0, -1 or null; returns how many.

    Labels are the raw ratings where there are some. InputError for a tally between none good and all good.
    """
    return write_rows(path, (_plain_row(solution, labels) for solution, labels in items))


def write_trl(path: str | Path, items: Iterable[Labelled], *, drops: Counter[str] | None = None) -> int:
    """Write TRL's stepwise rows: `prompt`, bare `completions`, `labels` true or false; returns how many.

    TRL knows no step without a label: a solution is cut before its first unrated or neutral step, and left out where
    that is the first one; both are counted in `drops`. InputError for a tally between none good and all good.
    """

    def rows() -> Iterator[dict[str, Any]]:
        for solution, labels in items:
            marks = [_mark(solution, tally) for tally in labels.tallies]
            kept = marks.index(None) if None in marks else len(marks)
            if kept < len(marks) and drops is not None:
                drops["cut before a step without a label" if kept else "no label on the first step"] += 1
            if kept:
                texts = bare(solution.prefix, solution.joiner)[:kept]
                yield {
                    "prompt": solution.prefix.prompt,
                    "completions": texts,
                    "labels": [mark == 1 for mark in marks[:kept]],
                }

    return write_rows(path, rows())


def _plain_row(solution: Solution, labels: Labels) -> dict[str, Any]:
    marks = labels.ratings if labels.ratings is not None else [_mark(solution, tally) for tally in labels.tallies]
    return {
        "problem": solution.prefix.prompt,
        "steps": bare(solution.prefix, solution.joiner),
        "labels": list(marks),
        "problem_id": solution.prefix.problem_id,
        "author": solution.author,
        "by": labels.by,
    }


def _mark(solution: Solution, tally: Tally) -> int | None:
    if not tally.tried:
        return None
    if tally.good not in (0, tally.tried):
        raise InputError(
            f"a step of {solution.id} with {tally.good} good of {tally.tried}",
            expected="labels that say yes or no",
            fix="keep counts in rows of our own (write_labelled)",
        )
    return 1 if tally.good else -1
