"""What labelling was said to cost, from a pilot, against what it then cost. Tier A of the lab, problems of no split.

    python bench/forecast.py

Each seed has its own problems and draws. A forecast is the pilot's rollouts and tokens scaled to all solutions; the table
has forecast / actual for each seed, and in how many cases the actual number was in the forecast's 95 % interval.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from gradatim.core import Estimate
from gradatim.labels.forecast import forecast_stage
from gradatim.labels.rollouts import label_stage
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.records import read_solutions
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.verify.answers import exact_verifier
from labels import RULES, SEEDS, fresh

SHOWN = ("all, k=8", "bisection, k=8", "bisection, sprt", "bisection, posterior", "informed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=160, help="of each seed")
    parser.add_argument("--solutions", type=int, default=4, help="of each problem")
    parser.add_argument("--pilot", type=int, default=32, help="problems")
    asked = parser.parse_args()
    policy, problems = MarkovPolicy(), fresh(asked.problems * SEEDS)
    worst, inside, cases = 0.0, 0, 0
    print(f"{'rule':24}{'rollouts: forecast / actual':>36}{'tokens: forecast / actual':>36}")
    for rule in SHOWN:
        ratios: dict[str, list[float]] = {"rollouts": [], "tokens": []}
        for seed in range(SEEDS):
            with tempfile.TemporaryDirectory() as name:
                part, out = problems[seed::SEEDS], Path(name, "labels.jsonl")
                config = SampleConfig(n=asked.solutions, seed=seed)
                sample_stage(config, policy, part, exact_verifier, Path(name, "s.jsonl"), quiet=True)
                inputs = (RULES[rule], policy, part, read_solutions(Path(name, "s.jsonl")), exact_verifier, out)
                said = forecast_stage(*inputs, pilot=asked.pilot, quiet=True)
                cost = label_stage(*inputs, quiet=True)
            for what, found in ratios.items():
                estimate: Estimate = said[what]
                found.append(estimate.value / cost[what])
                worst, cases = max(worst, abs(found[-1] - 1)), cases + 1
                inside += estimate.low <= cost[what] <= estimate.high
        print(f"{rule:24}" + "".join(f"{' '.join(f'{ratio:.3f}' for ratio in found):>36}" for found in ratios.values()))
    print(f"furthest off: {worst:.1%}; in the interval: {inside} of {cases}")


if __name__ == "__main__":
    main()
