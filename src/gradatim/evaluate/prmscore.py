"""PRMBench's PRMScore: is every single step of a solution with a planted error judged rightly?

As in the published code (ssmisya/PRMBench, `mr_eval/tasks/prmtest_classified`): over the steps of the modified solutions of
a class, "positive" is a step called right. F1 and the F1 of the negatives are pooled over steps; PRMScore is their mean,
over all classes together for the overall one, and the mean of its classes for simplicity, soundness and sensitivity.
`multi_solutions` has no wrong steps: its PRMScore is the F1 alone. The original solutions (class "correct") are only in the
accuracies of their own class and in `similarity`.

Where this differs, and why. (1) A step is called wrong *below* the threshold, there at or below it: one protocol for all
suites. (2) Rows whose error steps point past the end are dropped and counted (--misfits keep passes over such marks, as
there). (3) There an F1 whose precision and recall are both 0 is -1, and lowers a mean below what an all-wrong answer gets;
here it is 0. (4) There ReasonEval's redundancy scores judge two classes; here one score judges all. (5) There originals
come from the file of one class only; here from all files that are given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradatim.core import Estimate
from gradatim.errors import ConfigError
from gradatim.evaluate import measures
from gradatim.evaluate.bench import BenchRow
from gradatim.evaluate.guesses import step_features
from gradatim.evaluate.measures import Floats, Measure
from gradatim.evaluate.results import Result
from gradatim.evaluate.said import of_marks
from gradatim.evaluate.sources import Judgement
from gradatim.evaluate.step_suite import JUDGES_THRESHOLD, grouped, length_bins, step_ranking, told
from gradatim.evaluate.steps import Steps, reliability_bins, step_auroc
from gradatim.evaluate.thresholds import Thresholds, cross_fit, middle
from gradatim.labels.prmbench import CORRECT

CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "simplicity": ("redundency", "circular"),
    "soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
"""The published groups of classes (spelled as the data spells them)."""

ALL_RIGHT = "multi_solutions"
"""The class without wrong steps."""


def positive_f1(sums: Floats) -> Floats:
    """F1 of the steps called right, from columns (TP, FP, TN, FN): 2 TP / (2 TP + FP + FN)."""
    return measures.divided(2 * sums[:, 0], 2 * sums[:, 0] + sums[:, 1] + sums[:, 3])


def negative_f1(sums: Floats) -> Floats:
    """F1 of the steps called wrong: 2 TN / (2 TN + FP + FN)."""
    return measures.divided(2 * sums[:, 2], 2 * sums[:, 2] + sums[:, 1] + sums[:, 3])


def prm_score(sums: Floats) -> Floats:
    """The mean of both."""
    return (positive_f1(sums) + negative_f1(sums)) / 2


def counts_of(row: BenchRow, valid: Sequence[float]) -> tuple[float, float, float, float]:
    """TP, FP, TN, FN of a row's steps; `valid` is for each step 1.0 or 0.0, or the chance, that it is called right. Steps
    without a label, or for which nothing is said (NaN), count nowhere."""
    tp = fp = tn = fn = 0.0
    for mark, said in zip(row.marks, valid, strict=True):
        if mark is None or math.isnan(said):
            continue
        if mark == 1:
            tp, fn = tp + said, fn + 1 - said
        else:
            fp, tn = fp + said, tn + 1 - said
    return tp, fp, tn, fn


def prmbench_result(
    rows: Sequence[BenchRow],
    judgements: Sequence[Judgement],
    cut: Thresholds | None,
    *,
    model: str,
    source: str,
    overlap: int = 0,
    seed: int = 0,
) -> Result:
    """The findings about one model; without `cut` (a judge's labels) a step is wrong if most of its votes say so."""
    limits = (JUDGES_THRESHOLD,) * len(rows) if cut is None else cut.rows
    valid = _called_right(judgements, limits)
    table = np.array([counts_of(row, said) for row, said in zip(rows, valid, strict=True)])
    planted = [index for index, row in enumerate(rows) if row.group != CORRECT]
    if not planted:
        raise ConfigError("PRMBench without a modified solution; give the files of its classes")
    paired = {
        name: _measure(rows, table, how).of(planted)
        for name, how in {"prm_score": prm_score, "f1": positive_f1, "negative_f1": negative_f1}.items()
    }
    inside, scores = [rows[index] for index in planted], [judgements[index].scores for index in planted]
    rules = _rules(inside)
    nulls, over = _beside(rules, paired["prm_score"], seed)
    steps = _steps(inside, scores)
    return Result(
        suite="prmbench",
        subset="prmbench",
        model=model,
        source=source,
        headline="prm_score",
        counts=_counts(rows, judgements),
        measures={
            **_measures(rows, valid, table, planted, seed),
            **{name: one.estimate(seed) for name, one in paired.items()},
            "step_auroc": step_auroc(steps),
        },
        nulls={**nulls, "step_auroc": _feature_aurocs(inside, seed)},
        over_nulls=over,
        threshold=None if cut is None else told(cut, overlap),
        by=_by(inside, scores, table[planted], paired, rules, seed),
        curves={"reliability": [] if source == "labels" else reliability_bins(steps)},
        paired=paired,
        said={
            row.id: of_marks(one.scores, row.marks, limit)
            for row, one, limit in zip(rows, judgements, limits, strict=True)
        },
    )


def _measures(
    rows: Sequence[BenchRow], valid: Sequence[Sequence[float]], table: Floats, planted: Sequence[int], seed: int
) -> dict[str, Estimate]:
    return {
        **_accuracies(rows, table, planted, seed),
        "first_error_accuracy": _first_error(rows, valid, planted).estimate(seed),
        "similarity": _similarity(rows, valid, seed),
        **_category_scores(rows, table, seed),
    }


def _called_right(judgements: Sequence[Judgement], limits: Sequence[float]) -> list[list[float]]:
    """1.0 or 0.0 for each step, NaN where nothing is said of it."""
    return [
        [math.nan if math.isnan(score) else float(score >= at) for score in one.scores]
        for one, at in zip(judgements, limits, strict=True)
    ]


def _feature_aurocs(rows: Sequence[BenchRow], seed: int) -> dict[str, Estimate]:
    return {
        name: step_ranking(_steps(rows, [tuple(step_features(row)[name]) for row in rows]), seed)
        for name in step_features(rows[0])
    }


def best_prm_threshold(rows: Sequence[BenchRow], scores: Sequence[Sequence[float]]) -> float:
    """The threshold with the best PRMScore on these rows, of all that part two of their scores; of equals the lowest.

    ConfigError without both right and wrong steps.
    """
    steps = _steps([row for row in rows if row.group != CORRECT], _planted(rows, scores))
    right, wrong = float((steps.right == 1).sum()), float((steps.right == 0).sum())
    if not right or not wrong:
        raise ConfigError("a threshold can't be chosen on rows without both right and wrong steps; use --threshold 0.5")
    values, place = np.unique(steps.scores, return_inverse=True)
    good = np.bincount(place, steps.right, minlength=len(values))
    bad = np.bincount(place, 1 - steps.right, minlength=len(values))
    below_good = np.concatenate([[0.0], np.cumsum(good)])  # called wrong below values[i], in order of i
    below_bad = np.concatenate([[0.0], np.cumsum(bad)])
    sums = np.stack([right - below_good, wrong - below_bad, below_bad, below_good], axis=1)
    best = int(np.argmax(np.nan_to_num(prm_score(sums), nan=-1.0)))
    ends = np.concatenate([[values[0] - 0.1], values, [values[-1] + 0.1]])
    return middle(float(ends[best]), float(ends[best + 1]))


def cross_fitted_prm(rows: Sequence[BenchRow], scores: Sequence[Sequence[float]]) -> Thresholds:
    """For each of five folds by problem the threshold with the best PRMScore on the other four."""
    items = list(zip(rows, scores, strict=True))

    def choose(others: Sequence[tuple[BenchRow, Sequence[float]]]) -> float:
        return best_prm_threshold([row for row, _ in others], [one for _, one in others])

    cuts = cross_fit(items, [row.prefix.problem_id for row in rows], choose)
    return Thresholds(tuple(cuts), tuple(sorted(set(cuts))), "cross-fit")


def _planted(rows: Sequence[BenchRow], scores: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    return [one for row, one in zip(rows, scores, strict=True) if row.group != CORRECT]


def _steps(rows: Sequence[BenchRow], scores: Sequence[Sequence[float]]) -> Steps:
    found = [
        (score, float(mark == 1), row.prefix.problem_id)
        for row, one in zip(rows, scores, strict=True)
        for score, mark in zip(one, row.marks, strict=True)
        if mark is not None and not math.isnan(score)
    ]
    columns = list(zip(*found, strict=True)) or [(), (), ()]
    return Steps(np.array(columns[0], dtype=float), np.array(columns[1], dtype=float), tuple(map(str, columns[2])))


def _measure(rows: Sequence[BenchRow], table: Floats, how: measures.Statistic) -> Measure:
    return Measure(tuple(row.id for row in rows), tuple(row.prefix.problem_id for row in rows), table, how)


def _counts(rows: Sequence[BenchRow], judgements: Sequence[Judgement]) -> dict[str, int]:
    marks = [mark for row in rows if row.group != CORRECT for mark in row.marks]
    unscored = sum(math.isnan(score) for one in judgements for score in one.scores)
    return {
        "rows": len(rows),
        "problems": len({row.prefix.problem_id for row in rows}),
        "modified": sum(row.group != CORRECT for row in rows),
        "originals": sum(row.group == CORRECT for row in rows),
        "right_steps": marks.count(1),
        "wrong_steps": marks.count(-1),
        "steps_without_a_score": unscored,
    }


def _accuracies(rows: Sequence[BenchRow], table: Floats, planted: Sequence[int], seed: int) -> dict[str, Estimate]:
    tp, fp, tn, fn = table.T
    shares = {
        "correct_step_accuracy": (tp, tp + fn),
        "wrong_step_accuracy": (tn, tn + fp),
        "total_step_accuracy": (tp + tn, tp + tn + fp + fn),
    }
    found = {
        name: _measure(rows, np.stack(pair, axis=1), measures.ratio).of(planted).estimate(seed)
        for name, pair in shares.items()
    }
    originals = [index for index in range(len(rows)) if rows[index].group == CORRECT]
    on_originals = _measure(rows, np.stack([tp, tp + fn], axis=1), measures.ratio).of(originals)
    return {**found, "originals_step_accuracy": on_originals.estimate(seed)}


def _first_error(rows: Sequence[BenchRow], valid: Sequence[Sequence[float]], planted: Sequence[int]) -> Measure:
    """Of the first wrong steps, the share that is called wrong (whatever is said of the steps before)."""
    columns = [
        (0.0, 0.0) if row.error is None or math.isnan(said[row.error]) else (1 - said[row.error], 1.0)
        for row, said in zip(rows, valid, strict=True)
    ]
    return _measure(rows, np.array(columns), measures.ratio).of(planted)


def _similarity(rows: Sequence[BenchRow], valid: Sequence[Sequence[float]], seed: int) -> Estimate:
    """The mean distance between the shares of steps called right in a modified solution and in its original: near 0,
    the model does not see the difference. As published, without the originals in which no step is called right."""
    shares = [float(np.nanmean(said)) if any(not math.isnan(one) for one in said) else math.nan for said in valid]
    originals = {row.id.removeprefix(f"{CORRECT}_"): one for row, one in zip(rows, shares, strict=True)}
    columns = []
    for row, share in zip(rows, shares, strict=True):
        original = originals.get(row.id.removeprefix(f"{row.group}_"), 0.0) if row.group != CORRECT else 0.0
        known = bool(original) and not math.isnan(original) and not math.isnan(share)
        columns.append((abs(share - original), 1.0) if known else (0.0, 0.0))
    return _measure(rows, np.array(columns), measures.ratio).estimate(seed)


def _category_scores(rows: Sequence[BenchRow], table: Floats, seed: int) -> dict[str, Estimate]:
    """For each category the mean of the PRMScores of those of its classes that are there."""
    found = {}
    for name, classes in CATEGORIES.items():
        present = [one for one in classes if any(row.group == one for row in rows)]
        if not present:
            continue
        blocks = [np.where(np.array([row.group == one for row in rows])[:, None], table, 0.0) for one in present]

        def mean(sums: Floats, present: Sequence[str] = present) -> Floats:
            each = [
                (positive_f1 if one == ALL_RIGHT else prm_score)(sums[:, 4 * k : 4 * k + 4])
                for k, one in enumerate(present)
            ]
            return np.mean(each, axis=0) if each else np.full(len(sums), np.nan)

        chosen = [index for index, row in enumerate(rows) if row.group in present]
        found[f"prm_score_{name}"] = _measure(rows, np.hstack(blocks), mean).of(chosen).estimate(seed)
    return found


def _by(
    rows: Sequence[BenchRow],
    scores: Sequence[Sequence[float]],
    table: Floats,
    paired: Mapping[str, Measure],
    rules: Mapping[str, Measure],
    seed: int,
) -> dict[str, list[dict[str, Any]]]:
    """By class, with the counts that a PRMScore is made of, and by length; of the modified solutions."""

    def ranking(chosen: Sequence[int]) -> Estimate:
        return step_ranking(_steps([rows[index] for index in chosen], [scores[index] for index in chosen]), seed)

    classes = []
    for one in grouped([row.group for row in rows], paired, seed, ranking, rules):
        chosen = [index for index, row in enumerate(rows) if row.group == one["name"]]
        single = {"prm_score": one["f1"], "best_rule": None} if one["name"] == ALL_RIGHT else {}
        tp, fp, tn, fn = table[chosen].sum(axis=0)
        classes.append({**one, **single, "steps": {"tp": tp, "fp": fp, "tn": tn, "fn": fn}})
    lengths = grouped(length_bins([len(row.prefix.steps) for row in rows]), paired, seed, ranking, rules)
    return {"class": classes, "length": lengths}


def _rules(rows: Sequence[BenchRow]) -> dict[str, Measure]:
    """PRMScores of rules without a model."""
    marks = [mark for row in rows for mark in row.marks if mark is not None]
    share = marks.count(1) / max(len(marks), 1)
    said: dict[str, list[list[float]]] = {
        "always_correct": [[1.0] * len(row.marks) for row in rows],
        "first_step": [[0.0] + [1.0] * (len(row.marks) - 1) for row in rows],
        "random": [[share] * len(row.marks) for row in rows],
    }
    for name in step_features(rows[0]):
        features = [step_features(row)[name] for row in rows]
        try:
            cuts = cross_fitted_prm(rows, features).rows
        except ConfigError:
            continue
        said[name] = [[float(one >= at) for one in some] for some, at in zip(features, cuts, strict=True)]
    return {
        name: _measure(rows, np.array([counts_of(row, one) for row, one in zip(rows, some, strict=True)]), prm_score)
        for name, some in said.items()
    }


def _beside(
    rules: Mapping[str, Measure], paired: Measure, seed: int
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, Estimate]]]:
    """The rules' estimates, and how far the model is above them."""
    nulls = {"prm_score": {name: one.estimate(seed) for name, one in rules.items()}}
    return nulls, {"prm_score": {name: paired.minus(one, seed) for name, one in rules.items()}}
