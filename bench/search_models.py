"""A policy and a reward model for searching gsm_symbolic's problems, made from SmolLM2-135M.

    python bench/search_models.py policy --out runs/gsm/policy
    gradatim sample reasoning_gym:gsm_symbolic:200:2000 --policy runs/gsm/policy --n 6 --max-new-tokens 192
        --out runs/gsm/solutions.jsonl
    python bench/search_models.py labels --solutions runs/gsm/solutions.jsonl --out runs/gsm/labels.jsonl
    gradatim train --data plain:runs/gsm/labels.jsonl --backbone runs/gsm/policy --no-mask-after-error --weighting trajectory
        --batch-tokens 1024 --lr 5e-5 --out runs/gsm/prm

As it comes, SmolLM2-135M solves next to none of these problems, and there is nothing to search for. `policy` is plain
fine-tuning on reasoning-gym's own worked solutions: one pass, the loss on the solution's tokens; 24 minutes on 2
cores, it does not resume. `labels` gives every step of a solution the solution's verdict: cross-entropy then learns the
chance that the policy ends right from there.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from gradatim.backbones import load_policy_backbone
from gradatim.core import Prefix, Verdict
from gradatim.records import read_solutions
from gradatim.runs import atomic_write
from gradatim.solutions.local import TextCodec

POOL = 64
"""Examples sorted by length among which batches are made, so that little is padding."""


def main() -> None:
    asked = arguments()
    if asked.what == "labels":
        write_labels(asked.solutions, asked.out)
    else:
        teach(asked)


def write_labels(solutions: Path, out: Path) -> None:
    """Every step of a solution is called what the solution's answer is; what has no verdict is left out."""
    names: dict[Verdict | None, int] = {Verdict.CORRECT: 1, Verdict.INCORRECT: -1, Verdict.UNPARSED: -1}
    rows, counts = list[str](), Counter[int]()
    for solution in read_solutions(solutions):
        label = names.get(solution.verdict)
        if label is not None and solution.prefix.steps:
            steps = [step.text for step in solution.prefix.steps]
            rows.append(json.dumps({"problem": solution.prefix.prompt, "steps": steps, "labels": [label] * len(steps)}))
            counts[label] += 1
    if not rows:
        sys.exit(f"{solutions}: no solution with steps and a verdict; give what `gradatim sample` wrote")
    atomic_write(out, "".join(f"{row}\n" for row in rows))
    print(json.dumps({"right": counts[1], "wrong": counts[-1]}))


def teach(asked: argparse.Namespace) -> None:
    """Fine-tune, and save a folder that every command takes as a policy."""
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    model, tokenizer = load_policy_backbone("smollm2")
    codec = TextCodec(tokenizer)
    examples = [encoded(codec, tokenizer.eos_token_id, *one) for one in worked(asked.examples, asked.seed)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=asked.lr, weight_decay=0.0, betas=(0.9, 0.95))
    total = math.ceil(len(examples) / asked.batch)
    began, tokens, losses = time.monotonic(), 0, list[float]()
    model.train()
    for step, batch in enumerate(batches(examples, asked.batch, asked.seed)):
        for group in optimizer.param_groups:
            group["lr"] = asked.lr * min((step + 1) / 10, 1 - step / total)
        loss = loss_of(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        tokens += sum(len(ids) for ids, _ in batch)
        if step % 10 == 9:
            seconds = time.monotonic() - began
            mean = sum(losses[-10:]) / 10
            print(f"{step + 1}/{total}  loss {mean:.3f}  {tokens / seconds:.0f} tokens/s", file=sys.stderr, flush=True)
    model.eval()
    model.save_pretrained(asked.out)
    tokenizer.save_pretrained(asked.out)
    seconds = round(time.monotonic() - began)
    print(json.dumps({"examples": len(examples), "tokens": tokens, "seconds": seconds, "losses": losses}))


def worked(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Problems and solutions without empty lines, the answer after "####"."""
    import reasoning_gym

    for row in reasoning_gym.create_dataset("gsm_symbolic", size=count, seed=seed):
        lines = [line.rstrip() for line in str(row["metadata"]["answer_cot"]).splitlines()]
        yield str(row["question"]), "".join(f"{line}\n" for line in lines if line.strip())


def encoded(codec: TextCodec, end: int, prompt: str, solution: str) -> tuple[list[int], int]:
    """Tokens as the policy reads and writes them, and how many of them are the prompt's."""
    start = codec.encode(Prefix("", prompt, ()))
    written = codec.tokenizer(solution, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [*start, *written, end], len(start)


def batches(examples: Sequence[tuple[list[int], int]], size: int, seed: int) -> Iterator[list[tuple[list[int], int]]]:
    order = random.Random(seed).sample(examples, len(examples))
    for start in range(0, len(order), POOL):
        near = sorted(order[start : start + POOL], key=lambda one: len(one[0]))
        groups = [near[at : at + size] for at in range(0, len(near), size)]
        random.Random(seed + start).shuffle(groups)
        yield from groups


def loss_of(model: Any, batch: Sequence[tuple[list[int], int]]) -> torch.Tensor:
    """Mean over the solutions' tokens; the vocabulary is only asked where one of them comes next."""
    width = max(len(ids) for ids, _ in batch)
    rows = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids, _ in batch])
    hidden = model.base_model(input_ids=rows[:, :-1]).last_hidden_state  # padding is last, where nothing looks
    wanted = torch.tensor([[start <= at < len(ids) for at in range(1, width)] for ids, start in batch])
    return functional.cross_entropy(model.lm_head(hidden[wanted]), rows[:, 1:][wanted])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["policy", "labels"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--solutions", type=Path, help="a file of `gradatim sample`, for labels")
    parser.add_argument("--examples", type=int, default=1280)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    if asked.what == "labels" and asked.solutions is None:
        parser.error("labels needs --solutions FILE, as `gradatim sample` writes it")
    return asked


if __name__ == "__main__":
    main()
