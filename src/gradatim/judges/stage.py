"""Judge solutions: every critic's draw is kept with its words, and the draws of a solution come to its labels."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Any

from gradatim.core import Labels, Policy, Solution, seed_for
from gradatim.errors import ConfigError
from gradatim.judges.asking import Answered, ask
from gradatim.judges.critics import CRITICS, CriticName
from gradatim.judges.critiques import Critique, critiques_path, opinion_from, opinion_row, write_critiques
from gradatim.judges.exams import Critic
from gradatim.judges.opinions import labels_of
from gradatim.progress import progress
from gradatim.records import labelled_row, write_labels, write_rows
from gradatim.solutions.gaps import check_any
from gradatim.solutions.ledger import Ledger, ledger_path


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """How solutions are judged by a critic."""

    critic: CriticName = "processbench"
    """How the critic is asked: "processbench" (the index of the first wrong step), "stepwise" (each step on its own),
    "genprm" or "thinkprm" (the formats of the models of these names)."""
    draws: int = 1
    """Critiques of each solution: draws 0 to draws-1. The first error is the one that most of them name."""
    seed: int = 0
    """With the policy, the question and the draw it decides every critique."""
    batch: int = 64
    """Solutions that are judged and recorded together; what a run loses at most when it is killed."""

    def __post_init__(self) -> None:
        if self.critic not in CRITICS:
            raise ConfigError(f"critic={self.critic!r}; expected one of {', '.join(CRITICS)}")
        if self.draws < 1 or self.batch < 1:
            raise ConfigError(f"draws={self.draws}, batch={self.batch}; expected at least 1 of each")

    @property
    def rule(self) -> str:
        """How draws become a first error, as `Labels.rule` records it."""
        return "first error by the critique" if self.draws == 1 else f"first error by most of {self.draws} critiques"


class Judging:
    """The judging of some solutions, of which a ledger holds what is done."""

    def __init__(self, config: JudgeConfig, policy: Policy, solutions: Sequence[Solution]) -> None:
        self.config, self.policy = config, policy
        self.critic: Critic = CRITICS[config.critic]
        self.solutions = [solution for solution in solutions if solution.prefix.steps]
        self.empty = len(solutions) - len(self.solutions)
        self.units = [
            self.solutions[first : first + config.batch] for first in range(0, len(self.solutions), config.batch)
        ]
        self.by = f"{config.critic} critic {policy.name}"
        self.failures: Counter[str] = Counter()
        """Critiques that could not be had, by reason; those in the ledger are counted by `found`."""

    @property
    def identity(self) -> dict[str, Any]:
        """What the work depends on."""
        state = blake2b(digest_size=8)
        for solution in self.solutions:
            state.update(repr((solution.id, solution.prefix.prompt, solution.joiner)).encode("utf-8", "surrogatepass"))
        return {"stage": "judge", "policy": self.policy.name, "solutions": state.hexdigest(), **asdict(self.config)}

    def work(self, ledger: Ledger, units: Sequence[int], *, title: str, quiet: bool) -> None:
        """Do those of the units that are missing in the ledger, and fill the gaps of the others."""
        chosen = set(units)
        missing = [unit for unit in ledger.missing(len(self.units)) if unit in chosen]
        gaps = {unit: rows for unit, rows in ledger.done() if unit in chosen and any("gap" in row for row in rows)}
        wanted = {
            **{unit: list(product(range(len(self.units[unit])), range(self.config.draws))) for unit in missing},
            **{unit: [(row["place"], row["draw"]) for row in rows if "gap" in row] for unit, rows in gaps.items()},
        }
        with progress(title, sum(map(len, wanted.values())), "critiques", quiet=quiet) as shown:
            for unit, jobs in wanted.items():
                answered = self._ask(unit, jobs)
                made = [_row(one, *job) for one, job in zip(answered, jobs, strict=True)]
                if unit in gaps:
                    new = dict(zip(jobs, made, strict=True))
                    ledger.amend(unit, [new.get((row["place"], row["draw"]), row) for row in gaps[unit]])
                elif all("gap" in row for row in made):
                    self.failures.update(row["gap"] for row in made)
                else:
                    ledger.record(unit, made)
                shown.advance(len(answered), tokens=sum(one.tokens for one in answered))

    def _ask(self, unit: int, jobs: Sequence[tuple[int, int]]) -> list[Answered]:
        """The critiques of some (place in the unit, draw)."""
        exams = {place: self.critic.exam(self.units[unit][place]) for place, _ in jobs}
        conversations = [(self.critic.converse(exams[place]), draw) for place, draw in jobs]
        return ask(self.policy, conversations, seed=seed_for(self.config.seed, "judge"))

    def found(self, ledger: Ledger) -> Iterator[tuple[Solution, list[dict[str, Any]]]]:
        """Each judged solution with its critiques; gaps are left out and counted in `failures`."""
        for unit, rows in ledger.done():
            self.failures.update(row["gap"] for row in rows if "gap" in row)
            for place, solution in enumerate(self.units[unit]):
                yield solution, [row for row in rows if row["place"] == place and "gap" not in row]

    def labels(self, solution: Solution, rows: Sequence[dict[str, Any]]) -> Labels:
        """What the critiques of a solution come to."""
        return labels_of(solution, [opinion_from(row) for row in rows], by=self.by, rule=self.config.rule)

    def critiques(self, solution: Solution, rows: Sequence[dict[str, Any]]) -> Iterator[Critique]:
        """The critiques of a solution, with all that they depend on."""
        for row in rows:
            yield Critique(
                solution_id=solution.id,
                by=self.by,
                draw=row["draw"],
                seed=self.config.seed,
                words=tuple(row["words"]),
                opinion=opinion_from(row),
                tokens=row["tokens"],
            )


def judge_stage(
    config: JudgeConfig,
    policy: Policy,
    solutions: Sequence[Solution],
    out: str | Path,
    *,
    whole: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Write `out` (one `Labels` a solution, in their order) and the critiques beside it; return counts.

    With `whole` the rows of `out` hold the solutions too, and need no solutions file beside them.

    A critique without a decision is an abstention: it votes on no step, and is counted under its reason. Solutions
    without steps are left out and counted. A critique that could not be had (a server failed) is counted in
    `not_written`, and the ledger stays, so that another call fills the gap; a solution without any critique gets no
    labels, and BackendError if none has one. Killed at any moment and called again with the same arguments, it goes on
    after the last finished batch (see `gradatim.solutions.ledger`).
    """
    started = time.perf_counter()
    work = Judging(config, policy, solutions)
    with Ledger(ledger_path(out), work.identity) as ledger:
        resumed = ledger.count()
        work.work(ledger, range(len(work.units)), title="judge", quiet=quiet)
        found = [(solution, rows) for solution, rows in work.found(ledger) if rows]
        check_any(len(found), work.failures)
        labels = [work.labels(solution, rows) for solution, rows in found]
        write_critiques(critiques_path(out), (one for pair in found for one in work.critiques(*pair)))
        if whole:
            write_rows(out, (labelled_row(solution, one) for (solution, _), one in zip(found, labels, strict=True)))
        else:
            write_labels(out, labels)
        if not work.failures:
            ledger.remove()
    return {
        "solutions": len(solutions),
        **_counts(work, [row for _, rows in found for row in rows], labels),
        "batches_resumed": resumed,
        "seconds": round(time.perf_counter() - started, 3),
        "path": str(out),
        "critiques_path": str(critiques_path(out)),
    }


