"""One epoch with TRL 1.12's PRMTrainer, in an environment of its own: `python training_trl.py BACKBONE ROWS OPTIONS`.

TRL's defaults but for gradient checkpointing (off: it costs a third), truncation (none), reporting (none) and, where
OPTIONS has `lr`, the learning rate. With `parts` a batch is computed in so many parts, with `save` the model is left there
(and no loss is measured but the training's own). With `alike` it reads what the other contenders read: a line end after the
prompt.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import numpy as np
import torch
from datasets import load_dataset
from transformers import AutoModelForTokenClassification, AutoTokenizer
from trl.experimental.prm import PRMConfig, PRMTrainer


def main(backbone: str, rows: str, options: str) -> None:
    asked = json.loads(options)
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    model = AutoModelForTokenClassification.from_pretrained(backbone, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        data = load_dataset("json", data_files=rows, split="train", cache_dir=folder)
        if asked.get("alike"):
            data = data.map(lambda row: {"prompt": row["prompt"] + "\n"})
        config = PRMConfig(
            output_dir=folder,
            num_train_epochs=1,
            **({"learning_rate": asked["lr"]} if "lr" in asked else {}),
            per_device_train_batch_size=asked["batch"] // asked.get("parts", 1),
            gradient_accumulation_steps=asked.get("parts", 1),
            per_device_eval_batch_size=1,
            max_length=None,
            gradient_checkpointing=False,
            bf16=asked["bfloat16"],
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            seed=asked["seed"],
        )
        if "save" not in asked:
            before = loss_of(PRMTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=data))
        started, worked = time.perf_counter(), time.process_time()
        trainer = PRMTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=data)
        result = trainer.train()
        seconds, core = time.perf_counter() - started, time.process_time() - worked
        if "save" in asked:
            trainer.save_model(asked["save"])
        losses = None if "save" in asked else [before, loss_of(trainer)]
    found = {
        "seconds": round(seconds, 3),
        "core_seconds": round(core, 3),
        "examples": len(data),
        "steps": result.global_step,
        "loss": losses,
        "own_loss": round(result.training_loss, 4),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(found))


def loss_of(trainer: PRMTrainer) -> float:
    """Mean cross-entropy of all labelled steps, by what the trainer predicts."""
    found = trainer.predict(trainer.train_dataset)
    wanted = found.label_ids
    scores = torch.log_softmax(torch.from_numpy(found.predictions).float(), dim=-1).numpy()[wanted >= 0]
    return round(float(-np.take_along_axis(scores, wanted[wanted >= 0][:, None], axis=1).mean()), 4)


if __name__ == "__main__":
    main(*sys.argv[1:])
