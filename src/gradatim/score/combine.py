"""Several opinions of one solution -> one: outcome and process blended, models combined, and how far they disagree.

A mean, a worst case and a mean minus lambda * variance compare numbers of different models, so they need a common
scale (probabilities with probabilities). A rank needs none, but it says something about a solution among others only:
it is for the candidates of one problem, together. Worst case and mean minus lambda * variance: Coste et al. (2023),
arXiv 2310.02743.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core import Prefix, Reduction, Score, Scorer
from gradatim.errors import ConfigError
from gradatim.score.reduce import STEP_REDUCTIONS, reduce
from gradatim.score.signature import joint

Floats = NDArray[np.float64]
How = Literal["mean", "worst", "penalised", "rank"]
HOWS: tuple[str, ...] = get_args(How)
Over = Literal["values", "steps"]
OVERS: tuple[str, ...] = get_args(Over)
BLENDS: tuple[Reduction, ...] = ("mean", "min")
"""What a blend can take of the process."""


@dataclass(frozen=True, slots=True)
class Combined:
    """What several scorers think of one solution, as one score."""

    score: Score
    """With the combined step scores where steps were combined, without step scores where values were."""
    disagreement: float
    """Standard deviation over the members of their values (by rank: of the ranks); NaN where one has no value."""
    step_disagreement: tuple[float, ...] = ()
    """The same for each step, where steps were combined; NaN for observations."""


# Numbers


def combine(table: ArrayLike, how: How, *, penalty: float = 1.0) -> Floats:
    """(members, items) -> one number an item. NaN where a member has none: a silent member is no lower score.

    mean and worst (the smallest) are what they say; penalised = mean - `penalty` * variance (of the members as they
    are, divided by their number); rank = the mean of each member's `ranks` among these items.
    """
    rows = _rows(table)
    if how not in HOWS:
        raise ConfigError(f"ensemble {how!r}; expected one of {', '.join(HOWS)}")
    if not (math.isfinite(penalty) and penalty >= 0):
        raise ConfigError(f"penalty={penalty}: expected a number from 0 on")
    match how:
        case "worst":
            return np.asarray(rows.min(axis=0), dtype=np.float64)
        case "penalised":
            return np.asarray(rows.mean(axis=0) - penalty * rows.var(axis=0), dtype=np.float64)
        case _:
            return np.asarray(_ranked(rows, how).mean(axis=0), dtype=np.float64)


def disagreement(table: ArrayLike, how: How = "mean") -> Floats:
    """(members, items) -> the standard deviation over the members, divided by their number; of the ranks for "rank"."""
    return np.asarray(_ranked(_rows(table), how).std(axis=0), dtype=np.float64)


def ranks(values: ArrayLike) -> Floats:
    """The share of the items that each one is above, ties and itself counted half: in (0, 1), .5 on average, higher is
    better.

    Items without a value (NaN) have no rank and count for nobody.
    """
    row = np.asarray(values, dtype=np.float64)
    seen = row[~np.isnan(row)]
    found = np.full(row.shape, np.nan)
    if len(seen):
        order = np.sort(seen)
        below = np.searchsorted(order, seen, side="left")
        not_above = np.searchsorted(order, seen, side="right")
        found[~np.isnan(row)] = (below + not_above) / (2 * len(seen))
    return found


def _rows(table: ArrayLike) -> Floats:
    rows = np.asarray(table, dtype=np.float64)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"a table of members x items with at least one member is needed, got shape {rows.shape}")
    return rows


def _ranked(rows: Floats, how: How) -> Floats:
    return np.stack([ranks(row) for row in rows]) if how == "rank" else rows


# Scores


def revalued(score: Score, how: Reduction | None) -> Score:
    """The same score with the value of another reduction; as it is for None, or without step scores to reduce.

    A value that its steps do not give (reduction "outcome": an answer's calibrated one, or a blend's) is given up for one
    that they do; `own_value` tells where there is one to lose.
    """
    if how is None or how == score.reduction or not score.steps:
        return score
    # A calibrated value that no reduction of the steps gives was calibrated by itself, and its steps were not.
    calibrated = "" if score.reduction == "outcome" else score.calibrated
    return replace(score, value=reduce(score.steps, how), reduction=how, calibrated=calibrated)


def own_value(reduction: Reduction | None, *, steps: bool) -> bool:
    """Whether such scores have step scores and beside them a value that was not made of these: one that was calibrated to
    answers, or a blend's."""
    return reduction == "outcome" and steps


