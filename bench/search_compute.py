"""Accuracy against floating-point operations, for choosing from samples and for searching."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim import load_problems
from gradatim.backbones import load_policy_backbone, multiplied
from gradatim.core import Estimate, Prefix, Problem, Verdict, Verifier
from gradatim.runs import atomic_write, plain
from gradatim.score.engine import ModelScorer, load
from gradatim.search import Account, Prices, SearchConfig, search
from gradatim.solutions.local import LocalPolicy
from gradatim.solutions.settings import PolicySettings
from gradatim.stats import auroc, best_of_curve, bootstrap, majority_curve, paired_bootstrap, weighted_majority_curve
from gradatim.steps import SPLITTERS
from gradatim.verify.answers import read_answer, verifier_for
from gradatim.view.figure import write_figure
from gradatim.view.parts import Curve, Report, Series, Table
from gradatim.view.report import write_report

Floats = NDArray[np.float64]

WIDEST = 16
"""Steps that the widest search weighs at a time."""

STEPS = 64
"""Longest solution of a search."""


def searches(
    splitter: str, seed: int, block: int, widest: int = WIDEST, steps: int = STEPS
) -> dict[str, list[SearchConfig]]:
    """Every search at a few sizes, fixed before anything was measured; none that is wider than `widest`."""
    common: dict[str, Any] = {"splitter": splitter, "seed": seed, "batch": block, "step_limit": steps}
    sizes = [(width, keep) for width, keep in ((4, 1), (8, 2), (WIDEST, 4)) if width <= widest]
    simulations = [count for count in (8, 16, 32) if count <= 2 * widest]
    return {
        "beam": [SearchConfig(method="beam", n=k, width=w, keep=k, **common) for w, k in sizes],
        # With one tree it would be beam search.
        "diverse trees": [SearchConfig(method="dvts", n=k, width=w, keep=k, **common) for w, k in sizes[1:]],
        "lookahead": [SearchConfig(method="lookahead", n=2, width=8, keep=2, **common)],
        "MCTS": [SearchConfig(method="mcts", n=s, width=4, keep=1, simulations=s, **common) for s in simulations],
        "backtracking": [SearchConfig(method="backtrack", n=n, width=4, keep=1, **common) for n in (1, 2, 4)],
    }


@dataclass(frozen=True)
class Bench:
    """The models, and what a token costs in each."""

    asked: argparse.Namespace
    policy_parts: tuple[Any, Any]
    reward: Any
    prices: Prices
    verify: Verifier

    def policy(self, temperature: float = 1.0) -> LocalPolicy:
        """A policy that has read nothing yet."""
        settings = PolicySettings(temperature=temperature, max_new_tokens=self.asked.max_new_tokens, device="cpu")
        splitter = SPLITTERS[self.asked.splitter]
        return LocalPolicy(*self.policy_parts, settings, name=self.asked.policy, splitter=splitter)


def opened(asked: argparse.Namespace) -> Bench:
    parts, reward = load_policy_backbone(asked.policy), load(asked.model, device="cpu").model
    layers, head = multiplied(parts[0])
    prices = Prices(write=2 * (layers + head), read=2 * layers, score=2 * multiplied(reward.module)[0])
    return Bench(asked, parts, reward, prices, verifier_for("exact" if asked.source.startswith("lab") else "math"))


def compare(asked: argparse.Namespace) -> dict[str, Any]:
    """Run what is missing, then report on the problems for which everything is there."""
    bench, problems = opened(asked), load_problems(asked.data, limit=asked.problems)
    blocks = [problems[start : start + asked.block] for start in range(0, len(problems), asked.block)]
    configs = searches(asked.splitter, asked.seed, asked.block, asked.widest, asked.steps)
    done: list[dict[str, Any]] = []
    for number, block in enumerate(blocks):
        found = {"pool": recorded(bench, f"pool-{number}", partial(pool, bench, block))}
        for config in [one for some in configs.values() for one in some]:
            name = f"{config.label.replace(' ', '_').replace('=', '')}-{number}"
            found[config.label] = recorded(bench, name, partial(searched, bench, config, block))
        done.append(found)
        write(asked, report(bench, done, configs))
    return report(bench, done, configs)


def recorded(bench: Bench, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a piece of work gave, now or in an earlier run with the same settings."""
    asked = bench.asked
    folder = asked.out / "work"
    folder.mkdir(parents=True, exist_ok=True)
    identity = {
        **{
            key: str(getattr(asked, key))
            for key in ("source", "splitter", "samples", "seed", "block", "max_new_tokens")
        },
        "policy": bench.policy().name,
        "model": bench.reward.name,
    }
    path = folder / f"{name}.json"
    if path.exists() and (found := json.loads(path.read_text("utf-8")))["identity"] == identity:
        return dict(found["result"])
    print(name, file=sys.stderr, flush=True)
    result: dict[str, Any] = plain(work())
    atomic_write(path, json.dumps({"identity": identity, "result": result}))
    return result


