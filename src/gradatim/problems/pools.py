"""Pools: many finished solutions of each problem, to choose among. Read from the public pool format or from our
solutions.

The public format has a row a candidate: `{problem_id, candidate_index, problem (on one candidate at least), steps[],
extracted_answer, is_correct, model_name}`. A gold answer in it is passed over: what is known of correctness is the
verdict.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from gradatim import records
from gradatim.core import Prefix, Solution, Verdict
from gradatim.errors import InputError
from gradatim.records import Row
from gradatim.verify.answers import read_answer

_NAMES = ("schema", "id", "problem_id", "candidate_index")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One solution of a pool and where it stood."""

    index: int
    """Its number among the candidates of its problem: the recorded one, or the draw of a solution of ours."""
    solution: Solution
    row: Row
    """Where it was read, with the fields that name it."""

    @property
    def correct(self) -> bool | None:
        """Whether it is correct, None where no verdict is known. An answer that could not be read is not correct."""
        return None if self.solution.verdict is None else self.solution.verdict is Verdict.CORRECT

    @property
    def keys(self) -> tuple[str, ...]:
        """The ids by which a score may name it: its row's own, and that of the solution."""
        own = records.row_id(self.row, "id")
        return (self.solution.id,) if own in (None, self.solution.id) else (str(own), self.solution.id)


@dataclass(frozen=True, slots=True)
class PoolProblem:
    """A problem and its candidates, by ascending index. Either all have a verdict or none has."""

    id: str
    candidates: tuple[Candidate, ...]

    @property
    def has_gold(self) -> bool:
        """Whether it is known which candidates are correct."""
        return self.candidates[0].correct is not None


@dataclass(frozen=True, slots=True)
class Pool:
    """The problems of a file, in order of first appearance; each has at least one candidate."""

    file: str
    problems: tuple[PoolProblem, ...]

    @property
    def size(self) -> int:
        """The number of candidates of the problem that has most."""
        return max(len(problem.candidates) for problem in self.problems)


def read_pool(path: str | Path, *, skip_bad: bool = False, drops: Counter[str] | None = None) -> Pool:
    """The pool in a file: public pool rows (known by their `candidate_index`), our solutions, or plain rows.

    Plain rows of one prompt are candidates of one problem; without a field `answer` their answer is read from the text.
    The same candidate twice, one problem with two prompts, and a problem of which only some candidates have a verdict
    are InputErrors at their line; with `skip_bad` such rows are dropped and counted. A file without a candidate is an
    InputError.
    """
    drops = Counter() if drops is None else drops
    reader = _Reader()
    rows = records.read_rows(path, skip_bad=skip_bad, drops=drops)
    read = list(records.convert(rows, reader.candidate, skip_bad=skip_bad, drops=drops))
    if not read:
        raise InputError("no candidates", expected="at least one solution", file=path, fix="check the file")
    problems = []
    for problem_id, candidates in _by_problem(read, reader).items():
        known = _all_or_none(candidates, skip_bad, drops)
        problems.append(PoolProblem(problem_id, tuple(sorted(known, key=lambda one: one.index))))
    return Pool(str(path), tuple(problems))