def blend(outcome: Score, process: Score, *, alpha: float = 0.5, how: Reduction = "mean") -> Score:
    """alpha * outcome value + (1 - alpha) * the mean or min of the process's step scores, of one solution.

    It keeps the step scores. Its reduction is "outcome": no reduction of its steps gives its value. With alpha = 1 the
    steps decide nothing, with alpha = 0 the outcome. ConfigError for alpha outside [0, 1], another reduction than mean
    or min, or a process without step scores for a solution that has steps.
    """
    _check_blend(alpha, how)
    if not process.steps and (process.prefix is None or process.prefix.steps):
        raise ConfigError(f"{process.by!r} gives no step scores, so it can't be the process of a blend; give a PRM")
    part = reduce(process.steps, how)
    parts = [weight * value for weight, value in ((alpha, outcome.value), (1 - alpha, part)) if weight]
    return replace(
        process,
        value=math.fsum(parts),
        logits=None,
        reduction="outcome",
        by=blend_name(outcome.by, process.by, alpha, how),
        calibrated="",
        checkpoint=joint([outcome.checkpoint, process.checkpoint]),
        prefix=process.prefix or outcome.prefix,
    )


def ensemble(
    members: Sequence[Sequence[Score]],
    how: How = "mean",
    *,
    over: Over = "values",
    penalty: float = 1.0,
    reduction: Reduction | None = None,
) -> list[Combined]:
    """`members[k][i]` is what scorer k thinks of solution i -> one score a solution.

    Over "values" each member's value counts: as it is, or with a `reduction` that of its step scores, where it has any. To
    ask for one is to give up values that are calibrated while their steps are not (see `own_value`). Over
    "steps" the step scores are combined step by step, and then reduced by `reduction` (None: the members' own). "rank"
    is the rank among these solutions (over steps: among all their steps), so they should be all the candidates of one
    problem. What comes out is not calibrated, whatever went in: a mean of probabilities of one thing is not how often it
    happens. ConfigError for members that can't be combined: no step scores, or no common reduction. ValueError for
    lists of different lengths, or scores of one solution with different numbers of steps.
    """
    if not members or len({len(scores) for scores in members}) != 1:
        raise ValueError(f"an ensemble needs one list of scores a member, got {[len(scores) for scores in members]}")
    if over not in OVERS:
        raise ConfigError(f"over={over!r}; expected one of {', '.join(OVERS)}")
    if not members[0]:
        return []
    signed: dict[str, Any] = {
        "by": ensemble_name([scores[0].by for scores in members], how, over, penalty),
        "checkpoint": joint([scores[0].checkpoint for scores in members]),
    }
    if over == "steps":
        return _over_steps(members, how, penalty, reduction, signed)
    valued = [[revalued(score, reduction) for score in scores] for scores in members]
    table = [[score.value for score in scores] for scores in valued]
    values, spread = combine(table, how, penalty=penalty), disagreement(table, how)
    used = {score.reduction for scores in valued for score in scores}
    shared = used.pop() if len(used) == 1 else "outcome"
    return [
        Combined(Score(value=float(value), reduction=shared, prefix=score.prefix, **signed), float(apart))
        for value, apart, score in zip(values, spread, members[0], strict=True)
    ]


