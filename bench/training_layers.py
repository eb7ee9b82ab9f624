"""What cached states save: `python -P bench/training_layers.py` trains the lab policy's last layer in three ways.

"whole" trains every layer, "live" the last one and the head with the frozen layers computed anew in each step, "states"
the same from states that are computed once. Same solutions (of the lab's students, with exact labels), batches and
threads, in turns. Seconds are of processor time, over a whole training, the computing of the states included.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from dataclasses import replace
from typing import Any

import torch

from gradatim.core import Labels, Prefix, Solution, Step, Verdict, seed_for
from gradatim.models.layers import cut_below
from gradatim.models.model import RewardModel
from gradatim.problems import lab
from gradatim.problems.lab.checker import exact_labels
from gradatim.problems.lab.students import pick_student, write
from gradatim.problems.lab.world import parse
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.loop import fit
from gradatim.train.materials import Materials, from_labelled
from gradatim.train.prepare import prepare
from gradatim.train.stage import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=24)
    parser.add_argument("--solutions", type=int, default=4, help="of each problem")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--layers", type=int, default=1, help="how many of the policy's four are trained")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    fit_config = FitConfig(epochs=asked.epochs, lr=1e-3, batch_tokens=2048)
    config = TrainConfig(backbone="lab", held_out=0.1, seed=asked.seed, device="cpu", fit=fit_config)
    materials = from_labelled(labelled(asked.problems, asked.solutions, asked.seed), config.targets)
    runs: dict[str, list[dict[str, Any]]] = {"whole": [], "live": [], "states": []}
    for _ in range(asked.rounds):
        for how, found in runs.items():
            started = time.process_time()
            history = trained(how, config, materials, asked.layers)
            found.append({"seconds": round(time.process_time() - started, 3), "held_out_loss": history[-1]})
    seconds = {how: statistics.median(run["seconds"] for run in found) for how, found in runs.items()}
    result = {
        **vars(asked),
        "solutions_in_all": len(materials.examples),
        "seconds": seconds,
        "states_times_faster_than": {how: round(seconds[how] / seconds["states"], 2) for how in ("whole", "live")},
        "held_out_loss": {how: found[0]["held_out_loss"] for how, found in runs.items()},
    }
    print(json.dumps(result, indent=1))


def labelled(problems: int, draws: int, seed: int) -> list[tuple[Solution, Labels]]:
    """Solutions by the lab's students, each step with its truth."""
    made = []
    for problem in lab.load("train", problems):
        for draw in range(draws):
            rng = random.Random(seed_for(seed, problem.id, draw))
            texts = write(parse(problem.prompt), pick_student(rng), rng)
            prefix = Prefix(problem.id, problem.prompt, tuple(Step(f"{text}\n") for text in texts))
            solution = Solution(prefix=prefix, author="students", draw=draw, verdict=Verdict.CORRECT)
            made.append((solution, exact_labels(solution)))
    return made


def trained(how: str, config: TrainConfig, materials: Materials, layers: int) -> list[float]:
    """Train a fresh model in one of the three ways; gives its held-out losses."""
    model = RewardModel.create("lab", kind="prm", device="cpu")
    if how == "live":
        prepared = prepare(config, materials, model)
        cut_below(model.module, layers)
        rows = fit(
            model.module, prepared.lessons, prepared.held_out, config.fit, lr=config.lr, seed=config.seed, quiet=True
        ).history
    else:
        asked = config if how == "whole" else replace(config, train_layers=layers)
        rows = train(asked, materials, model=model, quiet=True)[1]["history"]
    return [row["held_out_loss"] for row in rows]


if __name__ == "__main__":
    main()
