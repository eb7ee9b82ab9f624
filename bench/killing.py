"""Labelling is killed again and again, kill -9 at random moments, and ends with the labels of an uninterrupted run.

    python bench/killing.py                             # tier A
    python bench/killing.py --policy lab --rule adaptive
    python bench/killing.py --rule judge                # critiques in place of rollouts

Checked after every kill: what the ledger held before it holds still, no draw is in it twice, and what it holds is never
written again. At the end: the same files, byte for byte, from the same draws. Prints counts, or what went wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gradatim.core import Continuation, Policy, Prefix, seed_for
from gradatim.judges.stage import JudgeConfig, judge_stage
from gradatim.labels.rollouts import label_stage
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab import load
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.records import read_solutions
from gradatim.solutions.ledger import ledger_path
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.solutions.spans import Span, UnevenPolicy
from gradatim.verify.answers import exact_verifier

BATCH = 4
RULES = {
    "fixed": LabelConfig(k=6, batch=BATCH),
    "adaptive": LabelConfig(stop="sprt", search="bisection", cap=24, undecided="likelier", batch=BATCH),
    "informed": LabelConfig(stop="posterior", search="informed", cap=24, undecided="likelier", batch=BATCH),
}
JUDGED = JudgeConfig(draws=2, batch=BATCH // 2)
CALLS = 2
"""A life has leave for this many calls of the policy at most, so that the work outlasts all kills."""


class Gated:
    """A policy that needs leave for every call, a byte from a pipe, and writes down what it wrote."""

    def __init__(self, inner: Policy, leave: int, log: Path) -> None:
        self.inner, self.leave, self.log = inner, leave, log

    @property
    def name(self) -> str:
        return self.inner.name

    def write(
        self, prefixes: Sequence[Prefix], *, draws: range, one_step: bool = False, seed: int = 0
    ) -> list[list[Continuation]]:
        return self._noted([Span(prefix, draws) for prefix in prefixes], seed)

    def _noted(self, spans: Sequence[Span], seed: int) -> list[list[Continuation]]:
        os.read(self.leave, 1)
        if isinstance(self.inner, UnevenPolicy):
            rows = self.inner.write_spans(spans, seed=seed)
        else:
            rows = [self.inner.write([span.prefix], draws=span.draws, seed=seed)[0] for span in spans]
        lines = [f"{span.prefix.prompt!r}\t{span.prefix.text!r}\t{draw}\n" for span in spans for draw in span.draws]
        with open(self.log, "a") as file:
            file.write("".join(lines))
        return rows


class GatedSpans(Gated):
    """The same for a policy that writes spans."""

    def write_spans(self, spans: Sequence[Span], *, seed: int = 0) -> list[list[Continuation]]:
        return self._noted(spans, seed)


@dataclass(frozen=True)
class Work:
    """What is done, by what, and how a unit in the ledger names its draws."""

    policy: Policy
    stage: Callable[[Policy, Path], object]
    draws: Callable[[int, Any], Iterator[tuple[str, int]]]

    def child(self, folder: Path, calls: int) -> tuple[int, int]:
        """A process that labels into a folder, with leave for so many calls; its id, and the pipe to it."""
        leave, give = os.pipe()
        os.write(give, bytes(calls))
        if (child := os.fork()) != 0:
            os.close(leave)
            return child, give
        status = 1
        try:
            gated = GatedSpans if isinstance(self.policy, UnevenPolicy) else Gated
            self.stage(gated(self.policy, leave, folder / "written"), folder / "labels.jsonl")
            status = 0
        finally:
            os._exit(status)


def labelling(rule: str, policy: Policy, folder: Path) -> Work:
    """Rollouts of some solutions of the lab."""
    solutions, problems = folder / "rolled-out.jsonl", load("shape", 6)
    sample_stage(SampleConfig(n=2), policy, problems, exact_verifier, solutions, quiet=True)
    made, config = read_solutions(solutions), RULES[rule]

    def stage(gated: Policy, out: Path) -> None:
        label_stage(config, gated, problems, made, exact_verifier, out, quiet=True)

    def draws(_: int, unit: Any) -> Iterator[tuple[str, int]]:
        return ((key, first + k) for key, first, letters, _ in unit["draws"] for k in range(len(letters)))

    return Work(policy, stage, draws)


def judging(policy: Policy, folder: Path) -> Work:
    """Critiques of many different solutions of the lab, by a critic that says something about each draw of each."""
    solutions = folder / "judged.jsonl"
    sample_stage(SampleConfig(n=4), policy, load("shape", 30), exact_verifier, solutions, quiet=True)
    critic = ScriptedPolicy(lambda prefix, draw, seed: f"\\boxed{{{seed_for(seed, prefix.prompt, draw) % 4 - 1}}}")
    made = list({solution.prefix: solution for solution in read_solutions(solutions)}.values())

    def draws(number: int, unit: Any) -> Iterator[tuple[str, int]]:
        return ((f"{number}.{row['place']}", row["draw"]) for row in unit)

    return Work(critic, lambda gated, out: judge_stage(JUDGED, gated, made, out, quiet=True), draws)


def finish(work: Work, folder: Path) -> None:
    """Label to the end."""
    child, give = work.child(folder, 50_000)
    _, status = os.waitpid(child, 0)
    os.close(give)
    assert status == 0, f"labelling ended with status {status}"


def lifetime(work: Work, folder: Path) -> float:
    """How long it takes from the start until all leave is used up: seconds."""
    started = time.perf_counter()
    child, give = work.child(folder, CALLS)
    while len(written(folder)) <= (CALLS - 1) * BATCH:  # the ledger is locked while its process lives
        time.sleep(0.001)
    found = time.perf_counter() - started
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(give)
    return found


def recorded(work: Work, folder: Path) -> list[tuple[str, int]]:
    """Every draw in the ledger of a dead process."""
    path = ledger_path(folder / "labels.jsonl")
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as db:
        if not db.execute("SELECT name FROM sqlite_master WHERE name = 'units'").fetchone():
            return []
        units = db.execute("SELECT unit, result FROM units ORDER BY unit").fetchall()
    return [draw for number, text in units for draw in work.draws(number, json.loads(text))]


def results(folder: Path) -> dict[str, bytes]:
    """All that the stage wrote, by name."""
    return {path.name: path.read_bytes() for path in folder.glob("labels.*")}


def written(folder: Path) -> list[str]:
    path = folder / "written"
    return path.read_text().splitlines() if path.exists() else []


def killed(work: Work, folder: Path, rng: random.Random, longest: float) -> None:
    """One life: some leave, a random while, SIGKILL."""
    child, give = work.child(folder, rng.randint(1, CALLS))
    time.sleep(rng.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(give)
    assert os.WIFSIGNALED(status), f"it ended by itself with status {status}: too little work for so many kills"
    assert os.WTERMSIG(status) == signal.SIGKILL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", choices=["markov", "lab"], default="markov")
    parser.add_argument("--rule", choices=[*RULES, "judge"], default="fixed")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    policy: Policy = MarkovPolicy()
    if asked.policy == "lab":
        import torch

        from gradatim.solutions.local import load_policy

        torch.set_num_threads(1)  # children of a process with threads may wait for threads that they do not have
        policy = load_policy("lab")
    make = judging if asked.rule == "judge" else partial(labelling, asked.rule)
    with tempfile.TemporaryDirectory() as name:
        found = trial(make(policy, Path(name)), Path(name), asked.kills, random.Random(asked.seed))
    print(json.dumps({**vars(asked), **found}))


def trial(work: Work, folder: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    """Do the work once in one go and once with kills, check all of the above, and count."""
    whole, broken = folder / "whole", folder / "broken"
    whole.mkdir()
    broken.mkdir()
    finish(work, whole)
    once, longest = written(whole), 1.2 * lifetime(work, folder)
    held: list[tuple[str, int]] = []
    lives = []
    for _ in range(kills):
        killed(work, broken, rng, longest)
        now = recorded(work, broken)
        assert now[: len(held)] == held, "the ledger lost a draw"
        assert len(set(now)) == len(now), "a draw is in the ledger twice"
        lives.append(len(now) - len(held))
        held = now
    assert any(lives), "no life got as far as a batch"
    before = len(written(broken))
    finish(work, broken)
    last = written(broken)[before:]
    assert len(set(last)) == len(last) == len(once) - len(held), "a draw was written twice, or not at all"
    assert set(written(broken)) == set(once), "other draws were written"
    assert results(broken) == results(whole), "other labels"
    again = before + len(last) - len(once)
    assert again <= BATCH * kills, "more than a batch was lost by a kill"
    return {"draws": len(once), "kept_by_life": lives, "written_again": again}


if __name__ == "__main__":
    main()