def _counts(work: Judging, critiques: Sequence[dict[str, Any]], labels: Sequence[Labels]) -> dict[str, Any]:
    return {
        "labelled": len(labels),
        "dropped": {"no steps": work.empty} if work.empty else {},
        "critiques": len(critiques),
        "abstained": dict(Counter(row["reason"] for row in critiques if row["reason"])),
        "errors_found": sum(row.error is not None for row in labels),
        "errors_unknown": sum(not row.error_known for row in labels),
        "defused": sum(_defused(work.critic, solution) for solution in work.solutions),
        "not_written": dict(work.failures),
        "tokens": sum(row["tokens"] for row in critiques),
        "batches": len(work.units),
        "policy": work.policy.name,
        "critic": work.config.critic,
    }


def _row(answered: Answered, place: int, draw: int) -> dict[str, Any]:
    """A critique as the ledger keeps it, or the reason why there is none."""
    if answered.opinion is None:
        return {"place": place, "draw": draw, "gap": answered.gap}
    return {
        "place": place,
        "draw": draw,
        "words": answered.words,
        **opinion_row(answered.opinion),
        "tokens": answered.tokens,
    }


def _defused(critic: Critic, solution: Solution) -> bool:
    """Whether the problem or a step holds marks of the prompt."""
    texts = (solution.prefix.prompt, *(step.text for step in solution.prefix.steps))
    return any(critic.marks.search(text) for text in texts)
