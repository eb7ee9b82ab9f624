"""Measure the lab's shape on its shape split: pass@1, majority@64, pass@64 and luck of a policy.

python scripts/lab_shape.py src/gradatim/problems/lab/data/policy --problems 200
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from gradatim.core import Prefix
from gradatim.problems import lab
from gradatim.problems.lab.checker import first_error
from gradatim.solutions.local.policy import load_policy
from gradatim.solutions.settings import PolicySettings
from gradatim.stats import bootstrap, majority_curve, pass_curve
from gradatim.steps import by_line
from gradatim.verify.answers import read_answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policy")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--split", default="shape")
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=1.0)
    args = parser.parse_args()
    policy = load_policy(
        args.policy, PolicySettings(temperature=args.temperature, max_new_tokens=256, batch_rows=512, device="cpu")
    )
    problems = lab.load(args.split, args.problems)
    rows = policy.write([p.start() for p in problems], draws=range(args.n), seed=1)
    good, majority = np.zeros((len(problems), args.n)), []
    faults: Counter[str] = Counter()
    for i, (problem, row) in enumerate(zip(problems, rows, strict=True)):
        answers = [read_answer(c.text) for c in row]
        good[i] = [a == problem.answer for a in answers]
        names = sorted({a for a in answers if a is not None})
        sizes = [answers.count(a) for a in names]
        majority.append(
            majority_curve(sizes, [float(a == problem.answer) for a in names], answers.count(None), [args.n])[0]
        )
        for k, c in enumerate(row):
            truths = lab.check(Prefix(problem.id, problem.prompt, by_line(c.text)))
            error = first_error(truths)
            faults["sound" if error is None else str(truths[error].fault)] += 1
            faults["lucky"] += error is not None and bool(good[i, k])
            faults["unread"] += answers[k] is None
            faults["redundant steps"] += sum(t.redundant for t in truths)
    traps = np.array([float(p.meta["traps"]) > 0 for p in problems])
    print(f"{args.split} split, {len(problems)} problems, n = {args.n}, {policy.name}")
    print(
        f"pass@1        {bootstrap(good.mean(axis=1))}   (no trap {good[~traps].mean():.3f}, trap {good[traps].mean():.3f})"
    )
    print(f"majority@{args.n}   {bootstrap(majority)}")
    print(f"pass@{args.n}       {bootstrap(pass_curve(good, [args.n])[:, 0])}")
    total = good.size
    for name, count in faults.most_common():
        print(f"{name:16} {count / total:.4f} a solution")
    tokens = sum(c.tokens for row in rows for c in row)
    print(f"{tokens / total:.1f} tokens a solution")


if __name__ == "__main__":
    main()
