"""How good a way of choosing is at every n, from pools whose verdicts are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradatim import stats
from gradatim.choose.choosers import Same, group_answers
from gradatim.core import Reduction, seed_for
from gradatim.errors import ConfigError
from gradatim.problems.pool_scores import PoolScores
from gradatim.problems.pools import PoolProblem
from gradatim.progress import Progress
from gradatim.score.reduce import STEP_REDUCTIONS, reduce

Floats = NDArray[np.float64]
Chooser = Literal["best_of_n", "majority", "weighted_majority", "pass", "random"]


@dataclass(frozen=True, slots=True)
class Method:
    """A scorer under a reduction: a value for each candidate of each problem (NaN: it has no step to score)."""

    scorer: str
    reduction: Reduction
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """The expected correctness of what a chooser takes from n candidates drawn from a pool."""

    chooser: Chooser
    scorer: str | None
    reduction: Reduction | None
    ns: tuple[int, ...]
    values: Floats
    """(problems x ns); NaN where the problem has fewer than n candidates."""
    mc_error: Floats | None = None
    """Standard error of the mean over problems from random subsets, one per n (0: exact). None: exact everywhere."""


def usable(scores: PoolScores, asked: Sequence[Reduction] = ()) -> tuple[list[Reduction], list[str]]:
    """The reductions that these scores can be given, of those asked for (default: all there are), and notes on the
    rest.

    Scores with steps take all step reductions, but prod and gmean only if none is negative; recorded values keep the
    reduction that made them. ConfigError if a reduction was asked for that they can't be given.
    """
    own = [scores.reduction] if scores.reduction is not None else []
    steps = list(STEP_REDUCTIONS) if scores.has_steps else []
    negative = any(value < 0 for problem in scores.scores for score in problem for value in score.steps)
    barred = [how for how in steps if negative and how in ("prod", "gmean") and how not in own]
    possible = [how for how in dict.fromkeys([*own, *steps]) if how not in barred]
    for how in asked:
        if how not in possible:
            why = "has negative step scores" if how in barred else f"can only be given: {', '.join(possible)}"
            raise ConfigError(f"reduction={how}: {scores.scorer!r} {why}")
    notes = [f"{scores.scorer}: no {' and no '.join(barred)}, since some step scores are negative"] if barred else []
    return (list(asked), []) if asked else (possible, notes)


def reduced(scores: PoolScores, how: Reduction) -> Method:
    """These scores under a reduction; recorded values are taken as they are."""
    if how == scores.reduction:
        values = tuple(tuple(score.value for score in problem) for problem in scores.scores)
    else:
        values = tuple(tuple(reduce(score.steps, how) for score in problem) for problem in scores.scores)
    return Method(scores.scorer, how, values)


def curves(
    problems: Sequence[PoolProblem],
    methods: Sequence[Method],
    ns: Sequence[int],
    *,
    voting_ns: Sequence[int] | None = None,
    same: Same | None = None,
    seed: int = 0,
    shown: Progress | None = None,
) -> list[Curve]:
    """Every chooser on every problem: random, pass, majority, and best-of-n and weighted majority for each method.

    Every problem needs verdicts. All choosers see the same candidates, and all weighted votes the same subsets, so any
    two curves are paired, problem by problem. `voting_ns` are the n of majority and weighted majority (default: `ns`).
    """
    voting = tuple(ns if voting_ns is None else voting_ns)
    found = []
    for p, problem in enumerate(problems):
        values = np.array([method.values[p] for method in methods], dtype=np.float64)
        values = values.reshape(len(methods), len(problem.candidates))
        found.append(_measure(problem, values, tuple(ns), voting, same, seed_for(seed, "subsets", problem.id)))
        if shown is not None:
            shown.advance()
    return _assembled(methods, tuple(ns), voting, found) if found else []


def expected(
    problems: Sequence[PoolProblem],
    methods: Sequence[Method],
    shares: Sequence[float],
    *,
    same: Same | None = None,
    seed: int = 0,
) -> dict[Chooser, Floats]:
    """For majority (one row), weighted majority and best-of-n (a row a method) x problems: the expected correctness of
    what is chosen from such a share of the problem's own candidates, rounded up; the mean over the shares."""
    parts: dict[Chooser, list[Floats]] = {"majority": [], "weighted_majority": [], "best_of_n": []}
    for p, problem in enumerate(problems):
        count = len(problem.candidates)
        ns = tuple(sorted({math.ceil(share * count) for share in shares}))
        values = np.array([method.values[p] for method in methods], dtype=np.float64).reshape(len(methods), count)
        one = _measure(problem, values, ns, ns, same, seed_for(seed, "subsets", problem.id))
        for chooser, found in zip(parts, (one.majority[None], one.weighted, one.best), strict=True):
            parts[chooser].append(found.mean(axis=1))
    return {chooser: np.stack(found, axis=1) for chooser, found in parts.items()}


@dataclass(frozen=True, slots=True)
class _Measured:
    """One problem: curves over ns, and one row a method where there are several."""

    random: Floats
    passed: Floats
    majority: Floats
    best: Floats
    weighted: Floats
    variance: Floats


def _measure(
    problem: PoolProblem, values: Floats, ns: tuple[int, ...], voting: tuple[int, ...], same: Same | None, seed: int
) -> _Measured:
    good = np.array([float(one.correct is True) for one in problem.candidates])
    groups = np.array(group_answers([one.solution.answer for one in problem.candidates], same), dtype=np.int64)
    worth = [float(good[groups == group].mean()) for group in range(int(groups.max()) + 1)]
    counts = [int((groups == group).sum()) for group in range(len(worth))]
    ranked = np.where(np.isnan(values), -np.inf, values)
    silent = np.isnan(values).all(axis=0) if len(values) else np.zeros(len(good), dtype=bool)
    voters = np.where(silent, -1, groups)
    weighted, variance = stats.weighted_majority_curve(
        np.nan_to_num(values), voters.tolist(), worth, voting if len(values) else (), seed=seed
    )
    return _Measured(
        random=stats.random_curve(good, ns),
        passed=stats.pass_curve(good, ns),
        majority=stats.majority_curve(counts, worth, int((groups < 0).sum()), voting),
        best=stats.best_of_curve(ranked, np.broadcast_to(good, ranked.shape), ns),
        weighted=weighted,
        variance=variance,
    )


def _assembled(
    methods: Sequence[Method], ns: tuple[int, ...], voting: tuple[int, ...], found: list[_Measured]
) -> list[Curve]:
    curves = [
        Curve("random", None, None, ns, np.stack([one.random for one in found])),
        Curve("pass", None, None, ns, np.stack([one.passed for one in found])),
        Curve("majority", None, None, voting, np.stack([one.majority for one in found])),
    ]
    for k, method in enumerate(methods):
        best = np.stack([one.best[k] for one in found])
        weighted = np.stack([one.weighted[k] for one in found])
        variance = np.stack([one.variance[k] for one in found])
        known = np.maximum(np.sum(~np.isnan(variance), axis=0), 1)
        error = np.sqrt(np.nansum(variance, axis=0)) / known
        curves.append(Curve("best_of_n", method.scorer, method.reduction, ns, best))
        curves.append(Curve("weighted_majority", method.scorer, method.reduction, voting, weighted, error))
    return curves
