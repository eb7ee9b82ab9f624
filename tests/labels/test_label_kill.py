"""Labelling is killed for real, at arbitrary moments, and ends with the labels of an uninterrupted run."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

SCRIPT = '''
"""Sample and label in the lab; with KILL_AFTER, the process kills itself at that many-th call of a function, any function."""
import os, signal, sys
from pathlib import Path

from gradatim.core import seed_for
from gradatim.labels.rollouts import label_stage
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab import load
from gradatim.records import read_solutions
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.verify.answers import exact_verifier

folder, left = Path(sys.argv[1]), int(os.environ.get("KILL_AFTER", "0"))
calls = 0

def count(frame, event, argument):
    global calls
    calls += event in ("call", "c_call")
    if left and calls == left:
        os.kill(os.getpid(), signal.SIGKILL)

def script(prefix, draw, seed):
    with open(folder / "written", "a") as log:
        log.write(f"{prefix.problem_id} {prefix.text!r} {draw} {seed}\\n")
    made = seed_for(seed, prefix.problem_id, prefix.text, draw)
    return f"try {made % 3}\\nAnswer: {made % 2 + 7}\\n"

problems = load("test", 4)
policy = ScriptedPolicy(script)
sys.setprofile(count)
def unfinished(name):
    return not (folder / name).exists() or (folder / f"{name}.ledger").exists()

if unfinished("solutions.jsonl"):
    sample_stage(SampleConfig(n=5, batch=5), policy, problems, exact_verifier, folder / "solutions.jsonl", quiet=True)
if unfinished("labels.jsonl"):
    solutions = read_solutions(folder / "solutions.jsonl")
    adaptive = dict(stop="sprt", search="bisection", cap=20, undecided="likelier")
    config = LabelConfig(k=6, batch=12, **(adaptive if sys.argv[2] == "adaptive" else {}))
    label_stage(config, policy, problems, solutions, exact_verifier, folder / "labels.jsonl", quiet=True)
sys.setprofile(None)
print(calls)
'''


def run(script: Path, folder: Path, rule: str, kill_after: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KILL_AFTER": str(kill_after)}
    return subprocess.run(
        [sys.executable, str(script), str(folder), rule], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("rule", ["fixed", "adaptive"])
def test_killed_at_any_moment_it_ends_with_the_same_files(tmp_path: Path, rule: str) -> None:
    """kill -9 several times, then finish: solutions and labels equal an uninterrupted run's, byte for byte."""
    script = tmp_path / "stages.py"
    script.write_text(SCRIPT)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    finished = run(script, whole, rule)
    assert finished.returncode == 0, finished.stderr
    total, kills, between = int(finished.stdout), 0, False
    while (made := run(script, broken, rule, kill_after=total // 4 + total // 150 * kills)).returncode:
        assert made.returncode == -signal.SIGKILL, made.stderr
        kills += 1
        assert kills < 30, "no progress"
        ledger = broken / "labels.jsonl.ledger"
        between |= ledger.exists() and 0 < units(ledger) < 100
    assert kills >= 3
    assert between, "no kill came between two batches of labels"
    for name in ("solutions.jsonl", "labels.jsonl"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(path.name for path in broken.iterdir() if "ledger" in path.name) == []
    # What was killed half way was written again, and only that.
    once, again = ((folder / "written").read_text().splitlines() for folder in (whole, broken))
    assert set(once) == set(again)
    assert len(set(once)) == len(once) < len(again) <= len(once) + 12 * kills


def units(ledger: Path) -> int:
    """How many batches the ledger of a killed process holds."""
    with closing(sqlite3.connect(ledger)) as db:
        if not db.execute("SELECT name FROM sqlite_master WHERE name = 'units'").fetchone():
            return 0
        return int(db.execute("SELECT count(*) FROM units").fetchone()[0])
