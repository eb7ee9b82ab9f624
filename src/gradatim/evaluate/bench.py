"""ProcessBench rows and the step scores recorded for them, as a benchmark reads them.

What a row is and when it is malformed is decided in `gradatim.labels.processbench`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradatim.core import Prefix, Score, Solution, Verdict
from gradatim.errors import BackendError, InputError
from gradatim.labels import processbench
from gradatim.problems.sources import data_files, hub_splits, rows_of
from gradatim.records import Row, convert, joined, once, prompt_id, read_scores, row_id

_PACKED = (".gz", ".zst")
_SUFFIXES = (*_PACKED, ".jsonl", ".json", ".dev")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One solution of a benchmark with the truth about it."""

    id: str
    prefix: Prefix
    """The problem and all steps; the problem's id is a digest of its text."""
    error: int | None
    """0-based index of the first wrong step; None if all are right."""
    answer_correct: bool | None
    """Whether the final answer is right; None where the row does not say."""
    author: str = ""
    marks: tuple[int | None, ...] = ()
    """For each step 1 right, -1 wrong, None not labelled; empty where the rows of a suite are read for their first error
    alone."""
    group: str = ""
    """What the data set sorts its rows by: the class of a planted error, a subject."""
    solution: Solution | None = None
    """The solution as `gradatim.labels.datasets` reads it; a judge's labels are found by its id."""

    @property
    def solution_id(self) -> str:
        """The id of the solution, "" where it is not known."""
        return "" if self.solution is None else self.solution.id

    @property
    def keys(self) -> tuple[str, ...]:
        """The ids by which recorded scores may name the row."""
        return (self.id,) if self.solution is None else (self.id, self.solution.id)

    @property
    def trap(self) -> bool:
        """A right final answer behind a wrong step: what a model that only looks at outcomes misses."""
        return self.error is not None and self.answer_correct is True


def read_subsets(
    source: str, *, skip_bad: bool = False, drops: Counter[str] | None = None
) -> dict[str, list[BenchRow]]:
    """The rows of each subset: a file is one (`gsm8k.dev.jsonl.gz` is gsm8k), a folder has one a file, a data set on a hub one
    a split (`Qwen/ProcessBench`, or `Qwen/ProcessBench:gsm8k`; needs the extra `data`).

    An id that comes twice in a subset is an error, as is a subset without rows.
    """
    parts = parts_of(source, skip_bad=skip_bad, drops=drops)
    subsets: dict[str, list[BenchRow]] = {}
    for name, rows in parts:
        if name in subsets:
            raise InputError(f"two files for the subset {name!r}", file=source, fix="keep one of them")
        subsets[name] = list(convert(rows, _unique(), skip_bad=skip_bad, drops=drops))
        if not subsets[name]:
            raise InputError(f"no rows in the subset {name!r}", file=source, expected="at least one row")
    return subsets


def parts_of(
    source: str, *, skip_bad: bool = False, drops: Counter[str] | None = None
) -> list[tuple[str, Iterator[Row]]]:
    """The files of a folder, the one file, or the splits of a data set on a hub: a name and the rows of each."""
    path, name = Path(source), source.removeprefix("hf:")
    if path.is_dir():
        return [(subset_name(one), rows_of(one, skip_bad=skip_bad, drops=drops)) for one in data_files(path)]
    if name == source and (path.exists() or not _is_hub_name(source)):
        return [(subset_name(path), rows_of(path, skip_bad=skip_bad, drops=drops))]
    try:
        return list(hub_splits(name).items())
    except BackendError as error:
        raise BackendError(f"no file or folder {source!r}, and from a hub: {error}") from error


def subset_name(path: str | Path) -> str:
    """A file's name without `.gz`, `.zst`, `.jsonl`, `.json` and `.dev`."""
    name = Path(path).name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def bench_row(row: Row) -> BenchRow:
    """One row as it should be; InputError says what is wrong with another."""
    given = processbench.read(row)[0]
    identity = row_id(row, "id")
    if identity is None:
        raise row.error("no 'id'", expected="id: a text")
    return BenchRow(
        id=identity,
        prefix=Prefix(prompt_id(given.prompt), given.prompt, joined(given.texts)),
        error=given.marks.index(-1) if -1 in given.marks else None,
        answer_correct=None if given.verdict is None else given.verdict is Verdict.CORRECT,
        author=given.author,
    )


def _unique() -> Callable[[Row], BenchRow]:
    first = once("id")

    def read(row: Row) -> BenchRow:
        item = bench_row(row)
        first(row, item.id)
        return item

    return read


@dataclass(frozen=True, slots=True)
class Recorded:
    """Step scores read from a file, by the id of the row they belong to."""

    file: str
    name: str
    """Of the model that made them: as recorded, else the file's name."""
    scores: dict[str, Score]

    def of(self, rows: Sequence[BenchRow]) -> list[tuple[float, ...]]:
        """The step scores of each row; InputError names a row that has none, or another number of them than steps."""
        return [checked(row, self._found(row).steps, self.file) for row in rows]

    def find(self, row: BenchRow) -> Score | None:
        """The row's scores as they were recorded; None where there are none."""
        return next((self.scores[key] for key in row.keys if key in self.scores), None)

    def _found(self, row: BenchRow) -> Score:
        score = self.find(row)
        if score is None:
            raise InputError(f"no scores for id {row.id!r}", expected="a row for each id of the data", file=self.file)
        return score


def read_recorded(path: str | Path) -> Recorded:
    """Recorded scores, JSON Lines of `{id, step_scores}`; scores by two models in one file are an error."""
    items = read_scores(path)
    names = sorted({score.by for _, score in items})
    if len(names) > 1:
        raise InputError(f"scores by {', '.join(names)}", expected="one model a file", file=path)
    if not items:
        raise InputError("no scores", expected="rows of {id, step_scores}", file=path)
    name = subset_name(path) if names == ["recorded"] else names[0]
    return Recorded(str(path), name, dict(items))


def checked(row: BenchRow, steps: Sequence[float], source: str) -> tuple[float, ...]:
    """The scores if there is a finite one for every step of the row; otherwise an InputError that names the row."""
    if len(steps) != len(row.prefix.steps):
        raise InputError(
            f"{len(steps)} step scores for the {len(row.prefix.steps)} steps of id {row.id!r}",
            expected="one score a step",
            file=source,
            fix="score the steps as they are listed, without splitting or joining them",
        )
    for index, score in enumerate(steps):
        if not math.isfinite(score):
            raise InputError(
                f"no score for step {index} of id {row.id!r}", expected="a number for every step", file=source
            )
    return tuple(steps)


def _is_hub_name(source: str) -> bool:
    parts = source.split("/")
    return len(parts) == 2 and all(parts) and not source.startswith((".", "~")) and ".json" not in source
