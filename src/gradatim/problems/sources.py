"""Problems by the name of their source.

problems.jsonl                    our rows, or {problem | question | prompt, answer | final_answer | solution}
gsm8k:train.jsonl.gz              {question, answer}; the gold answer follows "####"
math:train.jsonl                  {problem, answer | final_answer}, or {problem, solution} with the answer in \\boxed{}
hf:openai/gsm8k@main:test         a Hugging Face data set: NAME[@CONFIG][:SPLIT]  (pip install gradatim[data])
reasoning_gym:chain_sum:100:7     a generator of reasoning-gym: NAME:N:SEED  (pip install gradatim[tasks])
lab:train:200                     the lab: SPLIT:N
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from gradatim.core import Problem
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.records import (
    Row,
    convert,
    is_whole,
    is_whole_json,
    once,
    problem_from,
    prompt_id,
    read_rows,
    read_whole,
    row_id,
    schema_of,
    shown,
)
from gradatim.verify.reading import read_answer

__all__ = ["data_files", "hub_rows", "hub_splits", "load_problems", "rows_of"]

_ENDINGS = (".jsonl", ".json")

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def load_problems(
    source: str, *, limit: int | None = None, skip_bad: bool = False, drops: Counter[str] | None = None
) -> list[Problem]:
    """The problems of a source (see the head of this module), the first `limit` of them.

    InputError for a malformed row (with `skip_bad` it is counted in `drops` instead), for an id that comes twice and
    for a source without any problem; ConfigError for a source that can't be understood; BackendError where the library
    that a source needs is missing.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit={limit}; ask for at least one problem")
    scheme, _, rest = source.partition(":")
    if scheme in _SCHEMES and not rest:
        raise ConfigError(f"{source!r} names no data; write {scheme}:... as in {_EXAMPLES[scheme]}")
    if scheme == "lab":
        problems = _lab(rest)
    elif scheme == "reasoning_gym":
        problems = iter(_generated(rest))
    else:
        path, read = (rest, _SCHEMES[scheme]) if scheme in ("gsm8k", "math") else (source, _any)
        problems = convert(rows_of(path, skip_bad=skip_bad, drops=drops), _unique(read), skip_bad=skip_bad, drops=drops)
    found = list(islice(problems, limit))
    if not found:
        raise InputError("no problem that could be used", expected="at least one problem", file=source)
    return found


def rows_of(path: str | Path, *, skip_bad: bool = False, drops: Counter[str] | None = None) -> Iterator[Row]:
    """The rows of a file: JSON Lines, or one list for a name in `.json` (see `read_rows` and `read_whole`). Also of a
    Hugging Face data set for "hf:NAME[@CONFIG][:SPLIT]"."""
    name = str(path)
    if name.startswith("hf:"):
        return hub_rows(name[3:])
    return (read_whole if is_whole_json(name) else read_rows)(path, skip_bad=skip_bad, drops=drops)


def data_files(folder: str | Path) -> list[Path]:
    """The data files of a folder by name: `.jsonl` and `.json`, packed or not; InputError if there is none."""
    found = sorted(
        path for path in Path(folder).iterdir() if path.name.removesuffix(".gz").removesuffix(".zst").endswith(_ENDINGS)
    )
    if not found:
        raise InputError("a folder without .jsonl files", file=folder, fix="pass the folder that holds them")
    return found


def hub_rows(name: str) -> Iterator[Row]:
    """The rows of one split of `hub_splits(name)`: the only one there is, otherwise "train"."""
    found = hub_splits(name)
    split = next(iter(found)) if len(found) == 1 else "train"
    if split not in found:
        raise ConfigError(f"data set {name!r} has no split 'train'; name one of {', '.join(found)} (NAME:SPLIT)")
    return found[split]


def hub_splits(name: str) -> dict[str, Iterator[Row]]:
    """The rows of each split of a Hugging Face data set, "NAME[@CONFIG][:SPLIT]" (then of that split only), or of one saved
    in a folder; the line is the row's number from 1 on.

    BackendError where the library is missing or the data set can't be had, ConfigError for a split that it has not.
    """
    datasets = _library("datasets", "data")
    path, _, split = name.partition(":")
    path, _, config = path.partition("@")
    try:
        found = datasets.load_dataset(path, config or None)
    except Exception as error:  # the library raises whatever its back ends raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BackendError(
            f"data set {path!r} could not be loaded ({type(error).__name__}: {reason}); check the name and the connection, "
            "or download it and give the folder"
        ) from error
    if split and split not in found:
        raise ConfigError(f"data set {path!r} has no split {split!r}; it has {', '.join(map(str, found))}")
    return {str(one): _numbered(f"hf:{path}:{one}", found[one]) for one in ([split] if split else found)}


