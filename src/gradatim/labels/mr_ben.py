"""MR-Ben (Zeng et al. 2024, arXiv 2406.13975): solutions of three models in seven subjects, graded by experts.

A row (of the published JSON, an object of question ids with a list of rows each, or of the data set on the hub) has
`Model_Solution_Steps`, `Model_Solution_Correctness` ("correct" or "incorrect": of answer *and* reasoning) and
`Model_Solution_First_Error_Step`, the **number in the step's name** ("Step 2: ..."), "N/A" where there is no error. Items
of the list that bear no such name go on with the step before them, except the closing "Solution: ..."; where none bears
one, the number is the 1-based position. In `coding` the solution is one text and the error is a line of it: lines are the
steps (blank ones belong to the line before), and a line that is not there, or there twice, is a `Misfit`. (The published
grader calls these lines rough, and has a model judge them.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gradatim.core import Solution
from gradatim.labels.given import Given, misfit, up_to_error
from gradatim.records import Row, bare, row_id, shown

_NAME = re.compile(r"\s*step\s+(\d+)\s*[:.]", re.IGNORECASE)
_CLOSING = re.compile(r"\s*solution\s*:", re.IGNORECASE)
_NUMBER = re.compile(r"\s*(?:step\s+)?(\d+)\s*", re.IGNORECASE)

_EXPECTED = "Model_Solution_First_Error_Step: the name of one step, or N/A for a correct solution"


def read(row: Row) -> list[Given]:
    """The labelled solution in a row; steps behind the first error are not labelled. Its verdict is not known: the
    published correctness is of the reasoning, too."""
    is_code = isinstance(row.data.get("Model_Solution_Steps"), str)
    texts = _lines(row.text("Model_Solution_Steps")) if is_code else _steps(row.texts("Model_Solution_Steps"))
    error = _error(row, texts, is_code)
    return [
        Given(
            prompt=_prompt(row),
            texts=texts,
            marks=up_to_error(len(texts), error),
            raw=False,
            error_known=True,
            problem_id=row_id(row, "Question_UUID"),
            author=row.optional_text("Sampled_Model") or "",
            by="mr-ben",
            joiner="\n" if is_code else None,
        )
    ]


def _prompt(row: Row) -> str:
    question, options = row.text("Question"), row.optional_text("Options")
    return f"{question}\n{options}" if options and options.strip() not in ("", "N/A") else question


def _steps(items: list[str]) -> list[str]:
    """The items as steps: those without a name are joined to the one before."""
    if not any(_NAME.match(item) for item in items):
        return items
    steps: list[str] = []
    for item in items:
        if not steps or _NAME.match(item) or _CLOSING.match(item):
            steps.append(item)
        else:
            steps[-1] += f"\n{item}"
    return steps


def _lines(text: str) -> list[str]:
    steps: list[str] = []
    for line in text.strip("\n").split("\n"):
        if not steps or (line.strip() and steps[-1].strip()):
            steps.append(line)
        else:
            steps[-1] += f"\n{line}"
    return steps


def _error(row: Row, texts: list[str], is_code: bool) -> int | None:
    right = row.choice("Model_Solution_Correctness", ("correct", "incorrect"), "") == "correct"
    if row.data.get("Model_Solution_Correctness") is None:
        raise row.error("no 'Model_Solution_Correctness'", expected="correct or incorrect")
    said = str(row.data.get("Model_Solution_First_Error_Step") or "")
    if right:
        if said.strip() not in ("", "N/A"):
            raise misfit(row, f"a correct solution with the error {shown(said)}", expected=_EXPECTED)
        return None
    places = _code_places(texts, said) if is_code else _places(texts, said)
    if len(places) != 1:
        raise misfit(row, f"{shown(said)} names {len(places)} of {len(texts)} steps", expected=_EXPECTED)
    return places[0]


def _places(texts: Sequence[str], said: str) -> list[int]:
    number = _NUMBER.fullmatch(said)
    if number is None:
        return []
    names = [match and int(match[1]) for match in map(_NAME.match, texts)]
    if not any(names):
        return [index for index in range(len(texts)) if index + 1 == int(number[1])]
    return [index for index, name in enumerate(names) if name == int(number[1])]


def _code_places(texts: Sequence[str], said: str) -> list[int]:
    """The lines that are the one named: to the letter if there is such a line, otherwise but for white space around."""
    if not said.strip():
        return []
    exact = [index for index, text in enumerate(texts) if text.rstrip() == said.rstrip()]
    return exact or [index for index, text in enumerate(texts) if text.strip() == said.strip()]


def row_of(solution: Solution, error: int | None) -> dict[str, Any]:
    """A row for a solution whose first error is known. Where steps have no names "Step k:" yet, they get them."""
    texts = bare(solution.prefix, solution.joiner)
    if not all(_NAME.match(text) or _CLOSING.match(text) for text in texts) or not _told(texts, error):
        texts = [f"Step {number}: {text}" for number, text in enumerate(texts, 1)]
    name = None if error is None else _NAME.match(texts[error])
    return {
        "Question_UUID": solution.prefix.problem_id,
        "Question": solution.prefix.prompt,
        "Sampled_Model": solution.author,
        "Model_Solution_Steps": texts,
        "Model_Solution_Correctness": "correct" if error is None else "incorrect",
        "Model_Solution_First_Error_Step": "N/A" if name is None else name[1],
    }


def _told(texts: Sequence[str], error: int | None) -> bool:
    """Whether the names of the steps say which one is wrong."""
    name = None if error is None else _NAME.match(texts[error])
    return error is None or (name is not None and _places(texts, name[1]) == [error])
