"""Monte-Carlo labels: what a prefix is worth is how often the policy goes on from it to the right answer.

The value V(prefix) belongs to the policy that wrote the rollouts (`Labels.by`); it is not validity: a policy that
mends its errors gives a wrong step a high value, and one that can't solve the problem gives a right step a low one.
The variance of a rate is V (1 - V) / k (Math-Shepherd, arXiv 2312.08935).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from gradatim.core import Labels, Policy, Prefix, Problem, Solution, Tally, Verdict, Verifier, seed_for
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.labels.first_error import first_error, rule_name
from gradatim.progress import progress
from gradatim.records import write_labels
from gradatim.solutions.ledger import Ledger, ledger_path
from gradatim.solutions.verifying import verify_all

OUTCOMES = ("good", "bad", "lost", "failed")
"""How a rollout ended: right answer; wrong answer; cut off or unreadable; the verifier itself failed."""


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """How steps are labelled by rollouts."""

    k: int = 8
    """Rollouts of each distinct prefix: draws 0 to k-1."""
    seed: int = 0
    """With the policy, the prefix and the draw it decides every rollout; the rollouts' seed is derived from it, so that
    they differ from solutions that were sampled with the same number."""
    batch: int = 512
    """Rollouts that are written, verified and recorded together; what a run loses at most when it is killed."""
    rule: Literal["relative", "any"] = "relative"
    """Where the first error is: "relative" = the first step whose rate is below half of the problem's start rate
    (s+1)/(n+2); "any" = the first step from which nothing succeeded."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"k={self.k}; expected at least 1")
        if self.batch < 1:
            raise ConfigError(f"batch={self.batch}; expected at least 1")
        if self.rule not in ("relative", "any"):
            raise ConfigError(f"rule={self.rule!r}; expected relative or any")


def label_stage(
    config: LabelConfig,
    policy: Policy,
    problems: Sequence[Problem],
    solutions: Sequence[Solution],
    verifier: Verifier,
    out: str | Path,
    *,
    quiet: bool = False,
) -> dict[str, Any]:
    """Write `out` (one `Labels` a solution, in their order) and return counts.

    - Each distinct prefix gets k rollouts once, however many solutions share it.
    - A rollout that was cut off or has no readable answer is tried, not good, and lost. One whose verifier failed, or
      whose batch could not be written (BackendError), leaves the denominator and is counted apart.
    - The last step of a finished solution has nothing to go on to: its tally is the solution's own verdict, 1 of 1 or
      0 of 1 (lost if unread). A solution that was cut off is not finished: its last prefix gets rollouts like any
      other.
    - A solution's own outcome is in no other tally: counted as a rollout of its prefixes it would bias their rates.
    - An observation is not the policy's: tally (0, 0).
    - `Labels.start` counts the problem's other solutions by this policy; where there are fewer than k of them, k
      rollouts from the bare problem are counted instead.

    Solutions of problems without a gold answer are left out and counted. Killed at any moment and called again with
    the same arguments, it goes on after the last finished batch (see `gradatim.solutions.ledger`).
    """
    started = time.perf_counter()
    known = {problem.id: problem for problem in problems}
    used = [solution for solution in solutions if _problem(known, solution).answer is not None]
    starts = _Starts(config.k, policy.name, used)
    prefixes = _distinct(used, starts)
    units = list(_units(config, len(prefixes)))
    tallied: Counter[str] = Counter()
    with Ledger(ledger_path(out), _identity(config, policy, known, used)) as ledger:
        resumed = ledger.count()
        lost = _roll_out(config, policy, known, prefixes, units, verifier, ledger, quiet)
        tallies = _tallies(ledger, units, prefixes, tallied)
        verdicts = _own_verdicts(known, used, verifier)
        rows = [
            _labels(config, policy.name, solution, verdict, tallies, starts.of(solution, tallies))
            for solution, verdict in zip(used, verdicts, strict=True)
        ]
        write_labels(out, rows)
        if not lost:
            ledger.remove()
    return {
        "solutions": len(solutions),
        "labelled": len(rows),
        "dropped": {"no gold answer": len(solutions) - len(used)} if len(used) < len(solutions) else {},
        "prefixes": len(prefixes),
        "rollouts": sum(tallied[outcome] for outcome in OUTCOMES),
        **{outcome: tallied[outcome] for outcome in OUTCOMES},
        "not_written": dict(lost),
        "tokens": tallied["tokens"],
        "errors_found": sum(row.error is not None for row in rows),
        "errors_unknown": sum(not row.error_known for row in rows),
        "batches": len(units),
        "batches_resumed": resumed,
        "policy": policy.name,
        "rule": rule_name(config.rule, config.k),
        "seconds": round(time.perf_counter() - started, 3),
        "path": str(out),
    }


