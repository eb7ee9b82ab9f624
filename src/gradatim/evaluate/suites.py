"""The suites that judge steps: what each reads, and what its rows are called.

processbench       first wrong step, by experts
prmbench           every wrong step of solutions with a planted error, by class (see `evaluate.prmscore`)
prm800k            human ratings; rows whose first error is known
mr-ben             first wrong step in seven subjects, by experts
bigbench-mistake   first logical mistake in chains of thought
lab                puzzles of the lab, solved by its buggy students, judged by its exact checker
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from gradatim.core import Labels, Prefix, Solution, Step, Verdict, seed_for
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate.bench import BenchRow, parts_of
from gradatim.labels import bigbench_mistake, mr_ben, prm800k, prmbench, processbench
from gradatim.labels.given import Given, Misfit, Misfits, collector
from gradatim.labels.writing import Neutral
from gradatim.problems import lab
from gradatim.problems.lab import students
from gradatim.problems.lab.checker import stated_answer
from gradatim.problems.lab.world import parse
from gradatim.records import JOINER, Row, convert, prompt_id, reason, row_id

StepSuite = Literal["processbench", "prmbench", "prm800k", "mr-ben", "bigbench-mistake", "lab"]
STEP_SUITES: tuple[StepSuite, ...] = get_args(StepSuite)

HUB: dict[str, str] = {
    "processbench": "Qwen/ProcessBench",
    "prmbench": "hitsmy/PRMBench_Preview",
    "mr-ben": "Randolphzeng/Mr-Ben",
    "lab": "test:100",
}
"""Where a suite's data is if nothing else is said; the others need a path."""

LAB_DRAWS = 8
"""Solutions that students write of each puzzle of the lab."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the rows of suites are read."""

    neutral: Neutral = "skip"
    misfits: Misfits = "drop"
    skip_bad: bool = False
    seed: int = 0


def read_suite(suite: StepSuite, source: str, how: Reading, drops: Counter[str]) -> dict[str, list[BenchRow]]:
    """The rows of a suite by subset (a file or a split; PRMBench is one), in the order of the data.

    What could not be used is counted in `drops`. InputError for an id that comes twice and for a source without rows.
    """
    if suite == "lab":
        return {"lab": list(_lab_rows(source, how.seed))}
    read = _Reader(suite, how, drops)
    subsets: dict[str, list[BenchRow]] = {}
    for name, rows in parts_of(source, skip_bad=how.skip_bad, drops=drops):
        found = convert(rows, read.row, skip_bad=how.skip_bad, drops=drops)
        subsets.setdefault("prmbench" if suite == "prmbench" else name, []).extend(
            one for some in found for one in some
        )
    if not any(subsets.values()):
        raise InputError("no row that could be used", expected=f"rows of {suite}", file=source)
    return {name: rows for name, rows in subsets.items() if rows}


class _Reader:
    """Rows of one suite -> bench rows, and what has to hold between them."""

    def __init__(self, suite: StepSuite, how: Reading, drops: Counter[str]) -> None:
        self.suite, self.how, self.drops = suite, how, drops
        self.read = prmbench.reader(how.misfits) if suite == "prmbench" else _READ[suite]
        self.collect = collector(JOINER)
        self.seen: dict[str, tuple[str, int]] = {}

    def row(self, row: Row) -> list[BenchRow]:
        try:
            given = self.read(row)
        except Misfit as error:
            if self.how.misfits == "error":
                raise
            self.drops[reason(error)] += 1
            return []
        made = [one for some in given if (one := self._bench(row, some)) is not None]
        return [one for one in made if self._is_first(row, one)]

    def _is_first(self, row: Row, one: BenchRow) -> bool:
        """Whether an id is new. Of two originals with one idx PRMBench's code takes the first; others are errors."""
        before = self.seen.setdefault(one.id, (row.file, row.line))
        if before == (row.file, row.line):
            return True
        if self.suite == "prmbench" and one.group == prmbench.CORRECT:
            self.drops["another original with the same idx"] += 1
            return False
        raise row.error(
            f"row {one.id!r} again (first in {before[0]}:{before[1]})",
            expected="each row once",
            fix="drop one of the two rows",
        )

    def _bench(self, row: Row, given: Given) -> BenchRow | None:
        solution, labels = self.collect(row, given)
        marks = _marks(labels, self.how.neutral)
        error = marks.index(-1) if -1 in marks else None
        before = marks if error is None else marks[:error]
        if not labels.error_known and (None in before):
            self.drops["the first error is not known"] += 1
            return None
        return BenchRow(
            id=self._identity(row, given, solution),
            prefix=Prefix(self._cluster(row, given), given.prompt, solution.prefix.steps),
            error=error,
            answer_correct=None if given.verdict is None else given.verdict is Verdict.CORRECT,
            author="" if self.suite in ("prmbench", "prm800k", "bigbench-mistake") else given.author,
            marks=marks,
            group=prmbench.class_of(given.author) or row.optional_text("Subject") or "",
            solution=solution,
        )

    def _identity(self, row: Row, given: Given, solution: Solution) -> str:
        if self.suite == "prmbench":
            return prmbench.published_id(row, prmbench.class_of(given.author) or "")
        if self.suite == "mr-ben":
            return f"{given.problem_id or solution.id}-{given.author}"
        return row_id(row, "id") or solution.id

    def _cluster(self, row: Row, given: Given) -> str:
        """What is drawn together: the question; of PRMBench all that was made of one original, by its `idx`."""
        if self.suite == "prmbench":
            identity = row_id(row, "idx", "id") or prompt_id(given.prompt)
            return identity.removeprefix(f"{row.optional_text('classification')}_")
        return prompt_id(given.prompt)


_READ: dict[str, Callable[[Row], list[Given]]] = {
    "processbench": processbench.read,
    "prm800k": prm800k.read,
    "mr-ben": mr_ben.read,
    "bigbench-mistake": bigbench_mistake.read,
}


def _marks(labels: Labels, neutral: Neutral) -> tuple[int | None, ...]:
    """1, -1 or None for each step. A neutral rating is no error unless it is said to be one; "skip" leaves it out of
    what is asked of single steps."""
    chosen = {"skip": None, "good": 1, "bad": -1}[neutral]
    if labels.ratings is not None:
        return tuple(chosen if mark == 0 else mark for mark in labels.ratings)
    return tuple(None if not tally.tried else 1 if tally.good else -1 for tally in labels.tallies)


def _lab_rows(source: str, seed: int) -> Iterator[BenchRow]:
    """Solutions of SPLIT:N puzzles by students of the lab's population, with the exact checker's labels."""
    split, _, number = source.partition(":")
    if not number.isdecimal():
        raise ConfigError(f"lab={source!r}: expected SPLIT:N, as in test:100")
    for problem in lab.load(split, int(number)):
        graph = parse(problem.prompt)
        for draw in range(LAB_DRAWS):
            rng = random.Random(seed_for(seed, "student", problem.id, draw))
            steps = tuple(map(Step, students.write(graph, students.pick_student(rng), rng)))
            prefix = Prefix(problem.id, problem.prompt, steps)
            truths = lab.check(prefix)
            error = lab.first_error(truths)
            yield BenchRow(
                id=f"{problem.id}-{draw}",
                prefix=prefix,
                error=error,
                answer_correct=str(stated_answer(prefix)) == problem.answer,
                marks=tuple(1 if truth.valid else -1 for truth in truths),
                group="" if error is None else str(truths[error].fault),
                solution=Solution(prefix=prefix, author="student", draw=draw),
            )
