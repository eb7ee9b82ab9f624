"""What `gradatim choose`, `combine` and `explain` print for people."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pool_files import pool_rows, score_rows, write

POOL = pool_rows({"p1": [("1", True), ("2", False), ("1", True)], "p2": [("7", False), ("8", True)]})


def gradatim(*arguments: str) -> str:
    """Its standard output; nothing may go wrong."""
    command = [sys.executable, "-m", "gradatim", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_n_that_nobody_has_leaves_the_choices(tmp_path: Path) -> None:
    """No row has a value, as p2 has two candidates only: the choices are printed, and why there is no table."""
    said = gradatim("choose", "--pool", write(tmp_path / "pool.jsonl", POOL), "--n", "3", "--quiet")

    assert said.splitlines()[:2] == ["p1: candidate 0, answer 1", "p2: candidate 0, answer 7"]
    assert "note: 1 of 2 problems have fewer than 3 candidates (p2: 2); there is no value for such an n" in said


def test_what_was_skipped_is_counted_for_people(tmp_path: Path) -> None:
    """A row that can't be read, and a candidate that b has no score for, in the words of every verb."""
    rows = [*POOL, {"problem_id": "p3", "candidate_index": 0, "steps": "no list"}]
    pool = write(tmp_path / "pool.jsonl", rows)
    a = write(tmp_path / "a.jsonl", score_rows(POOL, [(0.5, 0.5)] * 5, "a"))
    b = write(tmp_path / "b.jsonl", score_rows(POOL[:4], [(0.5, 0.5)] * 4, "b"))
    common = ("--scores", a, "--skip-bad", "--quiet")
    out = str(tmp_path / "out.jsonl")

    for said in (
        gradatim("choose", "--pool", pool, *common, "--scores", b),
        gradatim("combine", "--pool", pool, *common, "--scores", b, "--ensemble", "mean", "--out", out),
        gradatim("explain", pool, *common),
    ):
        left_out = [line for line in said.splitlines() if line.startswith("left out: ")]
        assert left_out[0].startswith("left out: expected steps: ")
        assert all(line.endswith("(1)") for line in left_out)
        missing = ["left out: expected a score for every candidate by every scorer (1)"]
        assert left_out[1:] == ([] if said.startswith("a, ranked by") else missing)
