"""ProcessBench: does a process reward model find the first wrong step?

Against published numbers mind the threshold: it is 0.5 unless asked otherwise, or chosen on other rows. A threshold chosen on
the evaluated rows, as some published scripts do, flatters the model and is not offered.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.core import Estimate, Scorer
from gradatim.errors import ConfigError
from gradatim.evaluate import thresholds
from gradatim.evaluate.bench import BenchRow, Recorded, checked, read_recorded, read_subsets, subset_name
from gradatim.evaluate.first_error import FirstError, Judged, accuracy, measure, predict
from gradatim.evaluate.nulls import nulls
from gradatim.evaluate.thresholds import Thresholds
from gradatim.progress import progress
from gradatim.runs import plain

BATCH = 64
"""Solutions handed to the scorer at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessBenchConfig:
    """Settings of `gradatim evaluate processbench`."""

    data: str
    """A file of ProcessBench rows, a folder of such files, or a data set on a hub (`Qwen/ProcessBench`)."""
    model: str | None = None
    """A run, a model folder or a hub name: what scores the steps."""
    scores: str | None = None
    """Recorded step scores instead of a model: JSON Lines of `{id, step_scores}`."""
    threshold: str = "0.5"
    """A step that scores below this is wrong: a number, or `cross-fit` (five folds by problem)."""
    threshold_from: str | None = None
    """Choose the threshold with the best F1 on the rows of this file (or folder) instead."""
    report: str | None = None
    """A folder to write `report.json` and `report.html` to."""
    skip_bad: bool = False
    """Pass over malformed rows and count them, instead of stopping at the first."""

    def __post_init__(self) -> None:
        if (self.model is None) == (self.scores is None):
            raise ConfigError("give either --model or --scores, and not both")
        if self.threshold != "cross-fit" and not _is_number(self.threshold):
            raise ConfigError(f"--threshold {self.threshold!r} is neither a number nor cross-fit")
        if self.threshold_from is not None and self.threshold != "0.5":
            raise ConfigError("--threshold and --threshold-from contradict each other; give one of them")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetResult:
    """What was found on one subset, with all that the numbers rest on."""

    subset: str
    rows: tuple[BenchRow, ...]
    judged: tuple[Judged, ...]
    predicted: tuple[int | None, ...]
    thresholds: Thresholds
    found: FirstError
    traps: Estimate
    """Accuracy on rows whose final answer is right although a step is wrong; NaN without such rows."""
    nulls: Mapping[str, float]
    overlap: int
    """Rows whose problem was also among those the threshold was chosen on (`--threshold-from`)."""


def processbench_stage(config: ProcessBenchConfig, scorer: Scorer | None = None, *, quiet: bool = False) -> dict[str, Any]:
    """Evaluates and returns the object that `--json` prints: see `as_json`.

    `scorer` is what `config.model` names, loaded by the caller; it is not used (and may be None) with recorded scores.
    """
    drops: Counter[str] = Counter()
    subsets = read_subsets(config.data, skip_bad=config.skip_bad, drops=drops)
    chosen = (
        [row for rows in read_subsets(config.threshold_from, skip_bad=config.skip_bad, drops=drops).values() for row in rows]
        if config.threshold_from is not None
        else []
    )
    recorded = read_recorded(config.scores) if config.scores is not None else None
    name, scores = _scores(recorded, scorer, [*subsets.values(), chosen], quiet=quiet)
    chosen_on = judge(chosen, scores.pop()) if config.threshold_from is not None else None
    results = [
        evaluate(subset, rows, judge(rows, found), config, chosen_on)
        for (subset, rows), found in zip(subsets.items(), scores, strict=False)
    ]
    if config.report is not None:
        from gradatim.evaluate.processbench_page import processbench_report
        from gradatim.view.report import write_report

        write_report(processbench_report(results, name, config), config.report)
    return as_json(results, name, drops)


def evaluate(
    subset: str,
    rows: Sequence[BenchRow],
    judged: Sequence[Judged],
    config: ProcessBenchConfig,
    chosen_on: Sequence[Judged] | None = None,
) -> SubsetResult:
    """The measures of one subset under the configured threshold; `chosen_on` are the rows of `--threshold-from`."""
    cut = _thresholds(judged, config, chosen_on)
    predicted = [predict(one.scores, at) for one, at in zip(judged, cut.rows, strict=True)]
    trapped = [(one.error == said, one.problem) for row, one, said in zip(rows, judged, predicted, strict=True) if row.trap]
    seen = {one.problem for one in chosen_on or ()}
    return SubsetResult(
        subset=subset,
        rows=tuple(rows),
        judged=tuple(judged),
        predicted=tuple(predicted),
        thresholds=cut,
        found=measure(judged, predicted),
        traps=accuracy([hit for hit, _ in trapped], [problem for _, problem in trapped]),
        nulls=nulls(judged, chosen_on=chosen_on),
        overlap=sum(one.problem in seen for one in judged),
    )


