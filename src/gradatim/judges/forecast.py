"""What judging will cost, before all of it starts: a pilot is judged, and the rest is taken to be like it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from gradatim.core import Estimate, Policy, Solution, seed_for
from gradatim.errors import ConfigError
from gradatim.judges.stage import JudgeConfig, Judging
from gradatim.solutions.gaps import check_any
from gradatim.solutions.ledger import Ledger, ledger_path
from gradatim.stats import bootstrap


def judge_forecast(
    config: JudgeConfig,
    policy: Policy,
    solutions: Sequence[Solution],
    out: str | Path,
    *,
    pilot: int = 64,
    price: float | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Judge at least `pilot` solutions, in whole batches drawn by the seed, and say what all of them will take.

    Returns Estimates (95 %, bootstrap over the pilot's problems) of "tokens", "seconds" (at the pilot's speed; None if
    the pilot was judged before) and, if `price` (money for a million written tokens) is given, "money". BackendError if
    nothing of the pilot could be had. Nothing is written to `out`; the pilot stays in the ledger beside it, and
    `judge_stage` goes on from there.
    """
    if pilot < 1 or (price is not None and not 0 <= price < math.inf):
        raise ConfigError(f"pilot={pilot}, price={price}; expected at least 1 solution, money for a million tokens")
    work = Judging(config, policy, solutions)
    units = Random(seed_for(config.seed, "pilot")).sample(range(len(work.units)), len(work.units))
    chosen = sorted(units[: math.ceil(pilot / config.batch)])
    started = time.perf_counter()
    with Ledger(ledger_path(out), work.identity) as ledger:
        fresh = not ledger.count()
        work.work(ledger, chosen, title="forecast", quiet=quiet)
        done = {solution.id: rows for solution, rows in work.found(ledger) if rows}
    check_any(len(done), work.failures)
    judged = [one for unit in chosen for one in work.units[unit] if one.id in done]
    costs: list[int] = [sum(row["tokens"] for row in done[one.id]) for one in judged]
    spent = sum(costs)
    tokens = _times(bootstrap(costs, [one.prefix.problem_id for one in judged]), len(work.solutions))
    speed = (time.perf_counter() - started) / spent if fresh and spent else None
    return {
        "solutions": len(work.solutions),
        "pilot_solutions": len(judged),
        "pilot_tokens": spent,
        "not_written": dict(work.failures),
        "tokens": tokens,
        "seconds": None if speed is None else _times(tokens, speed),
        **({} if price is None else {"money": _times(tokens, price / 1e6)}),
        "policy": policy.name,
        "critic": config.critic,
    }


def _times(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(estimate.value * factor, estimate.low * factor, estimate.high * factor, estimate.n)