def _numbered(file: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    return (Row(file, number, dict(data)) for number, data in enumerate(rows, start=1))


def _unique(read: Callable[[Row], Problem]) -> Callable[[Row], Problem]:
    first = once("problem")

    def read_once(row: Row) -> Problem:
        problem = read(row)
        first(row, problem.id)
        return problem

    return read_once


def _any(row: Row) -> Problem:
    """A row of ours or a plain one; no gold answer is no error here."""
    if schema_of(row) is not None:
        return problem_from(row)
    prompt = row.text("problem", "question", "prompt")
    identity = row_id(row, "id", "problem_id", "unique_id") or prompt_id(prompt)
    return Problem(id=identity, prompt=prompt, answer=_gold(row), source=row.file, meta=_meta(row))


def _gsm8k(row: Row) -> Problem:
    solution, mark, answer = row.text("answer").rpartition("####")
    if not mark or not answer.strip() or not solution.strip():
        raise row.error(f"answer {shown(row.data['answer'])}", expected='a solution, "####" and the gold answer')
    return Problem(id=f"gsm8k-{row.line - 1}", prompt=row.text("question"), answer=_number(answer), source="gsm8k")


def _math(row: Row) -> Problem:
    if not row.data.keys() & {"answer", "final_answer", "solution"}:
        raise row.error("no gold answer", expected="answer, final_answer, or a solution with \\boxed{...}")
    identity = row_id(row, "id", "unique_id") or f"math-{row.line - 1}"
    return Problem(id=identity, prompt=row.text("problem"), answer=_gold(row), source="math", meta=_meta(row))


def _gold(row: Row) -> str | None:
    """The gold answer of a plain row: a text, a number, what follows "####", or what the solution puts in a box.

    None where there is none, or an empty one: verifying and labelling count such problems apart.
    """
    name = row.name_of("answer", "final_answer")
    if name is None:
        solution = row.optional_text("solution")
        return None if solution is None else read_answer(solution)
    value = row.data[name]
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        return str(int(value)) if is_whole(value) else repr(value)
    if not isinstance(value, str):
        raise row.error(f"{name}: {shown(value)}", expected="answer: a text or a number")
    _, mark, after = value.rpartition("####")
    return (_number(after) if mark else value.strip()) or None


def _number(text: str) -> str:
    return _THOUSANDS.sub("", text.strip())


def _meta(row: Row) -> dict[str, str]:
    return {name: str(row.data[name]) for name in ("level", "subject", "type") if row.name_of(name)}


def _lab(rest: str) -> Iterator[Problem]:
    from gradatim.problems import lab

    split, _, number = rest.partition(":")
    return iter(lab.load(split, _whole(number, f"lab:{rest}")))


def _generated(rest: str) -> Iterable[Problem]:
    """Problems of a reasoning-gym generator; a row without an answer of its own has None as gold."""
    source = f"reasoning_gym:{rest}"
    name, number, seed, *more = (*rest.split(":"), "", "")
    if any(more):
        raise ConfigError(f"{source!r}: expected reasoning_gym:NAME:N:SEED")
    size = _whole(number, source)
    library = _library("reasoning_gym", "tasks")
    try:
        entries: Iterable[dict[str, Any]] = library.create_dataset(name, size=size, seed=_whole(seed, source))
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None
    for index, entry in zip(range(size), entries, strict=False):
        answer = entry.get("answer")
        yield Problem(
            id=f"{name}-{seed}-{index}",
            prompt=str(entry["question"]),
            answer=None if answer is None else str(answer),
            source=f"reasoning_gym:{name}",
        )


def _whole(text: str, source: str) -> int:
    if not text.isdecimal():
        raise ConfigError(
            f"{source}: found {text!r} where a whole number should be, as in {_EXAMPLES[source.split(':')[0]]}"
        )
    return int(text)


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise BackendError(f"{name} is not installed; pip install 'gradatim[{extra}]'") from None


_SCHEMES: dict[str, Callable[[Row], Problem]] = {
    "gsm8k": _gsm8k,
    "math": _math,
    "hf": _any,
    "reasoning_gym": _any,
    "lab": _any,
}
_EXAMPLES = {
    "gsm8k": "gsm8k:train.jsonl",
    "math": "math:train.jsonl",
    "hf": "hf:openai/gsm8k@main:test",
    "reasoning_gym": "reasoning_gym:chain_sum:100:7",
    "lab": "lab:train:200",
}
