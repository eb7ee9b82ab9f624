"""A suite of first wrong steps: what one model finds of them, beside what rules without a model find."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gradatim.core import Estimate
from gradatim.evaluate import measures
from gradatim.evaluate.bench import BenchRow
from gradatim.evaluate.first_error import Judged, accuracy, measure, predict
from gradatim.evaluate.guesses import first_error_guesses, step_features
from gradatim.evaluate.measures import Floats, Measure
from gradatim.evaluate.pages import threshold_curve
from gradatim.evaluate.results import Result
from gradatim.evaluate.said import Said, of_first_error
from gradatim.evaluate.sources import Judgement
from gradatim.evaluate.steps import Steps, calibration_error, reliability_bins, step_auroc, steps_of
from gradatim.evaluate.thresholds import Thresholds
from gradatim.stats import auroc, bootstrap_statistic

NO_DECISION = 1 << 40
"""As a prediction: right about no row, and near no step."""

LENGTH_BINS = 4
"""Groups of about equal size by number of steps."""

JUDGES_THRESHOLD = 0.5
"""Below this rate of its votes a step is called wrong by a judge, which has no threshold of its own."""

LAST_SHARE = 0.9
"""From this share of erroneous rows on whose last step is the wrong one, a result says so."""

AUROC_DRAWS = 200
"""Resamples behind the interval of a rule's AUROC."""


def step_result(
    suite: str,
    subset: str,
    rows: Sequence[BenchRow],
    judgements: Sequence[Judgement],
    cut: Thresholds | None,
    *,
    model: str,
    source: str,
    overlap: int = 0,
    seed: int = 0,
) -> Result:
    """The findings about one model; without `cut` (a judge's labels) the first errors are those that it names."""
    judged, said = judged_rows(rows, judgements), _predictions(judgements, cut)
    paired = {name: _measure(rows, columns, how) for name, (columns, how) in _columns(rows, said).items()}
    rules = _rules(rows)
    nulls, over = _beside(rules, paired, seed)
    steps = steps_of(judged)
    if not math.isnan(auroc(steps.scores, steps.right)):
        nulls["step_auroc"] = _feature_aurocs(rows, seed)
    return Result(
        suite=suite,
        subset=subset,
        model=model,
        source=source,
        headline="f1",
        counts=_counts(rows, judgements, steps),
        measures=_measures(rows, judged, said, steps, paired, judgements, seed),
        nulls=nulls,
        over_nulls=over,
        threshold=None if cut is None else told(cut, overlap),
        by=_by(rows, judged, paired, rules["f1"], seed),
        curves={
            "reliability": [] if source == "labels" else reliability_bins(steps),
            "score_by_length": score_by_length([(one.scores, one.error is None) for one in judged]),
            "f1_by_threshold": None if cut is None else threshold_curve({subset: judged}).series[0],
        },
        notes=_notes(rows),
        paired=paired,
        said=_said(rows, judgements, said, cut),
    )


def judged_rows(rows: Sequence[BenchRow], judgements: Sequence[Judgement]) -> list[Judged]:
    """Rows and what was said of them, side by side."""
    return [
        Judged(problem=row.prefix.problem_id, scores=one.scores, error=row.error)
        for row, one in zip(rows, judgements, strict=True)
    ]


def told(cut: Thresholds, overlap: int) -> dict[str, Any]:
    """A threshold as results show it."""
    return {"value": cut.value, "from": cut.source, "chosen": list(cut.chosen), "overlap": overlap}


def _predictions(judgements: Sequence[Judgement], cut: Thresholds | None) -> list[int | None]:
    if cut is not None:
        return [predict(one.scores, at) for one, at in zip(judgements, cut.rows, strict=True)]
    return [one.said if one.decided else NO_DECISION for one in judgements]


def _counts(rows: Sequence[BenchRow], judgements: Sequence[Judgement], steps: Steps) -> dict[str, int]:
    return {
        "rows": len(rows),
        "problems": len({row.prefix.problem_id for row in rows}),
        "errors": sum(row.error is not None for row in rows),
        "correct": sum(row.error is None for row in rows),
        "right_answer_wrong_step": sum(row.trap for row in rows),
        "steps": sum(len(row.prefix.steps) for row in rows),
        "scored_steps_up_to_the_error": len(steps.scores),
        "undecided": sum(not one.decided for one in judgements),
    }