def searched(bench: Bench, config: SearchConfig, problems: Sequence[Problem]) -> dict[str, Any]:
    """One search of some problems, by models that have nothing kept."""
    scorer = ModelScorer(bench.reward)
    found, account = search(problems, bench.policy(), scorer, config, verifier=bench.verify)
    right = [[one.solution.verdict == Verdict.CORRECT for one in each.candidates] for each in found]
    return {
        "right": [float(each.best is not None and row[0]) for each, row in zip(found, right, strict=True)],
        "oracle": [float(any(row)) for row in right],
        "won": [each.won for each in found],
        "account": asdict(account),
    }


def pool(bench: Bench, problems: Sequence[Problem]) -> dict[str, Any]:
    """Samples of some problems with their verdicts and values, and what the first n of them cost, for every n."""
    policy, scorer, samples = bench.policy(), ModelScorer(bench.reward), bench.asked.samples
    starts = [problem.start() for problem in problems]
    rows = policy.write(starts, draws=range(samples), seed=bench.asked.seed)
    greedy = bench.policy(temperature=0.0).write(starts, draws=range(1), seed=bench.asked.seed)
    result: dict[str, list[Any]] = {
        "good": [],
        "values": [],
        "answers": [],
        "flops": [],
        "scored_flops": [],
        "greedy": [],
    }
    for problem, row, [single] in zip(problems, rows, greedy, strict=True):
        prefixes = [Prefix(problem.id, problem.prompt, policy.splitter(made.text)) for made in row]
        read = bench.prices.read * (len(policy.codec.encode(problem.start())) - 1)
        written = read + bench.prices.write * np.cumsum([made.tokens for made in row])
        scored = bench.prices.score * distinct(bench, prefixes)
        result["good"].append([float(bench.verify(problem, made.text) == Verdict.CORRECT) for made in row])
        result["values"].append([score.value for score in scorer.score(prefixes)])
        result["answers"].append([read_answer(made.text) for made in row])
        result["flops"].append(written.tolist())
        result["scored_flops"].append((written + scored).tolist())
        right = float(bench.verify(problem, single.text) == Verdict.CORRECT)
        result["greedy"].append([right, read + bench.prices.write * single.tokens])
    return result


def distinct(bench: Bench, prefixes: Sequence[Prefix]) -> Floats:
    """For each n: tokens of the one tree of the first n prefixes."""
    seen: set[tuple[int, ...]] = set()
    counts = []
    for encoding in bench.reward.encoder.encode_many(prefixes):
        seen |= {encoding.ids[:length] for length in range(1, len(encoding.ids) + 1)}
        counts.append(len(seen))
    return np.array(counts, dtype=np.float64)


def from_pool(found: dict[str, Any], ns: Sequence[int]) -> dict[str, tuple[Floats, Floats]]:
    """For each way to choose: correctness (problems, ns) and operations (ns)."""
    good, values = np.array(found["good"]), np.array(found["values"], dtype=np.float64)
    votes, weighted = [], []
    for row, value, answers in zip(good, values, found["answers"], strict=True):
        names = sorted({answer for answer in answers if answer is not None})
        places = [names.index(answer) if answer is not None else -1 for answer in answers]
        worth = [float(row[places.index(index)]) for index in range(len(names))]
        sizes = [places.count(index) for index in range(len(names))]
        votes.append(majority_curve(sizes, worth, unread=places.count(-1), ns=list(ns)))
        weighted.append(weighted_majority_curve(value, places, worth, list(ns))[0][0])
    at = np.array(ns) - 1
    written, scored = (np.array(found[name]).mean(axis=0)[at] for name in ("flops", "scored_flops"))
    return {
        "majority": (np.array(votes), written),
        "best of n": (best_of_curve(values, good, list(ns)), scored),
        "weighted majority": (np.array(weighted), scored),
    }


def report(bench: Bench, done: Sequence[dict[str, Any]], configs: dict[str, list[SearchConfig]]) -> dict[str, Any]:
    """Every point with its intervals, each search also against best-of-n at the same operations."""
    samples = bench.asked.samples
    ns = [n for n in (1, 2, 4, 8, 16, 32, 64, 128) if n <= samples]
    merged = {key: [row for one in done for row in one["pool"][key]] for key in done[0]["pool"]}
    chosen, every = from_pool(merged, ns), from_pool(merged, range(1, samples + 1))["best of n"]
    greedy = np.array(merged["greedy"])
    rows = [point("greedy", "", greedy[:, 0], float(greedy[:, 1].mean()), every)]
    for name, (right, flops) in chosen.items():
        rows += [point(name, f"n={n}", right[:, i], float(flops[i]), every) for i, n in enumerate(ns)]
    for name, some in configs.items():
        for config in some:
            own = [one[config.label] for one in done]
            right = np.array([value for one in own for value in one["right"]])
            account = sum((Account(**one["account"]) for one in own), Account())
            each = (account.flops(bench.prices) or float("nan")) / len(right)
            oracle = float(np.mean([value for one in own for value in one["oracle"]]))
            won = float(np.mean([value for one in own for value in one["won"]]))
            rows.append(
                {**point(name, config.label, right, each, every), "oracle": oracle, "won": won, **asdict(account)}
            )
    return {
        "policy": bench.policy().name,
        "model": bench.reward.name,
        "source": bench.asked.source,
        "problems": len(greedy),
        "samples": samples,
        "seed": bench.asked.seed,
        "prices": asdict(bench.prices),
        **told_apart(merged),
        "rows": rows,
    }


