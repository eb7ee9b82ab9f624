"""ProcessBench: does a process reward model find the first wrong step?

Against published numbers mind the threshold: it is 0.5 unless asked otherwise, or chosen on other rows. A threshold chosen
on the evaluated rows, as some published scripts do, flatters the model and is not offered.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradatim.core import Scorer
from gradatim.errors import ConfigError
from gradatim.evaluate import thresholds
from gradatim.evaluate.bench import BenchRow, Recorded, checked, read_recorded, read_subsets
from gradatim.evaluate.first_error import Judged
from gradatim.evaluate.pages import processbench_report
from gradatim.evaluate.score_checks import Scored, check_scores
from gradatim.evaluate.subset import SubsetResult, evaluate_subset, judge, subset_json
from gradatim.evaluate.thresholds import Thresholds
from gradatim.progress import progress
from gradatim.records import check_outputs
from gradatim.runs import command_line
from gradatim.view.report import report_files, write_report

BATCH = 64
"""Solutions handed to the scorer at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessBenchConfig:
    """Settings of `gradatim evaluate processbench`."""

    data: str
    """A file of ProcessBench rows, a folder of such files, or a data set on a hub (`Qwen/ProcessBench`)."""
    model: str | None = None
    """A run, a model folder, a name on the hub or "lab": what scores the steps."""
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


def processbench_stage(
    config: ProcessBenchConfig, scorer: Scorer | None = None, *, opening: Sequence[Any] = (), quiet: bool = False
) -> dict[str, Any]:
    """Evaluates and returns the object that `--json` prints: see `as_json`.

    `scorer` is what `config.model` names, loaded by the caller by the settings in `opening`; it is not used (and may be
    None) with recorded scores. ConfigError, before any work, if the report can't be written or would replace what is read.
    """
    if config.report is not None:
        sets = [f"processbench:{data}" for data in (config.data, config.threshold_from) if data is not None]
        check_outputs([], [*sets, config.scores], report_files(config.report))
    drops: Counter[str] = Counter()
    subsets = read_subsets(config.data, skip_bad=config.skip_bad, drops=drops)
    chosen = (
        [
            row
            for rows in read_subsets(config.threshold_from, skip_bad=config.skip_bad, drops=drops).values()
            for row in rows
        ]
        if config.threshold_from is not None
        else []
    )
    recorded = read_recorded(config.scores) if config.scores is not None else None
    name, scores = _scores(recorded, scorer, [*subsets.values(), chosen], quiet=quiet)
    chosen_on = judge(chosen, scores.pop()) if config.threshold_from is not None else None
    results = [
        evaluate_subset(subset, rows, found, _thresholds(judge(rows, found), config, chosen_on), chosen_on)
        for (subset, rows), found in zip(subsets.items(), scores, strict=False)
    ]
    if config.report is not None:
        command = command_line("evaluate processbench", config, *opening)
        write_report(processbench_report(results, name, command=command), config.report)
    return as_json(results, name, drops)


def score_rows(scorer: Scorer, rows: Sequence[BenchRow], *, quiet: bool = False) -> list[tuple[float, ...]]:
    """Step scores of each row from a model, solutions of one problem side by side; ConfigError for an outcome model."""
    order = sorted(range(len(rows)), key=lambda index: (rows[index].prefix.problem_id, index))
    found: dict[int, tuple[float, ...]] = {}
    with progress("score", len(rows), "solutions", quiet=quiet) as shown:
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            for index, score in zip(batch, scorer.score([rows[index].prefix for index in batch]), strict=True):
                if not score.steps:
                    raise ConfigError(
                        f"{scorer.name} scores whole solutions, not steps; ProcessBench needs a process model"
                    )
                found[index] = checked(rows[index], score.steps, scorer.name)
            shown.advance(len(batch))
    return [found[index] for index in range(len(rows))]


def as_json(results: Sequence[SubsetResult], model: str, drops: Mapping[str, int]) -> dict[str, Any]:
    """The results as JSON: a number is null where a class is empty; `intervals` are 95 %.

    `threshold` of a cross-fit is the median of the folds' (all in `thresholds`).
    """
    return {"subsets": [subset_json(one) for one in results], "model": model, "drops": dict(drops)}


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


def processbench_warnings(config: ProcessBenchConfig) -> list[dict[str, Any]]:
    """What is odd about the recorded scores of `config`, with the evidence; nothing where a model scores."""
    if config.scores is None:
        return []
    recorded = read_recorded(config.scores)
    rows = [row for some in read_subsets(config.data, skip_bad=config.skip_bad).values() for row in some]
    scored = [
        Scored(row.prefix.problem_id, found.steps, len(row.prefix.steps), len(row.prefix.text), row.error is None)
        for row in rows
        if (found := recorded.find(row)) is not None
    ]
    return [{"model": recorded.name, **one.as_json()} for one in check_scores(scored)]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