def _notes(rows: Sequence[BenchRow]) -> list[str]:
    last = [row.error == len(row.prefix.steps) - 1 for row in rows if row.error is not None]
    if not last or sum(last) / len(last) < LAST_SHARE:
        return []
    return [
        f"in {sum(last)} of {len(last)} erroneous rows the last step is the wrong one: read F1 beside the rules on length"
    ]


# Measures


def _columns(rows: Sequence[BenchRow], said: Sequence[int | None]) -> dict[str, tuple[Floats, measures.Statistic]]:
    wrong = np.array([row.error is not None for row in rows])
    hit = np.array([row.error == one for row, one in zip(rows, said, strict=True)])
    near = np.array(
        [
            row.error is not None and one is not None and abs(row.error - one) <= 1
            for row, one in zip(rows, said, strict=True)
        ]
    )
    # What was not decided is wrong either way: a miss, or a right solution that was not found to be right.
    called = np.array(
        [not bad if one == NO_DECISION else one is not None for bad, one in zip(wrong, said, strict=True)]
    )
    return {
        "f1": (_f1_columns(hit, wrong), measures.harmonic),
        "error_accuracy": (_stacked(hit & wrong, wrong), measures.ratio),
        "correct_accuracy": (_stacked(hit & ~wrong, ~wrong), measures.ratio),
        "within_one_accuracy": (_stacked(near, wrong), measures.ratio),
        "solution_mcc": (
            _stacked(~called & ~wrong, called & wrong, ~called & wrong, called & ~wrong),
            measures.matthews,
        ),
    }


def _f1_columns(hit: Any, wrong: Any) -> Floats:
    return _stacked(np.where(wrong, hit, 0), wrong, np.where(wrong, 0, hit), ~wrong)


def _stacked(*columns: Any) -> Floats:
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def _measure(rows: Sequence[BenchRow], columns: Floats, how: measures.Statistic) -> Measure:
    return Measure(tuple(row.id for row in rows), tuple(row.prefix.problem_id for row in rows), columns, how)


def _measures(
    rows: Sequence[BenchRow],
    judged: Sequence[Judged],
    said: Sequence[int | None],
    steps: Steps,
    paired: Mapping[str, Measure],
    judgements: Sequence[Judgement],
    seed: int,
) -> dict[str, Estimate]:
    first = measure(judged, said)
    traps = [index for index, row in enumerate(rows) if row.trap]
    found = {
        "f1": first.f1,
        "error_accuracy": first.error_accuracy,
        "correct_accuracy": first.correct_accuracy,
        "within_one_accuracy": paired["within_one_accuracy"].estimate(seed),
        "solution_mcc": paired["solution_mcc"].estimate(seed),
        "right_answer_wrong_step_accuracy": accuracy(
            [rows[index].error == said[index] for index in traps], [judged[index].problem for index in traps]
        ),
        "step_auroc": step_auroc(steps),
        "calibration_error": calibration_error(steps),
    }
    if not all(one.decided for one in judgements):
        found["decided"] = accuracy([one.decided for one in judgements], [one.problem for one in judged])
    return found


def _rules(rows: Sequence[BenchRow]) -> dict[str, dict[str, Measure]]:
    """For F1 and both accuracies what rules without a model get."""
    wrong = np.array([row.error is not None for row in rows])
    found: dict[str, dict[str, Measure]] = {"f1": {}, "error_accuracy": {}, "correct_accuracy": {}}
    for name, hits in first_error_guesses(rows).items():
        if np.isnan(hits).any():
            continue
        columns = {
            "f1": (_f1_columns(hits, wrong), measures.harmonic),
            "error_accuracy": (_stacked(np.where(wrong, hits, 0), wrong), measures.ratio),
            "correct_accuracy": (_stacked(np.where(wrong, 0, hits), ~wrong), measures.ratio),
        }
        for measured, (column, how) in columns.items():
            found[measured][name] = _measure(rows, column, how)
    return found


def _beside(
    rules: Mapping[str, Mapping[str, Measure]], paired: Mapping[str, Measure], seed: int
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, Estimate]]]:
    """The rules' estimates, and how far the model is above them."""
    nulls = {measured: {name: one.estimate(seed) for name, one in some.items()} for measured, some in rules.items()}
    over = {
        measured: {name: paired[measured].minus(one, seed) for name, one in some.items()}
        for measured, some in rules.items()
    }
    return nulls, over


def _feature_aurocs(rows: Sequence[BenchRow], seed: int) -> dict[str, Estimate]:
    found = {}
    for name in step_features(rows[0]):
        steps = steps_of(
            [
                Judged(problem=row.prefix.problem_id, scores=tuple(step_features(row)[name]), error=row.error)
                for row in rows
            ]
        )
        found[name] = step_ranking(steps, seed)
    return found


