"""Best of n on a pool of recorded solutions: what a model's choice among the candidates of a problem is worth."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradatim.choose.choosers import group_answers
from gradatim.choose.measure import reduced, usable
from gradatim.core import Reduction, Score
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate import measures
from gradatim.evaluate.measures import Floats, Measure
from gradatim.evaluate.results import Result
from gradatim.evaluate.said import Said, of_candidates
from gradatim.evaluate.score_checks import Scored, check_scores
from gradatim.evaluate.step_suite import score_by_length
from gradatim.evaluate.steps import Steps, reliability_bins
from gradatim.problems.pool_scores import PoolScores, read_pool_scores
from gradatim.problems.pools import Candidate, Pool, read_pool
from gradatim.stats import auroc, best_of_curve, bootstrap_statistic, majority_curve, pass_curve

REDUCTIONS: tuple[Reduction, ...] = ("min", "prod", "mean", "last")
"""Shown side by side: those that reward models are published with."""

AUROC_DRAWS = 200
"""Resamples behind the interval of an AUROC."""

ECHOES = "first_step_echoes_a_prompt"
"""The count of candidates whose first step repeats a chat prompt."""

UNSCORED = "unscored"
"""The count of candidates without any step to score."""

_ECHO = re.compile(r"\s*(?:(?:system|user|assistant)\n|<\|im_start\|>|\[INST\]|<s>)")

RULES: dict[str, Callable[[Candidate], float]] = {
    "longest": lambda one: float(len(one.solution.prefix.text)),
    "shortest": lambda one: -float(len(one.solution.prefix.text)),
    "most_steps": lambda one: float(len(one.solution.prefix.steps)),
    "fewest_steps": lambda one: -float(len(one.solution.prefix.steps)),
    "first_listed": lambda one: -float(one.index),
}
"""Rules that read nothing but sizes and order."""


def echoes(candidate: Candidate) -> bool:
    """Whether the first step of a candidate repeats a chat prompt: a trace of how the solutions were cut into steps."""
    steps = candidate.solution.prefix.steps
    return bool(steps) and _ECHO.match(steps[0].text) is not None


def scored_by(name: str, pool: Pool, scores: Sequence[Score]) -> PoolScores:
    """A model's scores of all candidates, in the pool's order."""
    rest = iter(scores)
    rows = tuple(tuple(next(rest) for _ in problem.candidates) for problem in pool.problems)
    # An empty solution has no steps to score, from any model: what the scores are is told by one that has some.
    told = next((score for score in scores if score.steps), scores[0])
    return PoolScores(name, rows, told.reduction, bool(told.steps))


def pool_result(
    subset: str, pool: Pool, scores: PoolScores, asked: Reduction | None, *, source: str, seed: int = 0
) -> Result:
    """The findings about one scorer. All candidates of a problem are one pool; curves are exact, ties share evenly."""
    if not all(problem.has_gold for problem in pool.problems):
        raise InputError("a problem without verdicts", expected="a pool whose candidates have verdicts", file=pool.file)
    how, possible, notes = _reductions(scores, asked)
    n = min(len(problem.candidates) for problem in pool.problems)
    ns, name = [2**k for k in range(n.bit_length()) if 2**k < n] + [n], f"best_of_{n}"
    values = reduced(scores, how).values
    curve = _best_of(pool, values, ns)
    head, nulls, counts = _measure(pool, curve[:, -1]), _nulls(pool, ns), _counts(pool, values)
    if counts[ECHOES]:
        notes = [*notes, f"{counts[ECHOES]} of {counts['rows']} candidates begin with a chat prompt: see by.echo"]
    if counts[UNSCORED]:
        notes = [*notes, f"{counts[UNSCORED]} of {counts['rows']} candidates have no score: not in outcome_auroc"]
    return Result(
        suite="pool",
        subset=subset,
        model=scores.scorer,
        source=source,
        headline=name,
        counts=counts,
        measures={
            name: head.estimate(seed),
            "oracle": _measure(pool, _passed(pool, ns)[:, -1]).estimate(seed),
            "outcome_auroc": _outcome_auroc(pool, values, seed),
            "auroc_within_problems": _auroc_within_problems(pool, values).estimate(seed),
        },
        nulls={name: {rule: one.estimate(seed) for rule, one in nulls.items()}},
        over_nulls={name: {rule: head.minus(one, seed) for rule, one in nulls.items()}},
        by={"reduction": _by_reduction(pool, scores, possible, n, seed), **_without_echoes(pool, values, seed)},
        curves={"accuracy_by_n": _by_n(pool, curve, ns, seed), "reduction": how, **_curves(pool, scores, values)},
        notes=notes,
        paired={name: head},
        said=_said(pool, scores, values),
    )


def _said(pool: Pool, scores: PoolScores, values: Sequence[Sequence[float]]) -> dict[str, Said]:
    found: dict[str, Said] = {}
    for problem, mine, row in zip(pool.problems, scores.scores, values, strict=True):
        right = [one.correct is True for one in problem.candidates]
        said = of_candidates(row, right, [score.steps for score in mine])
        found |= {candidate_key(problem.id, one): some for one, some in zip(problem.candidates, said, strict=True)}
    return found


def candidate_key(problem: str, one: Candidate) -> str:
    """What a candidate is called."""
    return f"{problem}/{one.index}"


def _reductions(scores: PoolScores, asked: Reduction | None) -> tuple[Reduction, list[Reduction], list[str]]:
    """The reduction in use, those to show beside it, and why some are not there."""
    possible, notes = usable(scores)
    how = asked or scores.reduction or "min"
    if how not in possible:
        raise ConfigError(f"--reduction {how}: {scores.scorer!r} can only be given {', '.join(possible)}")
    return how, [one for one in REDUCTIONS if one in possible] or possible[:1], notes


def _nulls(pool: Pool, ns: Sequence[int]) -> dict[str, Measure]:
    sized = {
        name: [[rule(one) for one in problem.candidates] for problem in pool.problems] for name, rule in RULES.items()
    }
    return {
        "random": _measure(pool, np.array([good.mean() for good in _good(pool)])),
        "majority": _measure(pool, _majority(pool, ns)[:, -1]),
        **{name: _measure(pool, _best_of(pool, values, ns)[:, -1]) for name, values in sized.items()},
    }


def _passed(pool: Pool, ns: Sequence[int]) -> Floats:
    """pass@n, (problems x ns)."""
    return np.stack([pass_curve(good, ns) for good in _good(pool)])


def _by_reduction(pool: Pool, scores: PoolScores, hows: Sequence[Reduction], n: int, seed: int) -> list[dict[str, Any]]:
    found = []
    for how in hows:
        right = _best_of(pool, reduced(scores, how).values, [n])[:, -1]
        found.append({"name": how, f"best_of_{n}": _measure(pool, right).estimate(seed)})
    return found


def _good(pool: Pool) -> list[Floats]:
    return [np.array([float(one.correct is True) for one in problem.candidates]) for problem in pool.problems]


def _measure(pool: Pool, right: Floats) -> Measure:
    ids = tuple(problem.id for problem in pool.problems)
    return Measure(ids, ids, np.stack([right, np.ones(len(right))], axis=1), measures.ratio)


def _best_of(pool: Pool, values: Sequence[Sequence[float]], ns: Sequence[int]) -> Floats:
    """(problems x ns)."""
    return np.stack([best_of_curve(_ranked(row), good, ns) for row, good in zip(values, _good(pool), strict=True)])


def _ranked(row: Sequence[float]) -> Floats:
    """The values of a problem's candidates; one without any step to score is below all others."""
    found = np.asarray(row, dtype=np.float64)
    return np.where(np.isnan(found), -np.inf, found)


