"""Labelling in the lab by one worker and by several, each of one thread: seconds, and whether the files are the same.

    python bench/scale.py

Workers are up, and have written something, before the clock starts. Contenders take turns; each round's ratio is
printed, and the median. Only a machine with a free core for every worker says anything.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import ray

from gradatim.core import Problem, Solution
from gradatim.labels.rollouts import label_stage
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab import load
from gradatim.records import read_solutions
from gradatim.scale.crew import Crew, crew
from gradatim.scale.settings import WorkerSettings
from gradatim.solutions.opening import open_policy
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.settings import EndpointSettings, PolicySettings
from gradatim.verify.answers import exact_verifier

RULES = {
    "fixed": LabelConfig(k=8, batch=64),
    "adaptive": LabelConfig(stop="posterior", search="bisection", cap=32, undecided="likelier", batch=64),
}


def labelled(
    policy: Crew, config: LabelConfig, problems: Sequence[Problem], solutions: Sequence[Solution], folder: Path
) -> tuple[float, int, bytes]:
    """Seconds, tokens, and the file."""
    out, started = folder / "labels.jsonl", time.perf_counter()
    result = label_stage(config, policy, problems, solutions, exact_verifier, out, quiet=True)
    return time.perf_counter() - started, result["tokens"], out.read_bytes()


def nothing(held: object, item: None) -> None:
    """Work that takes no time: whoever is up does it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--problems", type=int, default=12)
    parser.add_argument("--solutions", type=int, default=8, help="of each problem")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES))
    asked = parser.parse_args()
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(address="local", num_cpus=asked.workers + 1, **quiet)  # room for both crews at a time
    opener = partial(open_policy, "lab", PolicySettings(device="cpu"), EndpointSettings())
    problems, found = load("shape", asked.problems), {}
    with (
        tempfile.TemporaryDirectory() as name,
        crew(opener, WorkerSettings(workers=1)) as one,
        crew(opener, WorkerSettings(workers=asked.workers)) as several,
    ):
        folder = Path(name)
        for warm in (one, several):
            while warm.pool.ready < warm.pool.settings.workers:
                list(warm.pool.each(nothing, [None]))
            config = SampleConfig(n=asked.solutions, batch=asked.solutions)
            sample_stage(config, warm, problems, exact_verifier, folder / "s.jsonl", quiet=True)
        solutions = read_solutions(folder / "s.jsonl")
        for rule in asked.rules:
            runs = []
            for _ in range(asked.rounds):
                runs.append([labelled(who, RULES[rule], problems, solutions, folder) for who in (one, several)])
            ratios = [single[0] / many[0] for single, many in runs]
            found[rule] = {
                "tokens": runs[0][0][1],
                "seconds": [[round(run[0], 2) for run in pair] for pair in runs],
                "ratios": [round(ratio, 2) for ratio in ratios],
                "median": round(statistics.median(ratios), 2),
                "same_files": len({run[2] for pair in runs for run in pair}) == 1,
            }
    print(json.dumps({**vars(asked), "labelling": found}, indent=1))


if __name__ == "__main__":
    main()
