"""Bad input: every malformed row is an error with file, line, found and expected, or counted if one goes on."""

from __future__ import annotations

import gzip
import io
import json
import math
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim import records
from gradatim.core import Problem
from gradatim.errors import GradatimError, InputError
from gradatim.labels.datasets import load_labelled
from gradatim.labels.pairs import load_pairs
from gradatim.problems.sources import load_problems

Reader = Callable[..., Any]


def lines(*rows: Any) -> bytes:
    return b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows)


@pytest.mark.parametrize(
    ("line", "found", "expected"),
    [
        (b"{'a': 1}\n", "Expecting property name", "one JSON object a line"),
        (b'{"a": 1\n', "Expecting ',' delimiter", "one JSON object a line"),
        (b'[{"a": 1}]\n', "with jq", "one JSON object a line"),
        (b"3\n", "3", "one JSON object a line"),
        (b"null\n", "null", "one JSON object a line"),
        (b'{"a": "\xff\xfe"}\n', "bytes that are no UTF-8 (at byte 7)", "UTF-8"),
        (b'{"a": ["x", "\\ud800"]}\n', 'half a surrogate pair in "a"', "whole Unicode characters"),
        (b'{"\\udc00": 1}\n', "half a surrogate pair", "whole Unicode characters"),
        (b"[" * 100_000 + b"\n", "recursion", "one JSON object a line"),
        (b'{"a": ' + b"9" * 5000 + b"}\n", "digits", "one JSON object a line"),
        (b'{"a": ' + b"[" * 600 + b'"\\u0041"' + b"]" * 600 + b"}\n", "nested too deeply", "an object of few levels"),
    ],
)
def test_malformed_lines(tmp_path: Path, line: bytes, found: str, expected: str) -> None:
    """A line that is no JSON object in whole Unicode is an error with its place; one may go on, and it is counted."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"ok": 1}\n\n' + line + b'{"ok": 2}\n')
    drops: Counter[str] = Counter()

    with pytest.raises(InputError) as caught:
        list(records.read_rows(path))
    assert str(caught.value).startswith(f"{path}:3: ")
    assert found in str(caught.value)
    assert caught.value.expected == expected
    assert len(str(caught.value)) < 400
    assert [(row.line, row.data) for row in records.read_rows(path, skip_bad=True, drops=drops)] == [
        *((1, {"ok": 1}), (4, {"ok": 2})),
    ]
    assert drops == {f"expected {expected}": 1}


def test_good_unicode(tmp_path: Path) -> None:
    """A byte order mark, a whole surrogate pair, white space and Windows line ends are no errors."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\\ud83d\\ude42"}\r\n  \r\n{"a": "\xc3\xa9"}')

    assert [row.data["a"] for row in records.read_rows(path)] == ["🙂", "é"]


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("rows.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 1000)[:-20], "can't be unpacked"),
        ("rows.jsonl.gz", b"plain text", "can't be unpacked"),
        ("rows.jsonl.zst", b"plain text", "can't be unpacked"),
        ("rows.jsonl.zst", zstandard.compress(b'{"a": 1}\n' * 100_000)[:40], "can't be unpacked"),
        ("rows.jsonl.zst", zstandard.compress(b'{"a": 1}\n')[:-3], "can't be unpacked"),
    ],
)
def test_broken_archives(tmp_path: Path, name: str, content: bytes, found: str) -> None:
    """A torn or mislabelled archive is an error even for one who goes on: what is missing can't be counted."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(InputError, match=found):
        list(records.read_rows(tmp_path / name, skip_bad=True))


WHOLE = b'[{"id": "p", "problem": "q", "steps": ["a"], "label": -1}]'


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("whole.json.gz", gzip.compress(WHOLE * 1000)[:-20], "can't be unpacked"),
        ("whole.json.gz", WHOLE, "can't be unpacked"),
        (
            "whole.json.zst",
            zstandard.ZstdCompressor(write_checksum=True).compress(WHOLE)[:-1] + b"x",
            "can't be unpacked",
        ),
        ("whole.json", WHOLE.replace(b"q", b"\\ud800"), 'half a surrogate pair in "problem"'),
    ],
)
def test_broken_files_of_one_value(tmp_path: Path, name: str, content: bytes, found: str) -> None:
    """A `.json` file is as strict as JSON Lines: torn, mislabelled or no whole Unicode, it is an error with its name."""
    (tmp_path / name).write_bytes(content)

    for source in (str(tmp_path / name), f"processbench:{tmp_path / name}"):
        with pytest.raises(InputError, match=found) as caught:
            load_labelled(source)
        assert name in str(caught.value)


def test_broken_items_of_one_value_are_counted(tmp_path: Path) -> None:
    """With `skip_bad` the other items are read."""
    drops: Counter[str] = Counter()
    (tmp_path / "whole.json").write_bytes(b'[{"a": "\\ud800"}, 3, {"a": "\\ud83d\\ude42"}]')

    rows = list(records.read_whole(tmp_path / "whole.json", skip_bad=True, drops=drops))
    assert [(row.line, row.data) for row in rows] == [(3, {"a": "🙂"})]
    assert drops == {"expected whole Unicode characters": 1, "expected an object": 1}


def test_no_file(tmp_path: Path) -> None:
    """A missing file, a folder, and a path that can't be are errors with what to do."""
    with pytest.raises(InputError, match="no such file; check the path"):
        list(records.read_rows(tmp_path / "none.jsonl"))
    with pytest.raises(InputError, match="a folder"):
        list(records.read_rows(tmp_path))
    with pytest.raises(InputError, match="can't be opened"):
        list(records.read_rows("a\0b"))
    with pytest.raises(InputError, match="can't be opened"):
        records.digest(tmp_path / "none.jsonl")


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "-" is standard input, named so in errors."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}\nx\n')))

    with pytest.raises(InputError, match=r"^<stdin>:2: "):
        list(records.read_rows("-"))