def told_apart(pool: dict[str, Any]) -> dict[str, Any]:
    """The chance that a right solution is above a wrong one: any two of the pool, and two of the same problem."""
    values, good = np.array(pool["values"], dtype=np.float64), np.array(pool["good"]) > 0
    own = [auroc(value, right) for value, right in zip(values, good, strict=True) if right.any() and not right.all()]
    return {
        "auroc_of_the_pool": auroc(values.ravel(), good.ravel()),
        "auroc_within_problems": asdict(bootstrap(np.array(own))) if own else None,
    }


def point(name: str, setting: str, right: Floats, flops: float, every: tuple[Floats, Floats]) -> dict[str, Any]:
    """Accuracy of one method at one size, and its difference to best-of-n interpolated to the same operations."""
    curves, costs = every
    n = np.interp(flops, costs, np.arange(len(costs)))
    low, high = int(np.floor(n)), int(np.ceil(n))
    same = curves[:, low] + (n - low) * (curves[:, high] - curves[:, low])
    return {
        "method": name,
        "setting": setting,
        "flops": flops,
        "accuracy": asdict(bootstrap(right)),
        "minus_best_of_n": asdict(paired_bootstrap(right, same)),
        "best_of_n_at": round(float(n) + 1, 2),
    }


def write(asked: argparse.Namespace, found: dict[str, Any]) -> None:
    """result.json, report.html with the curve, and figure.svg with each search beside best-of-n."""
    atomic_write(asked.out / "result.json", json.dumps(plain(found), indent=1))
    names = dict.fromkeys(row["method"] for row in found["rows"])
    series = [one_series(name, [row for row in found["rows"] if row["method"] == name]) for name in names]
    write_figure(panels({one.name: one for one in series}), asked.out / "figure.svg")
    cells = [
        (r["method"], r["setting"], r["flops"] / 1e6, Estimate(**r["accuracy"]), Estimate(**r["minus_best_of_n"]))
        for r in found["rows"]
    ]
    columns = ("method", "setting", "MFLOPs a problem", "accuracy", "minus best of n at equal compute")
    note = "Operations of policy and reward model from parameter counts, attention left out; intervals over problems."
    write_report(
        Report(
            title="Accuracy against compute",
            summary=f"{found['problems']} problems of {found['source']}, policy {found['policy']}, model {found['model']}: in "
            f"the pool it puts a right solution above a wrong one with a chance of {found['auroc_of_the_pool']:.3f}.",
            command=f"python bench/search.py compute --problems {asked.problems} --seed {asked.seed}",
            tables=(Table(title="All points", columns=columns, rows=tuple(cells), note=note),),
            curves=(
                Curve(
                    title="Accuracy against compute",
                    x_label="MFLOPs a problem, policy and reward model",
                    y_label="accuracy",
                    series=tuple(series),
                    log_x=True,
                    note=note,
                ),
            ),
        ),
        asked.out,
    )


def panels(series: dict[str, Series]) -> list[Curve]:
    """A chart for what chooses from samples and one for each search, best-of-n in each."""
    baseline = series["best of n"]
    parts = [("Choosing from samples", [series[name] for name in ("majority", "weighted majority", "greedy")])]
    parts += [(name[0].upper() + name[1:], [series[name]]) for name in searches("line", 0, 1)]
    return [
        Curve(
            title=title,
            x_label="MFLOPs a problem (both models)",
            y_label="accuracy",
            series=(replace(baseline, colour=6), *(replace(one, colour=k) for k, one in enumerate(some))),
            log_x=True,
        )
        for title, some in parts
    ]


def one_series(name: str, rows: Sequence[dict[str, Any]]) -> Series:
    ordered = sorted(rows, key=lambda row: row["flops"])
    return Series(
        name=name,
        x=tuple(row["flops"] / 1e6 for row in ordered),
        y=tuple(row["accuracy"]["value"] for row in ordered),
        low=tuple(row["accuracy"]["low"] for row in ordered),
        high=tuple(row["accuracy"]["high"] for row in ordered),
    )
