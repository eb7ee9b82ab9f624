"""Labels, scores and preference pairs as rows, and back."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from gradatim.core import REDUCTIONS, Labels, Pair, Prefix, Score, Solution, Tally
from gradatim.records.attempts import prompt_id, row_id, same_prompt, solution_from, solution_row, steps_from, steps_row
from gradatim.records.rows import Row, convert, is_whole, read_rows, shown, write_rows
from gradatim.records.schema import VERSION, is_own, read_once

_TRUTHS = ("validity", "value")
_SOURCES = ("rollouts", "human", "judge", "exact", "consensus")

# Labels


def labels_row(labels: Labels) -> dict[str, Any]:
    """Labels as a row; a tally is [good, tried, lost]."""
    return {
        "schema": f"gradatim.labels/{VERSION}",
        "solution_id": labels.solution_id,
        "tallies": [_tally_row(tally) for tally in labels.tallies],
        "error": labels.error,
        "error_known": labels.error_known,
        "truth": labels.truth,
        "source": labels.source,
        "by": labels.by,
        "rule": labels.rule,
        "bounds": None if labels.bounds is None else list(labels.bounds),
        "ratings": None if labels.ratings is None else list(labels.ratings),
        "optional_stopping": labels.optional_stopping,
        "start": _tally_row(labels.start),
        "note": labels.note,
    }


def labels_from(row: Row) -> Labels:
    """The labels in a row."""
    is_own(row, "labels")
    tallies = tuple(_tally(row, f"tallies[{index}]", value) for index, value in enumerate(row.items("tallies")))
    error = row.count("error")
    if error is not None and error >= len(tallies):
        raise row.error(f"error at step {error} of {len(tallies)} steps", expected="error: a step's index from 0 on")
    for name in ("truth", "source"):
        if row.data.get(name) is None:
            raise row.error(f"no {name!r}", expected=f"{name}: a text")
    return Labels(
        solution_id=row.text("solution_id"),
        tallies=tallies,
        error=error,
        error_known=row.flag("error_known"),
        truth=cast(Any, row.choice("truth", _TRUTHS, "")),
        source=cast(Any, row.choice("source", _SOURCES, "")),
        by=row.optional_text("by") or "",
        rule=row.optional_text("rule") or "",
        bounds=_bounds(row),
        ratings=_ratings(row, len(tallies)),
        optional_stopping=row.flag("optional_stopping"),
        start=_tally(row, "start", row.data.get("start", [0, 0, 0])),
        note=row.optional_text("note") or "",
    )


def _tally_row(tally: Tally) -> list[int]:
    return [tally.good, tally.tried, tally.lost]


def _tally(row: Row, name: str, value: Any) -> Tally:
    expected = "tallies: [good, tried, lost] with good + lost <= tried"
    if not isinstance(value, list) or len(value) != 3 or not all(is_whole(count) for count in value):
        raise row.error(f"{name}: {shown(value)}", expected=expected)
    try:
        return Tally(*map(int, value))
    except ValueError:
        raise row.error(f"{name}: {shown(value)}", expected=expected) from None


def _bounds(row: Row) -> tuple[float, float] | None:
    value = row.data.get("bounds")
    if value is None:
        return None
    rates = [row.number("bounds", rate) for rate in row.items("bounds")]
    if len(rates) != 2 or not all(0 <= rate <= 1 for rate in rates):
        raise row.error(f"bounds: {shown(value)}", expected="bounds: two error rates between 0 and 1")
    return rates[0], rates[1]


def _ratings(row: Row, steps: int) -> tuple[int | None, ...] | None:
    if row.data.get("ratings") is None:
        return None
    values = row.items("ratings")
    if len(values) != steps:
        raise row.error(f"{len(values)} ratings for {steps} tallies", expected="ratings: one a step")
    return tuple(rating(row, value) for value in values)


def rating(row: Row, value: Any) -> int | None:
    """A human's rating of a step: -1, 0 or 1, or None for null (not rated). Booleans and NaN are errors."""
    if value is None:
        return None
    if not is_whole(value) or value not in (-1, 0, 1):
        raise row.error(f"rating {shown(value)}", expected="ratings: -1, 0, 1 or null")
    return int(value)


def read_labels(path: str | Path, *, skip_bad: bool = False, drops: Counter[str] | None = None) -> list[Labels]:
    """All labels of a file; two for one solution by one labeller and rule are an error."""

    def key(labels: Labels) -> str:
        return " by ".join(filter(None, (labels.solution_id, labels.by, labels.rule)))

    return read_once(path, labels_from, "labels of solution", key, skip_bad, drops)


def write_labels(path: str | Path, labels: Iterable[Labels]) -> int:
    """Write labels; returns how many."""
    return write_rows(path, map(labels_row, labels))


def labelled_row(solution: Solution, labels: Labels) -> dict[str, Any]:
    """A solution together with its labels as one row: a data set that needs no second file."""
    parts = {"solution": solution_row(solution), "labels": labels_row(labels)}
    return {"schema": f"gradatim.labelled/{VERSION}", **parts}


def labelled_from(row: Row) -> tuple[Solution, Labels]:
    """The solution and the labels in a row of `labelled_row`; they have to belong together."""
    is_own(row, "labelled")
    for name in ("solution", "labels"):
        if not isinstance(row.data.get(name), dict):
            raise row.error(f"{name}: {shown(row.data.get(name))}", expected=f"{name}: an object")
    solution = solution_from(row.inside(row.data["solution"]))
    return solution, belongs(row, solution, labels_from(row.inside(row.data["labels"])))


