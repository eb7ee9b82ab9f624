"""`gradatim calibrate`: scores and what is true -> a calibration, and what it is worth on problems that it has not seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradatim import stats
from gradatim.choose.measure import reduced, usable
from gradatim.core import Estimate, Reduction
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate.items import Items, LabelledSource, answer_items, read_answers, read_labelled, step_items
from gradatim.evaluate.steps import Steps, calibration_error, reliability_charts
from gradatim.labels.datasets import solutions_beside
from gradatim.records import check_outputs
from gradatim.runs import command_line
from gradatim.score.calibrate import (
    Calibration,
    Method,
    Scale,
    fit_map,
    fits,
    read_calibration,
    scale_of,
    write_calibration,
)
from gradatim.score.stage import CountingScorer
from gradatim.view.parts import Cell, Report, Table
from gradatim.view.report import report_files, shown, write_report

Floats = NDArray[np.float64]

LEVEL = 0.95
"""Of the intervals."""

FEWEST = 100
"""Items a group (a step index, a source) needs to be measured by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateConfig:
    """`gradatim calibrate`."""

    scores: str | None = None
    """Scores by one scorer, of the labelled solutions or of the pool."""
    model: str | None = None
    """A reward model that scores the labelled solutions, instead of recorded scores."""
    labels: str | None = None
    """Labelled solutions, as `gradatim train --data` reads them: calibrate step scores to what they are labelled with."""
    pool: str | None = None
    """Solutions with verdicts: calibrate values to the chance that the answer is right."""
    method: Method = "beta"
    """The map: temperature, platt, beta or isotonic."""
    measure: str | None = None
    """Measure this calibration as it is, instead of fitting one: on another policy's solutions, say."""
    reduction: Reduction | None = None
    """With a pool: how step scores become the value (default: the recorded one, or min)."""
    neutral: Literal["good", "bad", "skip"] = "good"
    """What a human rating of 0 means: evidence for the step, against it, or none."""
    best_of: tuple[int, ...] = (4, 16, 64)
    """The tails to measure: the top 1/N of the scores, which best-of-N chooses from."""
    folds: int = stats.FOLDS
    """Folds by problem: what is measured after calibration was fitted on the other folds."""
    problems: int | None = None
    """Only the first so many labelled problems."""
    keep_scores: str | None = None
    """Write the model's scores there, for other commands."""
    out: str | None = None
    """Write the calibration, fitted on all problems, there."""
    report: str | None = None
    """A folder to write `report.json` and `report.html` with reliability curves to."""
    skip_bad: bool = False
    """Drop rows that can't be read and solutions without a score, and count them, instead of stopping at the first."""

    def __post_init__(self) -> None:
        if (self.labels is None) == (self.pool is None):
            raise ConfigError("give either --labels or --pool, and not both")
        if (self.model is None) == (self.scores is None):
            raise ConfigError("give either --model or --scores, and not both")
        if self.pool is not None and self.scores is None:
            raise ConfigError("a pool's values are read from a file; give --scores")
        if self.measure is not None and self.out is not None:
            raise ConfigError("a calibration that is measured as it is: there is nothing new to write to --out")
        if self.reduction is not None and self.pool is None:
            raise ConfigError("--reduction is about a solution's value; give a --pool")
        if self.pool is not None and (self.problems is not None or self.neutral != "good"):
            raise ConfigError("--problems and --neutral are about --labels; a pool is taken whole, by its verdicts")
        if self.measure is not None and (self.method, self.folds) != ("beta", stats.FOLDS):
            raise ConfigError("--method and --folds are about fitting a map; --measure takes one as it is")
        if self.keep_scores is not None and self.model is None:
            raise ConfigError("--keep-scores writes what a --model says; recorded scores are there already")
        if self.problems is not None and self.problems < 1:
            raise ConfigError(f"problems={self.problems}: expected at least 1")
        if self.folds < 2 or any(n < 1 for n in self.best_of):
            raise ConfigError(f"folds={self.folds}, best_of={self.best_of}: expected at least 2 folds, and N from 1 on")


