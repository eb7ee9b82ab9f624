"""One epoch with Gradatim: `python training_trees.py BACKBONE ROWS OPTIONS`; prints seconds and tokens as JSON."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from dataclasses import replace

import torch
from transformers import AutoModelForTokenClassification

from gradatim import backbones
from gradatim.labels.datasets import load_labelled
from gradatim.models.model import RewardModel
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.loop import block_size, forward, measure
from gradatim.train.materials import from_labelled
from gradatim.train.prepare import Prepared, prepare
from gradatim.train.stage import train


def main(backbone: str, rows: str, options: str) -> None:
    asked = json.loads(options)
    fit = FitConfig(lr=asked["lr"], decay="linear", warmup=0.0, weight_decay=0.0, bfloat16=asked["bfloat16"])
    config = TrainConfig(backbone=backbone, weighting="trajectory", held_out=0, seed=asked["seed"], fit=fit)
    body, tokenizer = backbones.load_model(backbone), backbones.load_tokenizer(backbone)
    model = RewardModel.grow(body, tokenizer, kind="prm", name="trees")
    stock = AutoModelForTokenClassification.from_pretrained(backbone, dtype=torch.float32)
    model.module.load_state_dict(stock.state_dict())
    del stock
    prepared = prepare(config, from_labelled(load_labelled(f"trl:{rows}"), config.targets), model)
    steps = math.ceil(prepared.used / asked["batch"])
    fit = replace(fit, batch_tokens=asked["batch_tokens"] or math.ceil(prepared.distinct_tokens / steps))
    before = loss(prepared, model, fit)
    started, worked = time.perf_counter(), time.process_time()
    materials = from_labelled(load_labelled(f"trl:{rows}"), config.targets)
    _, report = train(replace(config, fit=fit), materials, model=model, quiet=True)
    seconds, core = time.perf_counter() - started, time.process_time() - worked
    found = {
        "seconds": round(seconds, 3),
        "core_seconds": round(core, 3),
        "examples": report["rows"]["used"],
        "steps": report["steps"],
        "tokens": report["tokens"],
        "loss": [before, loss(prepared, model, fit)],
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(found))


def loss(prepared: Prepared, model: RewardModel, fit: FitConfig) -> float:
    """Mean cross-entropy of all labelled steps."""
    read = forward(model.module, fit)
    return round(measure(prepared.lessons, read, model.module, block_size(model.module, fit)), 4)


if __name__ == "__main__":
    main(*sys.argv[1:])
