"""Choosing a rule on some problems, judged on the others: what `gradatim choose --auto` loses against the best rule.

python -P bench/choosing.py --pool pool.jsonl --scores scores.jsonl --on 50 100 200

Of --resplits random splits of the problems each chooses on so many and judges on the rest, two ways: as `--auto` does, and
the rule that was most often right. Regret is the accuracy there of the rule that is best on *all* problems, minus that of
the chosen rule: a little too large, as that rule was picked with all answers known (`optimism`, by the bootstrap).
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from gradatim.choose.auto import BYS, optimism, right_of, rules, selected, worths
from gradatim.choose.measure import reduced, usable
from gradatim.problems.pool_scores import read_pool_scores
from gradatim.problems.pools import read_pool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", required=True)
    parser.add_argument("--scores", nargs="+", required=True)
    parser.add_argument("--on", type=int, nargs="+", default=[50, 100, 200], help="problems to choose on")
    parser.add_argument("--resplits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    pool, scored = read_pool_scores(read_pool(asked.pool), asked.scores)
    methods = [reduced(scores, how) for scores in scored for how in usable(scores)[0]]
    choosers = [by for by in BYS if by != "learned"]
    offered = rules(pool, methods, choosers, None)
    votes = np.array([rule.chooser != "best_of_n" for rule in offered])
    worth = worths(pool, methods, choosers, None, asked.seed)
    right = np.stack([right_of(pool, rule.choices) for rule in offered])
    best = int(right.mean(axis=1).argmax())
    luck = optimism(right, asked.seed)
    print(f"{right.shape[1]} problems, {len(offered)} rules; best of all: {offered[best]}, {right[best].mean():.4f}")
    print(f"optimism of that: {luck:.4f}")
    random = np.random.default_rng(asked.seed)
    for count in asked.on:
        lost: dict[str, list[float]] = {"--auto": [], "most often right": []}
        for _ in range(asked.resplits):
            order = random.permutation(right.shape[1])
            seen, held = order[:count], order[count:]
            for name, rule in (
                ("--auto", selected(worth[:, seen], votes)),
                ("most often right", int(right[:, seen].mean(axis=1).argmax())),
            ):
                lost[name].append(float((right[best, held] - right[rule, held]).mean()))
        for name, values in lost.items():
            error = np.std(values, ddof=1) / math.sqrt(len(values))
            print(
                f"chosen on {count}, {name}: regret {np.mean(values):.4f} +- {error:.4f}, spread {np.std(values):.4f}"
            )


if __name__ == "__main__":
    main()