class _Reader:
    """Rows -> candidates, and what has to hold between them."""

    def __init__(self) -> None:
        self.first, self.prompt_holds = records.once("candidate"), records.same_prompt()
        self.draws = Counter[str]()
        self.prompts: dict[str, str] = {}
        """The prompt of each problem of the public format, from the candidates that bear it."""

    def candidate(self, row: Row) -> Candidate:
        candidate = self._public(row) if "candidate_index" in row.data else self._ours(row)
        return replace(candidate, row=row.inside({name: row.data[name] for name in _NAMES if name in row.data}))

    def _public(self, row: Row) -> Candidate:
        problem_id, index = records.row_id(row, "problem_id"), row.count("candidate_index")
        if problem_id is None or index is None:
            missing = "problem_id" if problem_id is None else "candidate_index"
            raise row.error(f"no {missing!r}", expected="problem_id and candidate_index")
        prompt = _question(row)
        if prompt is not None:
            self.prompt_holds(row, Prefix(problem_id, prompt))
        steps = records.joined(row.texts("steps"))
        correct = row.data.get("is_correct")
        verdict = None if correct is None else Verdict.CORRECT if row.flag("is_correct") else Verdict.INCORRECT
        answer = row.optional_text("extracted_answer")
        self.first(row, f"{problem_id} {index}")
        if prompt is not None:
            self.prompts[problem_id] = prompt
        solution = Solution(
            prefix=Prefix(problem_id, prompt or "", steps),
            author=row.optional_text("model_name") or "",
            draw=index,
            verdict=verdict,
            answer=answer if answer and answer.strip() else None,
            joiner=records.JOINER,
        )
        return Candidate(index, solution, row)

    def _ours(self, row: Row) -> Candidate:
        solution = records.solution_from(row)
        if row.data.get("schema") is None:
            solution = self._plain(row, solution)
        self.prompt_holds(row, solution.prefix)
        candidate = Candidate(solution.draw, solution, row)
        self.first(row, candidate.keys[0])
        self.draws[solution.prefix.problem_id] += 1
        return candidate

    def _plain(self, row: Row, solution: Solution) -> Solution:
        """What a plain row leaves open: the draw, and the answer, which is read from the text."""
        if row.data.get("draw") is None:
            solution = records.solution_from(row, draw=self.draws[solution.prefix.problem_id])
        if "answer" in row.data:
            return solution
        return replace(solution, answer=read_answer(solution.prefix.text))


def _question(row: Row) -> str | None:
    """The question of a public row: `problem` is a text, or an object with `question`, and stands on some rows only."""
    value = row.data.get("problem")
    if isinstance(value, dict):
        return row.inside(value).text("question", "prompt", "problem")
    return row.optional_text("problem", "question")


def _by_problem(candidates: Iterable[Candidate], reader: _Reader) -> dict[str, list[Candidate]]:
    """Candidates by problem; with indices that are unique in it, and the prompt on each."""
    ids: defaultdict[str, set[str]] = defaultdict(set)
    keyed = []
    for one in candidates:
        prefix = one.solution.prefix
        plain = one.row.data.get("schema") is None and "candidate_index" not in one.row.data
        named = not plain or one.row.data.get("problem_id") is not None
        key = prefix.problem_id if named else f"\0{prefix.prompt}"
        keyed.append((key, one))
        ids[key].add(prefix.problem_id)
    by_id: defaultdict[str, list[Candidate]] = defaultdict(list)
    for key, one in keyed:
        by_id[next(iter(ids[key])) if len(ids[key]) == 1 else records.prompt_id(key[1:])].append(one)
    problems = {}
    for problem_id, members in by_id.items():
        if len({one.index for one in members}) < len(members):
            members = [replace(one, index=position) for position, one in enumerate(members)]
        prompt = reader.prompts.get(problem_id)
        problems[problem_id] = members if prompt is None else [_asked(one, prompt) for one in members]
    return problems


def _asked(candidate: Candidate, prompt: str) -> Candidate:
    solution = candidate.solution
    return replace(candidate, solution=replace(solution, prefix=replace(solution.prefix, prompt=prompt)))


def _all_or_none(candidates: list[Candidate], skip_bad: bool, drops: Counter[str]) -> list[Candidate]:
    known = [one for one in candidates if one.correct is not None]
    if not known or len(known) == len(candidates):
        return candidates
    bare = next(one for one in candidates if one.correct is None)
    error = bare.row.error(
        "no verdict, where other solutions of the problem have one",
        expected="a verdict on every solution of a problem, or on none",
        fix="verify the rest, or go on without them with --skip-bad",
    )
    if not skip_bad:
        raise error
    drops[records.reason(error)] += len(candidates) - len(known)
    return known
