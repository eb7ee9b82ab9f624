"""SmolLM2-135M on PRM800K for the same time with Gradatim and with TRL 1.12's PRMTrainer, one core each, at once.

    make bench-env
    python bench/real.py prepare --out runs/real
    python bench/real.py train --out runs/real --arms trees trl
    python bench/real.py train --out runs/real --arms trees-prmbench trl-in-order
    python bench/real.py measure --out runs/real

`prepare` holds problems out (real_data.py). `train` finds how fast each arm is here from a short pilot, takes as much data
as fits into --minutes of one core at that speed, and trains one pass over it from the same weights; the arms of one call
run beside each other, each on a core of its own. Time is that of the core (wall time, if nothing else runs), so that other
work on the machine takes from none of them. What is done is not done again. `measure` scores every model on ProcessBench's
development rows and the rows held out, and compares them, with null baselines and intervals by problem.

    trees           all solutions of the first problems, in a seeded order
    trees-prmbench  the same with PRMBench's solutions, and problems that are in PRMBench alone
    trl             solutions drawn from all training problems, as its trainer shuffles them; batches of 8 in two parts, as
                    8 of them at once take 10 GiB
    trl-in-order    the solutions of the first problems, as "trees" has them
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from real_data import Row, problems_for, read_rows, write_split

from gradatim import backbones
from gradatim.core import seed_for
from gradatim.evaluate.measures import Measure, ratio
from gradatim.models.encoding import StepEncoder

HERE = Path(__file__).parent
ROOT = HERE.parent
ARMS = ("trees", "trees-prmbench", "trl", "trl-in-order")
LR = 5e-5
PILOT = {"trees": 6000, "trl": 48}
"""Distinct tokens, or rows, of a pilot."""


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
    parser.add_argument(
        "--max-length", type=int, default=768, help="tokens; longer solutions are left out, for all arms"
    )
    parser.add_argument(
        "--minutes", type=float, default=8, help="of one core for a training, loading and saving included"
    )
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["trees", "trl"])
    parser.add_argument("--trl", default=ROOT / ".venv-bench" / "bin" / "python", help="interpreter that has TRL 1.12")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def prepare(asked: argparse.Namespace) -> None:
    """The backbone in a folder, and the data divided by problem."""
    asked.out.mkdir(parents=True, exist_ok=True)
    model, tokenizer = backbones.load_policy_backbone(asked.backbone)
    model.save_pretrained(asked.out / "backbone")
    tokenizer.save_pretrained(asked.out / "backbone")
    counts = write_split(
        asked.data,
        asked.out,
        StepEncoder(tokenizer),
        held_out=asked.held_out,
        per_problem=asked.per_problem,
        max_length=asked.max_length,
        seed=asked.seed,
    )
    (asked.out / "split.json").write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(counts, indent=1))


# Training


def train(asked: argparse.Namespace) -> None:
    """Pilots, then the trainings, each beside the others."""
    encoder = StepEncoder(backbones.load_tokenizer(str(asked.out / "backbone")))
    pilots = round_of(asked, encoder, {arm: PILOT[family(arm)] for arm in asked.arms}, "pilot")
    amounts = {arm: amount_for(arm, pilot, 60 * asked.minutes) for arm, pilot in pilots.items()}
    print(json.dumps(round_of(asked, encoder, amounts, "training"), indent=1))


def round_of(
    asked: argparse.Namespace, encoder: StepEncoder, amounts: Mapping[str, float], stage: str
) -> dict[str, dict[str, Any]]:
    """Train each arm on so much data, all at once; what its files say if it is done."""
    files = {arm: asked.out / f"{stage}-{arm}.json" for arm in amounts}
    if not all(file.exists() for file in files.values()):
        commands = {}
        for arm, amount in amounts.items():
            rows, out = (
                asked.out / f"{stage}-{arm}.jsonl",
                asked.out / ("models" if stage == "training" else stage) / arm,
            )
            chosen = rows_of(asked, arm, amount, encoder)
            rows.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
            commands[arm] = command(asked, arm, rows, out)
        for arm, found in side_by_side(commands).items():
            files[arm].write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(f"{stage} {arm}: {json.dumps(found)}", file=sys.stderr, flush=True)
    return {arm: json.loads(file.read_text("utf-8")) for arm, file in files.items()}


def family(arm: str) -> str:
    return arm.partition("-")[0]


def rows_of(asked: argparse.Namespace, arm: str, amount: float, encoder: StepEncoder) -> list[Row]:
    """The rows that an arm learns from, if it has time for so many distinct tokens, or so many rows."""
    rows = read_rows(asked.out / ("both.jsonl" if arm == "trees-prmbench" else "prm800k.jsonl"))
    if family(arm) == "trees":
        return problems_for(rows, encoder, amount)
    if arm == "trl":
        random.Random(seed_for(asked.seed, "rows")).shuffle(rows)
    return rows[: int(amount)]


def command(asked: argparse.Namespace, arm: str, rows: Path, out: Path) -> list[str]:
    """What trains an arm on a file of rows and leaves a model in a folder."""
    backbone = str(asked.out / "backbone")
    if family(arm) == "trl":
        options = {"batch": 8, "parts": 2, "bfloat16": False, "seed": asked.seed, "lr": LR, "save": str(out)}
        return [str(asked.trl), "-P", str(HERE / "training_trl.py"), backbone, str(rows), json.dumps(options)]
    flags = f"--held-out 0 --lr {LR} --batch-tokens 4096 --seed {asked.seed} --device cpu --json --quiet".split()
    gradatim = [sys.executable, "-P", "-m", "gradatim", "train"]
    return [*gradatim, "--data", f"trl:{rows}", "--backbone", backbone, "--out", str(out), "--name", arm, *flags]


def amount_for(arm: str, pilot: Mapping[str, Any], seconds: float) -> float:
    """How many distinct tokens, or rows, fit into so many seconds of a core, if it goes on as in the pilot."""
    said = pilot["said"]
    trees = family(arm) == "trees"
    done = said["tokens"]["distinct"] if trees else said["examples"]
    share = (said["loop_seconds"] if trees else said["seconds"]) / pilot["seconds"]
    return float((seconds - (1 - share) * pilot["core_seconds"]) * done / (share * pilot["core_seconds"]))


def side_by_side(commands: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Run commands at once, each with one thread on a core of its own: wall time, time of the core, peak memory, and what
    it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    started, running = time.monotonic(), dict[int, tuple[str, subprocess.Popen[str]]]()
    for core, (name, words) in enumerate(commands.items()):
        pinned = ["taskset", "-c", str(core % (os.cpu_count() or 1)), *words]
        process = subprocess.Popen(pinned, env=environment, stdout=subprocess.PIPE, text=True)
        running[process.pid] = name, process
    found = {}
    while running:
        pid, status, usage = os.wait3(0)
        name, process = running.pop(pid)
        text = process.stdout.read() if process.stdout else ""
        if status:
            for _, other in running.values():
                other.kill()
            sys.exit(f"{name} failed (status {status}): {text[-500:]}")
        found[name] = {
            "seconds": round(time.monotonic() - started, 1),
            "core_seconds": round(usage.ru_utime + usage.ru_stime, 1),
            "peak_gib": round(usage.ru_maxrss / 2**20, 2),
            "said": last_object(text),
        }
    return found


def last_object(text: str) -> Any:
    """The JSON object that a command printed at the end: over several lines, or after a trainer's own words in one."""
    whole = text.startswith("{\n")
    return json.loads(text if whole else text.strip().splitlines()[-1]) if text.strip() else None


