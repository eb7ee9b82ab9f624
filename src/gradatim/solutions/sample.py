"""Sample solutions: n for each problem, split into steps, with the answer that can be read and the verdict."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from gradatim.core import Continuation, Policy, Problem, Solution, Splitter, Verdict, Verifier
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.progress import progress
from gradatim.records import write_solutions
from gradatim.solutions.gaps import check_any, fill
from gradatim.solutions.ledger import Ledger, ledger_path
from gradatim.solutions.spans import Span, write_batches
from gradatim.solutions.verifying import verifier_name, verify_all
from gradatim.steps import SPLITTERS
from gradatim.verify.answers import read_answer


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """How solutions are sampled."""

    n: int = 16
    """Solutions of each problem: draws 0 to n-1."""
    seed: int = 0
    """With the policy, the problem and the draw it decides every text."""
    splitter: str = "line"
    """How a text is split into steps (a name in `gradatim.steps.SPLITTERS`)."""
    batch: int = 512
    """Solutions that are written, verified and recorded together; what a run loses at most when it is killed."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"n={self.n}; expected at least 1")
        if self.batch < 1:
            raise ConfigError(f"batch={self.batch}; expected at least 1")
        if self.splitter not in SPLITTERS:
            raise ConfigError(f"splitter={self.splitter!r}; expected one of {', '.join(sorted(SPLITTERS))}")


def sample_stage(
    config: SampleConfig,
    policy: Policy,
    problems: Sequence[Problem],
    verifier: Verifier,
    out: str | Path,
    *,
    quiet: bool = False,
) -> dict[str, Any]:
    """Write `out` (solutions, by problem and draw) and return counts.

    Killed at any moment and called again with the same arguments, it goes on after the last finished batch; the ledger
    of work in flight lies beside `out` and is deleted at the end. A text that was cut off is counted as `truncated`,
    and one without an answer as `unread`; both have the verdict "unparsed", since neither was found to be wrong. A text
    whose check failed (it timed out) has no verdict, for that says nothing of the text, and is counted as `check_failed`.
    Problems without a gold answer get no verdict either. A draw that the policy could not have (finish "failed"), or a
    batch of them (BackendError), is left out and counted as `not_written` with the reason, and the ledger stays, so that
    another call fills the gap; BackendError if there is nothing else.
    """
    started = time.perf_counter()
    _check_ids(problems)
    units = list(_units(config, problems))
    splitter = SPLITTERS[config.splitter]
    with Ledger(ledger_path(out), _identity(config, policy, problems, verifier)) as ledger:
        resumed = ledger.count()
        failures = _work(config, policy, problems, units, verifier, ledger, quiet)
        check_any(ledger.count(), failures)
        tallied: Counter[str] = Counter()
        write_solutions(out, _solutions(ledger, units, problems, policy.name, splitter, tallied, failures))
        if not failures:
            ledger.remove()
    verdicts = {str(verdict): tallied[verdict] for verdict in Verdict}
    return {
        "problems": len(problems),
        "solutions": tallied["solutions"],
        "verdicts": {**verdicts, "none": tallied["none"]},
        "truncated": tallied["truncated"],
        "unread": tallied["unread"],
        "empty": tallied["empty"],
        "check_failed": tallied["check_failed"],
        "not_written": dict(failures),
        "tokens": tallied["tokens"],
        "batches": len(units),
        "batches_resumed": resumed,
        "policy": policy.name,
        "seconds": round(time.perf_counter() - started, 3),
        "path": str(out),
    }


@dataclass(frozen=True)
class _Unit:
    """Some problems (by place) with the same draws."""

    places: range
    draws: range

    def __len__(self) -> int:
        return len(self.places) * len(self.draws)


