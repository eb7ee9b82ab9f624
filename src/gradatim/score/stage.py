"""`gradatim score`: a file of solutions -> their scores, in the order of the file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from gradatim import records
from gradatim.core import Prefix, Reduction, Score
from gradatim.errors import ConfigError, InputError
from gradatim.problems.pools import read_pool
from gradatim.progress import Progress, progress
from gradatim.records import Row

COUNTS = ("tokens_processed", "distinct_tokens", "padding_tokens")
"""The fields of `Stats` that count tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """What to score, with what, and how to read it."""

    model: str = "lab"
    """Folder of a reward model, folder of a run, a name on the hub, or "lab"."""
    data: str = "-"
    """Solutions: our own rows, {problem|prompt, steps|completions} or a public pool; "-" is standard input."""
    out: str | None = None
    """Also write the scores there, as rows that `choose` and `evaluate` read."""
    reduction: Reduction | None = None
    """How step scores become one value; the one saved with the model where none is given."""
    threshold: float | None = None
    """The first step that scores below is the first error; the one saved with the model where none is given."""
    device: str = "auto"
    """Where to compute: "auto", "cpu", "cuda", "cuda:1"."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """What to compute in; "auto" is bfloat16 where the hardware has it: faster, less exact."""
    skip_bad: bool = False
    """Drop rows that can't be read or are too long for the model, and count them, instead of stopping at the first."""
    stats: bool = False
    """Also print what it cost: tokens processed, distinct tokens, padding, and tokens a second."""

    def __post_init__(self) -> None:
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ConfigError(f"threshold={self.threshold} is not a number")


@dataclass(frozen=True, slots=True)
class Stats:
    """What scoring cost, summed over calls."""

    tokens_processed: int = 0
    """Tokens that went through the model, without padding."""
    distinct_tokens: int = 0
    """Tokens that one tree of everything in a call has. Fewer are processed where some were kept from an earlier call."""
    padding_tokens: int = 0
    """Padding that went through the model beside them."""
    seconds: float = 0.0
    """Wall time, tokenising included."""
    notes: tuple[str, ...] = ()
    """What was done in another way than usual, and why."""

    def __add__(self, other: Stats) -> Stats:
        return Stats(
            self.tokens_processed + other.tokens_processed,
            self.distinct_tokens + other.distinct_tokens,
            self.padding_tokens + other.padding_tokens,
            self.seconds + other.seconds,
            tuple(dict.fromkeys(self.notes + other.notes)),
        )


class CountingScorer(Protocol):
    """A `Scorer` that says what it cost and what it can't take; `gradatim.score.engine.ModelScorer` is one."""

    @property
    def stats(self) -> Stats: ...

    @property
    def name(self) -> str: ...

    @property
    def checkpoint(self) -> str: ...

    @property
    def threshold(self) -> float: ...

    def refused(self, prefixes: Sequence[Prefix]) -> list[InputError | None]: ...

    def score(self, prefixes: Sequence[Prefix], *, shown: Progress | None = None) -> list[Score]: ...


def score_stage(config: ScoreConfig, scorer: CountingScorer, *, quiet: bool = False) -> dict[str, Any]:
    """Score the solutions of `config.data`; returns what `gradatim score --json` prints. NaN is None there.

    A score's id is the row's own `id`, or the solution's where it has none; two with one id are an InputError. Rows of the
    public pool format are read as `choose` reads them, so that the scores fit the pool.
    """
    drops = Counter[str]()
    solutions = _read(config, drops)
    kept = _accepted(config, scorer, solutions, drops)
    before = scorer.stats
    with progress("score", len(kept), "solutions", quiet=quiet) as shown:
        scores = scorer.score([prefix for _, prefix, _ in kept], shown=shown)
    signed = [(solution_id, score) for (solution_id, _, _), score in zip(kept, scores, strict=True)]
    if config.out is not None:
        records.write_scores(config.out, signed)
    threshold = scorer.threshold if config.threshold is None else config.threshold
    return {
        "scores": [{"id": solution_id, **_shown(score, threshold)} for solution_id, score in signed],
        "model": scorer.name,
        "calibrated": next((score.calibrated for _, score in signed if score.calibrated), ""),
        "threshold": threshold,
        "stats": _cost(before, scorer.stats),
        "rows": {"scored": len(kept), "dropped": dict(drops)},
        "out": config.out,
    }


