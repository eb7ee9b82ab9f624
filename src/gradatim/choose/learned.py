"""A small learned combination of scorers: a linear score that puts right candidates above wrong ones of one problem.

What goes in was fixed by argument, before any result (all but the number of steps, which came later and changed nothing):

- of each scorer the last step's score (what it thinks of the finished text) and the smallest (its weakest step): the two
  poles between which the other reductions lie, and what models trained on outcomes and on validity are read by;
- as log-odds, in which independent evidence adds up; kept within 1e-3 of 0 and 1, since recorded probabilities are often
  rounded to half precision; scores that are no probabilities stay as they are;
- the log share of the problem's candidates that have the same answer: what a vote knows and no scorer sees;
- the log number of steps: a bias of a scorer towards long or short solutions is taken back by it.

A weight on log-odds is a calibration, Platt's for each scorer (its intercept is the same for all candidates of a problem and
cancels); it is fitted with the rest, on the same problems.

Only differences between candidates of one problem count, so how hard a problem is can't be learned in their place, and
every problem with right and wrong candidates weighs the same. The fit is a logistic regression on pairs (Bradley-Terry
with a linear score) with a ridge penalty, whose strength is chosen by cross-validation over the problems at hand.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradatim import stats
from gradatim.choose.choosers import Same, group_answers
from gradatim.core import Score
from gradatim.errors import BackendError, ConfigError
from gradatim.problems.pool_scores import PoolScores
from gradatim.problems.pools import Pool, PoolProblem
from gradatim.score.combine import revalued

Floats = NDArray[np.float64]

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse ridge penalties to choose from, the most shrunk first."""

_NEAREST = 1e-3
"""How near to 0 or 1 a probability is taken at its word."""


@dataclass(frozen=True, slots=True)
class Examples:
    """What the fit sees of one problem."""

    features: Floats
    """(candidates, features)."""
    correct: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Learned:
    """A fitted combination: `features @ weights` ranks the candidates of a problem."""

    weights: Floats
    strength: float
    """The chosen one of `STRENGTHS`."""


def names(scored: Sequence[PoolScores]) -> list[str]:
    """What the columns of `Examples.features` are."""
    of_scorers = [f"{how} {scores.scorer}" for scores in scored for how in _reads(scores)]
    return [*of_scorers, "log share of the answer", "log number of steps"]


def examples(pool: Pool, scored: Sequence[PoolScores], same: Same | None = None) -> list[Examples]:
    """The features and verdicts of every problem. A candidate that a scorer has no value for takes its problem's lowest."""
    columns = [(scores, how, _probability(scores)) for scores in scored for how in _reads(scores)]
    found = []
    for p, problem in enumerate(pool.problems):
        table = [_column(scores.scores[p], how, odds) for scores, how, odds in columns]
        table += [_votes(problem, same), _lengths(problem)]
        correct = np.array([one.correct is True for one in problem.candidates])
        found.append(Examples(np.stack(table, axis=1), correct))
    return found


def fit(problems: Sequence[Examples], ids: Sequence[str]) -> Learned:
    """The combination that fits these problems; their `ids` decide the inner folds.

    ConfigError without at least two problems that have both right and wrong candidates; BackendError without
    scikit-learn.
    """
    useful = [(one, name) for one, name in zip(problems, ids, strict=True) if 0 < one.correct.sum() < len(one.correct)]
    if len(useful) < 2:
        raise ConfigError(f"{len(useful)} problems with right and wrong candidates; a combination is learned from 2 on")
    pairs = [_pairs(one) for one, _ in useful]
    folds = np.array(stats.fold_of([name for _, name in useful]))
    losses = dict.fromkeys(STRENGTHS, 0.0)
    for fold in range(int(folds.max()) + 1):
        seen = [pair for pair, at in zip(pairs, folds, strict=True) if at != fold]
        held = [pair for pair, at in zip(pairs, folds, strict=True) if at == fold]
        for strength in STRENGTHS:
            weights = _regress(seen, strength)
            losses[strength] += sum(float(np.logaddexp(0, -pair @ weights).mean()) for pair in held)
    strength = min(STRENGTHS, key=lambda one: losses[one])
    return Learned(_regress(pairs, strength), strength)


def _regress(pairs: Sequence[Floats], strength: float) -> Floats:
    """Weights by logistic regression on differences right - wrong, each problem of weight 1."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ModuleNotFoundError as error:
        raise BackendError("a learned combination needs scikit-learn; run: pip install 'gradatim[learned]'") from error
    rows = np.concatenate(pairs)
    weight = np.concatenate([np.full(len(pair), 1 / len(pair)) for pair in pairs])
    scale = np.sqrt(np.average(rows**2, axis=0, weights=weight))
    scale[scale == 0] = 1.0
    # The regression wants two classes: every pair both ways round, at half its weight. Without an intercept a pair and its
    # mirror image lose the same, so that the sum is that over pairs as they are.
    mirrored = np.concatenate([rows / scale, -rows / scale])
    sides = np.repeat([1, -1], len(rows))
    model = LogisticRegression(C=strength, fit_intercept=False, solver="newton-cholesky")
    model.fit(mirrored, sides, sample_weight=np.tile(weight / 2, 2))
    return np.asarray(model.coef_[0] / scale, dtype=np.float64)


def _pairs(one: Examples) -> Floats:
    """(pairs, features): every right candidate minus every wrong one."""
    right, wrong = one.features[one.correct], one.features[~one.correct]
    return (right[:, None] - wrong[None]).reshape(-1, one.features.shape[1])


def _reads(scores: PoolScores) -> tuple[str, ...]:
    return ("last", "min") if scores.has_steps else ("value",)


def _column(scores: Sequence[Score], how: str, odds: bool) -> Floats:
    values = np.array([(one if how == "value" else revalued(one, how)).value for one in scores])  # type: ignore[arg-type]
    known = values[~np.isnan(values)]
    values = np.where(np.isnan(values), known.min() if len(known) else 0.0, values)
    if odds:
        values = np.clip(values, _NEAREST, 1 - _NEAREST)
        values = np.log(values) - np.log1p(-values)
    return np.asarray(values, dtype=np.float64)


def _probability(scores: PoolScores) -> bool:
    every = (value for problem in scores.scores for one in problem for value in (one.steps or (one.value,)))
    return all(math.isnan(value) or 0 <= value <= 1 for value in every)


def _votes(problem: PoolProblem, same: Same | None) -> Floats:
    """The log share of each candidate's answer; an unread one counts as half a vote."""
    groups = group_answers([one.solution.answer for one in problem.candidates], same)
    counts = Counter(groups)
    return np.log([(0.5 if group < 0 else counts[group]) / len(groups) for group in groups])


def _lengths(problem: PoolProblem) -> Floats:
    """The log number of steps; a solution without steps counts as one."""
    return np.log([max(1, len(one.solution.prefix.steps)) for one in problem.candidates])