def problem(**change: Any) -> dict[str, Any]:
    return {**records.problem_row(Problem(id="p", prompt="q", answer="1")), **change}


def plain(**change: Any) -> dict[str, Any]:
    return {"problem": "q", "steps": ["a", "b"], **change}


def own(**change: Any) -> dict[str, Any]:
    row = {"schema": "gradatim.solution/1", "problem_id": "p", "prompt": "q", "steps": ["a\n\n", "b"], "draw": 0}
    return {**row, "joiner": "\n\n", **change}


def labels(**change: Any) -> dict[str, Any]:
    return {"solution_id": "s", "tallies": [[1, 2, 0]], "truth": "value", "source": "rollouts", **change}


def score(**change: Any) -> dict[str, Any]:
    return {"solution_id": "s", "steps": [0.5, 0.7], "value": 0.5, "reduction": "min", "by": "m", **change}


@pytest.mark.parametrize(
    ("read", "good", "bad", "found"),
    [
        (records.read_problems, problem(), problem(id=None), "no 'id'"),
        (records.read_problems, problem(), problem(id="x", prompt=" "), "'prompt' without text"),
        (records.read_problems, problem(), problem(id="x", prompt=["q"]), 'prompt: ["q"]'),
        (records.read_problems, problem(), problem(id="x", answer=""), "an empty answer"),
        (records.read_problems, problem(), problem(id="x", answer=5), "answer: 5"),
        (records.read_problems, problem(), problem(id="x", meta={"a": 1}), 'meta: {"a": 1}'),
        (records.read_problems, problem(), problem(id="x", colour="red"), 'field "colour"'),
        (records.read_problems, problem(), problem(id="x", schema="gradatim.problem/2"), "update gradatim"),
        (records.read_problems, problem(), problem(id="x", schema="gradatim.riddle/1"), "gradatim.riddle/1"),
        (records.read_problems, problem(), problem(id="x", schema=1), "schema: 1"),
        (records.read_problems, problem(), own(), "a row of schema gradatim.solution/1"),
        (records.read_problems, problem(), problem(), 'problem "p" again (first in line 1)'),
        (records.read_solutions, plain(), plain(steps=[]), "steps: []"),
        (records.read_solutions, plain(), plain(steps=["a", ""]), "steps[1] without text"),
        (records.read_solutions, plain(), plain(steps=["a", " \n"]), "steps[1] without text"),
        (records.read_solutions, plain(), plain(steps=["a", None]), "steps[1]: null"),
        (records.read_solutions, plain(), plain(steps=["a", 3]), "steps[1]: 3"),
        (records.read_solutions, plain(), plain(steps="a b"), 'steps: "a b"'),
        (records.read_solutions, plain(), plain(steps=None), "no 'steps'"),
        (records.read_solutions, plain(), plain(problem=None), "no 'problem' or 'prompt' or 'question'"),
        (records.read_solutions, plain(), plain(problem="  "), "'problem' without text"),
        (records.read_solutions, plain(), plain(draw=-1), "draw: -1"),
        (records.read_solutions, plain(), plain(draw=True), "draw: true"),
        (records.read_solutions, plain(), plain(draw=0), "again (first in line 1)"),
        (records.read_solutions, plain(), plain(verdict="right"), 'verdict: "right"'),
        (records.read_solutions, plain(), plain(finish="late"), 'finish: "late"'),
        (records.read_solutions, plain(), plain(id=""), 'id: ""'),
        (records.read_solutions, plain(), plain(id=[1]), "id: [1]"),
        (
            records.read_solutions,
            plain(id=1),
            plain(id=1, problem="other"),
            'problem "1" with another prompt than in line 1',
        ),
        (records.read_solutions, plain(), plain(steps=[{"text": "a", "kind": "joke"}]), 'kind "joke"'),
        (records.read_solutions, plain(), plain(steps=[{"text": " ", "kind": "query"}]), "steps[0] without text"),
        (records.read_solutions, own(), own(), "again (first in line 1)"),
        (records.read_solutions, own(), own(draw=1, steps=["a", ""]), "steps[1] without text"),
        (records.read_solutions, own(), own(draw=1, steps=["a", "b"]), "a step without it"),
        (records.read_solutions, own(), own(draw=1, id="0123"), 'id "0123" for the solution'),
        (records.read_solutions, own(), own(draw=1, steps=[["a"]]), 'steps[0]: ["a"]'),
        (records.read_labels, labels(), labels(), 'labels of solution "s" again'),
        (records.read_labels, labels(), labels(solution_id="t", tallies=[[3, 2, 0]]), "tallies[0]: [3, 2, 0]"),
        (records.read_labels, labels(), labels(solution_id="t", tallies=[[True, 2, 0]]), "tallies[0]: [true, 2, 0]"),
        (records.read_labels, labels(), labels(solution_id="t", tallies=[[1, 2]]), "tallies[0]: [1, 2]"),
        (records.read_labels, labels(), labels(solution_id="t", error=1), "error at step 1 of 1 steps"),
        (records.read_labels, labels(), labels(solution_id="t", error=-1), "error: -1"),
        (records.read_labels, labels(), labels(solution_id="t", error_known=1), "error_known: 1"),
        (records.read_labels, labels(), labels(solution_id="t", truth="belief"), 'truth: "belief"'),
        (records.read_labels, labels(), labels(solution_id="t", source=None), "no 'source'"),
        (records.read_labels, labels(), labels(solution_id="t", ratings=[1, 1]), "2 ratings for 1 tallies"),
        (records.read_labels, labels(), labels(solution_id="t", ratings=[True]), "rating true"),
        (records.read_labels, labels(), labels(solution_id="t", ratings=[math.nan]), "rating NaN"),
        (records.read_labels, labels(), labels(solution_id="t", bounds=[0.1, 2]), "bounds: [0.1, 2]"),
        (records.read_labels, labels(), labels(solution_id="t", bounds=[0.1, None]), "bounds: [0.1, null]"),
        (records.read_scores, score(), score(), 'score of "s by m" again'),
        (records.read_scores, score(), score(solution_id=None), "no 'solution_id' or 'id'"),
        (records.read_scores, score(), score(solution_id="t", value=math.inf), "value: Infinity"),
        (records.read_scores, score(), score(solution_id="t", value=True), "value: true"),
        (records.read_scores, score(), score(solution_id="t", steps=[0.5, "0.7"]), 'steps[1]: "0.7"'),
        (records.read_scores, score(), score(solution_id="t", steps=0.5), "steps: 0.5"),
        (records.read_scores, score(), score(solution_id="t", reduction="median"), 'reduction: "median"'),
        (records.read_scores, score(), score(solution_id="t", logits=[1]), "1 logits for 2 steps"),
        (records.read_scores, score(), {"id": "t"}, "neither 'value' nor 'step_scores'"),
        (records.read_pairs, {"prompt": "q", "chosen": ["a"], "rejected": []}, {"prompt": "q"}, "no 'chosen'"),
    ],
)
def test_malformed_rows(tmp_path: Path, read: Reader, good: Any, bad: Any, found: str) -> None:
    """Behind a good row, a bad one is an error at line 2; one may go on without it, and it is counted."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(good, bad))
    drops: Counter[str] = Counter()

    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert found in str(caught.value)
    assert caught.value.expected
    assert len(read(path, skip_bad=True, drops=drops)) == 1
    assert drops == {f"expected {caught.value.expected}": 1}


@pytest.mark.parametrize("form", ["prm800k", "math-shepherd", "processbench", "plain", "trl", None])
@pytest.mark.parametrize(
    "row",
    [
        {},
        {"problem": "q"},
        {"problem": "q", "steps": [], "labels": []},
        {"problem": "q", "steps": [""], "labels": [1]},
        {"problem": "q", "steps": ["a"], "labels": [[1]]},
        {"problem": "q", "steps": ["a"], "ratings": ["1"]},
        {"problem": "q", "steps": {"a": 1}, "ratings": [1]},
        {"prompt": "", "completions": ["a"], "labels": [True]},
        {"prompt": "q", "completions": [None], "labels": [True]},
        {"input": "", "label": ""},
        {"input": 1, "label": 2},
        {"question": None, "label": {"steps": []}},
        {"question": {"problem": "q"}, "label": {"steps": 3}},
        {"question": {"problem": "q"}, "label": {"steps": [3]}},
        {"question": {"problem": "q"}, "label": {"steps": [{"completions": [3]}]}},
        {"question": {"problem": "q"}, "label": {"steps": [{"completions": [], "chosen_completion": 0}]}},
        {"question": {"problem": "q"}, "label": {"steps": [{"completions": [], "human_completion": 3}]}},
        {"question": {"problem": "q"}, "label": {"steps": [{"completions": [{"text": "", "rating": 1}]}]}},
        {"question": {"problem": "q"}, "label": {"steps": [{"completions": [{"text": "a", "rating": True}]}]}},
        {"problem": "q", "steps": ["a"], "label": "0"},
        {"id": {}, "problem": "q", "steps": ["a"], "label": 0},
        {"schema": "gradatim.labelled/1", "solution": 3},
        {"schema": "gradatim.labels/1", "solution_id": "s"},
    ],
)
def test_no_labelled_row_is_too_odd(tmp_path: Path, form: str | None, row: Any) -> None:
    """Whatever stands in a row of labels, it is read, or refused by an error of ours: no other exception."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(row))

    try:
        found, said = load_labelled(f"{form}:{path}" if form else str(path)), ""
    except GradatimError as error:
        found, said = [], str(error)
    assert bool(found) != (str(path) in said)
    assert all(len(found_labels.tallies) == len(solution.prefix.steps) > 0 for solution, found_labels in found)