def cost_lines(stats: Mapping[str, Any]) -> list[str]:
    """What `gradatim score --stats` prints of the stats in a result of `score_stage`."""
    processed, distinct, padding = (stats[name] for name in COUNTS)
    ratio = f"{processed / distinct:.3f}" if distinct else "-"
    return [
        f"tokens processed  {processed:>12,}",
        f"distinct tokens   {distinct:>12,}  processed / distinct {ratio}",
        f"padding           {padding:>12,}",
        f"seconds           {stats['seconds']:>12,.1f}  {(processed + padding) / max(stats['seconds'], 1e-9):,.0f} tokens/s",
        *(f"note: {note}" for note in stats["notes"]),
    ]


def _read(config: ScoreConfig, drops: Counter[str]) -> list[tuple[str, Prefix, Row]]:
    """(id, prefix, row) of every solution. Plain rows of one problem without ids count as its draws 0, 1, 2, ..."""
    unread = Counter[str]()
    rows = list(records.read_rows(config.data, skip_bad=config.skip_bad, drops=unread))
    if any("candidate_index" in row.data for row in rows):
        return _read_pool(config, drops)
    drops.update(unread)
    first, seen = records.once("solution"), Counter[str]()

    def read(row: Row) -> tuple[str, Prefix, Row]:
        solution = records.solution_from(row)
        if row.data.get("schema") is None and row.data.get("draw") is None:
            solution = records.solution_from(row, draw=seen[solution.prefix.problem_id])
        solution_id = records.row_id(row, "id") or solution.id
        first(row, solution_id)
        seen[solution.prefix.problem_id] += 1
        return solution_id, solution.prefix, row

    found = list(records.convert(rows, read, skip_bad=config.skip_bad, drops=drops))
    if not found and not drops:
        raise InputError("no solutions", expected="at least one row", file=config.data, fix="check the file")
    return found


def _read_pool(config: ScoreConfig, drops: Counter[str]) -> list[tuple[str, Prefix, Row]]:
    """(id, prefix, row) of every candidate of a public pool, whose prompt may stand on another row: under the ids, and with
    the prompts, that `choose` reads from it."""
    if not Path(config.data).is_file():
        fix = "give the pool's own file"
        raise InputError("a pool from a pipe", expected="a file that can be read twice", file=config.data, fix=fix)
    pool = read_pool(config.data, skip_bad=config.skip_bad, drops=drops)
    candidates = {one.row.line: one for problem in pool.problems for one in problem.candidates}
    first = records.once("solution")

    def read(row: Row) -> tuple[str, Prefix, Row]:
        candidate = candidates[row.line]
        if not candidate.solution.prefix.prompt.strip():
            raise row.error("a problem without a prompt", expected="the prompt on one candidate of each problem")
        first(row, candidate.keys[0])
        return candidate.keys[0], candidate.solution.prefix, row

    rows = [candidates[line].row for line in sorted(candidates)]
    return list(records.convert(rows, read, skip_bad=config.skip_bad, drops=drops))


def _accepted(
    config: ScoreConfig, scorer: CountingScorer, solutions: list[tuple[str, Prefix, Row]], drops: Counter[str]
) -> list[tuple[str, Prefix, Row]]:
    """The solutions that the model can take; the others are an error at their line, or counted."""
    kept = []
    errors = scorer.refused([prefix for _, prefix, _ in solutions])
    for solution, error in zip(solutions, errors, strict=True):
        if error is None:
            kept.append(solution)
            continue
        here = solution[2].error(f"solution {solution[0]}: {error.found}", expected=error.expected, fix=error.fix)
        if not config.skip_bad:
            raise here
        drops[records.reason(here)] += 1
    return kept


def _shown(score: Score, threshold: float) -> dict[str, Any]:
    return {
        "steps": [_number(value) for value in score.steps],
        "value": _number(score.value),
        "reduction": score.reduction,
        "first_error": score.first_error(threshold),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _cost(before: Stats, after: Stats) -> dict[str, Any]:
    """What was spent between the two."""
    spent = asdict(after)
    for name in (*COUNTS, "seconds"):
        spent[name] -= getattr(before, name)
    return {**spent, "notes": list(after.notes)}
