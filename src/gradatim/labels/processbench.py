"""ProcessBench (Zheng et al. 2024): solutions of many models with the first wrong step found by experts."""

from __future__ import annotations

from typing import Any

from gradatim.core import Solution, Verdict
from gradatim.labels.given import Given, up_to_error
from gradatim.records import Row, bare, is_whole, row_id, shown


def read(row: Row) -> list[Given]:
    """The labelled solution in a row `{id, generator, problem, steps, final_answer_correct, label}`.

    `label` is the 0-based first wrong step, -1 for none; steps behind it are not labelled. `final_answer_correct`
    becomes the verdict. The problem's id is the row's: one problem stands in several rows, so cluster by prompt.
    """
    steps = row.texts("steps")
    label = row.data.get("label")
    if not is_whole(label) or not -1 <= label < len(steps):
        raise row.error(
            f"label: {shown(label)} for {len(steps)} steps",
            expected="label: 0-based index of the first wrong step, or -1 for none",
            fix="if the labels count from 1, subtract 1" if label == len(steps) else None,
        )
    verdict = None
    if row.name_of("final_answer_correct"):
        verdict = Verdict.CORRECT if row.flag("final_answer_correct") else Verdict.INCORRECT
    return [
        Given(
            prompt=row.text("problem"),
            texts=steps,
            marks=up_to_error(len(steps), None if label == -1 else int(label)),
            raw=False,
            error_known=True,
            problem_id=row_id(row, "id"),
            author=row.optional_text("generator") or "",
            by="processbench",
            verdict=verdict,
        )
    ]


def row_of(solution: Solution, error: int | None, identity: str) -> dict[str, Any]:
    """A row for a solution whose first error is known; `final_answer_correct` is left out where no verdict is."""
    known = solution.verdict in (Verdict.CORRECT, Verdict.INCORRECT)
    return {
        "id": identity,
        "generator": solution.author,
        "problem": solution.prefix.prompt,
        "steps": bare(solution.prefix, solution.joiner),
        **({"final_answer_correct": solution.verdict is Verdict.CORRECT} if known else {}),
        "label": -1 if error is None else error,
    }
