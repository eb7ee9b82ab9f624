"""What labelling will cost, from a pilot, before it starts."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from random import Random
from typing import Any

from gradatim.core import Estimate, Policy, Problem, Solution, Verifier, seed_for
from gradatim.errors import ConfigError
from gradatim.labels.rollouts import Work
from gradatim.labels.rules import LabelConfig
from gradatim.solutions.gaps import check_any
from gradatim.solutions.ledger import Ledger, ledger_path
from gradatim.stats import ratio_bootstrap


def forecast_stage(
    config: LabelConfig,
    policy: Policy,
    problems: Sequence[Problem],
    solutions: Sequence[Solution],
    verifier: Verifier,
    out: str | Path,
    *,
    pilot: int = 32,
    price: float | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Label the solutions of `pilot` problems, drawn by the seed, and say what all of them will take.

    Hard problems cost many times what easy ones do, so the pilot has its share of each: of the problems in the order of
    their success so far it takes every so-many-th, from a random one on. The intervals do not count on it.

    Returns Estimates (95 %) of "rollouts", "tokens", "seconds" and, if `price` (money for a million written tokens) is
    given, "money"; `n` counts problems of the pilot. The cost of a problem is taken to grow with its solutions; intervals
    are a bootstrap over the pilot's problems, narrower by the share of the work that they are. Seconds are at the pilot's
    speed.

    BackendError if nothing of the pilot could be written. Nothing is written to `out`; the pilot's rollouts stay in the
    ledger beside it, and `label_stage` goes on with them.
    """
    if pilot < 2:
        raise ConfigError(f"pilot={pilot}; expected at least 2 problems, for one says nothing of their spread")
    if price is not None and not 0 <= price < math.inf:
        raise ConfigError(f"price={price}; expected money for a million tokens")
    work = Work(config, policy, problems, solutions, verifier)
    counts: dict[str, int] = {}
    for solution in work.used:
        counts[solution.prefix.problem_id] = counts.get(solution.prefix.problem_id, 0) + 1
    chosen = _spread(work, counts, pilot, Random(seed_for(config.seed, "pilot")))
    inside = set(chosen)
    with Ledger(ledger_path(out), work.identity) as ledger:
        draws = work.draws(ledger)
        work.label([one for one in work.used if one.prefix.problem_id in inside], draws, quiet=quiet)
    check_any(draws.rollouts.total(), draws.not_written)
    sizes, total = [counts[name] for name in chosen], len(work.used)
    rollouts = _whole([draws.rollouts[name] for name in chosen], sizes, total, len(counts))
    tokens = _whole([draws.tokens[name] for name in chosen], sizes, total, len(counts))
    speed = draws.seconds / draws.recorded_tokens if draws.recorded_tokens else 0.0
    money = {} if price is None else {"money": _times(tokens, price / 1e6)}
    return {
        "solutions": total,
        "problems": len(counts),
        "pilot_problems": len(chosen),
        "pilot_solutions": sum(sizes),
        "pilot_rollouts": draws.rollouts.total(),
        "pilot_tokens": draws.tokens.total(),
        "not_written": dict(draws.not_written),
        "rollouts": rollouts,
        "tokens": tokens,
        "seconds": _times(tokens, speed),
        **money,
        "policy": policy.name,
        "rule": config.name,
    }


def _spread(work: Work, problems: Collection[str], pilot: int, rng: Random) -> list[str]:
    """So many problems, evenly spread over how often the policy's own solutions of them are right."""
    whole = {solution.prefix.problem_id: work.others.whole(solution.prefix) for solution in work.used}
    order = sorted(
        rng.sample(list(problems), len(problems)), key=lambda name: whole[name].good / (whole[name].tried or 1)
    )
    count, first = min(pilot, len(order)), rng.random()
    return [order[int((index + first) * len(order) / count)] for index in range(count)]


def _whole(costs: Sequence[int], sizes: Sequence[int], solutions: int, problems: int) -> Estimate:
    """The cost of all solutions, from the costs of some problems with so many solutions each."""
    found = ratio_bootstrap(costs, sizes)
    if len(costs) == problems:
        return Estimate(sum(costs), sum(costs), sum(costs), problems)
    narrower = math.sqrt(1 - len(costs) / problems)  # the share that is done is known (finite population correction)
    low, high = (found.value + (end - found.value) * narrower for end in (found.low, found.high))
    return Estimate(found.value * solutions, low * solutions, high * solutions, len(costs))


def _times(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(estimate.value * factor, estimate.low * factor, estimate.high * factor, estimate.n)
