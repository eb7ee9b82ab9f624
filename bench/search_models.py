"""A policy and a reward model for searching gsm_symbolic's problems, made from SmolLM2-135M.

    python bench/search_models.py policy --out runs/gsm/first
    python bench/search_models.py policy --backbone runs/gsm/first --examples 1000 --equations 700 --seed 10000
        --out runs/gsm/policy
    gradatim sample reasoning_gym:gsm_symbolic:150:20000 --policy runs/gsm/policy --n 5 --max-new-tokens 192
        --out runs/gsm/solutions.jsonl
    python bench/search_models.py labels --solutions runs/gsm/solutions.jsonl --out runs/gsm/labels.jsonl
    gradatim train --data plain:runs/gsm/labels.jsonl --backbone runs/gsm/policy --no-mask-after-error --weighting trajectory
        --batch-tokens 1024 --lr 5e-5 --out runs/gsm/prm

As it comes, SmolLM2-135M solves next to none of these problems, and there is nothing to search for. `policy` is plain
fine-tuning on reasoning-gym's own worked solutions, one pass, the loss on the solution's tokens; and on texts of
nothing but the equations of further ones, because wrong results are most of its errors. It does not resume.

`labels` says of every step whether all is still right: in a solution with the right answer it is, in another one up to
the first step with an equation that does not hold. Where all of them hold, only the last step is known to be wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from equations import equations_in, holds
from torch.nn import functional

from gradatim.backbones import load_policy_backbone
from gradatim.core import Prefix, Verdict
from gradatim.records import read_solutions
from gradatim.runs import atomic_write
from gradatim.solutions.local import TextCodec

Example = tuple[list[int], list[bool]]
"""Tokens, and which of them are learned."""

CALCULATE = "Calculate."
RESULT = re.compile(r"(?<==).*\n")

POOL = 64
"""Examples sorted by length among which batches are made, so that little is padding."""


def main() -> None:
    asked = arguments()
    if asked.what == "labels":
        write_labels(asked.solutions, asked.out)
    else:
        teach(asked)


def write_labels(solutions: Path, out: Path) -> None:
    """Whether all is still right, for every step where that can be told; solutions without a verdict are left out."""
    rows, counts = list[str](), Counter[str]()
    for solution in read_solutions(solutions):
        steps = [step.text for step in solution.prefix.steps]
        if steps and solution.verdict in (Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSED):
            labels, name = labels_of(steps, solution.verdict == Verdict.CORRECT)
            rows.append(json.dumps({"problem": solution.prefix.prompt, "steps": steps, "labels": labels}))
            counts[name] += 1
    if not rows:
        sys.exit(f"{solutions}: no solution with steps and a verdict; give what `gradatim sample` wrote")
    atomic_write(out, "".join(f"{row}\n" for row in rows))
    print(json.dumps({**counts, "false_alarms": false_alarms()}))


def labels_of(steps: Sequence[str], right: bool) -> tuple[Sequence[int | None], str]:
    """A label for each step, and what kind of solution it is."""
    if right:
        return [1] * len(steps), "right"
    wrong = (at for at, step in enumerate(steps) if not all(map(holds, equations_in(step))))
    if (first := next(wrong, None)) is not None:
        return [1] * first + [-1] * (len(steps) - first), "wrong equation"
    # Wrong in what is calculated, which no equation shows: all that is known is that the end is wrong.
    return [None] * (len(steps) - 1) + [-1], "wrong elsewhere"


def false_alarms() -> str:
    """How many equations in solutions that are right by construction are said not to hold."""
    import reasoning_gym

    rows = reasoning_gym.create_dataset("gsm_symbolic", size=3000, seed=100_000)
    found = [equation for row in rows for equation in equations_in(str(row["metadata"]["answer_cot"]))]
    return f"{sum(not holds(equation) for equation in found)} of {len(found)} equations of worked solutions"


def teach(asked: argparse.Namespace) -> None:
    """Fine-tune, and save a folder that every command takes as a policy."""
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    model, tokenizer = load_policy_backbone(asked.backbone)
    codec = TextCodec(tokenizer)
    examples = [encoded(codec, *one) for one in worked(asked.examples, asked.seed)]
    examples += [
        encoded(codec, CALCULATE, lines, results_only=True) for lines in equations(asked.equations, asked.seed)
    ]
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


def equations(count: int, seed: int) -> Iterator[str]:
    """`count` texts of 24 lines: the equations of further worked solutions, where most of the policy's errors are."""
    import reasoning_gym

    further = reasoning_gym.create_dataset("gsm_symbolic", size=count * 24, seed=seed + 1_000_000)
    written = (equation for row in further for equation in equations_in(str(row["metadata"]["answer_cot"])))
    right = filter(holds, written)
    for _ in range(count):
        yield "".join(f"{line}\n" for line in islice(right, 24))


def encoded(codec: TextCodec, prompt: str, solution: str, results_only: bool = False) -> Example:
    """Tokens as the policy reads and writes them, and which of them it learns to write."""
    start, end = codec.encode(Prefix("", prompt, ())), codec.tokenizer.eos_token_id
    written = codec.tokenizer(
        solution, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
    )
    results = [match.span() for match in RESULT.finditer(solution)]
    learned = [
        not results_only or any(low <= first < high for low, high in results) for first, _ in written["offset_mapping"]
    ]
    return [*start, *written["input_ids"], end], [*[False] * len(start), *learned, True]


def batches(examples: Sequence[Example], size: int, seed: int) -> Iterator[list[Example]]:
    order = random.Random(seed).sample(examples, len(examples))
    for start in range(0, len(order), POOL):
        near = sorted(order[start : start + POOL], key=lambda one: len(one[0]))
        groups = [near[at : at + size] for at in range(0, len(near), size)]
        random.Random(seed + start).shuffle(groups)
        yield from groups


def loss_of(model: Any, batch: Sequence[Example]) -> torch.Tensor:
    """Mean over the tokens that are learned; the vocabulary is only asked where one of them comes next."""
    width = max(len(ids) for ids, _ in batch)
    rows = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids, _ in batch])
    hidden = model.base_model(input_ids=rows[:, :-1]).last_hidden_state  # padding is last, where nothing looks
    wanted = torch.tensor([[*learned[1:], *[False] * (width - len(learned))] for _, learned in batch])
    return functional.cross_entropy(model.lm_head(hidden[wanted]), rows[:, 1:][wanted])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["policy", "labels"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--solutions", type=Path, help="a file of `gradatim sample`, for labels")
    parser.add_argument("--backbone", default="smollm2", help="what is taught: also a folder that this wrote")
    parser.add_argument("--examples", type=int, default=1280, help="worked solutions")
    parser.add_argument("--equations", type=int, default=0, help="texts of 24 equations of further worked solutions")
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