def calibrate_stage(
    config: CalibrateConfig, scorer: CountingScorer | None = None, *, opening: Sequence[Any] = (), quiet: bool = False
) -> dict[str, Any]:
    """Fit a calibration, or take the given one, and measure it; returns what `gradatim calibrate --json` prints.

    `before` are the scores as they are, `after` those of each fold under a map fitted on the other folds' problems (or
    under the given calibration). Intervals are 95 %, by bootstrap over problems. The calibration that is written is fitted
    on all problems. `scorer` is what `config.model` names, loaded by the caller by the settings in `opening`. ConfigError,
    before any work, if an output can't be written or would replace what is read.
    """
    _check_outputs(config)
    drops = Counter[str]()
    items = _items(config, scorer, drops, quiet)
    if items.calibrated:
        raise InputError(
            f"scores that are calibrated already ({items.calibrated})", expected="scores as the model gave them"
        )
    notes: list[str] = []
    if config.measure is not None:
        made = read_calibration(config.measure)
        notes = _fits(made, items)
        after = made(items.scores)
    else:
        after = cross_fitted(items, config.method, config.folds)
        made = fitted(items, config.method, scale_of(items.scores))
    if config.out is not None:
        write_calibration(config.out, made)
    found = {
        "before": measures(items.against(items.scores), config.best_of),
        "after": measures(items.against(after), config.best_of),
        "by_step": _groups(items, after, [str(step + 1) for step in items.steps.tolist()])
        if items.steps[0] >= 0
        else [],
        "by_source": _groups(items, after, items.sources),
    }
    asked = {"folds": None if config.measure else config.folds, "level": LEVEL, "out": config.out}
    facts = {"items": len(items.scores), "problems": len(set(items.problems)), **asked}
    told = {"scorer": items.scorer, "truth": items.truth, "target": items.target, "calibration": asdict(made)}
    if config.report is not None:
        write_report(_report(config, opening, items, after, found, made), config.report)
    return {**told, **found, **facts, "notes": notes, "drops": dict(drops)}


def _check_outputs(config: CalibrateConfig) -> None:
    read = [config.scores, config.labels, config.pool, config.measure]
    beside = () if config.labels is None else solutions_beside(config.labels)
    pages = () if config.report is None else report_files(config.report)
    check_outputs([config.keep_scores], [*read, *beside], [config.out, *pages])


def fitted(items: Items, method: Method, scale: Scale) -> Calibration:
    """The calibration that fits all items.

    Rates count by the tries behind them. A label of validity counts once for a prefix, however many solutions share it and
    repeat the label, as it does where the map is measured.
    """
    weight = 1.0 if items.truth == "value" else 1 / (items.good + items.bad)
    return Calibration(
        method=method,
        scale=scale,
        numbers=fit_map(method, items.scores, items.good * weight, items.bad * weight, scale),
        truth=items.truth,
        target=items.target,
        scorer=items.scorer,
        checkpoint=items.checkpoint,
        reduction=items.reduction,
        items=len(items.scores),
        problems=len(set(items.problems)),
    )


def cross_fitted(items: Items, method: Method, folds: int = stats.FOLDS) -> Floats:
    """Each item's calibrated score, by the map that fits the items of the other folds' problems."""
    if len(set(items.problems)) < folds:
        raise InputError(f"{len(set(items.problems))} problems", expected=f"at least one for each of {folds} folds")
    place, scale = np.array(stats.fold_of(items.problems, folds)), scale_of(items.scores)
    after = np.full(len(items.scores), np.nan)
    for fold in range(folds):
        made = fitted(_some(items, place != fold), method, scale)
        after[place == fold] = made(items.scores[place == fold])
    return after


def measures(steps: Steps, best_of: Sequence[int]) -> dict[str, Any]:
    """Calibration error, Brier score and its parts, and the tails, of scores beside the truth."""
    parts = stats.brier_parts(steps.scores, steps.right)
    squares = (steps.scores - steps.right) ** 2 if parts.brier == parts.brier else np.full(len(steps.right), np.nan)
    return {
        "ece": row(calibration_error(steps)),
        "brier": {**row(stats.bootstrap(squares, steps.problems, LEVEL)), "parts": asdict(parts)},
        "auroc": stats.auroc(steps.scores, steps.right > 0.5),
        "tails": [_tail(steps, n) for n in best_of],
    }


def row(estimate: Estimate) -> dict[str, float]:
    """An estimate as JSON."""
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _tail(steps: Steps, among: int) -> dict[str, Any]:
    """The calibration error of the top 1/`among`, and by how much its scores are above what is true of it."""
    chosen = np.flatnonzero(stats.tail(steps.scores, among))
    part = Steps(steps.scores[chosen], steps.right[chosen], tuple(steps.problems[index] for index in chosen))
    error, gap = calibration_error(part), stats.bootstrap(part.scores - part.right, part.problems, LEVEL)
    if np.ptp(part.right) == 0 and part.right[0] in (0.0, 1.0):
        # All right or all wrong: resamples are alike and would claim to know; Wilson's interval by problem does not.
        count = len(set(part.problems))
        rate = stats.wilson(count * part.right[0], count, LEVEL)
        score = float(part.scores.mean())
        gap = Estimate(gap.value, score - rate.high, score - rate.low, count)
        low = 0.0 if gap.low <= 0 <= gap.high else min(abs(gap.low), abs(gap.high))
        error = Estimate(error.value, min(low, error.value), max(abs(gap.low), abs(gap.high), error.value), count)
    return {"best_of": among, "items": len(chosen), "ece": row(error), "too_sure_by": row(gap)}


