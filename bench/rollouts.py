"""Rollouts from a solution's own keys and values, against a loop of `generate` calls, one a prefix. Prints ratios.

    python bench/rollouts.py                       # the lab's policy
    python bench/rollouts.py --policy smollm2 --problems 1 --solutions 2 --new-tokens 64

K continuations of every prefix of some sampled solutions, on one thread, the contenders taking turns:

    ours      one call of the policy: every distinct token of the prefixes is read once, all rows are written side by side
    generate  transformers' `generate` for each prefix, with num_return_sequences=K, the same temperature, top_p and limit
    replay    the same loop, but its draws are ours (a logits processor that leaves only the token that we would take)

`generate` draws other tokens than we do, so it is compared by new tokens a second. `replay` writes the same tokens, and
the share of texts that are the same is printed; it is compared by seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from gradatim.core import Prefix
from gradatim.problems.lab import load
from gradatim.solutions.local import LocalPolicy, load_policy
from gradatim.solutions.local.sampling import Uniforms, choose, generator, key_of
from gradatim.solutions.settings import PolicySettings
from gradatim.steps import by_line

Texts = list[list[tuple[str, int]]]
"""For each prefix and draw the text and its tokens."""

SEED = 1
"""Of the rollouts; the solutions have seed 0."""


class Replay(LogitsProcessor):  # type: ignore[misc]
    """Leaves one token a row: the one that the policy would take."""

    def __init__(self, policy: LocalPolicy, prefix: Prefix, draws: range, start: int) -> None:
        self.uniforms = Uniforms([generator(SEED, key_of(prefix), draw) for draw in draws])
        self.rows, self.start, self.settings = np.arange(len(draws)), start, policy.settings

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        numbers = self.uniforms.at(input_ids.shape[1] - self.start, self.rows)
        tokens = choose(scores, numbers, self.settings.temperature, self.settings.top_p)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


def ours(policy: LocalPolicy, prefixes: Sequence[Prefix], draws: range) -> Texts:
    return [[(made.text, made.tokens) for made in row] for row in policy.write(prefixes, draws=draws, seed=SEED)]


def loop(policy: LocalPolicy, prefixes: Sequence[Prefix], draws: range, *, replay: bool) -> Texts:
    """The straightforward way: a call a prefix, which reads all of it again."""
    model, codec, settings = policy.model, policy.codec, policy.settings
    stops = sorted(stops_of(policy))
    found = []
    for prefix in prefixes:
        ids = codec.encode(prefix)
        extra: dict[str, Any] = {
            "do_sample": True,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "top_k": 0,
        }
        if replay:
            extra = {
                "do_sample": False,
                "logits_processor": LogitsProcessorList([Replay(policy, prefix, draws, len(ids))]),
            }
        with torch.inference_mode():
            made = model.generate(
                input_ids=torch.tensor([ids] * (len(draws) if replay else 1)),
                attention_mask=torch.ones(len(draws) if replay else 1, len(ids), dtype=torch.long),
                max_new_tokens=min(settings.max_new_tokens, model.config.max_position_embeddings - len(ids)),
                num_return_sequences=1 if replay else len(draws),
                eos_token_id=stops,
                pad_token_id=stops[0],
                **extra,
            )
        found.append([read(codec, ids, row, stops) for row in made[:, len(ids) :].tolist()])
    return found


def read(codec: Any, before: Sequence[int], row: list[int], stops: Sequence[int]) -> tuple[str, int]:
    """The text of a row, and its tokens with the one that ended it."""
    end = next((place for place, token in enumerate(row) if token in stops), None)
    return codec.decode(before, row[:end]), len(row) if end is None else end + 1


def stops_of(policy: LocalPolicy) -> set[int]:
    ends = {policy.codec.tokenizer.eos_token_id, policy.model.generation_config.eos_token_id}
    return {token for token in ends if token is not None}


def prefixes_of(policy: LocalPolicy, problems: int, solutions: int) -> list[Prefix]:
    """Every prefix of some solutions that can be gone on from."""
    starts = [problem.start() for problem in load("shape", problems)]
    found: dict[Prefix, None] = {}
    for start, row in zip(starts, policy.write(starts, draws=range(solutions)), strict=True):
        for made in row:
            prefix = start
            found[prefix] = None
            for step in by_line(made.text)[:-1] if made.text else ():
                prefix = prefix.then(step)
                found[prefix] = None
    return list(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="lab")
    parser.add_argument("--problems", type=int, default=4)
    parser.add_argument("--solutions", type=int, default=4, help="of each problem")
    parser.add_argument("--k", type=int, default=8, help="continuations of each prefix")
    parser.add_argument("--new-tokens", type=int, default=256, help="limit of a continuation")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender runs; the median counts")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    policy = load_policy(asked.policy, PolicySettings(max_new_tokens=asked.new_tokens, device="cpu"))
    prefixes, draws = prefixes_of(policy, asked.problems, asked.solutions), range(asked.k)
    contenders: dict[str, Callable[[], Texts]] = {
        "ours": lambda: ours(policy, prefixes, draws),
        "generate": lambda: loop(policy, prefixes, draws, replay=False),
        "replay": lambda: loop(policy, prefixes, draws, replay=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    texts: dict[str, Texts] = {}
    for _ in range(asked.rounds):
        for name, run in contenders.items():
            started = time.process_time()  # one thread, so that what else runs here is not counted
            texts[name] = run()
            seconds[name].append(time.process_time() - started)
    tokens = {name: sum(count for row in found for _, count in row) for name, found in texts.items()}
    taken = {name: statistics.median(runs) for name, runs in seconds.items()}
    speed = {name: tokens[name] / taken[name] for name in taken}
    pairs = [pair for row in zip(texts["ours"], texts["replay"], strict=True) for pair in zip(*row, strict=True)]
    same = sum(one == other for one, other in pairs) / len(pairs)
    print(
        json.dumps(
            {
                **vars(asked),
                "prefixes": len(prefixes),
                "read_tokens": sum(len(policy.codec.encode(prefix)) for prefix in prefixes),
                "written_tokens": tokens,
                "cpu_seconds": {name: [round(run, 2) for run in runs] for name, runs in seconds.items()},
                "tokens_per_second": {name: round(value, 1) for name, value in speed.items()},
                "same_texts_as_replay": round(same, 4),
                "times_generate": round(speed["ours"] / speed["generate"], 2),
                "times_replay": round(taken["replay"] / taken["ours"], 2),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
