"""BIG-Bench-Mistake (Tyen et al. 2023, arXiv 2311.08516): chains of thought with the first logical mistake found by people.

`mistake_index` is **0-based**, null where there is no mistake. What stands behind a mistake was not looked at.
"""

from __future__ import annotations

from typing import Any

from gradatim.core import Solution, Verdict
from gradatim.labels.given import Given, misfit, up_to_error
from gradatim.records import Row, bare, is_whole, shown


def read(row: Row) -> list[Given]:
    """The labelled solution in a row `{input, steps, target, answer, mistake_index}`.

    The verdict is whether `answer` is `target`, as texts without white space around them: the data set's own rule. It
    does not follow from the mistake. A mistake past the last step is a `Misfit`.
    """
    steps = row.texts("steps")
    if "mistake_index" not in row.data:
        raise row.error("no 'mistake_index'", expected="mistake_index: a 0-based step, or null for none")
    value = row.data["mistake_index"]
    if value is not None and (not is_whole(value) or value < 0):
        raise row.error(f"mistake_index: {shown(value)}", expected="mistake_index: a 0-based step, or null for none")
    if value is not None and value >= len(steps):
        raise misfit(row, f"mistake_index {value} of {len(steps)} steps", expected="mistake_index of a step")
    target, answer = (row.optional_text(name) for name in ("target", "answer"))
    return [
        Given(
            prompt=row.text("input"),
            texts=steps,
            marks=up_to_error(len(steps), None if value is None else int(value)),
            raw=False,
            error_known=True,
            author="bigbench-mistake",
            by="bigbench-mistake",
            verdict=_verdict(target, answer),
            answer=answer or None,
        )
    ]


def _verdict(target: str | None, answer: str | None) -> Verdict | None:
    if target is None or answer is None:
        return None
    return Verdict.CORRECT if target.strip() == answer.strip() else Verdict.INCORRECT


def row_of(solution: Solution, error: int | None) -> dict[str, Any]:
    """A row for a solution whose first error is known. The gold answer is only known where the solution's is right."""
    right = solution.verdict is Verdict.CORRECT
    return {
        "input": solution.prefix.prompt,
        "steps": bare(solution.prefix, solution.joiner),
        "target": solution.answer if right else None,
        "answer": solution.answer,
        "mistake_index": error,
    }
