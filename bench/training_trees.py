"""One epoch with Gradatim: `python training_trees.py BACKBONE ROWS OPTIONS`; prints seconds and tokens as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time

import torch

from gradatim.labels.datasets import load_labelled
from gradatim.models.model import RewardModel
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.materials import from_labelled
from gradatim.train.stage import train


def main(backbone: str, rows: str, options: str) -> None:
    asked = json.loads(options)
    fit = FitConfig(lr=1e-5, bfloat16=asked["bfloat16"], **asked.get("fit", {}))
    config = TrainConfig(backbone=backbone, weighting="trajectory", held_out=0, seed=asked["seed"], fit=fit)
    model = RewardModel.create(backbone, kind="prm")
    started, worked = time.perf_counter(), time.process_time()
    materials = from_labelled(load_labelled(f"trl:{rows}"), config.targets)
    _, report = train(config, materials, model=model, quiet=True)
    seconds, core = time.perf_counter() - started, time.process_time() - worked
    found = {
        "seconds": round(seconds, 3),
        "core_seconds": round(core, 3),
        "examples": report["rows"]["used"],
        "steps": report["steps"],
        "tokens": report["tokens"],
        "loss": round(report["history"][-1]["loss"], 4),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
