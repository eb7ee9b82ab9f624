"""Labelled solutions, written in each of the forms in which step data sets are published.

What a form can't hold is left out and counted, never rounded: a step without a label, a neutral rating, an unknown first
error. A tally between none good and all good is an InputError; our own rows keep counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from gradatim.core import Labels, Solution, Tally
from gradatim.errors import InputError
from gradatim.labels import bigbench_mistake, mr_ben, prm800k, prmbench, processbench, shepherd
from gradatim.labels.given import Labelled
from gradatim.records import bare, labelled_row, write_rows

Form = Literal[
    "gradatim",
    "plain",
    "trl",
    "prm800k",
    "prm800k-prefix",
    "math-shepherd",
    "processbench",
    "prmbench",
    "mr-ben",
    "bigbench-mistake",
]
FORMS: tuple[Form, ...] = get_args(Form)

Neutral = Literal["skip", "good", "bad"]
"""What a neutral rating becomes in a form that has none: no label, a good step, or a wrong one."""

Rows = Iterator[dict[str, Any]]
Drops = Counter[str]


def write_form(
    path: str | Path, items: Iterable[Labelled], form: Form, *, neutral: Neutral = "skip", drops: Drops | None = None
) -> int:
    """Write labelled solutions in a form; returns how many rows. What could not be written is counted in `drops`.

    Forms with a label for every step (trl, math-shepherd) cut a solution before its first step without one. Forms with
    one first error (processbench, mr-ben, bigbench-mistake) need it known, and drop what is said of the steps behind it;
    it is the labeller's own, and read off the marks only where a person's ratings may be neutral. PRMBench needs every
    step labelled. The others keep ratings as they are, neutral ones too. A solution without steps, or with a step of
    white space alone, is a row in our own form only.
    """
    counted = Counter[str]() if drops is None else drops
    rows = _rows(items if form == "gradatim" else _with_steps(items, counted), form, neutral, counted)
    return write_rows(path, rows)


def write_labelled(path: str | Path, items: Iterable[Labelled]) -> int:
    """Write solutions with their labels as rows of our own, which lose nothing; returns how many."""
    return write_form(path, items, "gradatim")


def write_plain(path: str | Path, items: Iterable[Labelled]) -> int:
    """Write plain rows: `problem`, bare `steps`, `labels` 1, 0, -1 or null; returns how many.

    Labels are the raw ratings where there are some. InputError for a tally between none good and all good.
    """
    return write_form(path, items, "plain")


def write_trl(path: str | Path, items: Iterable[Labelled], *, drops: Drops | None = None) -> int:
    """Write TRL's stepwise rows: `prompt`, bare `completions`, `labels` true or false; returns how many.

    TRL knows no step without a label: a solution is cut before its first unrated or neutral step, and left out where
    that is the first one; both are counted in `drops`. InputError for a tally between none good and all good.
    """
    return write_form(path, items, "trl", drops=drops)


def _with_steps(items: Iterable[Labelled], drops: Drops) -> Iterator[Labelled]:
    """The solutions that a published form can hold; its readers take no empty list, and no step without text."""
    for solution, labels in items:
        steps = solution.prefix.steps
        if steps and all(step.text.strip() for step in steps):
            yield solution, labels
        else:
            drops["a step without text" if steps else "no steps"] += 1


def _rows(items: Iterable[Labelled], form: Form, neutral: Neutral, drops: Drops) -> Rows:
    match form:
        case "gradatim":
            return (labelled_row(solution, labels) for solution, labels in items)
        case "plain":
            return (_plain_row(solution, labels) for solution, labels in items)
        case "prm800k":
            return (prm800k.original_row(one, _ratings(one, labels), labels.by) for one, labels in items)
        case "prm800k-prefix":
            return (prm800k.prefix_row(one, _ratings(one, labels)) for one, labels in items)
        case "trl" | "math-shepherd":
            return _cut_rows(items, form, neutral, drops)
        case "prmbench":
            return _prmbench_rows(items, neutral, drops)
        case _:
            return _error_rows(items, form, neutral, drops)


# A label for every step


def _cut_rows(items: Iterable[Labelled], form: Form, neutral: Neutral, drops: Drops) -> Rows:
    for solution, labels in items:
        marks = _marks(solution, labels, neutral)
        kept = marks.index(None) if None in marks else len(marks)
        if kept < len(marks):
            drops["cut before a step without a label" if kept else "no label on the first step"] += 1
        known = [mark for mark in marks[:kept] if mark is not None]
        if not known:
            continue
        if form == "math-shepherd":
            row = shepherd.row_of(_first(solution, kept), known)
            if row is None:
                drops["the form's own marks in the text"] += 1
            else:
                yield row
        else:
            yield {
                "prompt": solution.prefix.prompt,
                "completions": bare(solution.prefix, solution.joiner)[:kept],
                "labels": [mark == 1 for mark in known],
            }


def _first(solution: Solution, count: int) -> Solution:
    """The solution's first steps. Its last one then ends with the joiner, which white space around steps covers."""
    joiner = solution.joiner if count == len(solution.prefix.steps) else None
    return replace(solution, prefix=solution.prefix.first(count), joiner=joiner)


