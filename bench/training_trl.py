"""One epoch with TRL 1.12's PRMTrainer, in an environment of its own: `python training_trl.py BACKBONE ROWS OPTIONS`.

TRL's defaults but for gradient checkpointing (off: it costs a third), truncation (none) and reporting (none).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
from datasets import load_dataset
from transformers import AutoModelForTokenClassification, AutoTokenizer
from trl.experimental.prm import PRMConfig, PRMTrainer


def main(backbone: str, rows: str, options: str) -> None:
    asked = json.loads(options)
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    model = AutoModelForTokenClassification.from_pretrained(backbone, num_labels=2, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        data = load_dataset("json", data_files=rows, split="train", cache_dir=folder)
        config = PRMConfig(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=asked["batch"],
            max_length=None,
            gradient_checkpointing=False,
            bf16=asked["bfloat16"],
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            seed=asked["seed"],
        )
        started = time.perf_counter()
        trainer = PRMTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=data)
        result = trainer.train()
        seconds = time.perf_counter() - started
    found = {
        "seconds": round(seconds, 3),
        "examples": len(data),
        "steps": result.global_step,
        "loss": round(result.training_loss, 4),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
