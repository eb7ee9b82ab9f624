"""Tokens per second of scoring, against what anyone would write first. Prints ratios and the share of the machine used.

    make bench-env
    GRADATIM_DATA=../shared/data python bench/scoring.py --problems 2 --dtype bfloat16

All contenders score the same prefixes with the same SmolLM2-135M with a PRM head, on the same threads, taking turns:

    engine   gradatim: every shared token once, keys kept from call to call
    (a)      one forward pass a step, re-encoding the prefix
    (b)      padded batches of `--batch` rows, in file order
    (c)      the same, sorted by length
    (d)      a vLLM server over its pooling API, with --vllm URL and --vllm-folder, where one runs

Useful tokens are all tokens of all prefixes, for everybody; distinct tokens are those of one tree of them. The share of
the matrix-product rate counts the operations that the distinct tokens need, no others. For (d), before this:

    python bench/scoring.py --save model && gradatim convert model served --to vllm
    vllm serve served --runner pooling --convert classify --dtype bfloat16
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from scoring_loads import Load, loads

from gradatim import backbones
from gradatim.core import Prefix
from gradatim.models import checkpoint
from gradatim.models.encoding import Encoding
from gradatim.models.forward import body_of
from gradatim.models.model import RewardModel
from gradatim.score.engine import ModelScorer
from gradatim.trees import shared

Logits = list[tuple[float, ...]]
Contender = Callable[[Sequence[Prefix]], Logits]


def main() -> None:
    asked = arguments()
    torch.set_num_threads(asked.threads)
    dtype = backbones.number_format(asked.dtype, "cpu")
    model = RewardModel.create(asked.backbone, kind="prm", dtype=dtype, device="cpu")
    if asked.save:
        checkpoint.save(model, asked.save)
        return
    rate = matrix_rate(next(model.module.parameters()).dtype)
    print(f"{dtype}, {asked.threads} threads, matrix product {rate / 1e9:.0f} GFLOP/s", file=sys.stderr)
    found = []
    for load in loads(asked.data, asked.problems, asked.candidates):
        if asked.loads and load.name not in asked.loads:
            continue
        found.append({**facts(model, load), **measure(model, load, asked)})
        found[-1]["of_matrix_rate"] = round(found[-1]["operations"] / found[-1]["seconds"]["engine"] / rate, 3)
        print(table(found[-1]), file=sys.stderr, flush=True)
    settings = {name: value for name, value in vars(asked).items() if name not in ("data", "save")}
    print(json.dumps({**settings, "dtype": dtype, "matrix_gflops": round(rate / 1e9, 1), "loads": found}, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("GRADATIM_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(data), help="folder of data sets")
    parser.add_argument("--backbone", default="smollm2")
    parser.add_argument("--dtype", default="auto", help="auto (bfloat16 where the hardware has it), float32, bfloat16")
    parser.add_argument("--problems", type=int, default=2)
    parser.add_argument("--candidates", type=int, default=32, help="of each problem")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender runs; the median counts")
    parser.add_argument("--batch", type=int, default=8, help="rows of a padded batch")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--contenders", nargs="+", default=["a", "b", "c", "d"], help="beside the engine")
    parser.add_argument("--loads", nargs="*", help="only these")
    parser.add_argument("--vllm", help="URL of a server, for (d)")
    parser.add_argument("--vllm-folder", help="the folder that it serves")
    parser.add_argument("--save", help="write the model that is measured to this folder, and stop")
    return parser.parse_args()


def matrix_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """Operations a second of a matrix product, the best of ten."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds)


def facts(model: RewardModel, load: Load) -> dict[str, Any]:
    """How many tokens there are, and the operations that the distinct ones need."""
    sequences = [encoding.ids for call in load.calls for encoding in model.encoder.encode_many(call)]
    distinct = depths = 0
    for before, ids in pairwise([(), *sorted(sequences)]):
        common = shared(before, ids)
        distinct += len(ids) - common
        depths += (len(ids) * (len(ids) + 1) - common * (common + 1)) // 2
    body: Any = body_of(model.module)
    weights = sum(weight.numel() for weight in body.layers.parameters() if weight.ndim > 1)
    attended = 4 * body.config.num_attention_heads * body.layers[0].self_attn.head_dim * len(body.layers)
    return {
        "load": load.name,
        "calls": len(load.calls),
        "prefixes": len(sequences),
        "useful_tokens": sum(map(len, sequences)),
        "distinct_tokens": distinct,
        "operations": 2 * weights * distinct + attended * depths,
    }


