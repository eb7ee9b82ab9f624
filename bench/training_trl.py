"""One epoch with TRL 1.12's PRMTrainer, in an environment of its own: `python training_trl.py BACKBONE ROWS OPTIONS`.

TRL's defaults but for gradient checkpointing (off: it costs a third), truncation (none, but at `max_length`), reporting
(none) and, where OPTIONS has `lr`, the learning rate. With `parts` a batch is computed in so many parts. With `save` the
model is left there, no loss is measured, and a training that was stopped goes on from its last checkpoint. With `alike` it
reads what the other contenders read: a line end after the prompt.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import numpy as np
import torch
from datasets import load_dataset
from transformers import AutoModelForTokenClassification, AutoTokenizer, TrainerCallback, set_seed
from trl.experimental.prm import PRMConfig, PRMTrainer

TIME = "loop_seconds.json"
"""In a checkpoint: what the training took up to it, over all its starts."""


def main(backbone: str, rows: str, options: str) -> None:
    asked = json.loads(options)
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    set_seed(asked["seed"])
    model = AutoModelForTokenClassification.from_pretrained(backbone, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        data = load_dataset("json", data_files=rows, split="train", cache_dir=folder)
        if asked.get("alike"):
            data = data.map(lambda row: {"prompt": row["prompt"] + "\n"})
        keep = Path(asked["save"] + ".state") if "save" in asked else None
        config = PRMConfig(
            output_dir=str(keep or folder),
            num_train_epochs=1,
            **({"learning_rate": asked["lr"]} if "lr" in asked else {}),
            per_device_train_batch_size=asked["batch"] // asked.get("parts", 1),
            gradient_accumulation_steps=asked.get("parts", 1),
            per_device_eval_batch_size=1,
            max_length=asked.get("max_length"),
            gradient_checkpointing=False,
            bf16=asked["bfloat16"],
            use_cpu=True,
            report_to="none",
            save_strategy="steps" if keep else "no",
            save_steps=10,
            save_total_limit=2,
            disable_tqdm=True,
            seed=asked["seed"],
        )
        found = kept(model, tokenizer, data, config, keep) if keep else measured(model, tokenizer, data, config)
    found = {
        **found,
        "examples": len(data),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(found))


def measured(model: Any, tokenizer: Any, data: Any, config: PRMConfig) -> dict[str, Any]:
    """Train, and measure time and the loss before and after."""
    before = loss_of(PRMTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=data))
    started, worked = time.perf_counter(), time.process_time()
    trainer = PRMTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=data)
    result = trainer.train()
    return {
        "seconds": round(time.perf_counter() - started, 3),
        "core_seconds": round(time.process_time() - worked, 3),
        "steps": result.global_step,
        "loss": [before, loss_of(trainer)],
        "own_loss": round(result.training_loss, 4),
    }


def kept(model: Any, tokenizer: Any, data: Any, config: PRMConfig, folder: Path) -> dict[str, Any]:
    """Train from the last checkpoint on, where there is one, and leave the model beside the folder of checkpoints."""
    timed = max(folder.glob(f"checkpoint-*/{TIME}"), key=lambda path: int(path.parent.name.split("-")[1]), default=None)
    clock = Clock(json.loads(timed.read_text("utf-8")) if timed else 0.0)
    trainer = PRMTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=data, callbacks=[clock])
    result = trainer.train(resume_from_checkpoint=str(timed.parent) if timed else None)
    seconds = clock.now()
    trainer.save_model(str(folder.with_suffix("")))
    shutil.rmtree(folder)
    return {"seconds": round(seconds, 1), "steps": result.global_step}


class Clock(TrainerCallback):  # type: ignore[misc]
    """Writes into each checkpoint how long the training took up to it."""

    def __init__(self, before: float) -> None:
        self.before, self.started = before, time.perf_counter()

    def now(self) -> float:
        return self.before + time.perf_counter() - self.started

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / TIME).write_text(json.dumps(self.now()), encoding="utf-8")


def loss_of(trainer: PRMTrainer) -> float:
    """Mean cross-entropy of all labelled steps, by what the trainer predicts."""
    found = trainer.predict(trainer.train_dataset)
    wanted = found.label_ids
    scores = torch.log_softmax(torch.from_numpy(found.predictions).float(), dim=-1).numpy()[wanted >= 0]
    return round(float(-np.take_along_axis(scores, wanted[wanted >= 0][:, None], axis=1).mean()), 4)


if __name__ == "__main__":
    main(*sys.argv[1:])
