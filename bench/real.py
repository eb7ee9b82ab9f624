"""SmolLM2-135M on PRM800K, all of it once, and with TRL 1.12's PRMTrainer for the same time.

    make bench-env
    python bench/real.py prepare --out runs/real
    python bench/real.py train --out runs/real --arm trees
    python bench/real.py train --out runs/real --arm trees-prmbench
    python bench/real.py train --out runs/real --arm trl
    python bench/real.py measure --out runs/real

`prepare` holds problems out (real_data.py). `train` trains one arm on one thread, and goes on where it was stopped; what is
done is not done again. "trees" and "trl" begin with the same language model, each with a small head of its own. Two arms
can run beside each other, each on a core of its own (`taskset -c 0 python ...`). Hours are those of the training loop, over
all its starts. `measure` scores every model on ProcessBench's development rows and the rows held out, and compares them,
with null baselines and intervals by problem.

    trees           all solutions of all problems to train on, at any length, once
    trees-prmbench  the model of "trees", gone on with on PRMBench's solutions, once
    trl             solutions drawn from all problems, as its trainer shuffles them: as many as a pilot says it can learn
                    from in the time that "trees" took; cut at 1,024 tokens (its default), in batches of 8 in two parts,
                    as 8 of them at once take 10 GiB
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from real_data import Row, read_rows, up_to_error, write_rows, write_split

from gradatim import backbones
from gradatim.evaluate.measures import Measure, ratio

HERE = Path(__file__).parent
ROOT = HERE.parent
ARMS = ("trees", "trees-prmbench", "trl")
LR = 5e-5
TREES = [
    "--held-out",
    "0",
    "--batch-tokens",
    "2048",
    "--block-tokens",
    "8192",
    "--checkpointing",
    "--device",
    "cpu",
    "--json",
]
PILOT = 48
"""Rows of TRL's pilot."""


def main() -> None:
    asked = arguments()
    {"prepare": prepare, "train": train, "measure": compare}[asked.stage](asked)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("prepare", "train", "measure"))
    parser.add_argument("--out", type=Path, required=True, help="folder of everything that is written")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GRADATIM_DATA", "../shared/data")))
    parser.add_argument("--backbone", default="smollm2")
    parser.add_argument("--held-out", type=int, default=60, help="problems of PRM800K that nobody trains on")
    parser.add_argument("--per-problem", type=int, default=8, help="most rows of each that are measured")
    parser.add_argument("--arm", choices=ARMS, default="trees")
    parser.add_argument("--problems", type=int, help="train on so many problems only, for a trial")
    parser.add_argument("--trl", default=ROOT / ".venv-bench" / "bin" / "python", help="interpreter that has TRL 1.12")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def prepare(asked: argparse.Namespace) -> None:
    """The backbone in a folder, and the data divided by problem."""
    asked.out.mkdir(parents=True, exist_ok=True)
    model, tokenizer = backbones.load_policy_backbone(asked.backbone)
    model.save_pretrained(asked.out / "backbone")
    tokenizer.save_pretrained(asked.out / "backbone")
    counts = write_split(asked.data, asked.out, held_out=asked.held_out, per_problem=asked.per_problem, seed=asked.seed)
    (asked.out / "split.json").write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(counts, indent=1))


# Training


def train(asked: argparse.Namespace) -> None:
    """One arm, and what it took."""
    file = asked.out / f"training-{asked.arm}.json"
    if not file.exists():
        with_trl = asked.arm == "trl"
        found = run(trl(asked, rows_in_time(asked), "trl") if with_trl else trees(asked))
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(file.read_text("utf-8"))


def trees(asked: argparse.Namespace) -> list[str]:
    """What trains on trees and leaves a model in a folder."""
    on = asked.arm == "trees-prmbench"
    if on and not (asked.out / "training-trees.json").exists():
        sys.exit(f"{asked.arm} goes on from the model of trees; train --arm trees first")
    data = ["--data", f"prm800k:{asked.out / ('prmbench' if on else 'prm800k')}.jsonl"]
    few = ["--problems", str(asked.problems)] if asked.problems else []
    names = ["--out", str(asked.out / "models" / asked.arm), "--name", asked.arm]
    begun = asked.out / ("models/trees" if on else "backbone")
    own = ["--backbone", str(begun), "--lr", str(LR), "--seed", str(asked.seed), *few]
    return [sys.executable, "-P", "-m", "gradatim", "train", *data, *names, *own, *TREES]


def trl(asked: argparse.Namespace, rows: Sequence[Row], name: str) -> list[str]:
    """What trains with TRL on some rows and leaves a model in a folder."""
    write_rows(file := asked.out / f"{name}-rows.jsonl", rows)
    save = str(asked.out / "models" / name)
    options = {
        "batch": 8,
        "parts": 2,
        "max_length": 1024,
        "bfloat16": False,
        "seed": asked.seed,
        "lr": LR,
        "save": save,
    }
    backbone = str(asked.out / "backbone")
    return [str(asked.trl), "-P", str(HERE / "training_trl.py"), backbone, str(file), json.dumps(options)]


