"""PRMBench (Song et al. 2025, arXiv 2501.03124): right solutions in which a language model planted an error of a named class.

A row holds a right solution (`original_process`) and its modification; `error_steps` are **1-based** into `modified_process`
and name every wrong step, not only the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradatim.core import Solution
from gradatim.labels.given import Given, Misfits, misfit
from gradatim.records import Row, bare, is_whole, row_id, shown

AUTHOR = "prmbench:"
"""Before the class of the planted error in a solution's `author`."""

CORRECT = "correct"
"""The class of the original solutions, as the published code calls it."""


def reader(misfits: Misfits = "drop") -> Callable[[Row], list[Given]]:
    """A reader of the rows of one data set: of each the modified solution, and the original one where it is new.

    The same originals stand in the files of all classes; they are given once. An error step past the end is a `Misfit`,
    or with "keep" passed over, as the published code does; so is a step without text (never kept). An index below 1 is
    an InputError: the file counts from 0.
    """
    originals: set[tuple[str, ...]] = set()

    def read(row: Row) -> list[Given]:
        modified = _modified(row, misfits)
        question = row.text("original_question", "question")
        original = row.data.get("original_process") or []
        key = (question, *map(str, original))
        if not original or key in originals:
            return [modified]
        originals.add(key)
        texts = _texts(row, "original_process")
        return [modified, _given(question, texts, [1] * len(texts), CORRECT)]

    return read


def class_of(author: str) -> str | None:
    """The class of the error that was planted in an author's solutions; None for another data set's author."""
    return author.removeprefix(AUTHOR) if author.startswith(AUTHOR) else None


def error_steps(row: Row, steps: int, misfits: Misfits) -> list[int]:
    """The wrong steps of a row as 0-based indices, ascending."""
    values = row.items("error_steps")
    if not all(is_whole(value) and value >= 1 for value in values):
        raise row.error(
            f"error_steps: {shown(values)}",
            expected="error_steps: whole numbers from 1 on",
            fix="if they count from 0, add 1 to each",
        )
    inside = sorted({int(value) - 1 for value in values if value <= steps})
    if len(inside) < len(set(values)) and misfits != "keep":
        found = f"error_steps {shown(values)} of {steps} steps"
        raise misfit(row, found, expected="error_steps within modified_process")
    return inside


def _modified(row: Row, misfits: Misfits) -> Given:
    texts = _texts(row, "modified_process")
    wrong = error_steps(row, len(texts), misfits)
    marks = [-1 if index in wrong else 1 for index in range(len(texts))]
    return _given(row.text("modified_question", "question"), texts, marks, row.text("classification"))


def _texts(row: Row, name: str) -> list[str]:
    values = row.items(name)
    if any(isinstance(value, str) and not value.strip() for value in values):
        raise misfit(row, f"{name}: a step without text", expected=f"{name}: a text in every step")
    return row.texts(name)


def _given(prompt: str, texts: list[str], marks: list[int], kind: str) -> Given:
    return Given(
        prompt=prompt,
        texts=texts,
        marks=marks,
        raw=False,
        error_known=True,
        author=f"{AUTHOR}{kind}",
        by="prmbench",
    )


def row_of(solution: Solution, marks: Sequence[int | None], original: Solution | None) -> dict[str, Any]:
    """A row for a solution in which every step is marked 1 or -1; `original` is a right solution of the same problem."""
    prompt = solution.prefix.prompt
    return {
        "original_question": prompt,
        "modified_question": prompt,
        "original_process": [] if original is None else bare(original.prefix, original.joiner),
        "modified_process": bare(solution.prefix, solution.joiner),
        "error_steps": [index + 1 for index, mark in enumerate(marks) if mark == -1],
        "idx": solution.id,
        "question": prompt,
        "classification": class_of(solution.author) or solution.author or "unknown",
    }


def published_id(row: Row, kind: str) -> str:
    """What the published code calls a solution: its class, "_" and the row's `idx`."""
    identity = row_id(row, "idx", "id")
    if identity is None:
        raise row.error("no 'idx'", expected="idx: a text")
    return f"{kind}_{identity}"