def test_going_on_counts_each_reason(tmp_path: Path) -> None:
    """Good rows around bad ones are kept, bad ones counted by what was expected of them."""
    path = tmp_path / "rows.jsonl"
    rows = [
        {"problem": "q", "steps": steps, "ratings": ratings}
        for steps, ratings in (
            *((["a"], [1]), (["a", "b"], [1]), (["a", ""], [1, 1]), (["a"], [5]), (["b"], []), (["c"], [-1])),
        )
    ]
    path.write_bytes(lines(*rows, b"{\n"))
    drops: Counter[str] = Counter()
    found = load_labelled(f"prm800k:{path}", skip_bad=True, drops=drops)

    assert [labels.ratings for _, labels in found] == [(1,), (-1,)]
    assert drops == {
        "expected ratings: one a step": 2,
        "expected steps: a text in every step": 1,
        "expected ratings: -1, 0, 1 or null": 1,
        "expected one JSON object a line": 1,
    }


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats()
    | st.sampled_from(["", " ", "a", "+", "Q Step 1: a ки", "Q Step 1: a +", "gradatim.labels/1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["text", "rating", "problem", "steps", "completions", "role"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
names = st.sampled_from(
    [
        *("schema", "problem", "prompt", "question", "steps", "completions", "labels", "ratings", "label", "input"),
        *("id", "problem_id", "author", "generator", "by", "final_answer_correct", "chosen", "rejected", "margin"),
        *("solution_id", "tallies", "truth", "source", "step_scores", "value", "answer", "draw", "meta", "solution"),
    ]
)
readers: list[Reader] = [
    *(records.read_problems, records.read_solutions, records.read_labels, records.read_scores, records.read_pairs),
    *(lambda path, form=form: load_labelled(f"{form}{path}") for form in ("", "prm800k:", "math-shepherd:")),
    *(lambda path, form=form: load_labelled(f"{form}{path}") for form in ("processbench:", "plain:", "trl:")),
    *(lambda path, form=form: load_problems(f"{form}{path}") for form in ("", "gsm8k:", "math:")),
    load_pairs,
]


@settings(max_examples=60, deadline=None)
@given(row=st.dictionaries(names, values, max_size=6))
def test_no_row_is_too_odd_for_any_reader(row: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever JSON a row holds, a reader takes it or raises an error of ours that names the file."""
    path = tmp_path_factory.getbasetemp() / "odd.jsonl"
    path.write_bytes(lines(row))
    said = []
    for read in readers:
        try:
            read(path)
        except GradatimError as error:
            said.append(str(error))

    assert all(str(path) in message for message in said)


def test_telling_the_form_goes_on(tmp_path: Path) -> None:
    """Where one goes on, a row from which no form can be told is counted, and the next one is asked."""
    path, drops = tmp_path / "rows.jsonl", Counter[str]()
    path.write_bytes(lines({"a": 1}, {"schema": "gradatim.x/1"}, {"problem": "q", "steps": ["a"], "labels": [1]}))

    with pytest.raises(InputError, match="name the form, as in plain:PATH"):
        load_labelled(str(path))
    assert len(load_labelled(str(path), skip_bad=True, drops=drops)) == 1
    assert drops.total() == 2


def test_nothing_left(tmp_path: Path) -> None:
    """A data set without a usable row is an error, even for one who goes on."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"")
    with pytest.raises(InputError, match="no row that could be used"):
        load_labelled(f"plain:{path}")
    with pytest.raises(InputError, match="no row that could be used"):
        load_labelled(str(path))
    path.write_bytes(b"{\n")
    with pytest.raises(InputError, match="no row that could be used"):
        load_labelled(f"plain:{path}", skip_bad=True)


def test_long_steps(tmp_path: Path) -> None:
    """A step of 100,000 characters is read as it is; an error about it stays short."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(plain(steps=["é" * 100_000, "b"]), plain(steps=["a", "b"], verdict="é" * 100_000)))
    drops: Counter[str] = Counter()

    with pytest.raises(InputError) as caught:
        records.read_solutions(path)
    assert len(str(caught.value)) < 400
    [solution] = records.read_solutions(path, skip_bad=True, drops=drops)
    assert solution.prefix.steps[0].text == "é" * 100_000 + "\n\n"


@pytest.mark.parametrize(
    ("row", "found"),
    [({"a": ["\ud800"]}, "half a surrogate pair"), ({"a": {"b": math.inf}}, "an infinite number")],
)
def test_what_no_reader_takes_is_not_written(tmp_path: Path, row: Any, found: str) -> None:
    """A writer refuses what a reader would refuse, and leaves nothing behind."""
    with pytest.raises(InputError, match=found):
        records.write_rows(tmp_path / "rows.jsonl", [{"a": 1}, row])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flush", [False, True])
def test_zstandard_files_of_any_make_are_read_whole(tmp_path: Path, flush: bool) -> None:
    """Several frames, an empty one among them, with or without their sizes, larger than what is unpacked at once."""
    draw = random.Random(0)
    rows = [{"n": n, "noise": draw.randbytes(20).hex()} for n in range(20_000)]
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    frames = []
    for part in (lines[:7], [], lines[7:]):
        if flush:
            packer = zstandard.ZstdCompressor().compressobj()
            frames.append(packer.compress(b"".join(part)) + packer.flush())
        else:
            frames.append(zstandard.compress(b"".join(part)))
    (tmp_path / "rows.jsonl.zst").write_bytes(b"".join(frames))

    assert [row.data for row in records.read_rows(tmp_path / "rows.jsonl.zst")] == rows