def _prmbench_rows(items: Iterable[Labelled], neutral: Neutral, drops: Drops) -> Rows:
    """A right solution goes into the rows of the wrong ones of its problem, or has a row of its own where there is none."""
    marked = [(solution, _marks(solution, labels, neutral)) for solution, labels in items]
    whole = [(solution, marks) for solution, marks in marked if None not in marks]
    if len(whole) < len(marked):
        drops["a step without a label"] += len(marked) - len(whole)
    right: dict[str, Solution] = {}
    for solution, marks in whole:
        if -1 not in marks:
            right.setdefault(solution.prefix.prompt, solution)
    used = {solution.prefix.prompt for solution, marks in whole if -1 in marks}
    for solution, marks in whole:
        original = right.get(solution.prefix.prompt)
        if -1 in marks:
            yield prmbench.row_of(solution, marks, original)
        elif solution is not original or solution.prefix.prompt not in used:
            yield prmbench.row_of(solution, marks, None)


# One first error


def _error_rows(items: Iterable[Labelled], form: Form, neutral: Neutral, drops: Drops) -> Rows:
    seen = Counter[str]()
    for solution, labels in items:
        error, known, said = _first_error(solution, labels, neutral)
        if not known:
            drops["the first error is not known"] += 1
            continue
        if error is not None and any(said[error + 1 :]):
            drops["labels behind the first error"] += 1
        if form == "mr-ben":
            yield mr_ben.row_of(solution, error)
        elif form == "bigbench-mistake":
            yield bigbench_mistake.row_of(solution, error)
        else:
            again = seen[solution.prefix.problem_id]
            seen[solution.prefix.problem_id] += 1
            identity = solution.prefix.problem_id + (f"#{again}" if again else "")
            yield processbench.row_of(solution, error, identity)


def _first_error(solution: Solution, labels: Labels, neutral: Neutral) -> tuple[int | None, bool, list[bool]]:
    """The first error, whether it is known, and of which steps anything is said.

    Without raw ratings it is what the labeller found: a step whose few rollouts all failed may come before it.
    """
    if labels.ratings is None:
        return labels.error, labels.error_known, [tally.tried > 0 for tally in labels.tallies]
    marks = _marks(solution, labels, neutral)
    error = marks.index(-1) if -1 in marks else None
    known = labels.error_known or None not in (marks if error is None else marks[:error])
    return error, known, [mark is not None for mark in marks]


# What a step is marked with


def _plain_row(solution: Solution, labels: Labels) -> dict[str, Any]:
    return {
        "problem": solution.prefix.prompt,
        "steps": bare(solution.prefix, solution.joiner),
        "labels": _ratings(solution, labels),
        "problem_id": solution.prefix.problem_id,
        "author": solution.author,
        "by": labels.by,
    }


def _ratings(solution: Solution, labels: Labels) -> list[int | None]:
    """The raw ratings, or 1 and -1 made of tallies; None for a step without a label."""
    if labels.ratings is not None:
        return list(labels.ratings)
    return [_mark(solution, tally) for tally in labels.tallies]


def _marks(solution: Solution, labels: Labels, neutral: Neutral) -> list[int | None]:
    """As `_ratings`, with 1, -1 or None for a neutral one."""
    chosen = {"skip": None, "good": 1, "bad": -1}[neutral]
    ratings: Sequence[int | None] = _ratings(solution, labels)
    return [chosen if rating == 0 else rating for rating in ratings]


def _mark(solution: Solution, tally: Tally) -> int | None:
    if not tally.tried:
        return None
    if tally.good not in (0, tally.tried):
        raise InputError(
            f"a step of {solution.id} with {tally.good} good of {tally.tried}",
            expected="labels that say yes or no",
            fix="keep counts in rows of our own (--to gradatim)",
        )
    return 1 if tally.good else -1
