"""Examples per second of training on trees, against a plain padded loop and against TRL 1.12's PRMTrainer.

    make bench-env
    GRADATIM_DATA=../shared/data python -P bench/training.py --problems 4 --rounds 2
    GRADATIM_DATA=../shared/data python -P bench/training.py --problems 64 --each 1 --threads 1      # nothing is shared

Each contender trains the whole SmolLM2-135M for one epoch on the same PRM800K trajectories, in a process of its own with
the same number of threads; the processes take turns, so that a change in the machine's load meets all of them. Loading
libraries and weights is not timed, tokenising and building batches is. The objective is the same for all: cross-entropy
at the end of each step (weighting "trajectory"), AdamW, no dropout, nothing truncated, no gradient checkpointing. All
start from the same head; `loss` is the mean over all labelled steps before and after, as each contender's own code finds
it: the first must be the same. Trees are not cut for a batch, so where much is shared they make fewer steps.
`core_seconds` is the time that the processor spent: with one thread it is what the wall clock would say on an idle
machine. `peak_gib` is the most memory that the process had, libraries and weights included.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForTokenClassification

from gradatim import backbones
from gradatim.core import seed_for
from gradatim.labels.datasets import load_labelled

HERE = Path(__file__).parent
ROOT = HERE.parent


def main() -> None:
    asked = arguments()
    with tempfile.TemporaryDirectory() as folder:
        rows, backbone = Path(folder) / "rows.jsonl", Path(folder) / "backbone"
        count = take_rows(asked, rows)
        write_classifier(asked, backbone)
        contenders = {
            "trees": [sys.executable, "-P", str(HERE / "training_trees.py")],
            "padded": [sys.executable, "-P", str(HERE / "training_padded.py")],
            "trl": [str(asked.trl), "-P", str(HERE / "training_trl.py")],
        }
        chosen = {name: command for name, command in contenders.items() if name in asked.contenders}
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
        for round_ in range(asked.rounds):
            for name, command in chosen.items():
                found = run([*command, str(backbone), str(rows), json.dumps(options(asked))], asked.threads)
                results[name].append(found)
                print(f"round {round_ + 1}  {name:7} {json.dumps(found)}", file=sys.stderr, flush=True)
    print(json.dumps(summary(results, count, asked), indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("GRADATIM_DATA", "../shared/data"), help="folder of data sets")
    parser.add_argument("--backbone", default="smollm2")
    parser.add_argument("--problems", type=int, default=4, help="how many problems, with all their trajectories")
    parser.add_argument("--each", type=int, help="only so many trajectories of each problem; 1: nothing is shared")
    parser.add_argument("--rounds", type=int, default=2, help="how often each contender runs")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--batch", type=int, default=8, help="sequences a step, for the contenders without trees")
    parser.add_argument("--batch-tokens", type=int, help="distinct tokens a step, for trees")
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--bfloat16", action="store_true", help="autocast to bfloat16, for all contenders")
    parser.add_argument("--seed", type=int, default=0, help="decides which problems")
    parser.add_argument("--trl", default=ROOT / ".venv-bench" / "bin" / "python", help="interpreter that has TRL 1.12")
    parser.add_argument("--contenders", nargs="+", default=["trees", "padded", "trl"])
    return parser.parse_args()


def options(asked: argparse.Namespace) -> dict[str, Any]:
    return {
        "alike": True,
        **{name: getattr(asked, name) for name in ("batch", "batch_tokens", "bfloat16", "seed", "lr")},
    }


def write_classifier(asked: argparse.Namespace, folder: Path) -> None:
    """The backbone with a fresh head of two classes, from which every contender starts."""
    _, tokenizer = backbones.load_policy_backbone(asked.backbone)
    torch.manual_seed(asked.seed)
    backbones.load_model(asked.backbone, AutoModelForTokenClassification, num_labels=2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def take_rows(asked: argparse.Namespace, path: Path) -> int:
    """Write the trajectories of some problems as {prompt, completions, labels}, and say how many.

    A trajectory ends at its first wrong step, or before the first step that nobody rated: TRL has no way to leave out
    a step in the middle.
    """
    by_problem: dict[str, list[Any]] = {}
    for solution, labels in load_labelled(f"prm800k:{asked.data}/prm800k/phase1_train.jsonl.gz"):
        ratings = list(labels.ratings or ())
        known = ratings.index(None) if None in ratings else len(ratings)
        kept = ratings.index(-1) + 1 if -1 in ratings[:known] else known
        if kept:
            row = {
                "prompt": solution.prefix.prompt,
                "completions": [step.text.rstrip() for step in solution.prefix.steps[:kept]],
                "labels": [rating != -1 for rating in ratings[:kept]],
            }
            by_problem.setdefault(solution.prefix.problem_id, []).append(row)
    names = random.Random(seed_for(asked.seed, "bench")).sample(sorted(by_problem), asked.problems)
    draw = random.Random(seed_for(asked.seed, "rows"))
    rows = [
        row
        for own in (by_problem[name] for name in names)
        for row in (own if asked.each is None else draw.sample(own, min(asked.each, len(own))))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return len(rows)


def run(command: list[str], threads: int) -> dict[str, Any]:
    """What a contender prints as its last line."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def summary(results: dict[str, list[dict[str, Any]]], count: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Examples per second of each contender (the median of its rounds), and how many times faster trees are."""
    speeds, cores = (
        {name: statistics.median(count / found[clock] for found in runs) for name, runs in results.items()}
        for clock in ("seconds", "core_seconds")
    )
    return {
        "trajectories": count,
        "sharing": sharing(results.get("trees", [])),
        "problems": asked.problems,
        "threads": asked.threads,
        "bfloat16": asked.bfloat16,
        "rounds": asked.rounds,
        "each": asked.each,
        "examples_per_second": {name: round(speed, 4) for name, speed in speeds.items()},
        "examples_per_core_second": {name: round(speed, 4) for name, speed in cores.items()},
        "times_faster": over(speeds),
        "times_faster_by_core": over(cores),
        "peak_gib": {name: max(found["peak_gib"] for found in runs) for name, runs in results.items()},
        "loss": {name: [found["loss"] for found in runs] for name, runs in results.items()},
        "steps": {name: runs[0]["steps"] for name, runs in results.items()},
        "runs": results,
    }


def over(speeds: dict[str, float]) -> dict[str, float]:
    """How many times as fast trees are as each of the others."""
    others = [name for name in speeds if name != "trees" and "trees" in speeds]
    return {f"trees / {name}": round(speeds["trees"] / speeds[name], 2) for name in others}


def sharing(runs: list[dict[str, Any]]) -> float | None:
    """Tokens of all trajectories for each distinct one: the most that trees can save (12.9 over the whole data set)."""
    return round(runs[0]["tokens"]["separate"] / runs[0]["tokens"]["distinct"], 2) if runs else None


if __name__ == "__main__":
    main()
