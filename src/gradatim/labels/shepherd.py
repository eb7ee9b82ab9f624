"""Math-Shepherd (Wang et al. 2023): steps marked by whether any of a model's continuations reached the gold answer.

A row holds one text twice: `input` has the tag "ки" behind each step, `label` has "+" or "-" in its place.
"""

from __future__ import annotations

import re

from gradatim.labels.given import Given
from gradatim.records import Row, shown

TAG = "ки"
_FIRST_STEP = re.compile(r"\bstep 1\s*:", re.IGNORECASE)


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
        if sign not in ("+", "-") or not sign:
            raise row.error(f"label {shown(sign)} at tag {number}", expected="label: + or - for each tag")
        marks.append(1 if sign == "+" else -1)
        place += 1
    return marks
