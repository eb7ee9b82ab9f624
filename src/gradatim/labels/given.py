"""From the ratings that a data set gives to a solution and its labels: what all its readers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from gradatim.core import Labels, Prefix, Solution, Tally, Verdict
from gradatim.errors import InputError
from gradatim.records import Row, joined, prompt_id, same_prompt

Labelled = tuple[Solution, Labels]

GOOD, BAD, UNKNOWN = Tally(1, 1), Tally(0, 1), Tally()

Misfits = Literal["drop", "error", "keep"]
"""What becomes of a row whose error points at no step: left out and counted; an error; or kept without that error
(PRMBench alone: it marks several steps, and its published code passes over the marks past the end)."""


class Misfit(InputError):
    """A row of a published data set whose labels do not fit its steps: a known defect of the data, not of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One labelled solution as a data set gives it."""

    prompt: str
    texts: Sequence[str]
    """The steps as bare texts."""
    marks: Sequence[int | None]
    """For each step 1 good, 0 neutral, -1 bad, None not rated."""
    raw: bool = True
    """Whether the marks are a person's own ratings, kept in `Labels.ratings`, and not a yes or no made of them."""
    error_known: bool | None = None
    """Whether the data set defines the first error; None: it does if every step up to it (or every step) is rated."""
    problem_id: str | None = None
    """None: `prompt_id(prompt)`."""
    author: str
    by: str
    verdict: Verdict | None = None
    truth: Literal["validity", "value"] = "validity"
    source: Literal["rollouts", "human"] = "human"
    rule: str = ""
    answer: str | None = None
    """The final answer that the data set reads from the solution."""
    joiner: str | None = None
    """What the steps are joined with where the data set says so; None: what the caller of the reader says."""


def misfit(row: Row, found: str, *, expected: str) -> Misfit:
    """The error to raise about labels that do not fit the row's steps. Keep `expected` the same for all rows."""
    return Misfit(found, expected=expected, file=row.file, line=row.line, fix="drop the row")


def up_to_error(steps: int, error: int | None) -> list[int | None]:
    """The marks of `steps` steps whose first error is known: good before it, bad at it, none behind it."""
    return [1] * steps if error is None else [1] * error + [-1] + [None] * (steps - error - 1)


def check_length(row: Row, steps: int, marks: int, name: str) -> None:
    """InputError unless there is one mark a step."""
    if steps != marks:
        raise row.error(f"{marks} {name} for {steps} steps", expected=f"{name}: one a step", fix="drop the row")


def collector(joiner: str) -> Callable[[Row, Given], Labelled]:
    """A function that makes a solution and its labels of what one file gives.

    The solutions of one problem by one author get the draws 0, 1, 2, ... in their order. One problem id with two
    prompts is an InputError.
    """
    prompt_holds = same_prompt()
    draws: dict[tuple[str, str], int] = {}

    def collect(row: Row, given: Given) -> Labelled:
        between = joiner if given.joiner is None else given.joiner
        prefix = Prefix(given.problem_id or prompt_id(given.prompt), given.prompt, joined(given.texts, between))
        prompt_holds(row, prefix)
        draw = draws.get((prefix.problem_id, given.author), 0)
        draws[prefix.problem_id, given.author] = draw + 1
        solution = Solution(
            prefix=prefix,
            author=given.author,
            draw=draw,
            verdict=given.verdict,
            answer=given.answer,
            joiner=between,
        )
        return solution, _labels(solution.id, given)

    return collect


def _labels(solution_id: str, given: Given) -> Labels:
    marks = tuple(given.marks)
    error = marks.index(-1) if -1 in marks else None
    reached = marks if error is None else marks[:error]
    return Labels(
        solution_id=solution_id,
        tallies=tuple(GOOD if mark == 1 else BAD if mark == -1 else UNKNOWN for mark in marks),
        error=error,
        error_known=None not in reached if given.error_known is None else given.error_known,
        truth=given.truth,
        source=given.source,
        by=given.by,
        rule=given.rule,
        ratings=marks if given.raw else None,
    )
