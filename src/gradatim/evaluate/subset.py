"""What was found on one subset of a benchmark: predictions, measures, nulls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradatim.core import Estimate
from gradatim.evaluate.bench import BenchRow
from gradatim.evaluate.first_error import FirstError, Judged, accuracy, measure, predict
from gradatim.evaluate.nulls import nulls
from gradatim.evaluate.thresholds import Thresholds
from gradatim.runs import plain


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


def judge(rows: Sequence[BenchRow], scores: Sequence[tuple[float, ...]]) -> list[Judged]:
    """Rows and their step scores side by side."""
    return [
        Judged(problem=row.prefix.problem_id, scores=found, error=row.error)
        for row, found in zip(rows, scores, strict=True)
    ]


def evaluate_subset(
    subset: str,
    rows: Sequence[BenchRow],
    scores: Sequence[tuple[float, ...]],
    cut: Thresholds,
    chosen_on: Sequence[Judged] | None = None,
) -> SubsetResult:
    """The measures of one subset under given thresholds; `chosen_on` are the rows that the threshold was chosen on."""
    judged = judge(rows, scores)
    predicted = [predict(one.scores, at) for one, at in zip(judged, cut.rows, strict=True)]
    hits = [one.error == said for one, said in zip(judged, predicted, strict=True)]
    seen = {one.problem for one in chosen_on or ()}
    return SubsetResult(
        subset=subset,
        rows=tuple(rows),
        judged=tuple(judged),
        predicted=tuple(predicted),
        thresholds=cut,
        found=measure(judged, predicted),
        traps=accuracy(
            [hit for row, hit in zip(rows, hits, strict=True) if row.trap],
            [row.prefix.problem_id for row in rows if row.trap],
        ),
        nulls=nulls(judged, chosen_on=chosen_on),
        overlap=sum(one.problem in seen for one in judged),
    )


def subset_json(one: SubsetResult) -> dict[str, Any]:
    """The result as JSON; a number is null where a class is empty."""
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