# Measuring


def compare(asked: argparse.Namespace) -> None:
    """Score what was trained, and put the models beside each other and beside rules without a model."""
    arms = [arm for arm in ARMS if (asked.out / f"training-{arm}.json").exists()]
    data = {"gsm8k": asked.data / "processbench" / "gsm8k.dev.jsonl.gz", "math": asked.data / "processbench"}
    data = {**data, "math": data["math"] / "math.dev.jsonl.gz", "held-out": asked.out / "held-out.jsonl"}
    files = {(arm, name): asked.out / f"scores-{arm}-{name}.jsonl" for arm in arms for name in data}
    missing = [key for key, file in files.items() if not file.exists()]
    cores = os.cpu_count() or 1
    for first in range(0, len(missing), cores):
        side_by_side(
            {
                f"{arm} {name}": scoring(asked, arm, data[name], files[arm, name])
                for arm, name in missing[first : first + cores]
            }
        )
    suites = [f"processbench={asked.data / 'processbench'}", f"prm800k={asked.out / 'held-out.jsonl'}"]
    words = [word for file in files.values() for word in ("--scores", str(file))]
    report = ["--threshold", "cross-fit", "--report", str(asked.out / "report"), "--quiet"]
    subprocess.run([sys.executable, "-P", "-m", "gradatim", "evaluate", *suites, *words, *report], check=True)
    print(json.dumps(losses(asked.out / "held-out.jsonl", {arm: files[arm, "held-out"] for arm in arms}), indent=1))


def scoring(asked: argparse.Namespace, arm: str, rows: Path, out: Path) -> list[str]:
    model = str(asked.out / "models" / arm)
    form = ["--format", "trl", "--option", "separator=\n"] if family(arm) == "trl" else []
    words = ["score", str(rows), "--model", model, *form, "--out", str(out), "--device", "cpu", "--quiet", "--json"]
    return [sys.executable, "-P", "-m", "gradatim", *words]


def losses(rows: Path, scores: Mapping[str, Path]) -> dict[str, Any]:
    """Log loss at the steps up to the first error, a neutral one taken for good, beside the best constant's."""
    held = {row["id"]: row for row in read_rows(rows)}
    owed = {name: [rating != -1 for rating in marks(row)] for name, row in held.items()}
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


def marks(row: Row) -> list[int]:
    ratings: list[int] = row["ratings"]
    return ratings[: ratings.index(-1) + 1] if -1 in ratings else ratings


def log_loss(scores: Sequence[float], good: Sequence[bool]) -> float:
    """Summed over the steps that have labels."""
    chances = np.clip(np.array(scores[: len(good)]), 1e-7, 1 - 1e-7)
    return float(-np.log(np.where(good, chances, 1 - chances)).sum())


def shown(estimate: Any) -> str:
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


if __name__ == "__main__":
    main()
