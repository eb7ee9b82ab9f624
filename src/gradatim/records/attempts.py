"""Problems and solutions as rows, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

from gradatim.core import Prefix, Problem, Solution, Step, Verdict
from gradatim.records.rows import Row, convert, is_whole, once, place_of, read_rows, shown, write_rows
from gradatim.records.schema import VERSION, is_own, read_once

JOINER = "\n\n"
"""What stands between two steps that came as a list of bare texts, unless the caller says otherwise."""

KINDS = ("reasoning", "query", "tool_call", "evidence", "answer", "observation")
"""The kinds of step."""

_FINISHES = ("stop", "length")


def prompt_id(prompt: str) -> str:
    """The id of a problem that came without one: 16 hex digits of its prompt, the same in every file."""
    return blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def joined(steps: Sequence[str], joiner: str = JOINER) -> tuple[Step, ...]:
    """Steps from a list of bare texts: the joiner ends every step but the last. `bare` takes it off again."""
    return tuple(Step(text if index == len(steps) - 1 else text + joiner) for index, text in enumerate(steps))


def bare(prefix: Prefix, joiner: str | None) -> list[str]:
    """The texts of the steps without the joiner that `joined` put there (None: there is none to take off).

    ValueError for a step that does not end with the joiner.
    """
    texts = [step.text for step in prefix.steps]
    if joiner is None:
        return texts
    for index, text in enumerate(texts[:-1]):
        if not text.endswith(joiner):
            raise ValueError(f"step {index} of a solution of {prefix.problem_id} does not end with {joiner!r}")
    return [text.removesuffix(joiner) if index < len(texts) - 1 else text for index, text in enumerate(texts)]


# Problems


def problem_row(problem: Problem) -> dict[str, Any]:
    """A problem as a row."""
    return {
        "schema": f"gradatim.problem/{VERSION}",
        "id": problem.id,
        "prompt": problem.prompt,
        "answer": problem.answer,
        "source": problem.source,
        "meta": dict(problem.meta),
    }


def problem_from(row: Row) -> Problem:
    """The problem in a row: `id` and `prompt`, and `answer`, `source`, `meta` where they are known."""
    is_own(row, "problem")
    meta = row.data.get("meta") or {}
    if not isinstance(meta, dict) or not all(isinstance(value, str) for value in meta.values()):
        raise row.error(f"meta: {shown(meta)}", expected="meta: an object of texts")
    answer = row.optional_text("answer")
    if answer is not None and not answer.strip():
        raise row.error("an empty answer", expected="answer: a text, or null where no gold answer is known")
    return Problem(
        id=row.text("id"),
        prompt=row.text("prompt"),
        answer=answer,
        source=row.optional_text("source") or "",
        meta=meta,
    )


def read_problems(path: str | Path, *, skip_bad: bool = False, drops: Counter[str] | None = None) -> list[Problem]:
    """All problems of a file; two with one id are an error."""
    return read_once(path, problem_from, "problem", lambda problem: problem.id, skip_bad, drops)


def write_problems(path: str | Path, problems: Iterable[Problem]) -> int:
    """Write problems; returns how many."""
    return write_rows(path, map(problem_row, problems))


# Solutions


def steps_row(steps: Iterable[Step]) -> list[Any]:
    """Steps as JSON: a text where the kind is "reasoning", otherwise an object of text and kind."""
    return [step.text if step.kind == "reasoning" else {"text": step.text, "kind": step.kind} for step in steps]


def steps_from(row: Row, name: str) -> tuple[Step, ...]:
    """The steps under a field, texts unchanged; an error for a step without a character or of an unknown kind."""
    return tuple(_step(row, name, index, value) for index, value in enumerate(row.items(name)))


def _step(row: Row, name: str, index: int, value: Any) -> Step:
    text, kind = (
        (value.get("text"), value.get("kind", "reasoning")) if isinstance(value, dict) else (value, "reasoning")
    )
    if not isinstance(text, str):
        raise row.error(f"{name}[{index}]: {shown(value)}", expected=f"{name}: texts, or objects of text and kind")
    if not text:
        raise row.error(f"{name}[{index}] without text", expected=f"{name}: a text in every step")
    if kind not in KINDS:
        raise row.error(f"{name}[{index}] of kind {shown(kind)}", expected=f"{name}: kinds {', '.join(KINDS)}")
    return Step(text, kind)


def solution_row(solution: Solution) -> dict[str, Any]:
    """A solution as a row; its steps keep the separators that end them."""
    return {
        "schema": f"gradatim.solution/{VERSION}",
        "id": solution.id,
        "problem_id": solution.prefix.problem_id,
        "prompt": solution.prefix.prompt,
        "steps": steps_row(solution.prefix.steps),
        "author": solution.author,
        "draw": solution.draw,
        "finish": solution.finish,
        "verdict": solution.verdict,
        "answer": solution.answer,
        "joiner": solution.joiner,
    }


def solution_from(row: Row, *, joiner: str = JOINER, draw: int = 0) -> Solution:
    """The solution in a row: one of ours, or a plain one with `problem` (or `prompt`, `question`) and `steps` (or
    `completions`).

    Steps of a plain row are bare: the joiner is appended to all but the last and recorded. Where a plain row says
    nothing, its problem's id is `prompt_id(prompt)` and its draw is `draw`. Our rows may have no steps at all (a policy
    that wrote nothing); a plain row without steps is an error.
    """
    if not is_own(row, "solution"):
        return _plain_solution(row, joiner, draw)
    recorded, steps = row.optional_text("joiner"), steps_from(row, "steps")
    if recorded is not None and not all(step.text.endswith(recorded) for step in steps[:-1]):
        raise row.error(
            f"joiner {recorded!r}, and a step without it", expected="the joiner after every step but the last"
        )
    solution = _solution(row, Prefix(row.text("problem_id"), row.text("prompt"), steps), recorded, 0)
    if row.data.get("id") not in (None, solution.id):
        raise row.error(
            f"id {shown(row.data['id'])} for the solution {solution.id}",
            expected="the id that belongs to problem, author, draw and steps",
            fix="remove the id from a row that you edited (its labels and scores no longer belong to it)",
        )
    return solution


def _plain_solution(row: Row, joiner: str, draw: int) -> Solution:
    prompt = row.text("problem", "prompt", "question")
    name = row.name_of("steps", "completions") or "steps"
    if any(isinstance(value, dict) for value in row.items(name)):
        given = steps_from(row, name)
        texts = row.inside({name: [step.text for step in given]}).texts(name)
        steps = tuple(Step(step.text, old.kind) for step, old in zip(joined(texts, joiner), given, strict=True))
    else:
        steps = joined(row.texts(name), joiner)
    return _solution(row, Prefix(row_id(row, "problem_id", "id") or prompt_id(prompt), prompt, steps), joiner, draw)


def row_id(row: Row, *names: str) -> str | None:
    """The id under the first name that is there, a text or a whole number; None where there is none."""
    name = row.name_of(*names)
    if name is None:
        return None
    value = row.data[name]
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, str) or not is_whole(value):
        raise row.error(f"{name}: {shown(value)}", expected=f"{name}: a text or a whole number")
    return str(int(value))


def _solution(row: Row, prefix: Prefix, joiner: str | None, draw: int) -> Solution:
    verdict = row.data.get("verdict")
    if verdict is not None and verdict not in list(Verdict):
        raise row.error(f"verdict: {shown(verdict)}", expected=f"verdict: one of {', '.join(Verdict)}, or null")
    given = row.count("draw")
    return Solution(
        prefix=prefix,
        author=row.optional_text("author") or "",
        draw=draw if given is None else given,
        finish=cast(Any, row.choice("finish", _FINISHES, "stop")),
        verdict=None if verdict is None else Verdict(verdict),
        answer=row.optional_text("answer"),
        joiner=joiner,
    )


def same_prompt() -> Callable[[Row, Prefix], None]:
    """A check that one problem id always comes with one prompt."""
    prompts: dict[str, tuple[str, tuple[str, int]]] = {}

    def check(row: Row, prefix: Prefix) -> None:
        prompt, first = prompts.setdefault(prefix.problem_id, (prefix.prompt, (row.file, row.line)))
        if prompt != prefix.prompt:
            raise row.error(
                f"problem {shown(prefix.problem_id)} with another prompt than in {place_of(*first, seen_from=row)}",
                expected="one prompt for each problem id",
                fix="give different problems different ids",
            )

    return check


def read_solutions(
    path: str | Path, *, skip_bad: bool = False, drops: Counter[str] | None = None, joiner: str = JOINER
) -> list[Solution]:
    """All solutions of a file, ours or plain (see `solution_from`).

    The same solution twice is an error, and so is one problem id with two prompts. Plain rows of one problem that say
    nothing of a draw are counted up: 0, 1, 2, ...
    """
    first, prompt_holds, seen = once("solution"), same_prompt(), Counter[str]()

    def read(row: Row) -> Solution:
        solution = solution_from(row, joiner=joiner)
        if row.data.get("schema") is None and row.data.get("draw") is None:
            solution = solution_from(row, joiner=joiner, draw=seen[solution.prefix.problem_id])
        prompt_holds(row, solution.prefix)
        first(row, solution.id)
        seen[solution.prefix.problem_id] += 1
        return solution

    return list(convert(read_rows(path, skip_bad=skip_bad, drops=drops), read, skip_bad=skip_bad, drops=drops))


def write_solutions(path: str | Path, solutions: Iterable[Solution]) -> int:
    """Write solutions; returns how many."""
    return write_rows(path, map(solution_row, solutions))
