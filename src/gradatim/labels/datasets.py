"""Labelled step data sets by name. `gradatim.labels.writing` writes them.

    prm800k:PATH            any of its three forms (gradatim.labels.prm800k)
    math-shepherd:PATH      {input, label} with the tag "ки"
    processbench:PATH       {id, generator, problem, steps, final_answer_correct, label}; label is 0-based, -1: none
    prmbench:PATH           {original_process, modified_process, error_steps, ...}; error_steps are 1-based
    mr-ben:PATH             {Question, Model_Solution_Steps, ...}; the first error is the number in a step's name
    bigbench-mistake:PATH   {input, steps, target, answer, mistake_index}; mistake_index is 0-based, null: none
    plain:PATH              {problem, steps, labels} with 1, 0, -1
    trl:PATH                {prompt, completions, labels} with true, false
    PATH                    our own: labelled rows, or labels with a solutions file beside them, or a run's folder;
                            otherwise the form is told from the first row's fields

PATH is a file of JSON Lines (or one list, in `.json`), a folder of such files, or "hf:NAME[@CONFIG][:SPLIT]".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from gradatim.errors import ConfigError, InputError
from gradatim.labels import bigbench_mistake, mr_ben, plain, prm800k, prmbench, processbench, shepherd
from gradatim.labels.given import Given, Labelled, Misfit, Misfits, collector
from gradatim.labels.writing import write_labelled, write_plain, write_trl
from gradatim.problems.sources import data_files, rows_of
from gradatim.records import (
    JOINER,
    Row,
    belongs,
    convert,
    labelled_from,
    labels_from,
    once,
    read_solutions,
    reason,
    schema_of,
)

__all__ = ["load_labelled", "write_labelled", "write_plain", "write_trl"]

Reader = Callable[[Row], list[Given]]


def load_labelled(
    source: str,
    *,
    skip_bad: bool = False,
    misfits: Misfits = "drop",
    drops: Counter[str] | None = None,
    joiner: str = JOINER,
) -> list[Labelled]:
    """The solutions of a source (see the head of this module) with their labels.

    Steps of foreign rows are bare: `joiner` is appended to all but the last and recorded. A malformed row is an
    InputError, or with `skip_bad` one more in `drops`. `misfits` says what becomes of rows of published data sets whose
    error points at no step; those that are dropped are counted in `drops`, too. InputError for a source without any
    usable row.
    """
    scheme, _, rest = source.partition(":")
    if scheme in FORMS and not rest:
        raise ConfigError(f"{source!r} names no data; write {scheme}:PATH")
    how = _How(joiner, skip_bad, misfits, Counter() if drops is None else drops)
    path = rest if scheme in FORMS else source
    if Path(path).is_dir() and scheme not in FORMS:
        path = str(Path(path) / "labels.jsonl")
    files = data_files(path) if Path(path).is_dir() else [path]
    rows = chain.from_iterable(rows_of(file, skip_bad=skip_bad, drops=drops) for file in files)
    found = list(_foreign(rows, scheme, how) if scheme in FORMS else _detected(rows, path, how))
    if not found:
        raise InputError("no row that could be used", expected="at least one labelled solution", file=path)
    return found


def solutions_beside(source: str) -> list[Path]:
    """The solutions file that `load_labelled` reads too, where the source is labels of ours that hold no solutions."""
    path = Path(source) / "labels.jsonl" if Path(source).is_dir() else Path(source)
    if not path.is_file():
        return []
    kind = next(convert(rows_of(path, skip_bad=True), schema_of, skip_bad=True), None)
    found = _solutions_file(path)
    return [found] if found is not None and kind == "labels" else []


def _solutions_file(labels: str | Path) -> Path | None:
    names = [Path(labels).parent / f"solutions.jsonl{ending}" for ending in ("", ".zst", ".gz")]
    return next((name for name in names if name.exists()), None)


@dataclass(frozen=True, slots=True)
class _How:
    """What `load_labelled` was asked for."""

    joiner: str
    skip_bad: bool
    misfits: Misfits
    drops: Counter[str]


def _detected(rows: Iterator[Row], path: str, how: _How) -> Iterator[Labelled]:
    told = next(convert(rows, lambda row: (row, _form(row)), skip_bad=how.skip_bad, drops=how.drops), None)
    if told is None:
        return iter(())
    first, kind = told
    rows = chain([first], rows)
    if kind in FORMS:
        return _foreign(rows, kind, how)
    if kind not in ("labelled", "labels"):
        fix = "label the solutions first" if kind == "solution" else None
        raise first.error(f"rows of gradatim.{kind}", expected="labelled solutions", fix=fix)
    read = labelled_from if kind == "labelled" else _beside(path, how.skip_bad, how.drops)
    return convert(rows, _once(read), skip_bad=how.skip_bad, drops=how.drops)


def _once(read: Callable[[Row], Labelled]) -> Callable[[Row], Labelled]:
    first = once("labels")

    def read_once(row: Row) -> Labelled:
        solution, labels = read(row)
        first(row, f"of {solution.id} by {labels.by} {labels.rule}".strip())
        return solution, labels

    return read_once


def _beside(path: str, skip_bad: bool, drops: Counter[str] | None) -> Callable[[Row], Labelled]:
    """A reader of our labels rows that finds each one's solution in the solutions file in the same folder."""
    file = _solutions_file(path)
    if file is None:
        raise InputError(
            "labels without solutions.jsonl beside them",
            file=path,
            fix="put both in one folder, the solutions under that name",
        )
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
    for name, form in _TELLING.items():
        if name in data:
            return form
    if isinstance(data.get("input"), str) and isinstance(data.get("label"), str):
        return "math-shepherd"
    if "steps" in data and "label" in data:
        return "processbench"
    if isinstance(labels, list) and ("steps" in data or "completions" in data):
        return "trl" if any(isinstance(label, bool) for label in labels) else "plain"
    raise row.error(
        f"fields {', '.join(sorted(data)) or 'none'}",
        expected="labelled steps",
        fix=f"name the form, as in plain:PATH (there are {', '.join(FORMS)})",
    )


def _foreign(rows: Iterable[Row], form: str, how: _How) -> Iterator[Labelled]:
    if how.misfits == "keep" and form != "prmbench":
        raise ConfigError(f"misfits=keep is for PRMBench, which marks several steps; {form} has one error a row")
    read = prmbench.reader(how.misfits) if form == "prmbench" else _READERS[form]
    collect, first = collector(how.joiner), once("row")
    seen: Counter[int | None] = Counter()
    solutions = 0

    def read_row(row: Row) -> list[Labelled]:
        try:
            given = read(row)
        except Misfit as error:
            if how.misfits == "error":
                raise
            how.drops[reason(error)] += 1
            return []
        if form == "processbench" and given[0].problem_id is not None:
            first(row, given[0].problem_id)
        return [collect(row, one) for one in given]

    for labelled in convert(rows, read_row, skip_bad=how.skip_bad, drops=how.drops):
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
    "mr-ben": mr_ben.read,
    "bigbench-mistake": bigbench_mistake.read,
    "plain": plain.read,
    "trl": plain.read_trl,
}

FORMS = (*_READERS, "prmbench")

_TELLING = {
    "modified_process": "prmbench",
    "Model_Solution_Steps": "mr-ben",
    "mistake_index": "bigbench-mistake",
}
"""Fields that no other form has."""