def _problem(known: Mapping[str, Problem], solution: Solution) -> Problem:
    problem = known.get(solution.prefix.problem_id)
    if problem is None or problem.prompt != solution.prefix.prompt:
        raise InputError(
            f"solution {solution.id} belongs to problem {solution.prefix.problem_id!r}, "
            + ("which is not among the problems" if problem is None else "which has another prompt among the problems"),
            expected="the problems that the solutions were sampled from",
        )
    return problem


def _finished(solution: Solution, k: int) -> bool:
    """Whether the solution's first k steps are all of it, and nothing can go on from there."""
    return k == len(solution.prefix.steps) and solution.finish == "stop"


class _Starts:
    """The start tallies: from the problem's own sampled solutions where they are many, otherwise from rollouts."""

    def __init__(self, k: int, author: str, solutions: Sequence[Solution]) -> None:
        self.author = author
        self.sums: dict[str, Tally] = {}
        for solution in solutions:
            if self._counts(solution):
                problem = solution.prefix.problem_id
                self.sums[problem] = self.sums.get(problem, Tally()) + own_tally(solution.finish, solution.verdict)
        self.enough = {problem for problem, tally in self.sums.items() if tally.tried > k}

    def _counts(self, solution: Solution) -> bool:
        return solution.author == self.author and solution.verdict is not None

    def needed(self, solution: Solution) -> bool:
        """Whether the bare problem needs rollouts."""
        return solution.prefix.problem_id not in self.enough

    def of(self, solution: Solution, tallies: Mapping[Prefix, Tally]) -> Tally:
        """The start tally for one solution: without itself, since it would carry its own outcome into its labels."""
        if self.needed(solution):
            return tallies.get(solution.prefix.first(0), Tally())
        whole = self.sums[solution.prefix.problem_id]
        if not self._counts(solution):
            return whole
        own = own_tally(solution.finish, solution.verdict)
        return Tally(whole.good - own.good, whole.tried - own.tried, whole.lost - own.lost)


def own_tally(finish: str, verdict: Verdict | None) -> Tally:
    """A solution's outcome as a tally of one: cut off or unread is tried, not good, lost; no verdict is not tried."""
    if finish == "length":
        return Tally(0, 1, 1)
    if verdict is None:
        return Tally()
    return Tally(int(verdict == Verdict.CORRECT), 1, int(verdict == Verdict.UNPARSED))


def _distinct(solutions: Sequence[Solution], starts: _Starts) -> list[Prefix]:
    """Every prefix that gets rollouts, once, in the order of the solutions."""
    seen: dict[Prefix, None] = {}
    for solution in solutions:
        for k, step in enumerate(solution.prefix.steps, start=1):
            if step.kind != "observation" and not _finished(solution, k):
                seen[solution.prefix.first(k)] = None
        if starts.needed(solution):
            seen[solution.prefix.first(0)] = None
    return list(seen)