def judge(rows: Sequence[BenchRow], scores: Sequence[tuple[float, ...]]) -> list[Judged]:
    """Rows and their step scores side by side."""
    return [
        Judged(problem=row.prefix.problem_id, scores=found, error=row.error)
        for row, found in zip(rows, scores, strict=True)
    ]


def score_rows(scorer: Scorer, rows: Sequence[BenchRow], *, quiet: bool = False) -> list[tuple[float, ...]]:
    """Step scores of each row from a model, solutions of one problem side by side; ConfigError for an outcome model."""
    order = sorted(range(len(rows)), key=lambda index: (rows[index].prefix.problem_id, index))
    found: dict[int, tuple[float, ...]] = {}
    with progress("score", len(rows), "solutions", quiet=quiet) as shown:
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            for index, score in zip(batch, scorer.score([rows[index].prefix for index in batch]), strict=True):
                if not score.steps:
                    raise ConfigError(f"{scorer.name} scores whole solutions, not steps; ProcessBench needs a process model")
                found[index] = checked(rows[index], score.steps, scorer.name)
            shown.advance(len(batch))
    return [found[index] for index in range(len(rows))]


def as_json(results: Sequence[SubsetResult], model: str, drops: Mapping[str, int]) -> dict[str, Any]:
    """The results as JSON: a number is null where a class is empty; `intervals` are 95 %.

    `threshold` of a cross-fit is the median of the folds' (all in `thresholds`).
    """
    return {"subsets": [_subset_json(one) for one in results], "model": model, "drops": dict(drops)}


def _subset_json(one: SubsetResult) -> dict[str, Any]:
    estimates = {
        "error_accuracy": one.found.error_accuracy,
        "correct_accuracy": one.found.correct_accuracy,
        "f1": one.found.f1,
        "right_answer_wrong_step_accuracy": one.traps,
    }
    values = {name: estimate.value for name, estimate in estimates.items()}
    row = {
        "subset": one.subset,
        **values,
        "threshold": one.thresholds.value,
        "threshold_from": one.thresholds.source,
        "thresholds": list(one.thresholds.chosen),
        "threshold_overlap": one.overlap,
        "errors": one.found.errors,
        "correct": one.found.correct,
        "right_answer_wrong_step": sum(row.trap for row in one.rows),
        "nulls": dict(one.nulls),
        "intervals": {name: [estimate.low, estimate.high] for name, estimate in estimates.items()},
    }
    return dict(plain(row))


def _thresholds(judged: Sequence[Judged], config: ProcessBenchConfig, chosen_on: Sequence[Judged] | None) -> Thresholds:
    if chosen_on is not None:
        return thresholds.fixed(judged, thresholds.best_threshold(chosen_on), str(config.threshold_from))
    if config.threshold == "cross-fit":
        return thresholds.cross_fitted(judged)
    return thresholds.fixed(judged, float(config.threshold))


def _scores(
    recorded: Recorded | None, scorer: Scorer | None, parts: Sequence[Sequence[BenchRow]], *, quiet: bool
) -> tuple[str, list[list[tuple[float, ...]]]]:
    """The name of the model, and the step scores of each part; rows that occur in several parts are scored once."""
    if recorded is not None:
        return recorded.name, [recorded.of(rows) for rows in parts]
    if scorer is None:
        raise ConfigError("no model was loaded; pass a scorer, or recorded scores")
    distinct = list(dict.fromkeys(row.prefix for rows in parts for row in rows))
    first = {row.prefix: row for rows in reversed(parts) for row in reversed(rows)}
    found = dict(zip(distinct, score_rows(scorer, [first[prefix] for prefix in distinct], quiet=quiet), strict=True))
    return scorer.name, [[found[row.prefix] for row in rows] for rows in parts]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def source_name(source: str) -> str:
    """A data source as a report names it: a file or folder without its path, a hub name as it is."""
    return subset_name(source) if Path(source).exists() else source
