"""Recorded scores of a pool's candidates, aligned with it: every score finds its candidate, every step its score, or an
error.

A score row is one of ours (`solution_id` or `id`, `steps`, `value`, `reduction`, `by`) or a public one: `{prm_name,
problem_id, candidate_index, step_scores[], is_correct, n_steps}`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gradatim import records
from gradatim.core import Reduction, Score
from gradatim.errors import InputError
from gradatim.problems.pools import Candidate, Pool
from gradatim.records import Row


@dataclass(frozen=True, slots=True)
class PoolScores:
    """What one scorer thinks of a pool: for each problem, for each of its candidates."""

    scorer: str
    """The recorded `prm_name` or `by`."""
    scores: tuple[tuple[Score, ...], ...]
    """In the pool's order. Without a recorded value, `value` is NaN and stands for nothing."""
    reduction: Reduction | None
    """How the recorded values were made; None where there are step scores only."""
    has_steps: bool
    """Whether there are step scores (a candidate without scored steps has none in any case)."""


@dataclass(frozen=True, slots=True)
class _Scored:
    row: Row
    score: Score
    recorded: bool
    """Whether the row bears a value."""


def read_pool_scores(
    pool: Pool, paths: Sequence[str | Path], *, skip_bad: bool = False, drops: Counter[str] | None = None
) -> tuple[Pool, list[PoolScores]]:
    """The scores in the files, one `PoolScores` a scorer in order of appearance, and the pool that they cover.

    InputErrors, at the row where there is one: a score of no candidate of the pool; two by one scorer; as many step
    scores as the candidate has no steps; NaN for a step (an observation may have one) or for the value; another verdict
    than the pool's; a candidate without a score. With `skip_bad` such rows are dropped and counted, and a candidate
    that some scorer has no score for leaves the pool, so that all methods choose among the same ones. A scorer may be
    spread over several files.
    """
    drops = Counter() if drops is None else drops
    places = _places(pool)
    found: defaultdict[str, dict[tuple[int, int], _Scored]] = defaultdict(dict)

    def read(row: Row) -> None:
        scored = _scored(row)
        place = _place(row, places)
        candidate = pool.problems[place[0]].candidates[place[1]]
        _check(scored, candidate)
        mine = found[scored.score.by]
        if place in mine:
            before = mine[place].row
            raise row.error(
                f"a second score of candidate {candidate.index} of problem {pool.problems[place[0]].id!r} by "
                f"{scored.score.by!r} (first in {before.file}:{before.line})",
                expected="one score for each candidate and scorer",
                fix="give different scorers different names",
            )
        mine[place] = scored

    for path in paths:
        rows = records.read_rows(path, skip_bad=skip_bad, drops=drops)
        count = sum(1 for _ in records.convert(rows, read, skip_bad=skip_bad, drops=drops))
        if not count:
            raise InputError("no scores of the pool", expected="a score for each candidate", file=path)
    covered = _covered(pool, found, skip_bad, drops)
    kept = [[place for place in places_of if place in covered] for places_of in _grid(pool)]
    return _without(pool, kept), [_gathered(scorer, scored, pool, kept) for scorer, scored in found.items()]


def pool_misalignment(pool: Pool, path: str | Path) -> tuple[Counter[int], int, str]:
    """How many rows of a file have so many scores more (or fewer) than their candidate has steps; the rows that there
    are; and whose they are. Rows that are no scores of the pool are passed over: `read_pool_scores` says what is wrong
    with them."""
    places, offsets, total, names = _places(pool), Counter[int](), 0, Counter[str]()
    for row in records.read_rows(path, skip_bad=True):
        try:
            where = _place(row, places)
        except InputError:
            continue
        steps = row.data.get("step_scores", row.data.get("steps"))
        if not isinstance(steps, list) or not steps:
            continue
        total += 1
        names[str(row.data.get("prm_name") or row.data.get("by") or "recorded")] += 1
        listed = len(pool.problems[where[0]].candidates[where[1]].solution.prefix.steps)
        if len(steps) != listed:
            offsets[len(steps) - listed] += 1
    return offsets, total, names.most_common(1)[0][0] if names else ""


def _scored(row: Row) -> _Scored:
    """The score in a row of either format; the scorer of a public row is its `prm_name`."""
    recorded = row.data.get("value") is not None
    if "candidate_index" not in row.data:
        return _Scored(row, records.score_from(row)[1], recorded)
    named = records.score_from(row.inside({"id": "pool", **row.data}))[1]
    count = row.count("n_steps")
    if count is not None and count != len(named.steps):
        raise row.error(
            f"{len(named.steps)} step scores and n_steps {count}", expected="n_steps: the number of step scores"
        )
    return _Scored(row, named, recorded)


def _places(pool: Pool) -> dict[tuple[str, ...], tuple[int, int]]:
    """Where a candidate is, by its ids and by (problem, index)."""
    places: dict[tuple[str, ...], tuple[int, int]] = {}
    for p, problem in enumerate(pool.problems):
        for c, candidate in enumerate(problem.candidates):
            for key in candidate.keys:
                places[key,] = (p, c)
            places[problem.id, str(candidate.index)] = (p, c)
    return places


