"""Suites are read with the ids, groups and clusters that their numbers rest on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gradatim.core import Prefix
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate.suites import LAB_DRAWS, Reading, StepSuite, read_suite
from gradatim.labels.datasets import load_labelled
from gradatim.problems import lab


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def planted(idx: str, kind: str, question: str = "Q?", **fields: Any) -> dict[str, Any]:
    row = {"original_question": "Q?", "modified_question": question, "original_process": ["a", "b"], "idx": idx}
    return {**row, "modified_process": ["a", "c", "d"], "error_steps": [2], "classification": kind, **fields}


def read(suite: StepSuite, source: str, **settings: Any) -> tuple[dict[str, Any], Counter[str]]:
    drops: Counter[str] = Counter()
    return read_suite(suite, source, Reading(**settings), drops), drops


def test_prmbench_is_one_suite_of_several_files(tmp_path: Path) -> None:
    """Published ids; all that was made of one original is drawn together; a second original of one idx is counted."""
    write(tmp_path / "data" / "circular.jsonl", planted("p_0", "circular"), planted("p_1", "circular", "Q!"))
    write(tmp_path / "data" / "deception.jsonl", planted("p_0", "deception", original_process=["a", "B"]))
    found, drops = read("prmbench", str(tmp_path / "data"))

    rows = found["prmbench"]
    assert [row.id for row in rows] == ["circular_p_0", "correct_p_0", "circular_p_1", "deception_p_0"]
    assert [row.group for row in rows] == ["circular", "correct", "circular", "deception"]
    assert [row.prefix.problem_id for row in rows] == ["p_0", "p_0", "p_1", "p_0"]
    assert rows[0].marks == (1, -1, 1)
    assert drops == {"another original with the same idx": 1}


def test_prmbench_ids_of_the_hub_bear_their_class(tmp_path: Path) -> None:
    """There `idx` begins with the class: the cluster is what is left."""
    found, _ = read("prmbench", write(tmp_path / "x.jsonl", planted("circular_p_0", "circular")))

    assert {row.prefix.problem_id for row in found["prmbench"]} == {"p_0"}


def test_the_same_row_twice_is_an_error(tmp_path: Path) -> None:
    """Also in two files."""
    for name in ("a", "b"):
        write(tmp_path / "data" / f"{name}.jsonl", {"id": "r", "problem": "Q", "steps": ["x"], "label": 0})
    with pytest.raises(InputError, match=r"b\.jsonl:1: row 'r' again \(first in .*a\.jsonl:1\)"):
        read("processbench", str(tmp_path / "data"))


def test_misfits_are_counted_stopped_at_or_kept(tmp_path: Path) -> None:
    """As asked."""
    source = write(tmp_path / "x.jsonl", planted("p_0", "circular", error_steps=[2, 9]), planted("p_1", "circular"))

    assert read("prmbench", source)[1] == {"expected error_steps within modified_process": 1}
    kept, drops = read("prmbench", source, misfits="keep")
    assert (kept["prmbench"][0].marks, drops) == ((1, -1, 1), {})
    with pytest.raises(InputError, match=r"error_steps \[2, 9\] of 3 steps"):
        read("prmbench", source, misfits="error")


@pytest.mark.parametrize(
    ("suite", "row"),
    [
        ("prmbench", planted("p_0", "circular")),
        ("processbench", {"id": "r", "problem": "Q", "steps": ["x"], "label": 0}),
        ("bigbench-mistake", {"input": "Q", "steps": ["x"], "target": "1", "answer": "1", "mistake_index": None}),
        ("prm800k", {"problem": "Q", "steps": ["x"], "ratings": [1]}),
        (
            "mr-ben",
            {
                "Question_UUID": "u",
                "Question": "Q",
                "Model_Solution_Steps": ["x"],
                "Subject": "math",
                "Model_Solution_Correctness": "incorrect",
                "Model_Solution_First_Error_Step": "1",
            },
        ),
    ],
)
def test_a_judge_finds_the_rows(tmp_path: Path, suite: StepSuite, row: dict[str, Any]) -> None:
    """Each row has the id that its solution has when the labels reader reads the same source."""
    source = write(tmp_path / "x.jsonl", row)
    [rows] = read(suite, source)[0].values()

    assert [one.solution_id for one in rows] == [one.id for one, _ in load_labelled(f"{suite}:{source}")]


def test_mr_ben_groups_by_subject(tmp_path: Path) -> None:
    """Ids name the question and who solved it; the subject is the class."""
    row = {"Question_UUID": "u", "Question": "Q", "Model_Solution_Steps": ["Step 1: x", "Step 2: y"], "Subject": "math"}
    graded = {"Model_Solution_Correctness": "incorrect", "Model_Solution_First_Error_Step": "2", "Sampled_Model": "GPT"}
    [one] = read("mr-ben", write(tmp_path / "math.jsonl", {**row, **graded}))[0]["math"]

    assert (one.id, one.group, one.author, one.error, one.answer_correct) == ("u-GPT", "math", "GPT", 1, None)


def test_the_lab_tells_the_truth() -> None:
    """The checker's word on each step; the fault of the first error is the class."""
    rows = read("lab", "test:3")[0]["lab"]

    assert len(rows) == 3 * LAB_DRAWS
    for row in rows:
        truths = lab.check(Prefix("p", row.prefix.prompt, row.prefix.steps))
        assert row.marks == tuple(1 if truth.valid else -1 for truth in truths)
        assert row.group == ("" if row.error is None else truths[row.error].fault)
    with pytest.raises(ConfigError, match="expected SPLIT:N"):
        read("lab", "test")


def test_an_empty_source(tmp_path: Path) -> None:
    """No usable row is an error that names the source."""
    with pytest.raises(InputError, match="no row that could be used"):
        read("prm800k", write(tmp_path / "x.jsonl"))
