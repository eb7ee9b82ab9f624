"""One epoch of the loop that anyone would write first: `python training_padded.py BACKBONE ROWS OPTIONS`.

Each trajectory is a sequence, a batch is padded to its longest, the loss is the mean cross-entropy at the step ends.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, get_linear_schedule_with_warmup


def main(backbone: str, rows: str, options: str) -> None:
    asked = json.loads(options)
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    model = AutoModelForTokenClassification.from_pretrained(backbone, dtype=torch.float32).eval()
    before = loss_of(
        model, [encode(json.loads(line), tokenizer) for line in Path(rows).read_text("utf-8").splitlines()]
    )
    started, worked = time.perf_counter(), time.process_time()
    data = [encode(json.loads(line), tokenizer) for line in Path(rows).read_text("utf-8").splitlines()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=asked["lr"], weight_decay=0.0)
    scheduler = get_linear_schedule_with_warmup(optimizer, 0, -(-len(data) // asked["batch"]))
    random.Random(asked["seed"]).shuffle(data)
    processed = steps = 0
    for first in range(0, len(data), asked["batch"]):
        ids, mask, labels = pad(data[first : first + asked["batch"]])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=asked["bfloat16"]):
            logits = model(input_ids=ids, attention_mask=mask).logits.float()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        processed, steps = processed + ids.numel(), steps + 1
    seconds, core = time.perf_counter() - started, time.process_time() - worked
    found = {
        "seconds": round(seconds, 3),
        "core_seconds": round(core, 3),
        "examples": len(data),
        "steps": steps,
        "tokens": {"processed": processed, "separate": sum(len(ids) for ids, _ in data)},
        "loss": [before, loss_of(model, data)],
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(found))


@torch.inference_mode()
def loss_of(model: Any, data: list[tuple[list[int], list[int]]]) -> float:
    """Mean cross-entropy of all labelled steps."""
    total = count = 0.0
    for ids, labels in data:
        found, wanted = model(input_ids=torch.tensor([ids])).logits[0].float(), torch.tensor(labels)
        total += torch.nn.functional.cross_entropy(found, wanted, reduction="sum").item()
        count += (wanted >= 0).sum().item()
    return round(total / count, 4)


def encode(row: dict[str, Any], tokenizer: Any) -> tuple[list[int], list[int]]:
    """(ids, labels): labels are -100 but at the last token of each step's separator, as TRL's trainer has them."""
    separator = tokenizer.encode("\n", add_special_tokens=False)
    first = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids = first + tokenizer.encode(row["prompt"] + "\n", add_special_tokens=False)
    labels = [-100] * len(ids)
    for text, label in zip(row["completions"], row["labels"], strict=True):
        step = tokenizer.encode(text, add_special_tokens=False) + separator
        ids += step
        labels += [-100] * (len(step) - 1) + [int(label)]
    return ids, labels


def pad(batch: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(ids, mask, labels), each (sequences, longest)."""
    width = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids, _ in batch])
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in batch])
    labels = torch.tensor([[*labels, *[-100] * (width - len(labels))] for _, labels in batch])
    return ids, mask, labels


if __name__ == "__main__":
    main(*sys.argv[1:])
