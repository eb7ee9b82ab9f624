"""Scores beside what is true: the items that a calibration is fitted on and measured by.

For steps an item is a *distinct* labelled prefix: solutions that share their first steps have one score and one item there,
however many they are. For answers it is a solution.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradatim import records
from gradatim.core import Labels, Prefix, Reduction, Score, Solution
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate.steps import Steps
from gradatim.labels.datasets import load_labelled
from gradatim.problems.pool_scores import PoolScores, read_pool_scores
from gradatim.problems.pools import Pool, read_pool
from gradatim.progress import progress
from gradatim.score.calibrate import Truth
from gradatim.score.stage import CountingScorer
from gradatim.train.targets import Evidence, TargetConfig, step_evidence

Floats = NDArray[np.float64]

BATCH = 64
"""Solutions handed to the scorer at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """Scored things with evidence about each; all of one length."""

    scores: Floats
    good: Floats
    """How much speaks for each."""
    bad: Floats
    """How much speaks against it; not both are 0."""
    problems: tuple[str, ...]
    steps: NDArray[np.int64]
    """0-based index of the step; -1 for answers."""
    sources: tuple[str, ...]
    """Who wrote the solution (of those that share a prefix the first)."""
    scorer: str
    truth: Truth
    target: str
    """What the evidence is about, in words."""
    reduction: Reduction | None = None
    """How answers' values were made."""
    calibrated: str = ""
    """How the scores were calibrated before."""
    checkpoint: str = ""
    """The model behind the scorer's name; empty: not known."""

    def against(self, scores: Floats) -> Steps:
        """These or other scores of the items beside the share of good evidence."""
        return Steps(scores, self.good / (self.good + self.bad), self.problems)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled solution and its score."""

    solution: Solution
    labels: Labels
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSource:
    """Which labelled solutions to read, and whose scores of them."""

    labels: str
    """As `gradatim train --data`."""
    scores: str | None
    """A file of scores by solution id; None: a scorer is given."""
    keep_scores: str | None = None
    """Where the scorer's scores are written."""
    problems: int | None = None
    """Only the first so many problems."""
    skip_bad: bool = False


def read_labelled(
    source: LabelledSource, scorer: CountingScorer | None, drops: Counter[str], *, quiet: bool
) -> list[Labelled]:
    """The labelled solutions with their scores; drops are counted.

    InputError for a solution without a score or with another number of step scores than steps (with `skip_bad` the former is
    counted), for scores by several scorers, and without any solution that has both.
    """
    found = load_labelled(source.labels, skip_bad=source.skip_bad, drops=drops)
    if source.problems is not None:
        kept = set(list(dict.fromkeys(one.prefix.problem_id for one, _ in found))[: source.problems])
        found = [(one, labels) for one, labels in found if one.prefix.problem_id in kept]
    distinct = {solution.id: solution for solution, _ in found}
    if source.scores is None:
        scores = _scored(list(distinct.values()), scorer, source, drops, quiet)
    else:
        scores = _recorded(source.scores, distinct, source.skip_bad, drops)
    return [Labelled(one, labels, scores[one.id]) for one, labels in found if one.id in scores]


def step_items(rows: Sequence[Labelled], neutral: Literal["good", "bad", "skip"]) -> Items:
    """The labelled steps, as evidence for what they are labelled with: validity, up to the first error; or value.

    InputError where some labels are of validity and some of value, or their tests stopped when the outcomes decided.
    """
    truths = {row.labels.truth for row in rows}
    if len(truths) != 1:
        raise InputError(
            "labels of validity and of value together", expected="labels of one kind", fix="calibrate each"
        )
    truth = truths.pop()
    config = TargetConfig(mask_after_error=truth == "validity", neutral=neutral)
    merged: dict[tuple[str, ...], list[tuple[Score, int, Evidence, str]]] = {}
    for row in rows:
        if row.labels.optional_stopping:
            raise InputError(
                f"the labels of solution {row.solution.id} have rates on which a test stopped ({row.labels.rule})",
                expected="a fixed number of continuations a step, whose rates are unbiased",
                fix="label with --stop fixed",
            )
        texts = tuple(step.text for step in row.solution.prefix.steps)
        evidence = step_evidence(row.solution, row.labels, config)
        for index, one in enumerate(evidence):
            if one is not None:
                key = (row.solution.prefix.problem_id, *texts[: index + 1])
                merged.setdefault(key, []).append((row.score, index, one, row.solution.author))
    items = [(key[0], *_joined(parts)) for key, parts in merged.items()]
    items = [item for item in items if not np.isnan(item[1])]
    if not items:
        raise InputError("no labelled step with a score", expected="at least one")
    problems, scores, good, bad, steps, authors = zip(*items, strict=True)
    return Items(
        scores=np.array(scores),
        good=np.array(good),
        bad=np.array(bad),
        problems=problems,
        steps=np.array(steps, dtype=np.int64),
        sources=authors,
        scorer=rows[0].score.by,
        truth=truth,
        target=_target(rows, truth),
        calibrated=rows[0].score.calibrated,
        checkpoint=rows[0].score.checkpoint,
    )