def _over_steps(
    members: Sequence[Sequence[Score]], how: How, penalty: float, reduction: Reduction | None, signed: Mapping[str, Any]
) -> list[Combined]:
    used = {score.reduction for scores in members for score in scores}
    chosen = reduction or (used.pop() if len(used) == 1 else None)
    if chosen not in STEP_REDUCTIONS:
        raise ConfigError("an ensemble over steps whose members have no common reduction of steps needs `reduction`")
    lengths = [len(score.steps) for score in members[0]]
    for scores in members:
        found = [len(score.steps) for score in scores]
        if sum(lengths) and not sum(found):
            raise ConfigError(f"{scores[0].by!r} gives no step scores, so its steps can't be combined; use over values")
        if found != lengths:
            raise ValueError(f"{scores[0].by!r} and {members[0][0].by!r} score different numbers of steps")
    table = np.array([[step for score in scores for step in score.steps] for scores in members]).reshape(
        len(members), -1
    )
    cuts = np.cumsum(lengths)[:-1]
    steps = np.split(combine(table, how, penalty=penalty), cuts)
    apart = np.split(disagreement(table, how), cuts)
    values = [[reduce(score.steps, chosen) for score in scores] for scores in members]
    spread = disagreement(values, how)
    return [
        Combined(
            Score(value=reduce(row, chosen), steps=tuple(row), reduction=chosen, prefix=score.prefix, **signed),
            float(sd),
            tuple(sds.tolist()),
        )
        for row, sds, sd, score in zip([row.tolist() for row in steps], apart, spread, members[0], strict=True)
    ]


def ensemble_name(members: Sequence[str], how: How, over: Over, penalty: float) -> str:
    """The name that an ensemble's scores bear: everything that decides them."""
    settings = f" {penalty:g}" if how == "penalised" else ""
    return f"{how}{settings}{' of steps' if over == 'steps' else ''}({', '.join(members)})"


def blend_name(outcome: str, process: str, alpha: float, how: Reduction) -> str:
    """The name that a blend's scores bear."""
    return f"{alpha:g} * {outcome} + {1 - alpha:g} * {how} {process}"


def _check_blend(alpha: float, how: Reduction) -> None:
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha={alpha}: expected a number from 0 to 1")
    if how not in BLENDS:
        raise ConfigError(f"a blend takes the mean or min of the process, not {how!r}")


# Scorers


class Blend:
    """A `Scorer` out of an outcome and a process scorer; see `blend`."""

    def __init__(self, outcome: Scorer, process: Scorer, *, alpha: float = 0.5, how: Reduction = "mean") -> None:
        """ConfigError for alpha outside [0, 1] or another reduction than mean or min."""
        _check_blend(alpha, how)
        self.outcome, self.process, self.alpha, self.how = outcome, process, alpha, how

    @property
    def name(self) -> str:
        """Both scorers, alpha and the reduction."""
        return blend_name(self.outcome.name, self.process.name, self.alpha, self.how)

    def score(self, prefixes: Sequence[Prefix]) -> list[Score]:
        """A blended score a prefix, with the process's step scores."""
        pairs = zip(self.outcome.score(prefixes), self.process.score(prefixes), strict=True)
        return [blend(outcome, process, alpha=self.alpha, how=self.how) for outcome, process in pairs]


class Ensemble:
    """A `Scorer` out of several; see `ensemble`.

    Not by rank: a rank depends on which other solutions are scored in the same call, and a score must not. Give the
    scores of all candidates to the function `ensemble` for that.
    """

    def __init__(
        self,
        members: Sequence[Scorer],
        how: How = "mean",
        *,
        over: Over = "values",
        penalty: float = 1.0,
        reduction: Reduction | None = None,
    ) -> None:
        """ConfigError without members, by rank, or for settings that `ensemble` refuses."""
        if not members:
            raise ConfigError("an ensemble needs at least one scorer")
        if how == "rank":
            raise ConfigError("a rank depends on the other candidates: score them, and give the scores to `ensemble`")
        combine(np.zeros((1, 0)), how, penalty=penalty)
        self.members, self.how, self.over = tuple(members), how, over
        self.penalty, self.reduction = penalty, reduction

    @property
    def name(self) -> str:
        """The members and how they are combined."""
        return ensemble_name([member.name for member in self.members], self.how, self.over, self.penalty)

    def score(self, prefixes: Sequence[Prefix]) -> list[Score]:
        """A score a prefix."""
        return [combined.score for combined in self.combined(prefixes)]

    def combined(self, prefixes: Sequence[Prefix]) -> list[Combined]:
        """The same with the members' disagreement."""
        scores = [member.score(prefixes) for member in self.members]
        return ensemble(scores, self.how, over=self.over, penalty=self.penalty, reduction=self.reduction)
