"""Beam search against loops that encode every prefix again: the same texts, the ratio of the times."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from gradatim import load_problems
from gradatim.backbones import load_policy_backbone
from gradatim.core import Continuation, Policy, Prefix, Score, Scorer
from gradatim.score.engine import ModelScorer, load
from gradatim.search import Account, Found, SearchConfig, search
from gradatim.solutions.local import LocalPolicy
from gradatim.solutions.settings import PolicySettings
from gradatim.steps import SPLITTERS


class OneByOnePolicy:
    """Writes every draw in a call of its own, which reads the whole prefix."""

    def __init__(self, policy: LocalPolicy) -> None:
        self.policy, self.name = policy, policy.name

    @property
    def prefilled(self) -> int:
        return self.policy.prefilled

    def write(
        self, prefixes: Sequence[Prefix], *, draws: range, one_step: bool = False, seed: int = 0
    ) -> list[list[Continuation]]:
        return [
            [
                self.policy.write([prefix], draws=range(draw, draw + 1), one_step=one_step, seed=seed)[0][0]
                for draw in draws
            ]
            for prefix in prefixes
        ]


class OneByOneScorer:
    """Scores every prefix in a pass of its own."""

    def __init__(self, scorer: ModelScorer) -> None:
        self.scorer, self.name = scorer, scorer.name

    @property
    def stats(self) -> Any:
        return self.scorer.stats

    def score(self, prefixes: Sequence[Prefix]) -> list[Score]:
        return [self.scorer.score([prefix])[0] for prefix in prefixes]


Ways = dict[str, Callable[[], tuple[Policy, Scorer]]]
"""For each contender what makes a policy and a scorer that have nothing kept yet."""


def speed(asked: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of processor time of each way, the ratios, and whether the outputs are the same."""
    problems = load_problems(asked.data, limit=asked.problems)
    config = SearchConfig(splitter=asked.splitter, seed=asked.seed, batch=asked.block)
    seconds: dict[str, list[float]] = {}
    outputs: dict[str, list[Found]] = {}
    costs: dict[str, Account] = {}
    for _ in range(asked.rounds):
        for name, make in ways(asked).items():
            policy, scorer = make()
            started = time.process_time()
            outputs[name], costs[name] = search(problems, policy, scorer, config)
            seconds.setdefault(name, []).append(time.process_time() - started)
            print(f"{name}: {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "search": config.label,
        "problems": f"{asked.source}:{asked.problems}",
        "threads": asked.threads,
        "seconds": seconds,
        "times_as_fast": {name: round(taken / medians["search"], 2) for name, taken in medians.items()},
        "differing_problems": {name: differing(found, outputs["search"]) for name, found in outputs.items()},
        "tokens": {
            name: {"generated": cost.generated, "prefilled": cost.prefilled, "scored": cost.scored}
            for name, cost in costs.items()
        },
    }


def ways(asked: argparse.Namespace) -> Ways:
    model, tokenizer = load_policy_backbone(asked.policy)
    settings = PolicySettings(max_new_tokens=asked.max_new_tokens, device="cpu")
    reward = load(asked.model, device="cpu").model

    def policy(keep_mib: int) -> LocalPolicy:
        splitter = SPLITTERS[asked.splitter]
        return LocalPolicy(model, tokenizer, settings, name=asked.policy, splitter=splitter, keep_mib=keep_mib)

    def plain() -> ModelScorer:
        return ModelScorer(reward, keep_mib=0, use_trees=False)

    return {
        "search": lambda: (policy(1024), ModelScorer(reward)),
        "loop": lambda: (OneByOnePolicy(policy(0)), OneByOneScorer(plain())),
        "batched": lambda: (policy(0), plain()),
    }


def differing(found: Sequence[Found], expected: Sequence[Found]) -> int:
    """Problems with other candidates, or values that differ by more than rounding."""

    def alike(a: Found, b: Found) -> bool:
        texts = [[one.solution.prefix for one in each.candidates] for each in (a, b)]
        pairs = zip(a.candidates, b.candidates, strict=False)
        return texts[0] == texts[1] and all(abs(x.score.value - y.score.value) < 1e-4 for x, y in pairs)

    return sum(not alike(*pair) for pair in zip(found, expected, strict=True))
