"""Recorded scores of a pool, combined: `gradatim combine` writes them as a score file, `gradatim choose` uses them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gradatim import records
from gradatim.core import REDUCTIONS, Reduction, Score
from gradatim.errors import ConfigError
from gradatim.problems.pool_scores import PoolScores, read_pool_scores
from gradatim.problems.pools import read_pool
from gradatim.score.combine import BLENDS, HOWS, OVERS, Combined, How, Over, blend, ensemble, own_value, revalued
from gradatim.score.reduce import STEP_REDUCTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How recorded scorers are combined."""

    ensemble: tuple[How, ...] = ()
    """Combine all scorers: mean, worst (the smallest), penalised (mean - penalty * variance) or rank (mean rank among the
    candidates of a problem). All but rank need scorers on one scale."""
    over: Over = "values"
    """What an ensemble combines: each scorer's values, or step scores, which are reduced afterwards. A value that was
    calibrated to answers, or blended, is kept, unless a reduction is asked for."""
    penalty: float = 1.0
    """lambda of penalised."""
    outcome: str | None = None
    """Name of the scorer whose recorded values are the outcome: each other scorer becomes alpha * outcome + (1 - alpha) *
    the mean or min of its step scores."""
    alpha: float = 0.5
    """Weight of the outcome in a blend."""

    def __post_init__(self) -> None:
        if any(how not in HOWS for how in self.ensemble):
            raise ConfigError(f"ensemble={', '.join(self.ensemble)}: expected some of {', '.join(HOWS)}")
        if self.over not in OVERS:
            raise ConfigError(f"over={self.over}: expected one of {', '.join(OVERS)}")
        if not (math.isfinite(self.penalty) and self.penalty >= 0):
            raise ConfigError(f"penalty={self.penalty}: expected a number from 0 on")
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha={self.alpha}: expected a number from 0 to 1")

    @property
    def asked(self) -> bool:
        """Whether anything is to be combined."""
        return bool(self.ensemble) or self.outcome is not None


@dataclass(frozen=True, slots=True)
class Mixed:
    """One combination of a pool's scorers under one reduction."""

    scores: PoolScores
    """As if it were a scorer of its own; its values are made with `scores.reduction` of `reduction`."""
    reduction: Reduction
    """What was done to step scores on the way."""
    disagreement: tuple[tuple[float, ...], ...] | None = None
    """For each candidate the standard deviation over the members; None for a blend."""


def mixed(
    scored: Sequence[PoolScores], mix: Mix, reductions: Sequence[Reduction], *, asked: bool = True
) -> list[Mixed]:
    """The ensembles and blends that `mix` asks for, under each of the reductions (blends: those that are mean or min).

    A scorer without step scores takes part in an ensemble of values with the values it has. So does one whose values are
    its own (calibrated to answers, or a blend's), unless the reductions were `asked` for: then its steps are reduced like
    all others, and `kept_values` says so. ConfigError where something can't be combined: fewer than two scorers, no step
    scores where they are needed, or no scorer of the asked name.
    """
    if not mix.asked:
        return []
    if len(scored) < 2:
        raise ConfigError(f"{len(scored)} scorer to combine; give the scores of at least two")
    steps = [how for how in reductions if how in STEP_REDUCTIONS] or list(reductions[:1])
    reduced = mix.over == "steps" or any(s.has_steps and not keeps_value(s, mix, asked=asked) for s in scored)
    hows: list[Reduction] = steps if asked or reduced else ["outcome"]
    ensembles = (_ensemble(scored, how, mix, by, asked) for how in mix.ensemble for by in hows)
    return [*_blends(scored, mix, steps), *ensembles]


def keeps_value(scores: PoolScores, mix: Mix, *, asked: bool) -> bool:
    """Whether an ensemble takes these scores' own values although there are steps to reduce."""
    return mix.over == "values" and not asked and own_value(scores.reduction, steps=scores.has_steps)


def kept_values(scored: Sequence[PoolScores], mix: Mix, *, asked: bool) -> list[str]:
    """Notes on the scorers whose values no reduction of their steps gives, and what became of those."""
    if not mix.ensemble:
        return []
    names = [scores.scorer for scores in scored if own_value(scores.reduction, steps=scores.has_steps)]
    if mix.over == "steps" or asked:
        return [f"{name}: combined by its steps; its own values (calibrated or blended) are not used" for name in names]
    return [f"{name}: its own values (calibrated or blended) are combined, not its steps" for name in names]


def member_scores(scores: PoolScores, p: int, mix: Mix, reduction: Reduction, *, asked: bool) -> list[Score]:
    """One problem's scores as an ensemble of values takes them."""
    how = None if keeps_value(scores, mix, asked=asked) else reduction
    return [revalued(score, how) for score in scores.scores[p]]