def _units(config: SampleConfig, problems: Sequence[Problem]) -> Iterator[_Unit]:
    """The fixed batches: whole problems where n fits in one, otherwise one problem in several."""
    together = max(1, config.batch // config.n)
    for first in range(0, len(problems), together):
        places = range(first, min(first + together, len(problems)))
        for draw in range(0, config.n, config.batch):
            yield _Unit(places, range(draw, min(draw + config.batch, config.n)))


def _check_ids(problems: Sequence[Problem]) -> None:
    (most, times), *_ = Counter(problem.id for problem in problems).most_common(1) or [("", 0)]
    if times > 1:
        raise InputError(f"{times} problems with the id {most!r}", expected="each id once", fix="rename or drop them")


def _identity(config: SampleConfig, policy: Policy, problems: Sequence[Problem], verifier: Verifier) -> dict[str, Any]:
    state = blake2b(digest_size=8)
    for problem in problems:
        state.update(repr((problem.id, problem.prompt, problem.answer)).encode("utf-8", "surrogatepass"))
    return {
        "stage": "sample",
        "policy": policy.name,
        "verifier": verifier_name(verifier),
        "problems": state.hexdigest(),
        **asdict(config),
    }


def _work(
    config: SampleConfig,
    policy: Policy,
    problems: Sequence[Problem],
    units: Sequence[_Unit],
    verifier: Verifier,
    ledger: Ledger,
    quiet: bool,
) -> Counter[str]:
    """Do the units that are missing in the ledger, and fill the gaps in the others; returns how many solutions of whole
    units could not be written, by reason."""
    missing = ledger.missing(len(units))
    gaps = {index: rows for index, rows in ledger.done() if any("error" in row for row in rows)}
    work = sum(len(units[index]) for index in missing) + sum("error" in row for rows in gaps.values() for row in rows)
    failures: Counter[str] = Counter()
    with progress("sample", work, "solutions", quiet=quiet) as shown:
        batches = [
            [Span(problems[place].start(), units[index].draws) for place in units[index].places] for index in missing
        ]
        for done, written in write_batches(policy, batches, seed=config.seed):
            index = missing[done]
            texts = [row for row in written if not isinstance(row, BackendError)]
            if refused := [row for row in written if isinstance(row, BackendError)]:
                failures[str(refused[0])] += len(units[index])  # one call: one reason for all of it
                shown.advance(len(units[index]))
                continue
            rows = _read(_made(problems, units[index], texts), verifier)
            ledger.record(index, rows)
            shown.advance(len(rows), tokens=sum(row["tokens"] for row in rows))
        for index, rows in gaps.items():
            ledger.amend(index, _fill(policy, problems, units[index], rows, config.seed, verifier))
            shown.advance(sum("error" in row for row in rows))
    return failures


_Made = list[tuple[Problem, int, Continuation]]
"""Problem, draw and what was written, in the order of the unit."""


def _made(problems: Sequence[Problem], unit: _Unit, texts: Sequence[Sequence[Continuation]]) -> _Made:
    return [
        (problems[place], draw, text)
        for place, row in zip(unit.places, texts, strict=True)
        for draw, text in zip(unit.draws, row, strict=True)
    ]


def _read(made: _Made, verifier: Verifier) -> list[dict[str, Any]]:
    """One row a solution, for the ledger: text, finish, tokens, answer, verdict, whether its check failed; or why there is
    none."""
    whole = ("stop", "step")
    asked = [(problem, text.text) for problem, _, text in made if text.finish in whole and problem.answer is not None]
    verdicts = iter(verify_all(verifier, asked))
    rows: list[dict[str, Any]] = []
    for problem, draw, text in made:
        row = {"problem": problem.id, "draw": draw, "text": text.text, "finish": text.finish, "tokens": text.tokens}
        if text.finish == "failed":
            rows.append({**row, "error": text.error})
            continue
        cut = text.finish == "length"
        verdict = None if problem.answer is None else Verdict.UNPARSED if cut else next(verdicts)
        failed = problem.answer is not None and verdict is None
        answer = None if cut else read_answer(text.text)
        rows.append({**row, "answer": answer, "verdict": verdict, "failed": failed})
    return rows


def _fill(
    policy: Policy, problems: Sequence[Problem], unit: _Unit, rows: list[dict[str, Any]], seed: int, verifier: Verifier
) -> list[dict[str, Any]]:
    """The rows of a unit with its failed draws asked for once more; what fails again stays as it is."""
    at = [(place, draw) for place in unit.places for draw in unit.draws]
    gaps = [pair for pair, row in zip(at, rows, strict=True) if "error" in row]
    filled = fill(policy, [(problems[place].start(), draw) for place, draw in gaps], seed)
    made = [(problems[place], draw, text) for (place, draw), text in zip(gaps, filled, strict=True)]
    new = dict(zip(gaps, _read(made, verifier), strict=True))
    return [new.get(pair, row) for pair, row in zip(at, rows, strict=True)]


def _solutions(
    ledger: Ledger,
    units: Sequence[_Unit],
    problems: Sequence[Problem],
    author: str,
    splitter: Splitter,
    tallied: Counter[str],
    failures: Counter[str],
) -> Iterator[Solution]:
    """All recorded solutions, by problem and draw; `tallied` and `failures` (by reason) are filled on the way."""
    for index, rows in ledger.done():
        unit = units[index]
        owners = (problems[place] for place in unit.places for _ in unit.draws)
        for problem, row in zip(owners, rows, strict=True):
            if "error" in row:
                failures[row["error"]] += 1
                continue
            prefix = problem.start()
            for step in splitter(row["text"]):
                prefix = prefix.then(step)
            finish: Literal["stop", "length"] = "length" if row["finish"] == "length" else "stop"
            verdict = None if row["verdict"] is None else Verdict(row["verdict"])
            tallied.update(
                {
                    "solutions": 1,
                    "tokens": row["tokens"],
                    verdict or "none": 1,
                    "truncated": finish == "length",
                    "unread": finish == "stop" and row["answer"] is None,
                    "empty": not row["text"],
                    "check_failed": row["failed"],
                }
            )
            yield Solution(
                prefix=prefix, author=author, draw=row["draw"], finish=finish, verdict=verdict, answer=row["answer"]
            )
