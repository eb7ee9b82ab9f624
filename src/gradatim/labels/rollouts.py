"""Monte-Carlo labels: what a prefix is worth is how often the policy goes on from it to the right answer.

The value V(prefix) belongs to the policy that wrote the rollouts (`Labels.by`); it is not validity: a policy that
mends its errors gives a wrong step a high value, and one that can't solve the problem gives a right step a low one.
The variance of a rate is V (1 - V) / k (Math-Shepherd, arXiv 2312.08935); finding the first error by halving is
OmegaPRM's (arXiv 2406.06592).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path as FilePath
from typing import Any

from gradatim.core import Labels, Policy, Prefix, Problem, Solution, Tally, Verdict, Verifier, seed_for
from gradatim.errors import InputError
from gradatim.labels.draws import Draws
from gradatim.labels.others import Others, own_tally
from gradatim.labels.rules import LabelConfig
from gradatim.labels.search import Asked, Found, Path, Search, all_steps, bisection, nothing, successes
from gradatim.progress import Progress, progress
from gradatim.records import write_labels
from gradatim.solutions.gaps import check_any
from gradatim.solutions.ledger import Ledger, ledger_path
from gradatim.solutions.verifying import verifier_name, verify_all


def label_stage(
    config: LabelConfig,
    policy: Policy,
    problems: Sequence[Problem],
    solutions: Sequence[Solution],
    verifier: Verifier,
    out: str | FilePath,
    *,
    quiet: bool = False,
) -> dict[str, Any]:
    """Write `out` (one `Labels` a solution, in their order) and return counts.

    - Each draw of a distinct prefix is written once, however many solutions share it.
    - A rollout that was cut off or has no readable answer is tried, not good, and lost. One whose verifier failed, or
      whose batch could not be written (BackendError), leaves the denominator and is counted apart.
    - The last step of a finished solution has nothing to go on to: its tally is the solution's own verdict, 1 of 1 or
      0 of 1 (lost if unread). A solution that was cut off is not finished: its last prefix gets rollouts like any
      other. Of a solution without steps no first error is known.
    - A solution's own outcome is in no other tally: counted as a rollout of its prefixes it would bias their rates.
    - Where the evidence decides when to stop, the problem's other solutions by this policy count as rollouts of the
      prefixes that they share.
    - An observation is not the policy's: tally (0, 0). So has a step that was not tested.
    - `Labels.start` counts the problem's other solutions by this policy; where there are too few of them, rollouts from
      the bare problem are counted instead (see `LabelConfig.starts`).

    Solutions of problems without a gold answer are left out and counted. BackendError if rollouts were asked for and
    none could be written. Killed at any moment and called again with the same arguments, it goes on after the last
    finished batch (see `gradatim.solutions.ledger`).
    """
    started = time.perf_counter()
    work = Work(config, policy, problems, solutions, verifier)
    with Ledger(ledger_path(out), work.identity) as ledger:
        draws = work.draws(ledger)
        rows = work.label(work.used, draws, quiet=quiet)
        check_any(sum(draws.outcomes.values()), draws.not_written)
        write_labels(out, rows)
        if not draws.not_written:
            ledger.remove()
    outcomes = draws.outcomes
    return {
        "solutions": len(solutions),
        "labelled": len(rows),
        "dropped": {"no gold answer": dropped} if (dropped := len(solutions) - len(rows)) else {},
        "prefixes": draws.prefixes,
        "rollouts": sum(outcomes.values()),
        **outcomes,
        "not_written": dict(draws.not_written),
        "tokens": draws.tokens.total(),
        "errors_found": sum(row.error is not None for row in rows),
        "errors_unknown": sum(not row.error_known for row in rows),
        "batches": draws.batches,
        "batches_resumed": draws.resumed,
        "policy": policy.name,
        "rule": config.name,
        "seconds": round(time.perf_counter() - started, 3),
        "path": str(out),
    }


class Work:
    """What there is to label: the solutions of problems with a gold answer, and all that can be known for nothing."""

    def __init__(
        self,
        config: LabelConfig,
        policy: Policy,
        problems: Sequence[Problem],
        solutions: Sequence[Solution],
        verifier: Verifier,
    ) -> None:
        self.config, self.policy, self.verifier = config, policy, verifier
        self.known = {problem.id: problem for problem in problems}
        self.used = [solution for solution in solutions if _problem(self.known, solution).answer is not None]
        self.others = Others(policy.name, self.used)

    @property
    def identity(self) -> dict[str, Any]:
        """What the ledger's rollouts depend on; the rule is no part of it, so that another may go on with them."""
        state = blake2b(digest_size=8)
        for solution in self.used:
            gold = self.known[solution.prefix.problem_id].answer
            state.update(repr((solution.id, solution.finish, solution.verdict, gold)).encode("utf-8", "surrogatepass"))
        return {
            "stage": "label",
            "policy": self.policy.name,
            "verifier": verifier_name(self.verifier),
            "solutions": state.hexdigest(),
            "seed": self.config.seed,
            "batch": self.config.batch,
        }

    def draws(self, ledger: Ledger) -> Draws:
        """The rollouts of this work."""
        seed = seed_for(self.config.seed, "label")
        return Draws(self.policy, self.verifier, self.known, ledger, seed=seed, batch=self.config.batch)

    def label(self, solutions: Sequence[Solution], draws: Draws, *, quiet: bool) -> list[Labels]:
        """Label some of the solutions."""
        with progress("label", self._foreseen(solutions), "rollouts", quiet=quiet) as shown:
            bare = [solution.prefix.first(0) for solution in solutions if self._needs_start(solution)]
            draws.read(dict.fromkeys(bare, self.config.starts), shown)
            cases = [
                self._case(solution, verdict, draws)
                for solution, verdict in zip(solutions, self._verdicts(solutions), strict=True)
            ]
            found = _run(cases, draws, shown)
        return [self._labels(case, *end) for case, end in zip(cases, found, strict=True)]

    def _foreseen(self, solutions: Sequence[Solution]) -> int | None:
        """How many rollouts it will be; None where that depends on what they find."""
        if (self.config.stop, self.config.search) != ("fixed", "all"):
            return None
        bare = {solution.prefix.first(0) for solution in solutions if self._needs_start(solution)}
        cut = {solution.prefix.first(k) for solution in solutions for k in _places(solution)}
        return len(bare) * self.config.starts + len(cut) * self.config.k

    def _verdicts(self, solutions: Sequence[Solution]) -> list[Verdict | None]:
        """Each solution's verdict: the recorded one, and the verifier's where none is."""
        open_ = [solution for solution in solutions if solution.verdict is None and solution.finish == "stop"]
        asked = [(self.known[solution.prefix.problem_id], solution.prefix.text) for solution in open_]
        found = dict(zip((solution.id for solution in open_), verify_all(self.verifier, asked), strict=True))
        return [solution.verdict or found.get(solution.id) for solution in solutions]

    def _needs_start(self, solution: Solution) -> bool:
        """Whether the bare problem needs rollouts."""
        return self.others.whole(solution.prefix).tried <= self.config.starts

    def _case(self, solution: Solution, verdict: Verdict | None, draws: Draws) -> _Case:
        config, prefix = self.config, solution.prefix
        if self._needs_start(solution):
            start = draws.tally(prefix.first(0), config.starts) or Tally()
        else:
            start = self.others.tally(solution, 0)
        finished = len(prefix.steps) if solution.finish == "stop" else None
        places = _places(solution)
        tallies = {k: self.others.tally(solution, k) for k in places if config.optional_stopping}
        right = None if verdict is None else verdict == Verdict.CORRECT
        ends = finished and prefix.steps[-1].kind != "observation"
        path = Path(places, finished, right) if ends else Path(places)
        if finished:
            tallies[finished] = own_tally(solution.finish, verdict)
        return _Case(solution, start, path, tallies, self._search(start, path, right, tallies))

    def _search(self, start: Tally, path: Path, right: bool | None, tallies: dict[int, Tally]) -> Search:
        config = self.config
        if config.search == "informed":
            return config.informed(start).search(path, tallies)
        if right and config.rule == "any":
            rates = config.stop == "fixed" and config.search == "all"
            choose: Callable[..., Search] = successes if rates else nothing
        else:
            choose = all_steps if config.search == "all" else bisection
        return choose(config.stopping_rule(start), path, tallies)

    def _bounds(self, case: _Case) -> tuple[float, float] | None:
        """The nominal chances that something alive is called dead, and the other way round."""
        if self.config.search == "informed":
            return self.config.informed(case.start).bounds(case.path, case.tallies)
        return (self.config.nominal, self.config.nominal) if self.config.sequential else None

    def _labels(self, case: _Case, error: int | None, error_known: bool) -> Labels:
        config, steps = self.config, len(case.solution.prefix.steps)
        return Labels(
            solution_id=case.solution.id,
            tallies=tuple(case.tallies.get(k, Tally()) for k in range(1, steps + 1)),
            error=error,
            error_known=error_known and steps > 0,
            truth="value",
            source="rollouts",
            by=self.policy.name,
            rule=config.name,
            bounds=self._bounds(case),
            optional_stopping=config.optional_stopping,
            start=case.start,
        )