def _groups(items: Items, after: Floats, names: Sequence[str]) -> list[dict[str, Any]]:
    """The calibration error of each group before and after; groups of fewer than `FEWEST` items are only counted."""
    found = []
    for name in dict.fromkeys(sorted(names, key=lambda name: (len(name), name))):
        chosen = np.array([other == name for other in names])
        group: dict[str, Any] = {"group": name, "items": int(chosen.sum())}
        for when, scores in (("before", items.scores), ("after", after)):
            part = _some(items, chosen).against(scores[chosen])
            error = calibration_error(part) if group["items"] >= FEWEST else Estimate(*(float("nan"),) * 3, 0)
            group[when] = row(error)
        found.append(group)
    return found


def _some(items: Items, chosen: NDArray[np.bool_]) -> Items:
    names = ("scores", "good", "bad", "steps")
    parts: dict[str, Any] = {name: getattr(items, name)[chosen] for name in names}
    for name in ("problems", "sources"):
        parts[name] = tuple(value for value, kept in zip(getattr(items, name), chosen, strict=True) if kept)
    rest = {
        name: getattr(items, name) for name in ("scorer", "truth", "target", "reduction", "calibrated", "checkpoint")
    }
    return Items(**parts, **rest)


def _items(config: CalibrateConfig, scorer: CountingScorer | None, drops: Counter[str], quiet: bool) -> Items:
    if config.labels is not None:
        source = LabelledSource(
            labels=config.labels,
            scores=config.scores,
            keep_scores=config.keep_scores,
            problems=config.problems,
            skip_bad=config.skip_bad,
        )
        return step_items(read_labelled(source, scorer, drops, quiet=quiet), config.neutral)
    pool, scores = read_answers(str(config.pool), str(config.scores), config.skip_bad, drops)
    how = config.reduction or scores.reduction or "min"
    usable(scores, [how])
    return answer_items(pool, scores, reduced(scores, how).values, how)


def _fits(made: Calibration, items: Items) -> list[str]:
    """Notes on a calibration that is measured on these items; ConfigError if it is about something else."""
    notes = list(fits(made, items.scorer, items.checkpoint))
    theirs, ours = (made.truth, made.reduction), (items.truth, items.reduction)
    if theirs != ours:
        raise ConfigError(f"a calibration of {theirs} can't be measured on {ours} (truth, reduction)")
    if made.target == items.target:
        return notes
    return [*notes, f"fitted for: {made.target}", f"measured on: {items.target}"]


def _report(
    config: CalibrateConfig,
    opening: Sequence[Any],
    items: Items,
    after: Floats,
    found: dict[str, Any],
    made: Calibration,
) -> Report:
    rows: list[tuple[Cell, ...]] = [_cells("before", found["before"]), _cells("after", found["after"])]
    errors = [shown(found[when]["ece"]["value"]) for when in ("before", "after")]
    raw = "" if scale_of(items.scores) == "probability" else " No error and no diagram of scores outside 0 to 1."
    return Report(
        title=f"Calibration of {items.scorer}",
        summary=f"{items.target}: calibration error {errors[0]} before, {errors[1]} after.{raw}",
        command=command_line("calibrate", config, *opening),
        facts={"method": made.method, "target": items.target, "items": len(items.scores)},
        tables=(
            Table(
                title="Before and after",
                columns=("scores", "calibration error", "Brier", "reliability", "resolution", "uncertainty"),
                rows=tuple(rows),
                note="After: each fold by a map fitted on the other folds' problems. Intervals by problem.",
            ),
        ),
        reliability=tuple(
            chart
            for when, scores in (("before", items.scores), ("after", after))
            for chart in reliability_charts(f"Share that is right by score, {when}", items.against(scores))
        ),
    )


def _cells(when: str, found: dict[str, Any]) -> tuple[Cell, ...]:
    parts = found["brier"]["parts"]
    shown = [parts[name] for name in ("reliability", "resolution", "uncertainty")]
    return (when, _estimate(found["ece"], 0), _estimate(found["brier"], 0), *shown)


def _estimate(found: dict[str, float], n: int) -> Estimate:
    return Estimate(found["value"], found["low"], found["high"], n)
