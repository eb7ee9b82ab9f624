"""Searching step by step: how fast, against loops that encode every prefix again; and what it is worth at equal compute.

    python bench/search.py speed
    python bench/search.py compute --out runs/bench-search

`speed`: beam search over the same problems with the same seeds, three ways that take turns (processor time, one thread):

    search   keys and values kept by policy and reward model, prefixes shared
    loop     one candidate at a time; policy and reward model read its whole prefix in every round
    batched  the candidates of a round side by side, in both models; nothing kept from round to round

`compute`: accuracy against floating-point operations of policy and reward model together, for greedy, majority,
best-of-n and weighted majority (exact, from a pool) and for every search; searches choose the finished solution with
the highest value. It goes on where it was stopped, and with more --problems it does only those that are new. Other
models and problems: --policy smollm2 --model FOLDER --source reasoning_gym:gsm_symbolic:100:1.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from search_compute import STEPS, WIDEST, compare
from search_speed import speed


def main() -> None:
    asked = arguments()
    torch.set_num_threads(asked.threads)
    found = speed(asked) if asked.what == "speed" else compare(asked)
    print(json.dumps(found, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "compute"])
    parser.add_argument("--policy", default="lab")
    parser.add_argument("--model", default="lab")
    parser.add_argument("--source", default="lab:test", help="problems; in the lab without their number")
    parser.add_argument("--problems", type=int, help="2 for speed, 160 (a quarter of an hour of one core) for compute")
    parser.add_argument("--splitter", default="line")
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--samples", type=int, default=32, help="of each problem, for what chooses from a pool")
    parser.add_argument("--widest", type=int, default=WIDEST, help="leave out searches that weigh more steps at a time")
    parser.add_argument("--steps", type=int, default=STEPS, help="longest solution of a search")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way runs for its time; the median counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--block", type=int, default=8, help="problems that are searched and recorded together")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-search"), help="folder of the comparison")
    asked = parser.parse_args()
    asked.problems = asked.problems or (2 if asked.what == "speed" else 160)
    asked.data = f"{asked.source}:{asked.problems}" if asked.source.startswith("lab:") else asked.source
    return asked


if __name__ == "__main__":
    main()
