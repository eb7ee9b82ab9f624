"""`gradatim judge`, `consensus` and `audit` from files to files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gradatim.cli import app
from gradatim.core import Prefix, Solution, Step, Verdict
from gradatim.judges.opinions import abstains, labels_of, names
from gradatim.records import read_rows, write_labels, write_solutions

SOLUTIONS = [
    Solution(
        prefix=Prefix(
            f"p{i}", "Is <script>alert(1)</script> bold?", tuple(Step(f"step {n} of {i}\n") for n in range(3))
        ),
        author="a",
        draw=0,
        verdict=Verdict.CORRECT if i % 2 else Verdict.INCORRECT,
    )
    for i in range(6)
]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The command in this process; what it printed."""
    with pytest.raises(SystemExit) as end:
        app(list(arguments))
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    write_solutions(tmp_path / "solutions.jsonl", SOLUTIONS)
    for name, shift in (("one", 0), ("two", 2)):
        rows = []
        for i, solution in enumerate(SOLUTIONS):
            steps = solution.prefix.steps
            said = names(steps, None if i < 3 else i % 3) if i < 4 or not shift else names(steps, 2)
            opinions = [said, said] if i else [abstains(steps, "silence")]
            rows.append(labels_of(solution, opinions, by=name, rule=""))
        write_labels(tmp_path / f"{name}.jsonl", rows)
    return tmp_path


def test_consensus(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object of counts, the kept solutions, and the others beside them."""
    files = [str(folder / name) for name in ("one.jsonl", "two.jsonl", "kept.jsonl")]
    told = json.loads(run(capsys, "consensus", *files[:2], "--out", files[2], "--json"))
    kept = [row.data["solution"]["problem_id"] for row in read_rows(files[2])]
    apart = [row.data["solution"]["problem_id"] for row in read_rows(folder / "kept.disagreements.jsonl")]
    assert (kept, apart) == (["p1", "p2", "p3", "p5"], ["p0", "p4"])
    assert (told["kept"], told["disagreements"], told["solutions"]) == (4, 2, 6)
    human = run(capsys, "consensus", *files[:2], "--out", files[2])
    assert "4 of 6 solutions kept: 2 with a first error, 2 without" in human


def test_audit_writes_one_page_and_one_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page needs nothing else, runs nothing, follows the system's light or dark, and shows texts as text."""
    found = ["audit", str(folder / "one.jsonl"), "--against", str(folder / "two.jsonl"), "--out", str(folder / "page")]
    told: dict[str, Any] = json.loads(run(capsys, *found, "--json"))
    assert told["solutions"] == 6
    assert {one["reasons"][0] for one in told["look_first"]} >= {
        "first error unknown",
        "first error in step 2, in step 3 by the other labeller",
    }
    assert sorted(path.name for path in (folder / "page").iterdir()) == ["report.html", "report.json"]
    page = (folder / "page" / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "color-scheme: light dark" in page
    assert not re.search(r"(?:src|href)=[\"'](?!#|data:)", page)
    shown = dict(re.findall(r'-title">\d+\. [^<]*: ([^:<]*)</h3>.*?predicted: <b>([^<]*)</b>', page, re.DOTALL))
    assert shown["first error unknown"] == "unknown"
    titles = [table["title"] for table in json.loads((folder / "page" / "report.json").read_text("utf-8"))["tables"]]
    assert titles[0] == "What the labels say"
    assert {"Noise of repeated draws", "Against the other labeller", "By number of steps", "Look here first"} <= set(
        titles
    )
    human = run(capsys, *found[:2])
    assert "look here first" in human
    assert "Against" not in human


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("consensus", "one.jsonl", "--out", "x.jsonl"), "needs at least 2"),
        (("consensus", "one.jsonl", "one.jsonl", "--out", "x.jsonl"), "named twice"),
        (("consensus", "one.jsonl", "two.jsonl", "--agree", "1", "--out", "x.jsonl"), "more than half"),
        (("audit", "missing.jsonl"), "no such file"),
        (("judge", "solutions.jsonl", "--policy", "x", "--out", "y", "--draws", "0"), "draws=0"),
        (("judge", "missing.jsonl", "--policy", "x", "--out", "y"), "no such file"),
        (("judge", "plain:missing.jsonl", "--policy", "x", "--out", "y"), "no such file"),
    ],
)
def test_faults_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str) -> None:
    """Settings and files that can't be are an error with a reason."""
    from gradatim.errors import GradatimError

    monkeypatch.chdir(folder)
    with pytest.raises(GradatimError, match=told):
        app(list(arguments))