def _majority(pool: Pool, ns: Sequence[int]) -> Floats:
    rows = []
    for problem, good in zip(pool.problems, _good(pool), strict=True):
        groups = np.array(group_answers([one.solution.answer for one in problem.candidates]))
        counts = np.bincount(groups[groups >= 0]).tolist()
        worth = [float(good[groups == group].mean()) for group in range(len(counts))]
        rows.append(majority_curve(counts, worth, int((groups < 0).sum()), ns))
    return np.stack(rows)


def _counts(pool: Pool, values: Sequence[Sequence[float]]) -> dict[str, int]:
    every = [one for problem in pool.problems for one in problem.candidates]
    return {
        "problems": len(pool.problems),
        "rows": len(every),
        "correct": sum(one.correct is True for one in every),
        "unread": sum(one.solution.answer is None for one in every),
        UNSCORED: sum(math.isnan(value) for row in values for value in row),
        ECHOES: sum(map(echoes, every)),
    }


def _outcome_auroc(pool: Pool, values: Sequence[Sequence[float]], seed: int) -> Any:
    """Over all candidates that have a score: of one without any step to score, this model says nothing."""
    every, rights = np.array([value for row in values for value in row], dtype=np.float64), np.concatenate(_good(pool))
    known = ~np.isnan(every)
    flat, right = every[known], rights[known]
    names = [problem.id for problem in pool.problems for _ in problem.candidates]
    problems = [name for name, is_in in zip(names, known, strict=True) if is_in]
    return bootstrap_statistic(
        lambda chosen: auroc(flat[chosen], right[chosen]), problems, draws=AUROC_DRAWS, seed=seed
    )


