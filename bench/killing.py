"""Labelling is killed again and again, kill -9 at random moments, and ends with the labels of an uninterrupted run.

    python bench/killing.py                             # tier A
    python bench/killing.py --policy lab --rule adaptive

Checked after every kill: what the ledger held before it holds still, no draw is in it twice, and what it holds is never
written again. At the end: the same file, byte for byte, from the same draws. Prints counts, or what went wrong.
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
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gradatim.core import Continuation, Policy, Prefix, Problem, Solution
from gradatim.labels.rollouts import label_stage
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab import load
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.records import read_solutions
from gradatim.solutions.ledger import ledger_path
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.spans import Span, UnevenPolicy
from gradatim.verify.answers import exact_verifier

BATCH = 4
RULES = {
    "fixed": LabelConfig(k=6, batch=BATCH),
    "adaptive": LabelConfig(stop="sprt", search="bisection", cap=24, undecided="likelier", batch=BATCH),
}
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
        lines = [f"{span.prefix.problem_id}\t{span.prefix.text!r}\t{draw}\n" for span in spans for draw in span.draws]
        with open(self.log, "a") as file:
            file.write("".join(lines))
        return rows


class GatedSpans(Gated):
    """The same for a policy that writes spans."""

    def write_spans(self, spans: Sequence[Span], *, seed: int = 0) -> list[list[Continuation]]:
        return self._noted(spans, seed)


@dataclass(frozen=True)
class Work:
    """What is labelled, by what."""

    config: LabelConfig
    policy: Policy
    problems: list[Problem]
    solutions: list[Solution]

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
            policy = gated(self.policy, leave, folder / "written")
            out = folder / "labels.jsonl"
            label_stage(self.config, policy, self.problems, self.solutions, exact_verifier, out, quiet=True)
            status = 0
        finally:
            os._exit(status)


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


def recorded(folder: Path) -> list[tuple[str, int]]:
    """Every draw in the ledger of a dead process."""
    path = ledger_path(folder / "labels.jsonl")
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as db:
        if not db.execute("SELECT name FROM sqlite_master WHERE name = 'units'").fetchone():
            return []
        rows = [json.loads(text) for (text,) in db.execute("SELECT result FROM units ORDER BY unit")]
    return [(key, first + k) for row in rows for key, first, letters, _ in row["draws"] for k in range(len(letters))]


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
    parser.add_argument("--rule", choices=list(RULES), default="fixed")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    policy: Policy = MarkovPolicy()
    if asked.policy == "lab":
        import torch

        from gradatim.solutions.local import load_policy

        torch.set_num_threads(1)  # children of a process with threads may wait for threads that they do not have
        policy = load_policy("lab")
    rng, problems = random.Random(asked.seed), load("shape", 6)
    with tempfile.TemporaryDirectory() as name:
        whole, broken = Path(name, "whole"), Path(name, "broken")
        whole.mkdir()
        broken.mkdir()
        sample_stage(SampleConfig(n=2), policy, problems, exact_verifier, Path(name, "s.jsonl"), quiet=True)
        work = Work(RULES[asked.rule], policy, problems, read_solutions(Path(name, "s.jsonl")))
        finish(work, whole)
        once, longest = written(whole), 1.2 * lifetime(work, Path(name))
        held: list[tuple[str, int]] = []
        lives = []
        for _ in range(asked.kills):
            killed(work, broken, rng, longest)
            now = recorded(broken)
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
        assert (broken / "labels.jsonl").read_bytes() == (whole / "labels.jsonl").read_bytes(), "other labels"
        again = before + len(last) - len(once)
        assert again <= BATCH * asked.kills, "more than a batch was lost by a kill"
    print(json.dumps({**vars(asked), "draws": len(once), "kept_by_life": lives, "written_again": again}))


if __name__ == "__main__":
    main()
