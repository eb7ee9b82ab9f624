"""`gradatim conformal`: sets of places where the first error may be, that miss the true one no more often than promised.

Step scores p_t, read as the chance that step t is valid after valid steps, say where the first error is: at t with
probability (1 - p_t) prod_{s<t} p_s, nowhere with prod p_s. A set holds every place (None: nowhere) whose probability is
at least a share of the likeliest place's. The share is set on labelled problems so that the promise holds however wrong
the probabilities are: bad scores give large sets, never broken promises. It assumes that the labelled problems and the
new one are exchangeable, with solutions by the same policy; the promise is about a random solution of a random problem,
on average over what it was set on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradatim import records, stats
from gradatim.core import Score
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate.items import Labelled, LabelledSource, listed, read_labelled
from gradatim.labels.datasets import solutions_beside
from gradatim.score.signature import same_model
from gradatim.score.stage import CountingScorer

Floats = NDArray[np.float64]
Class = Literal["error", "none"]
CLASSES: tuple[Class, ...] = ("error", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformalConfig:
    """`gradatim conformal`."""

    scores: str | None = None
    """Step scores by one scorer, of the labelled solutions; with --rule of any solutions."""
    model: str | None = None
    """A reward model that scores the labelled solutions, instead of recorded scores."""
    labels: str | None = None
    """Labelled solutions whose first errors are known, as `gradatim train --data` reads them: set the rule on them."""
    rule: str | None = None
    """Apply this rule (what --out wrote before) to the scores, instead of setting one."""
    miss: float = 0.1
    """The promise: a set leaves out the true place with at most this probability."""
    by_class: bool = False
    """Promise it for solutions with an error and for those without, each by itself: larger sets."""
    resplits: int = 200
    """How often the problems are split in halves, to set a rule on one and count its misses on the other."""
    seed: int = 0
    """Of the splits."""
    problems: int | None = None
    """Only the first so many labelled problems."""
    keep_scores: str | None = None
    """Write the model's scores there, for other commands."""
    out: str | None = None
    """Write the rule, set on all problems, there; with --rule the sets, a row a solution."""
    skip_bad: bool = False
    """Drop rows that can't be read and solutions without a score, and count them, instead of stopping at the first."""

    def __post_init__(self) -> None:
        if (self.labels is None) == (self.rule is None):
            raise ConfigError("give either --labels, to set a rule, or --rule, to apply one")
        if (self.model is None) == (self.scores is None):
            raise ConfigError("give either --model or --scores, and not both")
        if self.rule is not None and self.scores is None:
            raise ConfigError("a rule is applied to recorded scores; give --scores")
        if self.rule is not None and (self.miss, self.by_class, self.problems) != (0.1, False, None):
            raise ConfigError("--miss, --by-class and --problems are about setting a rule; --rule applies one as it is")
        if self.keep_scores is not None and self.model is None:
            raise ConfigError("--keep-scores writes what a --model says; recorded scores are there already")
        if not 0 < self.miss < 1:
            raise ConfigError(f"miss={self.miss}: expected a probability between 0 and 1")
        if self.resplits < 1:
            raise ConfigError(f"resplits={self.resplits}: expected at least 1")
        if self.problems is not None and self.problems < 1:
            raise ConfigError(f"problems={self.problems}: expected at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRule:
    """What decides which places a set holds."""

    scorer: str
    checkpoint: str = ""
    """The model behind that name; empty where the scores that it was set on did not say."""
    calibrated: str
    """How its scores were calibrated; empty: not."""
    miss: float
    by_class: bool
    thresholds: Mapping[Class, float]
    """How unlikely a place may be, as `strangeness`, if it is a step and if it is "nowhere"."""
    target: str
    """Whose word on first errors, for solutions by whom."""
    problems: int
    """That it was set on."""

    def places(self, score: Score) -> tuple[int | None, ...]:
        """The set for a solution, ascending, None (no error) last. ConfigError for other scores than it was set on."""
        self.fits(score)
        found = strangeness(score.steps)
        last = len(score.steps)
        limits = [self.thresholds["error" if place < last else "none"] for place in range(last + 1)]
        held = [place for place, limit in enumerate(limits) if math.isfinite(found[place]) and found[place] <= limit]
        return tuple(place if place < last else None for place in held)

    def fits(self, score: Score) -> tuple[str, ...]:
        """Check that it is a score of the kind that the rule was set on; ConfigError, or notes, as `same_model`."""
        theirs, ours = (one or "not calibrated" for one in (self.calibrated, score.calibrated))
        if theirs != ours:
            raise ConfigError(
                f"a rule for scores by {self.scorer!r} ({theirs}) can't take scores by {score.by!r} ({ours})"
            )
        remedy = "set one for this model (gradatim conformal --labels)"
        return same_model("a rule", (self.scorer, self.checkpoint), (score.by, score.checkpoint), remedy)


def strangeness(steps: Sequence[float]) -> Floats:
    """(steps + 1,): how much less likely than the likeliest place the first error is there, as 1 - ratio in [0, 1].

    The last entry is "nowhere". A step without a score (NaN, an observation) can't be the first error and has infinity.
    """
    chances, alive = [], 1.0
    for value in steps:
        if not (math.isnan(value) or 0 <= value <= 1):
            raise InputError(
                f"a step score of {value:g}", expected="probabilities", fix="calibrate the scores (gradatim calibrate)"
            )
        chances.append(-math.inf if math.isnan(value) else alive * (1 - value))
        alive *= 1.0 if math.isnan(value) else value
    likely = np.array([*chances, alive])
    return np.asarray(1 - likely / likely.max(), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Truths:
    """Solutions whose first errors are known: all that setting and checking a rule needs."""

    problems: tuple[str, ...]
    strange: tuple[Floats, ...]
    places: NDArray[np.int64]
    """The true place, as an index into `strange`."""

    @property
    def classes(self) -> list[Class]:
        ends = [len(one) - 1 for one in self.strange]
        return ["none" if place == end else "error" for place, end in zip(self.places.tolist(), ends, strict=True)]

    @property
    def values(self) -> Floats:
        """The strangeness of the truth."""
        return np.array([one[place] for one, place in zip(self.strange, self.places.tolist(), strict=True)])


def conformal_stage(
    config: ConformalConfig, scorer: CountingScorer | None = None, *, quiet: bool = False
) -> dict[str, Any]:
    """Set a rule and check it, or apply one; returns what `gradatim conformal --json` prints.

    Set: `coverage` is the mean over resplits of the share of held-out solutions (a mean over problems) whose set holds the
    true place; `monte_carlo` its standard error over resplits, `spread` their standard deviation. `scorer` is what
    `config.model` names, loaded by the caller. ConfigError, before any work, if an output can't be written or would replace
    what is read.
    """
    _check_outputs(config)
    drops = Counter[str]()
    if config.rule is not None:
        return _applied(config, drops)
    source = LabelledSource(
        labels=str(config.labels),
        scores=config.scores,
        keep_scores=config.keep_scores,
        problems=config.problems,
        skip_bad=config.skip_bad,
    )
    rows = read_labelled(source, scorer, drops, quiet=quiet)
    rows, truths = _known(rows, drops)
    rule = SetRule(
        scorer=rows[0].score.by,
        checkpoint=rows[0].score.checkpoint,
        calibrated=rows[0].score.calibrated,
        miss=config.miss,
        by_class=config.by_class,
        thresholds=thresholds(truths, np.ones(len(rows), dtype=bool), config.miss, config.by_class),
        target=_target(rows),
        problems=len(set(truths.problems)),
    )
    if config.out is not None:
        write_rule(config.out, rule)
    checked = resplit(truths, config.miss, by_class=config.by_class, count=config.resplits, seed=config.seed)
    facts = {"solutions": len(rows), "problems": rule.problems, "resplits": config.resplits, "seed": config.seed}
    told = {"scorer": rule.scorer, "target": rule.target, "calibrated": rule.calibrated, "nominal": 1 - config.miss}
    return {**told, **checked, "thresholds": _shown(rule.thresholds), **facts, "out": config.out, "drops": dict(drops)}


def _check_outputs(config: ConformalConfig) -> None:
    if config.rule is not None:
        records.check_outputs([config.out], [config.scores, config.rule])
        return
    read = [config.scores, config.labels, *solutions_beside(str(config.labels))]
    records.check_outputs([config.keep_scores], read, [config.out])


def thresholds(truths: Truths, chosen: NDArray[np.bool_], miss: float, by_class: bool) -> dict[Class, float]:
    """The thresholds set on the chosen solutions; infinite (everything is in the set) where they are too few."""
    values, classes = truths.values, np.array(truths.classes)
    found: dict[Class, float] = {}
    for kind in CLASSES:
        mine = np.flatnonzero(chosen & (classes == kind) if by_class else chosen)
        found[kind] = stats.quantile_by_problem(values[mine], [truths.problems[index] for index in mine], miss)
    return found


def resplit(truths: Truths, miss: float, *, by_class: bool, count: int, seed: int) -> dict[str, Any]:
    """Coverage and size of the sets on held-out halves of the problems, over `count` random splits."""
    names = sorted(set(truths.problems))
    if len(names) < 2:
        raise InputError(
            f"{len(names)} problem", expected="at least two, to set a rule on one and check it on the other"
        )
    place = {name: index for index, name in enumerate(names)}
    of = np.array([place[name] for name in truths.problems])
    weight = 1 / np.bincount(of)[of]
    steps, nowhere = _table(truths)
    values, classes = truths.values, np.array(truths.classes)
    random, found = np.random.default_rng(seed), []
    for _ in range(count):
        held = np.ones(len(names), dtype=bool)
        held[random.permutation(len(names))[: len(names) // 2]] = False
        tested = held[of]
        cut = thresholds(truths, ~tested, miss, by_class)
        covered = values <= np.where(classes == "none", cut["none"], cut["error"])
        size = np.sum(np.isfinite(steps) & (steps <= cut["error"]), axis=1) + (nowhere <= cut["none"])
        parts = {"coverage": covered, "size": size, "single": size == 1}
        row = {name: _mean(column, weight, tested) for name, column in parts.items()}
        row |= {f"coverage_{kind}": _mean(covered, weight, tested & (classes == kind)) for kind in CLASSES}
        found.append(row)
    return {name: _over(np.array([row[name] for row in found])) for name in found[0]}


def _table(truths: Truths) -> tuple[Floats, Floats]:
    """(solutions, most steps), padded with infinity, and (solutions,): how strange each step and "nowhere" are."""
    most = max(len(one) - 1 for one in truths.strange)
    steps = np.full((len(truths.strange), most), np.inf)
    for row, one in zip(steps, truths.strange, strict=True):
        row[: len(one) - 1] = one[:-1]
    return steps, np.array([one[-1] for one in truths.strange])


def _mean(column: NDArray[Any], weight: Floats, chosen: NDArray[np.bool_]) -> float:
    """The mean over problems of the mean over their solutions; within a class, of its solutions as they are weighted."""
    total = float(weight[chosen].sum())
    return float((weight * column)[chosen].sum() / total) if total else math.nan


def _over(values: Floats) -> dict[str, float]:
    """A mean over resplits, its standard error and their standard deviation."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return {"value": float(known.mean()) if len(known) else math.nan, "monte_carlo": math.nan, "spread": math.nan}
    spread = float(known.std(ddof=1))
    return {"value": float(known.mean()), "monte_carlo": spread / math.sqrt(len(known)), "spread": spread}


def _known(rows: Sequence[Labelled], drops: Counter[str]) -> tuple[list[Labelled], Truths]:
    """The solutions whose first error is known and has a score; the others are counted."""
    kept, strange, places = [], [], []
    for row in rows:
        if not row.labels.error_known:
            drops["first error not known"] += 1
            continue
        found = strangeness(row.score.steps)
        place = len(found) - 1 if row.labels.error is None else row.labels.error
        if not math.isfinite(found[place]):
            drops["no score of the first error"] += 1
            continue
        kept.append(row)
        strange.append(found)
        places.append(place)
    if not kept:
        raise InputError("no solution with a known first error", expected="labels that say where the first error is")
    problems = tuple(row.solution.prefix.problem_id for row in kept)
    return kept, Truths(problems, tuple(strange), np.array(places, dtype=np.int64))


def _target(rows: Sequence[Labelled]) -> str:
    by = listed([f"{row.labels.source} ({row.labels.by})" for row in rows])
    return f"the first error, by {by}, for solutions by {listed([row.solution.author for row in rows])}"


# Rules in files, and applied


def write_rule(path: str | Path, rule: SetRule) -> None:
    """Write it as one JSON object; an infinite threshold is null."""
    row = {name: getattr(rule, name) for name in rule.__dataclass_fields__}
    records.write_rows(path, [{"schema": "gradatim.first_error_sets/1", **row, "thresholds": _shown(rule.thresholds)}])


def read_rule(path: str | Path) -> SetRule:
    """What `write_rule` wrote; InputError for anything else."""
    rows = list(records.read_rows(path))
    if len(rows) != 1 or records.schema_of(rows[0]) != "first_error_sets":
        raise InputError("no rule", expected="one object of gradatim.first_error_sets/1", file=path)
    row = rows[0]
    given = row.data.get("thresholds")
    if not isinstance(given, dict) or set(given) != set(CLASSES):
        raise row.error(f"thresholds: {records.shown(given)}", expected=f"thresholds of {', '.join(CLASSES)}")
    limits = {kind: row.number(f"thresholds.{kind}", given[kind]) for kind in CLASSES}
    miss = row.number("miss", row.data.get("miss"))
    return SetRule(
        scorer=row.text("scorer"),
        checkpoint=row.optional_text("checkpoint") or "",
        calibrated=row.optional_text("calibrated") or "",
        miss=miss,
        by_class=row.flag("by_class"),
        thresholds={kind: math.inf if math.isnan(limit) else limit for kind, limit in limits.items()},
        target=row.text("target"),
        problems=row.count("problems") or 0,
    )


def _applied(config: ConformalConfig, drops: Counter[str]) -> dict[str, Any]:
    rule = read_rule(str(config.rule))
    scores = records.read_scores(str(config.scores), skip_bad=config.skip_bad, drops=drops)
    sets, notes = [], dict[str, None]()
    for solution_id, score in scores:
        notes |= dict.fromkeys(rule.fits(score))
        places = rule.places(score)
        steps = [place for place in places if place is not None]
        sets.append({"id": solution_id, "steps": steps, "none": None in places})
    if not sets:
        raise InputError(
            "no score that could be used", expected="step scores of at least one solution", file=config.scores
        )
    if config.out is not None:
        records.write_rows(config.out, sets)
    promise = {"miss": rule.miss, "by_class": rule.by_class, "target": rule.target, "problems": rule.problems}
    told = {"sets": sets, "scorer": rule.scorer, **promise}
    return {**told, "out": config.out, "notes": list(notes), "drops": dict(drops)}


def _shown(limits: Mapping[Class, float]) -> dict[str, float | None]:
    return {kind: None if math.isinf(limit) else limit for kind, limit in limits.items()}