def measure(model: RewardModel, load: Load, asked: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of each contender, and how far its logits are from the engine's."""
    chosen = {name: make for name, make in contenders(model, asked).items() if name in ("engine", *asked.contenders)}
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    logits: dict[str, Logits] = {}
    costs: dict[str, Any] = {}
    for _ in range(asked.rounds):
        for name, make in chosen.items():
            contender = make()
            started = time.perf_counter()
            logits[name] = [found for call in load.calls if call for found in contender(call)]
            seconds[name].append(time.perf_counter() - started)
            if isinstance(scorer := getattr(contender, "__self__", None), Engine):
                costs = {"processed_tokens": scorer.stats.tokens_processed, "padding": scorer.stats.padding_tokens}
    return {
        **costs,
        "seconds": {name: round(statistics.median(times), 3) for name, times in seconds.items()},
        "runs": {name: [round(one, 3) for one in times] for name, times in seconds.items()},
        "largest_difference": {name: round(furthest(found, logits["engine"]), 6) for name, found in logits.items()},
    }


def furthest(found: Logits, expected: Logits) -> float:
    return max(abs(x - y) for a, b in zip(found, expected, strict=True) for x, y in zip(a, b, strict=True))


class Engine(ModelScorer):
    """A new scorer, which has nothing kept, a round."""

    def run(self, prefixes: Sequence[Prefix]) -> Logits:
        return [score.logits or () for score in self.score(prefixes)]


def contenders(model: RewardModel, asked: argparse.Namespace) -> dict[str, Callable[[], Contender]]:
    def rows(order: bool) -> Contender:
        return lambda prefixes: padded(model, prefixes, asked.batch, by_length=order)

    made: dict[str, Callable[[], Contender]] = {
        "engine": lambda: Engine(model).run,
        "a": lambda: lambda prefixes: [a_forward_a_step(model, prefix) for prefix in prefixes],
        "b": lambda: rows(False),
        "c": lambda: rows(True),
    }
    if asked.vllm:
        from gradatim.score.vllm import connect

        served = connect(asked.vllm, asked.vllm_folder)
        made["d"] = lambda: lambda prefixes: [score.logits or () for score in served.score(prefixes)]
    return made


@torch.inference_mode()
def a_forward_a_step(model: RewardModel, prefix: Prefix) -> tuple[float, ...]:
    """The loop of many published scripts: the text so far, read at its last token."""
    found = []
    for count in range(1, len(prefix.steps) + 1):
        ids = torch.tensor([model.encoder.encode(prefix.first(count)).ids])
        last = model.module(input_ids=ids, use_cache=False).logits[0, -1].float()
        found.append((last[1] - last[0]).item())
    return tuple(found)


@torch.inference_mode()
def padded(model: RewardModel, prefixes: Sequence[Prefix], batch: int, *, by_length: bool) -> Logits:
    """All steps from one pass; rows padded on the right to the longest of their batch."""
    encodings = model.encoder.encode_many(prefixes)
    order = sorted(range(len(encodings)), key=lambda index: -len(encodings[index].ids) if by_length else index)
    logits: dict[int, tuple[float, ...]] = {}
    for first in range(0, len(order), batch):
        group = order[first : first + batch]
        width = max(len(encodings[index].ids) for index in group)
        ids = torch.tensor([fill(encodings[index], width) for index in group])
        mask = torch.tensor([[1] * len(encodings[i].ids) + [0] * (width - len(encodings[i].ids)) for i in group])
        found = model.module(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
        margins = found[..., 1] - found[..., 0]
        for row, index in enumerate(group):
            logits[index] = tuple(margins[row, read].item() for read in encodings[index].reads if read is not None)
    return [logits[index] for index in range(len(encodings))]


def fill(encoding: Encoding, width: int) -> list[int]:
    return [*encoding.ids, *[0] * (width - len(encoding.ids))]


def table(found: dict[str, Any]) -> str:
    """One load, for people."""
    useful, seconds = found["useful_tokens"], found["seconds"]
    lines = [
        f"\n{found['load']}: {found['prefixes']} prefixes in {found['calls']} calls, {useful:,} useful tokens, "
        f"{found['distinct_tokens']:,} distinct ({useful / found['distinct_tokens']:.2f} x), "
        f"{found['processed_tokens']:,} processed "
        f"({found['processed_tokens'] / found['distinct_tokens']:.3f} of distinct), padding {found['padding']:,}",
        f"  engine: {found['of_matrix_rate']:.1%} of the matrix-product rate",
    ]
    for name, taken in seconds.items():
        ratio = f"engine is {taken / seconds['engine']:.2f} x as fast" if name != "engine" else ""
        lines.append(f"  {name:7} {useful / taken:8,.0f} useful tokens/s  {ratio}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    main()