def _ensemble(scored: Sequence[PoolScores], how: How, mix: Mix, reduction: Reduction, asked: bool) -> Mixed:
    problems: list[list[Combined]] = []
    for p in range(len(scored[0].scores)):
        if mix.over == "steps":
            members = [list(scores.scores[p]) for scores in scored]
            problems.append(ensemble(members, how, over="steps", penalty=mix.penalty, reduction=reduction))
        else:
            members = [member_scores(scores, p, mix, reduction, asked=asked) for scores in scored]
            problems.append(ensemble(members, how, penalty=mix.penalty))
    gathered = PoolScores(
        scorer=problems[0][0].score.by,
        scores=tuple(tuple(one.score for one in problem) for problem in problems),
        reduction=problems[0][0].score.reduction,
        has_steps=mix.over == "steps",
    )
    return Mixed(gathered, reduction, tuple(tuple(one.disagreement for one in problem) for problem in problems))


def _blends(scored: Sequence[PoolScores], mix: Mix, reductions: Sequence[Reduction]) -> list[Mixed]:
    if mix.outcome is None:
        return []
    outcome = next((scores for scores in scored if scores.scorer == mix.outcome), None)
    names = ", ".join(scores.scorer for scores in scored)
    if outcome is None:
        raise ConfigError(f"outcome={mix.outcome}: no such scorer; expected one of {names}")
    if outcome.reduction is None:
        raise ConfigError(f"outcome={mix.outcome}: it has step scores only; expected a scorer with recorded values")
    hows = [how for how in reductions if how in BLENDS]
    if not hows:
        raise ConfigError(f"a blend takes the mean or min of the process, not {', '.join(reductions)}")
    found = []
    for process in scored:
        for how in hows if process is not outcome else ():
            blended = tuple(
                tuple(blend(*pair, alpha=mix.alpha, how=how) for pair in zip(*problem, strict=True))
                for problem in zip(outcome.scores, process.scores, strict=True)
            )
            found.append(Mixed(PoolScores(blended[0][0].by, blended, "outcome", process.has_steps), how))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CombineConfig:
    """`gradatim combine`: which scores of which pool, how, and where to."""

    pool: str
    """The solutions that were scored: the public pool format, our own rows or plain ones."""
    scores: tuple[str, ...]
    """Files of their scores, by at least two scorers."""
    out: str
    """Where to write the combined scores, as rows that `choose`, `explain` and `evaluate` read."""
    mix: Mix = field(default_factory=Mix)
    """How they are combined."""
    reduction: Reduction | None = None
    """How step scores become one value (default: min, but a value that was calibrated to answers, or blended, stays)."""
    skip_bad: bool = False
    """Drop and count rows that can't be read, and candidates that some scorer has no score for."""

    def __post_init__(self) -> None:
        if not self.mix.asked:
            raise ConfigError("nothing to combine by: give --ensemble or --outcome")
        if self.reduction is not None and self.reduction not in REDUCTIONS:
            raise ConfigError(f"reduction={self.reduction}: expected one of {', '.join(REDUCTIONS)}")


def combine_stage(config: CombineConfig) -> dict[str, Any]:
    """Combine recorded scores and write them; returns what `gradatim combine --json` prints. ConfigError, before any work,
    if `config.out` can't be written or would replace what is read."""
    records.check_output(config.out, [config.pool, *config.scores])
    drops = Counter[str]()
    pool = read_pool(config.pool, skip_bad=config.skip_bad, drops=drops)
    pool, scored = read_pool_scores(pool, config.scores, skip_bad=config.skip_bad, drops=drops)
    asked = config.reduction is not None
    made = mixed(scored, config.mix, [config.reduction or "min"], asked=asked)
    signed = [
        (candidate.solution.id, score)
        for one in made
        for problem, scores in zip(pool.problems, one.scores.scores, strict=True)
        for candidate, score in zip(problem.candidates, scores, strict=True)
    ]
    written = records.write_scores(config.out, signed)
    return {
        "scorers": [scores.scorer for scores in scored],
        "combined": [{"scorer": one.scores.scorer, "disagreement": mean_disagreement(one)} for one in made],
        "scores": written,
        "notes": kept_values(scored, config.mix, asked=asked),
        "drops": dict(drops),
        "out": config.out,
    }


def mean_disagreement(mixed: Mixed) -> float | None:
    """The mean over candidates of the members' standard deviation; None for a blend, or where nothing is known."""
    if mixed.disagreement is None:
        return None
    known = [value for problem in mixed.disagreement for value in problem if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else None
