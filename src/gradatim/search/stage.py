"""`gradatim search`: problems -> the solutions that a search finds, with what they cost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

from gradatim.core import Policy, Problem, Scorer, Verdict, Verifier
from gradatim.errors import InputError
from gradatim.progress import progress
from gradatim.records import write_scores, write_solutions
from gradatim.runs import plain
from gradatim.search.account import Account, Prices
from gradatim.search.config import SearchConfig
from gradatim.search.found import Found, found_from, found_in, found_row, total
from gradatim.search.frontier import Frontier
from gradatim.solutions.ledger import Ledger, ledger_path
from gradatim.steps import SPLITTERS


def search(
    problems: Sequence[Problem],
    policy: Policy,
    scorer: Scorer,
    config: SearchConfig | None = None,
    *,
    verifier: Verifier | None = None,
) -> tuple[list[Found], Account]:
    """Search for solutions of each problem; what was found, in their order, and what all of it cost.

    `policy` must split steps as `config.splitter` does. Solutions get verdicts if there is a `verifier` and a gold
    answer. InputError for two problems with one id. ConfigError from the policy stops the search; draws that a policy
    can't write, and prefixes that a scorer refuses, are counted.
    """
    config = config or SearchConfig()
    _check_ids(problems)
    found: list[Found] = []
    account = Account()
    for some in _units(problems, config.batch):
        more, cost = _search_unit(some, policy, scorer, config, verifier)
        found, account = found + more, account + cost
    return found, account


def search_stage(
    config: SearchConfig,
    policy: Policy,
    scorer: Scorer,
    problems: Sequence[Problem],
    *,
    verifier: Verifier | None = None,
    prices: Prices | None = None,
    out: str | Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """`search` with progress on standard error; returns what `gradatim search --json` prints.

    With `out`, a folder, the finished solutions and their scores are written there (solutions.jsonl, scores.jsonl), and
    a search that was stopped goes on after the last batch of problems that it recorded. `prices` turns the account into
    floating-point operations.
    """
    started = time.perf_counter()
    _check_ids(problems)
    found: list[Found] = []
    account = Account()
    with progress("search", len(problems), "problems", quiet=quiet) as shown:
        for more, cost in _recorded(config, policy, scorer, problems, verifier, out):
            found, account = found + more, account + cost
            shown.advance(len(more), tokens=cost.generated)
    return {
        "search": config.label,
        "policy": policy.name,
        "model": scorer.name,
        "problems": [as_json(one, config) for one in found],
        **summary(config, found, problems),
        "account": {**asdict(account), "flops": None if prices is None else account.flops(prices)},
        "seconds": round(time.perf_counter() - started, 3),
        "out": None if out is None else str(out),
    }


def _recorded(
    config: SearchConfig,
    policy: Policy,
    scorer: Scorer,
    problems: Sequence[Problem],
    verifier: Verifier | None,
    out: str | Path | None,
) -> Iterator[tuple[list[Found], Account]]:
    """What was found for each batch of problems and its cost, now or, with `out`, before a stop; at the end the files."""
    units = _units(problems, config.batch)
    if out is None:
        yield from (_search_unit(some, policy, scorer, config, verifier) for some in units)
        return
    folder, everything = Path(out), list[Found]()
    ledger_file = ledger_path(folder / "solutions.jsonl")
    with Ledger(ledger_file, _identity(config, policy, scorer, problems)) as ledger:
        done = dict(ledger.done())
        for index, some in enumerate(units):
            if index not in done:
                more, cost = _search_unit(some, policy, scorer, config, verifier)
                done[index] = plain({"found": [found_row(one) for one in more], "cost": cost})
                ledger.record(index, done[index])
            found = [found_from(row, str(ledger_file)) for row in done[index]["found"]]
            everything += found
            yield found, Account(**done[index]["cost"])
        _write(folder, everything)
        ledger.remove()


def summary(config: SearchConfig, found: Sequence[Found], problems: Sequence[Problem]) -> dict[str, Any]:
    """What many searches found, in counts. `correct`, `incorrect` and `unparsed` are about the best solutions of the
    problems with verdicts, `unverified` about those without gold and failed checks; `none` counts problems without a finished
    solution that has a score."""
    bests = [one.best for one in found]
    verdicts = Counter(best.solution.verdict for best in bests if best is not None)
    return {
        "best": {
            **{str(name): verdicts[name] for name in Verdict},
            "unverified": verdicts[None],
            "none": bests.count(None),
        },
        "asked": config.n * len(problems),
        "won": sum(one.won for one in found),
        "finished": sum(len(one.candidates) for one in found),
        **total(found),
    }


def as_json(found: Found, config: SearchConfig) -> dict[str, Any]:
    """One problem's outcome as the command prints it."""
    best = found.best
    return {
        "problem_id": found.problem_id,
        "answer": None if best is None else best.solution.answer,
        "value": None if best is None else best.score.value,
        "verdict": None if best is None else best.solution.verdict,
        "text": None if best is None else best.solution.prefix.text,
        "steps": None if best is None else best.score.steps,
        "asked": config.n,
        "won": found.won,
        "finished": len(found.candidates),
        "generated": found.generated,
        "counts": found.counts,
        "runners_up": [{"answer": one.solution.answer, "value": one.score.value} for one in found.candidates[1:4]],
    }


def _search_unit(
    problems: Sequence[Problem], policy: Policy, scorer: Scorer, config: SearchConfig, verifier: Verifier | None
) -> tuple[list[Found], Account]:
    frontier = Frontier(
        policy=policy,
        scorer=scorer,
        splitter=SPLITTERS[config.splitter],
        step_limit=config.step_limit,
        token_budget=config.token_budget,
        seed=config.seed,
    )
    trees, account = frontier.run(problems, config.search())
    author = f"{config.label} of {policy.name}"
    return [found_in(tree, author, scorer.name, verifier) for tree in trees], account


def _units(problems: Sequence[Problem], size: int) -> list[Sequence[Problem]]:
    return [problems[start : start + size] for start in range(0, len(problems), size)]


def _write(folder: Path, found: Sequence[Found]) -> None:
    candidates = [candidate for one in found for candidate in one.candidates]
    write_solutions(folder / "solutions.jsonl", (one.solution for one in candidates))
    write_scores(folder / "scores.jsonl", ((one.solution.id, one.score) for one in candidates))


def _check_ids(problems: Sequence[Problem]) -> None:
    (most, times), *_ = Counter(problem.id for problem in problems).most_common(1) or [("", 0)]
    if times > 1:
        raise InputError(f"{times} problems with the id {most!r}", expected="each id once", fix="rename or drop them")


def _identity(config: SearchConfig, policy: Policy, scorer: Scorer, problems: Sequence[Problem]) -> dict[str, Any]:
    state = blake2b(digest_size=8)
    for problem in problems:
        state.update(repr((problem.id, problem.prompt, problem.answer)).encode("utf-8", "surrogatepass"))
    return {
        "stage": "search",
        "policy": policy.name,
        "model": scorer.name,
        # Another checkpoint of the same name must not go on with this one's search.
        "checkpoint": getattr(scorer, "checkpoint", ""),
        "problems": state.hexdigest(),
        **asdict(config),
    }