def answer_items(pool: Pool, scores: PoolScores, values: Sequence[Sequence[float]], how: Reduction) -> Items:
    """A pool's candidates with verdicts, `values[p][c]` the value of each under the reduction `how`."""
    rows = [
        (problem.id, value, one.correct is True, one.solution.author)
        for problem, row in zip(pool.problems, values, strict=True)
        for one, value in zip(problem.candidates, row, strict=True)
        if one.correct is not None and not np.isnan(value)
    ]
    if not rows:
        raise InputError("no candidate with a verdict and a value", expected="verdicts", file=pool.file)
    problems, column, right, authors = zip(*rows, strict=True)
    good = np.array(right, dtype=np.float64)
    steps = np.full(len(rows), -1, dtype=np.int64)
    return Items(
        scores=np.array(column),
        good=good,
        bad=1 - good,
        problems=problems,
        steps=steps,
        sources=authors,
        scorer=scores.scorer,
        truth="answer",
        target=f"the answer is right, for solutions by {listed(authors)}",
        reduction=how,
        calibrated=scores.scores[0][0].calibrated,
        checkpoint=scores.scores[0][0].checkpoint,
    )


def read_answers(path: str, scores: str, skip_bad: bool, drops: Counter[str]) -> tuple[Pool, PoolScores]:
    """A pool and the one scorer whose scores are in the file."""
    pool, scored = read_pool_scores(
        read_pool(path, skip_bad=skip_bad, drops=drops), [scores], skip_bad=skip_bad, drops=drops
    )
    if len(scored) != 1:
        raise InputError(f"scores by {', '.join(one.scorer for one in scored)}", expected="one scorer", file=scores)
    return pool, scored[0]


def _joined(parts: Sequence[tuple[Score, int, Evidence, str]]) -> tuple[float, float, float, int, str]:
    score, index, _, author = parts[0]
    good, bad = sum(part[2].good for part in parts), sum(part[2].bad for part in parts)
    return score.steps[index], good, bad, index, author


def _target(rows: Sequence[Labelled], truth: Literal["validity", "value"]) -> str:
    by = sorted({f"{row.labels.source} ({row.labels.by})" for row in rows})
    who = listed(by)
    written = listed(sorted({row.solution.author for row in rows}))
    if truth == "value":
        return f"V, the rate of right answers from here, by {who}"
    return f"the step is valid, given valid steps before it, by {who}, for solutions by {written}"


def listed(names: Sequence[str]) -> str:
    """The distinct names, three at most by name."""
    distinct = sorted(set(names))
    return ", ".join(distinct[:3]) + (f" and {len(distinct) - 3} others" if len(distinct) > 3 else "")


def _scored(
    solutions: Sequence[Solution],
    scorer: CountingScorer | None,
    source: LabelledSource,
    drops: Counter[str],
    quiet: bool,
) -> dict[str, Score]:
    """Scores by a model, solutions of one problem side by side."""
    if scorer is None:
        raise ConfigError("no model was loaded; pass a scorer, or recorded scores")
    kept = []
    for one, error in zip(solutions, scorer.refused([one.prefix for one in solutions]), strict=True):
        if error is None:
            kept.append(one)
        elif source.skip_bad:
            drops[records.reason(error)] += 1
        else:
            raise InputError(f"solution {one.id}: {error.found}", expected=error.expected, fix=error.fix)
    kept.sort(key=lambda one: one.prefix.problem_id)
    found: dict[str, Score] = {}
    with progress("score", len(kept), "solutions", quiet=quiet) as shown:
        for start in range(0, len(kept), BATCH):
            batch = kept[start : start + BATCH]
            for one, score in zip(batch, scorer.score([one.prefix for one in batch]), strict=True):
                found[one.id] = _aligned(one.prefix, one.id, score, scorer.name)
            shown.advance(len(batch))
    if source.keep_scores is not None:
        records.write_scores(source.keep_scores, found.items())
    return found


def _recorded(path: str, solutions: Mapping[str, Solution], skip_bad: bool, drops: Counter[str]) -> dict[str, Score]:
    rows = list(records.read_scores(path, skip_bad=skip_bad, drops=drops))
    read, names = dict(rows), sorted({f"{score.by} {score.checkpoint}".strip() for _, score in rows})
    if len(names) != 1 or len({score.calibrated for _, score in rows}) > 1:
        raise InputError(f"scores by {', '.join(names) or 'nobody'}", expected="one model, calibrated once", file=path)
    missing = [name for name in solutions if name not in read]
    if missing and not skip_bad:
        raise InputError(
            f"no score of solution {missing[0]} ({len(missing)} missing)",
            expected="a score of every labelled solution",
            file=path,
            fix="score the labelled solutions, or go on without with --skip-bad",
        )
    drops.update({"labels without a score": len(missing)} if missing else {})
    bare = sum(name not in solutions for name in read)
    drops.update({"scores without labels": bare} if bare else {})
    found = {name: _aligned(one.prefix, name, read[name], path) for name, one in solutions.items() if name in read}
    if not found:
        raise InputError("no score of a labelled solution", expected="scores of the labelled solutions", file=path)
    return found


def _aligned(prefix: Prefix, solution_id: str, score: Score, source: str) -> Score:
    if len(score.steps) != len(prefix.steps):
        raise InputError(
            f"{len(score.steps)} step scores for the {len(prefix.steps)} steps of solution {solution_id}",
            expected="one score a step, from a process model",
            file=source,
        )
    return score