def _units(config: LabelConfig, prefixes: int) -> Iterator[tuple[range, range]]:
    """The fixed batches, as (places of prefixes, draws)."""
    together = max(1, config.batch // config.k)
    for first in range(0, prefixes, together):
        for draw in range(0, config.k, config.batch):
            yield (
                range(first, min(first + together, prefixes)),
                range(draw, min(draw + config.batch, config.k)),
            )


def _identity(
    config: LabelConfig, policy: Policy, known: Mapping[str, Problem], solutions: Sequence[Solution]
) -> dict[str, Any]:
    state = blake2b(digest_size=8)
    for solution in solutions:
        gold = known[solution.prefix.problem_id].answer
        state.update(repr((solution.id, solution.finish, solution.verdict, gold)).encode("utf-8", "surrogatepass"))
    settings = {name: value for name, value in asdict(config).items() if name != "rule"}
    return {"stage": "label", "policy": policy.name, "solutions": state.hexdigest(), **settings}


def _roll_out(
    config: LabelConfig,
    policy: Policy,
    known: Mapping[str, Problem],
    prefixes: Sequence[Prefix],
    units: Sequence[tuple[range, range]],
    verifier: Verifier,
    ledger: Ledger,
    quiet: bool,
) -> Counter[str]:
    """Do the units that are missing in the ledger; returns how many rollouts could not be written, and why."""
    missing, lost, seed = ledger.missing(len(units)), Counter[str](), seed_for(config.seed, "label")
    total = sum(len(places) * len(draws) for places, draws in (units[index] for index in missing))
    with progress("label", total, "rollouts", quiet=quiet) as shown:
        for index in missing:
            places, draws = units[index]
            chosen = [prefixes[place] for place in places]
            try:
                written = policy.write(chosen, draws=draws, seed=seed)
            except BackendError as error:
                lost[str(error)] += len(places) * len(draws)
                shown.advance(len(places) * len(draws))
                continue
            made = [(prefix, text) for prefix, row in zip(chosen, written, strict=True) for text in row]
            whole = [
                (known[prefix.problem_id], prefix.text + text.text) for prefix, text in made if text.finish == "stop"
            ]
            verdicts = iter(verify_all(verifier, whole))
            outcomes = [_outcome(next(verdicts)) if text.finish == "stop" else "lost" for _, text in made]
            tokens = sum(text.tokens for _, text in made)
            ledger.record(index, {"outcomes": _grouped(outcomes, len(draws)), "tokens": tokens})
            shown.advance(len(made), tokens=tokens)
    return lost


def _outcome(verdict: Verdict | None) -> str:
    if verdict is None:
        return "failed"
    return {Verdict.CORRECT: "good", Verdict.INCORRECT: "bad", Verdict.UNPARSED: "lost"}[verdict]


def _grouped(outcomes: Sequence[str], draws: int) -> list[list[int]]:
    """For each prefix how many of its rollouts ended in each of `OUTCOMES`."""
    rows = (outcomes[first : first + draws] for first in range(0, len(outcomes), draws))
    return [[row.count(outcome) for outcome in OUTCOMES] for row in rows]


def _tallies(
    ledger: Ledger, units: Sequence[tuple[range, range]], prefixes: Sequence[Prefix], tallied: Counter[str]
) -> dict[Prefix, Tally]:
    """What the ledger says of each prefix; `tallied` gets the sums."""
    tallies: dict[Prefix, Tally] = {}
    for index, result in ledger.done():
        places, _ = units[index]
        for place, counts in zip(places, result["outcomes"], strict=True):
            good, bad, lost, _ = counts
            found = Tally(good, good + bad + lost, lost)
            tallies[prefixes[place]] = tallies.get(prefixes[place], Tally()) + found
            tallied.update(dict(zip(OUTCOMES, counts, strict=True)))
        tallied["tokens"] += result["tokens"]
    return tallies


def _own_verdicts(
    known: Mapping[str, Problem], solutions: Sequence[Solution], verifier: Verifier
) -> list[Verdict | None]:
    """Each solution's verdict: the recorded one, and the verifier's where none is."""
    open_ = [solution for solution in solutions if solution.verdict is None and solution.finish == "stop"]
    asked = [(known[solution.prefix.problem_id], solution.prefix.text) for solution in open_]
    found = dict(zip((solution.id for solution in open_), verify_all(verifier, asked), strict=True))
    return [solution.verdict or found.get(solution.id) for solution in solutions]


def _labels(
    config: LabelConfig,
    by: str,
    solution: Solution,
    verdict: Verdict | None,
    tallies: Mapping[Prefix, Tally],
    start: Tally,
) -> Labels:
    prefix = solution.prefix
    found = tuple(
        own_tally(solution.finish, verdict)
        if _finished(solution, k)
        else Tally()
        if step.kind == "observation"
        else tallies.get(prefix.first(k), Tally())
        for k, step in enumerate(prefix.steps, start=1)
    )
    looked_at = [index for index, step in enumerate(prefix.steps) if step.kind != "observation"]
    error, error_known = first_error(config.rule, found, looked_at, start, verdict)
    return Labels(
        solution_id=solution.id,
        tallies=found,
        error=error,
        error_known=error_known,
        truth="value",
        source="rollouts",
        by=by,
        rule=rule_name(config.rule, config.k),
        start=start,
    )
