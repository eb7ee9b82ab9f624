"""Plain rows `{problem, steps, labels}` with 1, 0, -1, and TRL's stepwise rows `{prompt, completions, labels}` with
true, false."""

from __future__ import annotations

from gradatim.labels.given import Given, check_length
from gradatim.records import Row, rating, row_id, shown


def read(row: Row) -> list[Given]:
    """The labelled solution in a plain row: labels are 1 good, 0 neutral, -1 bad, null not rated.

    The row may name its problem (`problem_id` or `id`), its `author` and its labeller (`by`).
    """
    texts, labels = _parts(row)
    if any(isinstance(label, bool) for label in labels):
        fix = "read rows with true and false as trl:PATH"
        raise row.error(f"labels {shown(labels)}", expected="labels: 1, 0, -1 or null", fix=fix)
    marks = [rating(row, label) for label in labels]
    return [_given(row, texts, marks, "plain")]


def read_trl(row: Row) -> list[Given]:
    """The labelled solution in a row of TRL's stepwise supervision: labels are true and false, or 1 and 0 as TRL casts
    them; not both in one row."""
    texts, labels = _parts(row)
    numbers = not any(isinstance(label, bool) for label in labels)
    if not all(label in (0, 1) and isinstance(label, int if numbers else bool) for label in labels):
        fix = "read rows with 1, 0 and -1 as plain:PATH"
        raise row.error(f"labels {shown(labels)}", expected="labels: true or false for each step", fix=fix)
    return [_given(row, texts, [1 if label else -1 for label in labels], "trl")]


def _parts(row: Row) -> tuple[list[str], list[object]]:
    texts, labels = row.texts(row.name_of("steps", "completions") or "steps"), row.items("labels")
    check_length(row, len(texts), len(labels), "labels")
    return texts, labels


def _given(row: Row, texts: list[str], marks: list[int | None] | list[int], by: str) -> Given:
    return Given(
        prompt=row.text("problem", "prompt", "question"),
        texts=texts,
        marks=marks,
        raw=by == "plain",
        problem_id=row_id(row, "problem_id", "id"),
        author=row.optional_text("author", "generator") or "",
        by=row.optional_text("by") or by,
    )