@dataclass(frozen=True, slots=True)
class _Case:
    """A solution on its way to labels."""

    solution: Solution
    start: Tally
    path: Path
    tallies: dict[int, Tally]
    """By number of steps; filled by the search."""
    search: Search


def _places(solution: Solution) -> tuple[int, ...]:
    """After how many steps rollouts begin: after every judged step but the last of a finished solution."""
    steps = solution.prefix.steps
    finished = len(steps) if solution.finish == "stop" else None
    return tuple(k for k, step in enumerate(steps, start=1) if step.kind != "observation" and k != finished)


def _run(cases: Sequence[_Case], draws: Draws, shown: Progress) -> list[Found]:
    """Run the searches side by side, a round for all of them at a time."""
    found: dict[int, Found] = {}
    asked: dict[int, Asked] = {}

    def go_on(index: int, sent: Mapping[int, Tally] | None) -> None:
        try:
            asked[index] = next(cases[index].search) if sent is None else cases[index].search.send(sent)
        except StopIteration as end:
            asked.pop(index, None)
            found[index] = end.value

    for index in range(len(cases)):
        go_on(index, None)
    while asked:
        wanted: dict[Prefix, int] = {}
        for index, places in asked.items():
            for k, count in places.items():
                prefix = cases[index].solution.prefix.first(k)
                wanted[prefix] = max(count, wanted.get(prefix, 0))
        draws.read(wanted, shown)
        for index, places in list(asked.items()):
            prefix = cases[index].solution.prefix
            had = {k: draws.tally(prefix.first(k), count) for k, count in places.items()}
            go_on(index, {k: tally for k, tally in had.items() if tally is not None})
        shown.show(solutions=f"{len(found)} of {len(cases)}")
    return [found[index] for index in range(len(cases))]


def _problem(known: Mapping[str, Problem], solution: Solution) -> Problem:
    problem = known.get(solution.prefix.problem_id)
    if problem is None or problem.prompt != solution.prefix.prompt:
        raise InputError(
            f"solution {solution.id} belongs to problem {solution.prefix.problem_id!r}, "
            + ("which is not among the problems" if problem is None else "which has another prompt among the problems"),
            expected="the problems that the solutions were sampled from",
        )
    return problem
