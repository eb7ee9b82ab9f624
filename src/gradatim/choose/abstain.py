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
SameAnswer = Literal["string", "math"]
SAME_ANSWERS: tuple[str, ...] = get_args(SameAnswer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a rule promises; these are the defaults of `gradatim abstain`."""

    risk: float = 0.1
    promise: Promise = "average"
    doubt: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.risk < 1 or not 0 < self.doubt < 1:
            raise ConfigError(f"risk={self.risk}, doubt={self.doubt}: expected numbers between 0 and 1")


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
    risk: float | None = None
    """The promise, as a share of problems (default: .1)."""
    promise: Promise | None = None
    """"average" (default): at most `risk` of all problems get a wrong answer, on average. "sure": at most `risk` of the
    answered ones are wrong, with probability 1 - doubt."""
    doubt: float | None = None
    """The chance that a "sure" promise is broken (default: .1)."""
    rule: str | None = None
    """Apply this rule (what --out wrote before), instead of setting one; what it promises is fixed."""
    same_answer: SameAnswer = "string"
    """When two answers are one: the same text, or mathematically equivalent. A rule is for one of the two."""
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
        if self.rule is not None and self._asked:
            given = " and ".join(f"{name}={value}" for name, value in self._asked.items())
            raise ConfigError(f"{given} beside a rule, whose promise is fixed; leave it out, or set another rule")
        Terms(**self._asked)
        if self.reduction is not None and self.scores is None:
            raise ConfigError(f"reduction={self.reduction} without scores to reduce: give --scores")
        if self.same_answer not in SAME_ANSWERS:
            raise ConfigError(f"same_answer={self.same_answer}: expected {' or '.join(SAME_ANSWERS)}")
        if self.resplits < 1:
            raise ConfigError(f"resplits={self.resplits}: expected at least 1")

    @property
    def terms(self) -> Terms:
        """What is promised, defaults filled in. ConfigError for numbers out of range."""
        return Terms(**self._asked)

    @property
    def _asked(self) -> dict[str, Any]:
        given = {"risk": self.risk, "promise": self.promise, "doubt": self.doubt}
        return {name: value for name, value in given.items() if value is not None}


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
    same_answer: SameAnswer | None
    """When two answers were one; None for best_of_n, which groups no answers."""
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
    ConfigError, before any work, if `config.out` can't be written or would replace what is read.
    """
    if config.out is not None:
        records.check_output(config.out, [config.pool, config.scores, config.rule], rows=config.rule is not None)
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
    if config.rule is not None:
        return _applied(config, pool, taken, method, first, drops)
    terms = config.terms
    if terms.promise == "sure" and any(not (0 <= one.confidence <= 1) for one in taken if one.choice):
        raise ConfigError(
            "a sure promise needs confidences from 0 to 1: calibrate the values (gradatim calibrate --pool)"
        )
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
        same_answer=_grouping(config),
        risk=terms.risk,
        promise=terms.promise,
        doubt=terms.doubt if terms.promise == "sure" else None,
        threshold=_threshold(terms, _confidence(taken), _wrong(taken)),
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
    random, terms = np.random.default_rng(config.seed), config.terms
    rows = []
    for _ in range(config.resplits):
        order = random.permutation(len(wrong))
        chosen, held = order[: len(order) // 2], order[len(order) // 2 :]
        threshold = _threshold(terms, confidence[chosen], wrong[chosen])
        answered = confidence[held] > threshold
        errors = float(np.sum(answered & wrong[held]))
        rate = errors / answered.sum() if answered.any() else 0.0
        rows.append((errors / len(held), rate, float(answered.mean()), float(rate > terms.risk)))
    columns = np.array(rows).T
    names = ("wrong_of_all", "wrong_of_answered", "answered")
    found: dict[str, Any] = {name: _over(column) for name, column in zip(names, columns, strict=False)}
    return {**found, "broken": float(columns[3].mean())}


def _threshold(terms: Terms, confidence: Floats, wrong: NDArray[np.bool_]) -> float:
    if terms.promise == "average":
        return stats.at_most(confidence, wrong, terms.risk)
    return stats.surest(confidence, wrong, terms.risk, terms.doubt)


def _grouping(config: AbstainConfig) -> SameAnswer | None:
    return None if config.chooser == "best_of_n" else config.same_answer


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
    """What `write_rule` wrote; InputError for anything else, also for a rule of votes that does not say when two answers
    are one: its threshold means nothing under the other grouping."""
    rows = list(records.read_rows(path))
    if len(rows) != 1 or records.schema_of(rows[0]) != "abstention":
        raise InputError("no rule", expected="one object of gradatim.abstention/1", file=path)
    row = rows[0]
    given, ends = row.data.get("threshold"), {"always": -math.inf, "never": math.inf}
    doubt = row.number("doubt", row.data.get("doubt"))
    threshold = ends[given] if isinstance(given, str) and given in ends else row.number("threshold", given)
    if math.isnan(threshold):
        raise row.error(f"threshold: {records.shown(given)}", expected='threshold: a number, "always" or "never"')
    chooser, grouping = cast(By, row.choice("chooser", BYS, "")), row.choice("same_answer", SAME_ANSWERS, "")
    if chooser != "best_of_n" and not grouping:
        fix = "set the rule again (gradatim abstain without --rule)"
        raise row.error("no 'same_answer'", expected=f"same_answer: one of {', '.join(SAME_ANSWERS)}", fix=fix)
    return AbstainRule(
        chooser=chooser,
        scorer=row.optional_text("scorer") or "",
        checkpoint=row.optional_text("checkpoint") or "",
        reduction=cast(Any, row.choice("reduction", REDUCTIONS, "")) or None,
        calibrated=row.optional_text("calibrated") or "",
        same_answer=cast(Any, grouping) or None,
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
    ours = {
        "chooser": config.chooser,
        "scorer": method.scorer if method else "",
        "reduction": method.reduction if method else None,
        "calibrated": first.calibrated if first else "",
        "same_answer": _grouping(config),
    }
    other = {name: (getattr(rule, name), value) for name, value in ours.items() if getattr(rule, name) != value}
    if other:
        theirs, mine = (", ".join(f"{name}={pair[k] or 'none'}" for name, pair in other.items()) for k in (0, 1))
        raise ConfigError(f"a rule for {theirs} can't take {mine}; ask for what it was set on, or set another")
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
