"""`gradatim abstain`: answer only where it is sure enough, at a risk that is promised.

A pool's problems with verdicts set a threshold on the confidence of what a chooser takes: the share of the votes (majority),
the share of the weights (weighted majority) or the value of the candidate (best-of-n). Two promises:

- "average" (conformal risk control): of all problems at most `risk` get a wrong answer, on average over the problems that
  the threshold was set on;
- "sure" (Learn then Test, exact binomial): of the *answered* problems at most `risk` are wrong, with probability
  1 - `doubt` over the problems that the threshold was set on.

Both assume that those problems and the new ones are exchangeable, with candidates by the same policy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from gradatim import records, stats
from gradatim.choose.choosers import Choice, Same, best_of_n, group_answers, majority, weighted_majority
from gradatim.choose.measure import Method, reduced, usable
from gradatim.choose.stage import sameness
from gradatim.core import REDUCTIONS, Reduction, Score
from gradatim.errors import ConfigError, InputError
from gradatim.problems.pool_scores import read_pool_scores
from gradatim.problems.pools import Pool, PoolProblem, read_pool
from gradatim.score.signature import same_model

Floats = NDArray[np.float64]
By = Literal["majority", "weighted_majority", "best_of_n"]
BYS: tuple[str, ...] = get_args(By)
Promise = Literal["average", "sure"]
PROMISES: tuple[str, ...] = get_args(Promise)


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstainConfig:
    """`gradatim abstain`."""

    pool: str
    """Solutions to choose among; with verdicts, unless --rule is given."""
    scores: str | None = None
    """Their scores by one scorer; majority needs none."""
    chooser: By = "majority"
    """What takes one candidate of each problem: majority, weighted_majority or best_of_n."""
    reduction: Reduction | None = None
    """How step scores become one value (default: the recorded one, or min)."""
    risk: float = 0.1
    """The promise, as a share of problems."""
    promise: Promise = "average"
    """"average": at most `risk` of all problems get a wrong answer, on average. "sure": at most `risk` of the answered ones
    are wrong, with probability 1 - doubt."""
    doubt: float = 0.1
    """The chance that a "sure" promise is broken."""
    rule: str | None = None
    """Apply this rule (what --out wrote before), instead of setting one."""
    same_answer: Literal["string", "math"] = "string"
    """When two answers are one: the same text, or mathematically equivalent."""
    resplits: int = 200
    """How often the problems are split in halves, to set a threshold on one and check it on the other."""
    seed: int = 0
    """Of the splits."""
    out: str | None = None
    """Write the rule there; with --rule the choices, a row a problem."""
    skip_bad: bool = False
    """Drop and count rows that can't be read, and candidates without a score."""

    def __post_init__(self) -> None:
        if (self.chooser == "majority") != (self.scores is None):
            raise ConfigError("majority takes no scores, the other choosers need --scores")
        if not 0 < self.risk < 1 or not 0 < self.doubt < 1:
            raise ConfigError(f"risk={self.risk}, doubt={self.doubt}: expected numbers between 0 and 1")
        if self.reduction is not None and self.scores is None:
            raise ConfigError(f"reduction={self.reduction} without scores to reduce: give --scores")
        if self.resplits < 1:
            raise ConfigError(f"resplits={self.resplits}: expected at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstainRule:
    """When to answer: above the threshold."""

    chooser: By
    scorer: str
    """Whose scores the chooser takes; empty for majority."""
    checkpoint: str = ""
    """The model behind that name; empty where the scores that it was set on did not say."""
    reduction: Reduction | None
    calibrated: str
    risk: float
    promise: Promise
    doubt: float | None
    """Of "sure"."""
    threshold: float
    """-inf: always answer; inf: never."""
    problems: int
    """That it was set on."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What the chooser took of one problem, and how sure it is."""

    problem: str
    choice: Choice | None
    confidence: float
    """NaN without a choice."""
    wrong: bool
    """Whether the choice is not correct; meaningful only with verdicts."""


def abstain_stage(config: AbstainConfig) -> dict[str, Any]:
    """Set a threshold and check it on resplits, or apply one; returns what `gradatim abstain --json` prints.

    Each of `wrong_of_all`, `wrong_of_answered` and `answered` is a mean over resplits with its standard error
    (`monte_carlo`) and their standard deviation (`spread`); `broken` is the share of resplits in which more than `risk` of
    the held-out half's answered problems were wrong, which is more often than the promise is broken, as a half is small.
    """
    drops = Counter[str]()
    pool = read_pool(config.pool, skip_bad=config.skip_bad, drops=drops)
    method, first = None, None
    if config.scores is not None:
        pool, scored = read_pool_scores(pool, [config.scores], skip_bad=config.skip_bad, drops=drops)
        if len(scored) != 1:
            names = ", ".join(one.scorer for one in scored)
            raise InputError(f"scores by {names}", expected="one scorer", file=config.scores)
        how = config.reduction or scored[0].reduction or "min"
        usable(scored[0], [how])
        method, first = reduced(scored[0], how), scored[0].scores[0][0]
    with sameness(config.same_answer) as same:
        taken = [_taken(problem, p, config.chooser, method, same) for p, problem in enumerate(pool.problems)]
    if config.promise == "sure" and any(not (0 <= one.confidence <= 1) for one in taken if one.choice):
        raise ConfigError(
            "a sure promise needs confidences from 0 to 1: calibrate the values (gradatim calibrate --pool)"
        )
    if config.rule is not None:
        return _applied(config, pool, taken, method, first, drops)
    bare = sum(not problem.has_gold for problem in pool.problems)
    if bare or len(taken) < 2:
        there = f"{len(taken)} problems, {bare} of them without verdicts"
        raise InputError(there, expected="at least two problems, all with verdicts", file=config.pool)
    rule = AbstainRule(
        chooser=config.chooser,
        scorer=method.scorer if method else "",
        checkpoint=first.checkpoint if first else "",
        reduction=method.reduction if method else None,
        calibrated=first.calibrated if first else "",
        risk=config.risk,
        promise=config.promise,
        doubt=config.doubt if config.promise == "sure" else None,
        threshold=_threshold(config, _confidence(taken), _wrong(taken)),
        problems=len(taken),
    )
    if config.out is not None:
        write_rule(config.out, rule)
    checked = resplit(config, _confidence(taken), _wrong(taken))
    told = {name: getattr(rule, name) for name in rule.__dataclass_fields__}
    shown = {**told, "threshold": _finite(rule.threshold), "always": rule.threshold == -math.inf}
    share = float(np.mean(_wrong(taken)))
    return {**shown, "wrong_if_always": share, **checked, "resplits": config.resplits, "seed": config.seed} | {
        "out": config.out,
        "drops": dict(drops),
    }


def resplit(config: AbstainConfig, confidence: Floats, wrong: NDArray[np.bool_]) -> dict[str, Any]:
    """What the threshold set on one half of the problems does on the other, over random splits."""
    random = np.random.default_rng(config.seed)
    rows = []
    for _ in range(config.resplits):
        order = random.permutation(len(wrong))
        chosen, held = order[: len(order) // 2], order[len(order) // 2 :]
        threshold = _threshold(config, confidence[chosen], wrong[chosen])
        answered = confidence[held] > threshold
        errors = float(np.sum(answered & wrong[held]))
        rate = errors / answered.sum() if answered.any() else 0.0
        rows.append((errors / len(held), rate, float(answered.mean()), float(rate > config.risk)))
    columns = np.array(rows).T
    names = ("wrong_of_all", "wrong_of_answered", "answered")
    found: dict[str, Any] = {name: _over(column) for name, column in zip(names, columns, strict=False)}
    return {**found, "broken": float(columns[3].mean())}


def _threshold(config: AbstainConfig, confidence: Floats, wrong: NDArray[np.bool_]) -> float:
    if config.promise == "average":
        return stats.at_most(confidence, wrong, config.risk)
    return stats.surest(confidence, wrong, config.risk, config.doubt)


def _over(values: Floats) -> dict[str, float]:
    spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return {"value": float(values.mean()), "monte_carlo": spread / math.sqrt(len(values)), "spread": spread}


def _taken(problem: PoolProblem, place: int, chooser: By, method: Method | None, same: Same | None) -> Taken:
    answers = [one.solution.answer for one in problem.candidates]
    values = [1.0] * len(answers) if method is None else list(method.values[place])
    if chooser == "best_of_n":
        choice = best_of_n(values, answers)
        sure = math.nan if choice is None else choice.value
    else:
        choice = majority(answers, same) if chooser == "majority" else weighted_majority(values, answers, same)
        sure = math.nan if choice is None else _share(choice, values, answers, same)
    right = choice is not None and problem.candidates[choice.index].correct is True
    return Taken(problem.id, choice, sure, not right)


def _share(choice: Choice, values: Sequence[float], answers: Sequence[str | None], same: Same | None) -> float:
    """The chosen answer's part of all weights; unread answers count against it. ConfigError for negative weights."""
    if min(values) < 0:
        raise ConfigError(
            "weighted majority with negative values has no share of the weights; calibrate the scores first"
        )
    groups = group_answers(answers, same)
    mine = math.fsum(v for v, group in zip(values, groups, strict=True) if group == groups[choice.index] and v == v)
    total = math.fsum(v for v in values if v == v)
    return mine / total if total else 0.0


def _confidence(taken: Sequence[Taken]) -> Floats:
    return np.array([one.confidence for one in taken], dtype=np.float64)


def _wrong(taken: Sequence[Taken]) -> NDArray[np.bool_]:
    return np.array([one.wrong for one in taken], dtype=bool)


# Rules in files, and applied


def write_rule(path: str | Path, rule: AbstainRule) -> None:
    """Write it as one JSON object; an infinite threshold is "always" or "never"."""
    row = {name: getattr(rule, name) for name in rule.__dataclass_fields__}
    told = {-math.inf: "always", math.inf: "never"}.get(rule.threshold, rule.threshold)
    records.write_rows(path, [{"schema": "gradatim.abstention/1", **row, "threshold": told}])


def read_rule(path: str | Path) -> AbstainRule:
    """What `write_rule` wrote; InputError for anything else."""
    rows = list(records.read_rows(path))
    if len(rows) != 1 or records.schema_of(rows[0]) != "abstention":
        raise InputError("no rule", expected="one object of gradatim.abstention/1", file=path)
    row = rows[0]
    given, ends = row.data.get("threshold"), {"always": -math.inf, "never": math.inf}
    doubt = row.number("doubt", row.data.get("doubt"))
    threshold = ends[given] if isinstance(given, str) and given in ends else row.number("threshold", given)
    if math.isnan(threshold):
        raise row.error(f"threshold: {records.shown(given)}", expected='threshold: a number, "always" or "never"')
    return AbstainRule(
        chooser=cast(By, row.choice("chooser", BYS, "")),
        scorer=row.optional_text("scorer") or "",
        checkpoint=row.optional_text("checkpoint") or "",
        reduction=cast(Any, row.choice("reduction", REDUCTIONS, "")) or None,
        calibrated=row.optional_text("calibrated") or "",
        risk=row.number("risk", row.data.get("risk")),
        promise=cast(Promise, row.choice("promise", PROMISES, "")),
        doubt=None if math.isnan(doubt) else doubt,
        threshold=threshold,
        problems=row.count("problems") or 0,
    )


def _applied(
    config: AbstainConfig,
    pool: Pool,
    taken: Sequence[Taken],
    method: Method | None,
    first: Score | None,
    drops: Counter[str],
) -> dict[str, Any]:
    rule = read_rule(str(config.rule))
    theirs = (rule.chooser, rule.scorer, rule.reduction, rule.calibrated)
    ours = (
        config.chooser,
        method.scorer if method else "",
        method.reduction if method else None,
        first.calibrated if first else "",
    )
    if theirs != ours:
        raise ConfigError(f"a rule for {theirs} can't take {ours} (chooser, scorer, reduction, calibration)")
    notes: tuple[str, ...] = ()
    if first is not None:
        remedy = "set one for this model (gradatim abstain without --rule)"
        notes = same_model("a rule", (rule.scorer, rule.checkpoint), (first.by, first.checkpoint), remedy)
    choices = []
    for problem, one in zip(pool.problems, taken, strict=True):
        answered = one.choice is not None and one.confidence > rule.threshold
        candidate = problem.candidates[one.choice.index].index if answered and one.choice else None
        answer = one.choice.answer if answered and one.choice else None
        row = {"problem_id": one.problem, "answered": answered, "candidate": candidate, "answer": answer}
        choices.append({**row, "confidence": None if math.isnan(one.confidence) else one.confidence})
    if config.out is not None:
        records.write_rows(config.out, choices)
    told = {name: getattr(rule, name) for name in ("chooser", "scorer", "risk", "promise", "doubt", "problems")}
    return {"choices": choices, **told, "out": config.out, "notes": list(notes), "drops": dict(drops)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
