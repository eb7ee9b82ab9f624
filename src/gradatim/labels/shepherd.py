"""Math-Shepherd (Wang et al. 2023): steps marked by whether any of a model's continuations reached the gold answer.

A row holds one text twice: `input` has the tag "ки" behind each step, `label` has "+" or "-" in its place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gradatim.core import Solution
from gradatim.labels.given import Given
from gradatim.records import Row, bare, shown

TAG = "ки"
_FIRST_STEP = re.compile(r"\bstep 1\s*:", re.IGNORECASE)
_ANY_STEP = re.compile(r"step \d+\s*:", re.IGNORECASE)


def read(row: Row) -> list[Given]:
    """The labelled solution in a row.

    The problem is what stands before "Step 1:". A tag inside it (some rows have one), or no "Step 1:" before the first
    tag, or more than one, is an InputError: where the problem ends would be a guess.
    """
    *pieces, rest = row.text("input").split(TAG)
    if not pieces:
        raise row.error("an input without a tag", expected=f"input: {TAG!r} behind each step")
    marks = _marks(row, pieces, row.text("label"))
    if rest.strip():
        raise row.error(f"the text {shown(rest.strip())} behind the last tag", expected="a tag behind each step")
    places = list(_FIRST_STEP.finditer(pieces[0]))
    if len(places) != 1:
        found = f"{len(places)} times 'Step 1:' before the first tag"
        raise row.error(found, expected="one 'Step 1:' between the problem and the first tag", fix="drop the row")
    prompt, first = pieces[0][: places[0].start()].strip(), pieces[0][places[0].start() :]
    texts = [piece.strip() for piece in (first, *pieces[1:])]
    checked = row.inside({"problem": prompt, "steps": texts})
    return [
        Given(
            prompt=checked.text("problem"),
            texts=checked.texts("steps"),
            marks=marks,
            raw=False,
            author=row.optional_text("task") or "math-shepherd",
            by="math-shepherd",
            truth="value",
            source="rollouts",
            rule="hard: + if any continuation reached the answer",
        )
    ]


def _marks(row: Row, pieces: list[str], label: str) -> list[int]:
    """The sign behind each piece of the input, read off the label text that has the same pieces."""
    marks: list[int] = []
    place = 0
    for number, piece in enumerate(pieces):
        place += len(piece)
        sign = label[place : place + 1]
        if label[place - len(piece) : place] != piece:
            raise row.error(
                f"a label that differs from the input before tag {number}", expected="label: the input's text"
            )
        if sign not in ("+", "-"):
            raise row.error(f"label {shown(sign)} at tag {number}", expected="label: + or - for each tag")
        marks.append(1 if sign == "+" else -1)
        place += 1
    return marks


def row_of(solution: Solution, marks: Sequence[int]) -> dict[str, Any] | None:
    """A row for a solution in which every step is marked 1 or -1; white space around a step is not kept.

    Unless all steps have names ("Step k:") they get them, as the form has no other sign of where the problem ends.
    None where the row could not be read back: the tag, or a second "Step 1:", in the text.
    """
    texts = [text.strip() for text in bare(solution.prefix, solution.joiner)]
    if not all(map(_ANY_STEP.match, texts)) or not _FIRST_STEP.match(texts[0]):
        texts = [f"Step {number}: {text}" for number, text in enumerate(texts, 1)]
    prompt = solution.prefix.prompt.strip()
    if any(TAG in text for text in (prompt, *texts)) or len(_FIRST_STEP.findall(f"{prompt} {texts[0]}")) != 1:
        return None
    signs = ["+" if mark == 1 else "-" for mark in marks]
    return {
        "input": f"{prompt} " + "\n".join(f"{text} {TAG}" for text in texts),
        "label": f"{prompt} " + "\n".join(f"{text} {sign}" for text, sign in zip(texts, signs, strict=True)),
        "task": solution.author,
    }