def rows_in_time(asked: argparse.Namespace) -> list[Row]:
    """As many rows as TRL learns from in the time that trees took, if it goes on as in a pilot."""
    rows = read_rows(asked.out / "trl.jsonl")
    if not (timed := asked.out / "training-trees.json").exists():
        sys.exit(f"{timed} is not there: TRL has the time that trees took; train --arm trees first")
    if not (pilot := asked.out / "pilot-trl.json").exists():
        pilot.write_text(json.dumps(run(trl(asked, rows[:PILOT], "pilot"))) + "\n", encoding="utf-8")
    said = json.loads(pilot.read_text("utf-8"))["said"]
    seconds = json.loads(timed.read_text("utf-8"))["said"]["loop_seconds"]
    return rows[: round(seconds * said["examples"] / said["seconds"])]


def run(command: Sequence[str]) -> dict[str, Any]:
    """Run a command with one thread: time and peak memory of this start, and the JSON object that it printed at its end."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[1:5]} failed (status {status}): {text[-500:]}")
    return {
        "seconds": round(time.monotonic() - started, 1),
        "core_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gib": round(usage.ru_maxrss / 2**20, 2),
        "said": json.loads(text.strip().splitlines()[-1]) if text.strip() else None,
    }


# Measuring


def compare(asked: argparse.Namespace) -> None:
    """Score what was trained, and put the models beside each other and beside rules without a model."""
    arms = [arm for arm in ARMS if (asked.out / f"training-{arm}.json").exists()]
    benchmark, held_out = asked.data / "processbench", asked.out / "held-out.jsonl"
    data = {name: benchmark / f"{name}.dev.jsonl.gz" for name in ("gsm8k", "math")} | {"held-out": held_out}
    files = {(arm, name): asked.out / f"scores-{arm}-{name}.jsonl" for arm in arms for name in data}
    for (arm, name), file in files.items():
        if not file.exists():
            print(f"scoring {name} with {arm}", file=sys.stderr)
            score(asked.out / "models" / arm, data[name], file)
    suites = [f"processbench={benchmark}", f"prm800k={held_out}"]
    words = [word for file in files.values() for word in ("--scores", str(file))]
    report = ["--threshold", "cross-fit", "--report", str(asked.out / "report"), "--quiet"]
    subprocess.run([sys.executable, "-P", "-m", "gradatim", "evaluate", *suites, *words, *report], check=True)
    print(json.dumps(losses(held_out, {arm: files[arm, "held-out"] for arm in arms}), indent=1))


def score(model: Path, rows: Path, out: Path) -> None:
    form = ["--format", "trl", "--option", "separator=\n"] if model.name == "trl" else []
    words = [
        "score",
        str(rows),
        "--model",
        str(model),
        *form,
        "--out",
        str(out),
        "--device",
        "cpu",
        "--quiet",
        "--json",
    ]
    subprocess.run([sys.executable, "-P", "-m", "gradatim", *words], check=True, stdout=subprocess.DEVNULL)


def losses(rows: Path, scores: Mapping[str, Path]) -> dict[str, Any]:
    """Log loss at the steps up to the first error, a neutral one taken for good, beside the best constant's."""
    held = {row["id"]: row for row in read_rows(rows)}
    owed = {name: [rating != -1 for rating in up_to_error(row["ratings"])] for name, row in held.items()}
    rate = np.mean([good for own in owed.values() for good in own])
    said = {arm: {row["solution_id"]: row["steps"] for row in read_rows(path)} for arm, path in scores.items()}
    said["constant"] = {name: [float(rate)] * len(own) for name, own in owed.items()}
    problems = tuple(row["problem"] for row in held.values())
    measured = {}
    for arm, steps in said.items():
        sums = [[log_loss(steps[name], own), len(own)] for name, own in owed.items()]
        measured[arm] = Measure(tuple(held), problems, np.array(sums), ratio)
    pairs = [(a, b) for index, a in enumerate(measured) for b in list(measured)[index + 1 :]]
    return {
        "log_loss": {arm: shown(one.estimate()) for arm, one in measured.items()},
        "differences": {f"{a} - {b}": shown(measured[a].minus(measured[b])) for a, b in pairs},
    }


def log_loss(scores: Sequence[float], good: Sequence[bool]) -> float:
    """Summed over the steps that have labels."""
    chances = np.clip(np.array(scores[: len(good)]), 1e-7, 1 - 1e-7)
    return float(-np.log(np.where(good, chances, 1 - chances)).sum())


def shown(estimate: Any) -> str:
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


if __name__ == "__main__":
    main()