def _auroc_within_problems(pool: Pool, values: Sequence[Sequence[float]]) -> Measure:
    """The mean over problems with right and wrong candidates of the chance that a right one is above a wrong one.

    The AUROC over all candidates is also high for a model that only knows which problems are hard; what a choice among
    candidates can use is this. One without any step to score is below all others.
    """
    ids, found = [], []
    for problem, row, good in zip(pool.problems, values, _good(pool), strict=True):
        if good.any() and not good.all():
            ids.append(problem.id)
            found.append([auroc(_ranked(row), good), 1.0])
    return Measure(tuple(ids), tuple(ids), np.array(found, dtype=np.float64).reshape(-1, 2), measures.ratio)


def _by_n(pool: Pool, curve: Floats, ns: Sequence[int], seed: int) -> list[dict[str, Any]]:
    majority, passed = _majority(pool, ns), _passed(pool, ns)
    return [
        {
            "n": n,
            "best_of_n": _measure(pool, curve[:, k]).estimate(seed),
            "majority": _measure(pool, majority[:, k]).estimate(seed),
            "oracle": _measure(pool, passed[:, k]).estimate(seed),
        }
        for k, n in enumerate(ns)
    ]


def _curves(pool: Pool, scores: PoolScores, values: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Values against the share of right answers, and step scores against the number of steps."""
    flat = np.array([value for row in values for value in row], dtype=np.float64)
    right = np.concatenate(_good(pool))
    known = ~np.isnan(flat)
    problems = [problem.id for problem in pool.problems for _ in problem.candidates]
    steps = Steps(flat[known], right[known], tuple(one for one, is_in in zip(problems, known, strict=True) if is_in))
    every = [score.steps for row in scores.scores for score in row]
    lengths = score_by_length(list(zip(every, (right == 1).tolist(), strict=True))) if scores.has_steps else []
    return {"reliability": reliability_bins(steps), "score_by_length": lengths}


def _without_echoes(pool: Pool, values: Sequence[Sequence[float]], seed: int) -> dict[str, list[dict[str, Any]]]:
    """One of all candidates, with and without those that echo a prompt, on problems that have others."""
    kept = [[not echoes(one) for one in problem.candidates] for problem in pool.problems]
    if all(map(all, kept)):
        return {}
    rows: dict[str, list[tuple[float, float]]] = {"all candidates": [], "without echoes": []}
    problems = []
    for problem, row, good, clean in zip(pool.problems, values, _good(pool), kept, strict=True):
        if not any(clean):
            continue
        problems.append(problem.id)
        found = _ranked(row)
        for name, mask in (("all candidates", np.ones(len(row), dtype=bool)), ("without echoes", np.array(clean))):
            rows[name].append((float(good[mask][found[mask] == found[mask].max()].mean()), float(good[mask].mean())))
    ids = tuple(problems)
    return {
        "echo": [
            {
                "name": name,
                "problems": len(ids),
                **{
                    what: Measure(ids, ids, np.array([[one[k], 1.0] for one in found]), measures.ratio).estimate(seed)
                    for k, what in enumerate(("best_of_all", "random"))
                },
            }
            for name, found in rows.items()
        ]
    }


def pool_scored(pool: Pool, scores: PoolScores) -> list[Scored]:
    """A pool's candidates with their scores, as the checks take them."""
    return [
        Scored(
            problem=problem.id,
            steps=score.steps,
            listed=len(candidate.solution.prefix.steps),
            characters=len(candidate.solution.prefix.text),
            right=candidate.correct,
            value=math.nan if scores.reduction is None or score.steps else score.value,
        )
        for problem, row in zip(pool.problems, scores.scores, strict=True)
        for candidate, score in zip(problem.candidates, row, strict=True)
    ]


def pool_warnings(pool: str, files: Sequence[str], *, skip_bad: bool = False) -> list[dict[str, Any]]:
    """What is odd about recorded scores of a pool, for each scorer, with the evidence."""
    covered, scored = read_pool_scores(read_pool(pool, skip_bad=skip_bad), files, skip_bad=skip_bad)
    return [
        {"model": scores.scorer, **one.as_json()}
        for scores in scored
        for one in check_scores(pool_scored(covered, scores))
    ]