def _place(row: Row, places: dict[tuple[str, ...], tuple[int, int]]) -> tuple[int, int]:
    key: tuple[str, ...]
    if "candidate_index" in row.data:
        key = (records.row_id(row, "problem_id") or "", str(row.count("candidate_index")))
        found = f"a score of candidate {key[1]} of problem {key[0]!r}, which is not in the pool"
    else:
        key = (records.row_id(row, "solution_id", "id") or "",)
        found = f"a score of solution {key[0]!r}, which is not in the pool"
    place = places.get(key)
    if place is None:
        raise row.error(found, expected="scores of the pool's candidates", fix="give the pool that was scored")
    return place


def _check(scored: _Scored, candidate: Candidate) -> None:
    """InputError if a score can't be this candidate's."""
    row, score, steps = scored.row, scored.score, candidate.solution.prefix.steps
    if score.steps and len(score.steps) != len(steps):
        raise row.error(
            f"{len(score.steps)} step scores for the {len(steps)} steps of candidate {candidate.index} "
            f"({candidate.row.file}:{candidate.row.line})",
            expected="one score a step",
            fix="score the pool again, or drop the row",
        )
    expected = "a finite score for every step but observations, and a finite value"
    for index, (value, step) in enumerate(zip(score.steps, steps, strict=False)):
        if math.isnan(value) and step.kind != "observation":
            raise row.error(f"no number as the score of step {index}", expected=expected, fix="score it again")
    scoreable = any(step.kind != "observation" for step in steps)
    if scoreable and math.isnan(score.value):
        raise row.error("no number as the value", expected=expected, fix="score it again")
    claimed = row.data.get("is_correct")
    if isinstance(claimed, bool) and candidate.correct is not None and claimed != candidate.correct:
        raise row.error(
            f"is_correct {str(claimed).lower()}, where the pool says otherwise",
            expected="the pool's verdict",
            fix="give the pool that was scored",
        )


def _covered(
    pool: Pool, found: dict[str, dict[tuple[int, int], _Scored]], skip_bad: bool, drops: Counter[str]
) -> set[tuple[int, int]]:
    """The candidates that every scorer has a score for: all of them, unless `skip_bad`."""
    every = {place for row in _grid(pool) for place in row}
    for scorer, scored in found.items():
        missing = sorted(every - scored.keys())
        if not missing:
            continue
        p, c = missing[0]
        candidate = pool.problems[p].candidates[c]
        error = candidate.row.error(
            f"no score by {scorer!r} for candidate {candidate.index} of problem {pool.problems[p].id!r}",
            expected="a score for every candidate by every scorer",
            fix=f"score the rest ({len(missing)} missing), or go on without with --skip-bad",
        )
        if not skip_bad:
            raise error
        drops[records.reason(error)] += len(missing)
        every -= set(missing)
    if not every:
        raise InputError("no candidate has a score by every scorer", expected="scores of one pool", file=pool.file)
    return every


def _grid(pool: Pool) -> list[list[tuple[int, int]]]:
    return [[(p, c) for c in range(len(problem.candidates))] for p, problem in enumerate(pool.problems)]


def _without(pool: Pool, kept: list[list[tuple[int, int]]]) -> Pool:
    """The pool with the kept candidates only; problems without any leave it."""
    problems = [
        replace(problem, candidates=tuple(problem.candidates[c] for _, c in places))
        for problem, places in zip(pool.problems, kept, strict=True)
        if places
    ]
    return replace(pool, problems=tuple(problems))


def _gathered(
    scorer: str, found: dict[tuple[int, int], _Scored], pool: Pool, kept: list[list[tuple[int, int]]]
) -> PoolScores:
    """One scorer's scores in the pool's order; all of one kind."""
    rows = [[found[place] for place in places] for places in kept if places]
    scored = [one for problem in rows for one in problem]
    solid = [one for one in scored if not math.isnan(one.score.value)]
    first = solid[0] if solid else scored[0]
    for one in solid:
        if one.score.checkpoint != first.score.checkpoint:
            raise one.row.error(
                f"a score by {scorer!r}, checkpoint {one.score.checkpoint or 'not known'}, but in {first.row.file}:"
                f"{first.row.line} by checkpoint {first.score.checkpoint or 'not known'}",
                expected="all of one scorer's rows by one model",
                fix="give different scorers different names",
            )
        kinds = [(x.recorded and x.score.reduction, bool(x.score.steps)) for x in (one, first)]
        if kinds[0] != kinds[1]:
            raise one.row.error(
                f"a score by {scorer!r} of another kind than in {first.row.file}:{first.row.line}",
                expected="all of one scorer's rows with the same reduction, all with step scores or none",
                fix="give different scorers different names",
            )
    return PoolScores(
        scorer=scorer,
        scores=tuple(tuple(one.score for one in problem) for problem in rows),
        reduction=first.score.reduction if first.recorded else None,
        has_steps=bool(first.score.steps),
    )