def belongs(row: Row, solution: Solution, labels: Labels) -> Labels:
    """These labels, if they are this solution's and have a tally for each of its steps; otherwise an InputError."""
    if labels.solution_id != solution.id:
        raise row.error(f"labels of solution {labels.solution_id}", expected="labels of the solution beside them")
    if len(labels.tallies) != len(solution.prefix.steps):
        found = f"{len(labels.tallies)} tallies for the {len(solution.prefix.steps)} steps of {solution.id}"
        raise row.error(found, expected="a tally for each step", fix="label the solution again, or drop the row")
    return labels


# Scores


def score_row(solution_id: str, score: Score) -> dict[str, Any]:
    """A score as a row; NaN is written as null."""
    return {
        "schema": f"gradatim.score/{VERSION}",
        "solution_id": solution_id,
        "value": score.value,
        "steps": list(score.steps),
        "logits": None if score.logits is None else list(score.logits),
        "reduction": score.reduction,
        "by": score.by,
        "calibrated": score.calibrated,
        "checkpoint": score.checkpoint,
    }


def score_from(row: Row) -> tuple[str, Score]:
    """The id and the score in a row: ours, or a recorded one with `id` and `step_scores`.

    null is NaN. A row without `value` gets the smallest step score that is not NaN, and says so (reduction "min").
    """
    is_own(row, "score")
    name = row.name_of("steps", "step_scores")
    steps = _numbers(row, name) if name else ()
    logits = _numbers(row, "logits") if row.data.get("logits") is not None else None
    if logits is not None and len(logits) != max(len(steps), 1):
        raise row.error(f"{len(logits)} logits for {len(steps)} steps", expected="logits: one a step")
    if "value" in row.data:
        value, reduction = row.number("value", row.data["value"]), row.choice("reduction", REDUCTIONS, "outcome")
    elif steps:
        value = min((step for step in steps if not math.isnan(step)), default=math.nan)
        reduction = row.choice("reduction", ("min",), "min")
    else:
        raise row.error("neither 'value' nor 'step_scores'", expected="value or step_scores")
    by = row.optional_text("by", "prm_name") or "recorded"
    identity = row_id(row, "solution_id", "id")
    if identity is None:
        raise row.error("no 'solution_id' or 'id'", expected="solution_id: a text")
    found = Score(value=value, steps=steps, logits=logits, reduction=cast(Any, reduction), by=by)
    map_of, checkpoint = (row.optional_text(name) or "" for name in ("calibrated", "checkpoint"))
    return identity, replace(found, calibrated=map_of, checkpoint=checkpoint)


def _numbers(row: Row, name: str) -> tuple[float, ...]:
    return tuple(row.number(f"{name}[{index}]", value) for index, value in enumerate(row.items(name)))


def read_scores(
    path: str | Path, *, skip_bad: bool = False, drops: Counter[str] | None = None
) -> list[tuple[str, Score]]:
    """All (id, score) of a file; two scores of one solution by one scorer are an error."""
    return read_once(path, score_from, "score of", lambda item: f"{item[0]} by {item[1].by}", skip_bad, drops)


def write_scores(path: str | Path, scores: Iterable[tuple[str, Score]]) -> int:
    """Write (solution id, score); returns how many."""
    return write_rows(path, (score_row(solution_id, score) for solution_id, score in scores))


# Preference pairs


def pair_row(pair: Pair) -> dict[str, Any]:
    """A preference pair as a row; ValueError if its two sides answer different problems."""
    if (pair.chosen.problem_id, pair.chosen.prompt) != (pair.rejected.problem_id, pair.rejected.prompt):
        raise ValueError(f"a pair of two problems: {pair.chosen.problem_id} and {pair.rejected.problem_id}")
    return {
        "schema": f"gradatim.pair/{VERSION}",
        "problem_id": pair.chosen.problem_id,
        "prompt": pair.chosen.prompt,
        "chosen": steps_row(pair.chosen.steps),
        "rejected": steps_row(pair.rejected.steps),
        "margin": pair.margin,
    }


def pair_from(row: Row) -> Pair:
    """The preference pair in a row: `prompt`, and `chosen` and `rejected` as lists of steps."""
    is_own(row, "pair")
    prompt = row.text("prompt")
    problem_id = row_id(row, "problem_id") or prompt_id(prompt)
    chosen, rejected = steps_from(row, "chosen"), steps_from(row, "rejected")
    if chosen == rejected:
        raise row.error("chosen and rejected are the same", expected="two different solutions", fix="drop the row")
    return Pair(Prefix(problem_id, prompt, chosen), Prefix(problem_id, prompt, rejected), margin_from(row))


def margin_from(row: Row) -> float:
    """By how much the chosen side of a pair is better; 0 where the row does not say."""
    margin = row.number("margin", row.data.get("margin", 0.0))
    if math.isnan(margin):
        raise row.error("margin: null", expected="margin: a finite number")
    return margin


def read_pairs(path: str | Path, *, skip_bad: bool = False, drops: Counter[str] | None = None) -> list[Pair]:
    """All preference pairs of a file; one problem id with two prompts is an error."""
    prompt_holds = same_prompt()

    def read(row: Row) -> Pair:
        pair = pair_from(row)
        prompt_holds(row, pair.chosen)
        return pair

    return list(convert(read_rows(path, skip_bad=skip_bad, drops=drops), read, skip_bad=skip_bad, drops=drops))


def write_pairs(path: str | Path, pairs: Iterable[Pair]) -> int:
    """Write preference pairs; returns how many."""
    return write_rows(path, map(pair_row, pairs))
