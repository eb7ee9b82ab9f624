"""`gradatim search`: problems -> the solutions that a search finds, with what they cost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

from gradatim.core import Policy, Problem, Score, Scorer, Verdict, Verifier
from gradatim.errors import InputError
from gradatim.progress import progress
from gradatim.records import write_scores, write_solutions
from gradatim.runs import plain
from gradatim.search.account import Account, Prices
from gradatim.search.config import SearchConfig
from gradatim.search.found import Found, found_from, found_in, found_row, total
from gradatim.search.frontier import Frontier, score_each
from gradatim.solutions.gaps import check_any
from gradatim.solutions.ledger import Ledger, ledger_path
from gradatim.solutions.verifying import verifier_name
from gradatim.steps import SPLITTERS

_Done: TypeAlias = tuple[list[Found], Account]
"""What was found for a batch of problems, in their order, and what it cost."""


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

    With `out`, a folder, the finished solutions that have a score, and their scores, are written there (solutions.jsonl,
    scores.jsonl), and a search that was stopped goes on after the last batch of problems that it recorded. Where draws
    failed the ledger stays, and another call searches those problems once more; the account is then of both. BackendError
    if all draws failed; no file is touched. `prices` turns the account into floating-point operations.
    """
    started = time.perf_counter()
    _check_ids(problems)
    folder = None if out is None else Path(out)
    found: list[Found] = []
    account = Account()
    with ExitStack() as stack:
        ledger = None
        if folder is not None:
            identity = _identity(config, policy, scorer, problems, verifier)
            ledger = stack.enter_context(Ledger(ledger_path(folder / "solutions.jsonl"), identity))

        def work(some: Sequence[Problem]) -> _Done:
            return _search_unit(some, policy, scorer, config, verifier)

        with progress("search", len(problems), "problems", quiet=quiet) as shown:
            for more, cost in _worked(_units(problems, config.batch), work, ledger):
                found, account = found + more, account + cost
                shown.advance(len(more), tokens=cost.generated)
        failures = total(found)["not_written"]
        check_any(sum(one.counts["draws"] for one in found), failures)
        if folder is not None and ledger is not None:
            _write(folder, found)
            if not failures:
                ledger.remove()
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


def _worked(
    units: Sequence[Sequence[Problem]], work: Callable[[Sequence[Problem]], _Done], ledger: Ledger | None
) -> Iterator[_Done]:
    """What came of each unit: now, or before a stop where the ledger has it."""
    recorded = {} if ledger is None else dict(ledger.done())
    for index, some in enumerate(units):
        if ledger is None:
            yield work(some)
        elif index not in recorded:
            found, cost = work(some)
            # A ledger in which nothing was written stays anybody's: another server or model may take over.
            if any(one.counts["draws"] for one in found):
                ledger.record(index, _done_row(found, cost))
            yield found, cost
        else:
            found, cost = _done_from(recorded[index], ledger)
            if gaps := [problem for problem, one in zip(some, found, strict=True) if one.failures]:
                found, cost = _filled(found, cost, *work(gaps))
                ledger.amend(index, _done_row(found, cost))
            yield found, cost


def _filled(found: Sequence[Found], cost: Account, again: Sequence[Found], more: Account) -> _Done:
    """What was found, with what a second search found in its place: if no draw of it failed, or it got further."""

    def gaps(one: Found) -> tuple[bool, int]:
        return bool(one.failures), -one.counts["draws"]

    second = {one.problem_id: one for one in again}
    return [min(one, second.get(one.problem_id, one), key=gaps) for one in found], cost + more


def _done_row(found: Sequence[Found], cost: Account) -> Any:
    return plain({"found": [found_row(one) for one in found], "cost": cost})


def _done_from(row: Any, ledger: Ledger) -> _Done:
    return [found_from(one, str(ledger.path)) for one in row["found"]], Account(**row["cost"])


def summary(config: SearchConfig, found: Sequence[Found], problems: Sequence[Problem]) -> dict[str, Any]:
    """What many searches found, in counts. `correct`, `incorrect` and `unparsed` are about the best solutions of the
    problems with verdicts, `unverified` about those without gold and failed checks; `none` counts problems without a finished
    solution that has a score, and `unscored` finished solutions without one, which are in no file."""
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
        "unscored": sum(not candidate.scored for one in found for candidate in one.candidates),
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
        "not_written": found.failures,
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
    candidates = [candidate for one in found for candidate in one.candidates if candidate.scored]
    write_solutions(folder / "solutions.jsonl", (one.solution for one in candidates))
    write_scores(folder / "scores.jsonl", ((one.solution.id, one.score) for one in candidates))


def _check_ids(problems: Sequence[Problem]) -> None:
    (most, times), *_ = Counter(problem.id for problem in problems).most_common(1) or [("", 0)]
    if times > 1:
        raise InputError(f"{times} problems with the id {most!r}", expected="each id once", fix="rename or drop them")


def _identity(
    config: SearchConfig, policy: Policy, scorer: Scorer, problems: Sequence[Problem], verifier: Verifier | None
) -> dict[str, Any]:
    state = blake2b(digest_size=8)
    for problem in problems:
        state.update(repr((problem.id, problem.prompt, problem.answer)).encode("utf-8", "surrogatepass"))
    # A scorer's name leaves out its reduction and calibration; a score has them, and that of no steps costs nothing.
    starts = score_each(scorer, [problem.start() for problem in problems[:1]])
    start = next((one for one in starts if isinstance(one, Score)), None)
    return {
        "stage": "search",
        "policy": policy.name,
        "model": scorer.name,
        # Another checkpoint of the same name must not go on with this one's search.
        "checkpoint": getattr(scorer, "checkpoint", ""),
        "reduction": start and start.reduction,
        "calibration": start and start.calibrated,
        "verifier": None if verifier is None else verifier_name(verifier),
        "problems": state.hexdigest(),
        **asdict(config),
    }
