"""PRM800K (Lightman et al. 2023, "Let's Verify Step by Step"): human ratings of steps, in three forms.

- The original: one line a labelled solution, `label.steps[].completions[]`, with alternatives at each step.
- Prefix rows `{prompt, completions, labels}`: one for each alternative, as trl-lib/prm800k has them.
- Rebuilt trajectories `{problem, steps, ratings}`.

Ratings are 1 good, 0 neutral, -1 bad, null not rated (often a step that the labeller wrote). They are kept as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gradatim.core import Solution
from gradatim.labels.given import Given, check_length
from gradatim.records import Row, bare, rating, shown

AUTHOR = "prm800k"


def read(row: Row) -> list[Given]:
    """The labelled solutions in a row of any of the three forms."""
    if isinstance(row.data.get("label"), dict):
        return list(_original(row))
    if row.name_of("ratings"):
        return [_trajectory(row)]
    if row.name_of("completions"):
        return [_prefix_row(row)]
    raise row.error(
        f"fields {', '.join(sorted(row.data)) or 'none'}",
        expected="PRM800K: {question, label}, {prompt, completions, labels} or {problem, steps, ratings}",
    )


def _trajectory(row: Row) -> Given:
    texts, ratings = row.texts("steps"), row.items("ratings")
    check_length(row, len(texts), len(ratings), "ratings")
    marks = [rating(row, value) for value in ratings]
    return Given(prompt=row.text("problem", "prompt"), texts=texts, marks=marks, author=AUTHOR, by=AUTHOR)


def _prefix_row(row: Row) -> Given:
    """Labels are ratings, or true / false. In the latter, false is bad or neutral: the rating itself is lost."""
    texts, labels = row.texts("completions"), row.items("labels")
    check_length(row, len(texts), len(labels), "labels")
    prompt = row.text("prompt")
    if not all(isinstance(label, bool) for label in labels):
        marks = [rating(row, label) for label in labels]
        return Given(prompt=prompt, texts=texts, marks=marks, author=AUTHOR, by=AUTHOR)
    signs = [1 if label else -1 for label in labels]
    rule = "false: rated bad or neutral"
    return Given(prompt=prompt, texts=texts, marks=signs, raw=False, author=AUTHOR, by=AUTHOR, rule=rule)


def _original(row: Row) -> Iterator[Given]:
    """The solution that the labeller went along, and for each alternative the way up to it.

    A way that is only the beginning of another one is left out: it would say nothing new.
    """
    question, label = row.data.get("question"), row.data["label"]
    if not isinstance(question, dict):
        raise row.error(f"question: {shown(question)}", expected="question: an object with the problem")
    prompt = row.inside(question).text("problem")
    by = row.optional_text("labeler") or AUTHOR
    texts: list[str] = []
    marks: list[int | None] = []
    finished = True
    for number, step in enumerate(row.inside(label).items("steps")):
        if not isinstance(step, dict):
            raise row.error(f"label.steps[{number}]: {shown(step)}", expected="label.steps: objects")
        completions, chosen = _completions(row, step, number)
        for index, (text, mark) in enumerate(completions):
            if index != chosen:
                yield Given(prompt=prompt, texts=[*texts, text], marks=[*marks, mark], author=AUTHOR, by=by)
        way = completions[chosen] if chosen is not None else _human(row, step)
        if way is None:
            finished = not completions
            break
        texts.append(way[0])
        marks.append(way[1])
    if texts and finished:
        yield Given(prompt=prompt, texts=texts, marks=marks, author=AUTHOR, by=by)


def _completions(row: Row, step: dict[str, Any], number: int) -> tuple[list[tuple[str, int | None]], int | None]:
    values = step.get("completions") or []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise row.error(f"label.steps[{number}].completions: {shown(values)}", expected="completions: objects")
    chosen = row.inside(step).count("chosen_completion")
    if chosen is not None and chosen >= len(values):
        found = f"chosen_completion {chosen} of {len(values)} completions in label.steps[{number}]"
        raise row.error(found, expected="chosen_completion: an index from 0 on")
    return [(_text(row, value), rating(row, value.get("rating"))) for value in values], chosen


def _human(row: Row, step: dict[str, Any]) -> tuple[str, int | None] | None:
    human = step.get("human_completion")
    if human is None:
        return None
    if isinstance(human, str):
        human = {"text": human}
    if not isinstance(human, dict):
        raise row.error(
            f"human_completion: {shown(human)}", expected="human_completion: an object with a text, or null"
        )
    return _text(row, human), rating(row, human.get("rating"))


def _text(row: Row, completion: dict[str, Any]) -> str:
    text = completion.get("text")
    if not isinstance(text, str) or not text.strip():
        raise row.error(f"a completion with text {shown(text)}", expected="completions: a text in every step")
    return text


def original_row(solution: Solution, ratings: Sequence[int | None], by: str) -> dict[str, Any]:
    """A line of the original for one solution, without alternatives: each step has one completion, and it was chosen.

    Where the last step is wrong nothing was chosen there, as in the published lines that end with "found_error".
    """
    wrong = ratings[-1] == -1
    texts = bare(solution.prefix, solution.joiner)
    steps = [
        {
            "completions": [{"text": text, "rating": rating, "flagged": False}],
            "human_completion": None,
            "chosen_completion": None if wrong and index == len(texts) - 1 else 0,
        }
        for index, (text, rating) in enumerate(zip(texts, ratings, strict=True))
    ]
    return {
        "labeler": by,
        "question": {"problem": solution.prefix.prompt},
        "label": {"steps": steps, "finish_reason": "found_error" if wrong else "solution"},
    }


def prefix_row(solution: Solution, ratings: Sequence[int | None]) -> dict[str, Any]:
    """A prefix row with ratings as labels."""
    texts = bare(solution.prefix, solution.joiner)
    return {"prompt": solution.prefix.prompt, "completions": texts, "labels": list(ratings)}