# Groups and pictures


def _by(
    rows: Sequence[BenchRow],
    judged: Sequence[Judged],
    paired: Mapping[str, Measure],
    rules: Mapping[str, Measure],
    seed: int,
) -> dict[str, list[dict[str, Any]]]:
    keys = {
        "generator": [row.author for row in rows],
        "class": [row.group for row in rows],
        "length": length_bins([len(row.prefix.steps) for row in rows]),
    }

    def ranking(chosen: Sequence[int]) -> Estimate:
        return step_ranking(steps_of([judged[index] for index in chosen]), seed)

    return {name: grouped(key, paired, seed, ranking, rules) for name, key in keys.items() if len(set(key)) > 1}


def step_ranking(steps: Steps, seed: int) -> Estimate:
    """The AUROC of steps, with few resamples: for the many groups and rules that are shown beside one number."""
    return bootstrap_statistic(
        lambda chosen: auroc(steps.scores[chosen], steps.right[chosen]), steps.problems, draws=AUROC_DRAWS, seed=seed
    )


def grouped(
    keys: Sequence[str],
    paired: Mapping[str, Measure],
    seed: int,
    ranking: Callable[[Sequence[int]], Estimate] | None = None,
    rules: Mapping[str, Measure] | None = None,
) -> list[dict[str, Any]]:
    """The measures of the rows under each key, in the order in which the keys first occur ("" is left out), the AUROC of
    their steps where `ranking` gives it, and of rules without a model the one that is best on these rows."""
    members: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    return [
        {
            "name": key,
            "rows": len(chosen),
            **{name: one.of(chosen).estimate(seed) for name, one in paired.items()},
            **({} if ranking is None else {"step_auroc": ranking(chosen)}),
            **({} if not rules else {"best_rule": best_rule(rules, chosen)}),
        }
        for key, chosen in members.items()
        if key
    ]


def best_rule(rules: Mapping[str, Measure], chosen: Sequence[int]) -> dict[str, Any] | None:
    """`name` and `value` of the best of the rules on some rows: the best with hindsight, so that no model is flattered."""
    values = {name: one.of(chosen).value for name, one in rules.items()}
    known = {name: value for name, value in values.items() if not math.isnan(value)}
    return {"name": (name := max(known, key=lambda one: known[one])), "value": known[name]} if known else None


def length_bins(counts: Sequence[int]) -> list[str]:
    """For each row its range of step counts ("4 to 6 steps"), of at most `LENGTH_BINS` ranges of about equal size."""
    if not counts:
        return []
    edges = np.unique(np.quantile(counts, np.linspace(0, 1, LENGTH_BINS + 1)[1:], method="nearest"))
    place = [int(np.searchsorted(edges, count)) for count in counts]
    names = {}
    for one in sorted(set(place)):
        inside = [count for count, at in zip(counts, place, strict=True) if at == one]
        low, high = min(inside), max(inside)
        names[one] = f"{low} steps" if low == high else f"{low} to {high} steps"
    return [names[one] for one in place]


def score_by_length(scored: Sequence[tuple[Sequence[float], bool]]) -> list[dict[str, Any]]:
    """From step scores, and whether a solution is right, for each number of steps: solutions, the share that is right, the
    mean and the mean lowest step score. Solutions without a scored step are left out."""
    groups: dict[int, list[tuple[float, float, bool]]] = {}
    for scores, right in scored:
        known = [score for score in scores if not math.isnan(score)]
        if known:
            groups.setdefault(len(scores), []).append((math.fsum(known) / len(known), min(known), right))
    return [
        {
            "steps": count,
            "solutions": len(group),
            "correct": sum(right for _, _, right in group) / len(group),
            "mean_score": math.fsum(mean for mean, _, _ in group) / len(group),
            "lowest_score": math.fsum(lowest for _, lowest, _ in group) / len(group),
        }
        for count, group in sorted(groups.items())
    ]


def _said(
    rows: Sequence[BenchRow], judgements: Sequence[Judgement], said: Sequence[int | None], cut: Thresholds | None
) -> dict[str, Said]:
    limits = (JUDGES_THRESHOLD,) * len(rows) if cut is None else cut.rows
    return {
        row.id: of_first_error(one.scores, row.error, named, limit, decided=one.decided)
        for row, one, named, limit in zip(rows, judgements, said, limits, strict=True)
    }
