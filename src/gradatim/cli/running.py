"""Verbs that run the whole loop, or from a problem to its answer."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

from gradatim.cli.app import aligned, app, remark, show
from gradatim.core import Problem, Reduction
from gradatim.errors import ConfigError, InputError
from gradatim.flags import command
from gradatim.problems.sources import load_problems
from gradatim.score.opening import Opening, open_scorer
from gradatim.solutions.opening import notes, open_policy, served
from gradatim.solutions.settings import EndpointSettings, PolicySettings
from gradatim.solve import Attempt
from gradatim.solve import as_json as solved_json
from gradatim.solve import solve as solve_problems
from gradatim.steps import SPLITTERS


@dataclass(frozen=True, kw_only=True)
class LoopFlags:
    """`gradatim loop`."""

    budget: Literal["smoke", "tiny", "small", "full"] = "tiny"
    """How much: seconds, at most 10 minutes, at most 40 minutes, or hours (on 2 CPU cores)."""
    out: str = "runs/lab"
    """The run's folder. The same command again goes on with what is not finished."""
    problems: int | None = None
    """Training problems, in place of the budget's."""
    solutions: int | None = None
    """Solutions a training problem."""
    rollouts: int | None = None
    """Rollouts from each step that is tested, for the labels."""
    test_problems: int | None = None
    """Test problems."""
    candidates: int | None = None
    """Solutions a test problem, to choose from."""
    epochs: int | None = None
    """Passes over the solutions, for both models."""
    seeds: int | None = None
    """Trainings of each model."""
    seed: int | None = None
    """Decides what is sampled."""
    force: bool = False
    """Do stages again that were done with other settings."""


@command(app, "loop", LoopFlags)
def loop_command(flags: LoopFlags, *, as_json: bool, quiet: bool) -> None:
    """Problems to report, in the lab: sample, verify, label, train an ORM and a PRM, score, choose, evaluate."""
    from gradatim.loop import BUDGETS, loop

    own = ("problems", "solutions", "rollouts", "test_problems", "candidates", "epochs", "seeds", "seed")
    asked = {name: value for name in own if (value := getattr(flags, name)) is not None}
    result = loop(replace(BUDGETS[flags.budget], **asked), flags.out, force=flags.force, quiet=quiet)
    tables = "\n\n".join(aligned(title, rows) for title, rows in list(result["headline"].items())[:4])
    show(result, as_json, f"{tables}\n\n{result['seconds']:.0f} s of work in all\nreport: {result['report']}")


@dataclass(frozen=True, kw_only=True)
class SolveFlags:
    """`gradatim solve`."""

    problems: str
    """A source of problems (a file, gsm8k:PATH, lab:test:3, ...), or "-" for questions on standard input, one a line."""
    policy: str = "lab"
    """The language model that writes: a folder, a hub name, "smollm2", "lab" or the URL of an OpenAI-compatible server."""
    model: str = "lab"
    """The reward model that chooses: a folder, a run, a name on the hub, or "lab"."""
    n: int = 16
    """Solutions to sample for each problem."""
    chooser: Literal["best_of_n", "weighted_majority"] = "best_of_n"
    """Highest score, or the answer with the highest sum of scores."""
    splitter: str = "line"
    """How a text is split into steps."""
    limit: int | None = None
    """Only the first so many problems."""
    reduction: Reduction | None = None
    """How step scores become one value; the one saved with the model where none is given."""
    seed: int = 0
    """With the problem and the draw it decides every text."""


@command(app, "solve", SolveFlags, PolicySettings, EndpointSettings, Opening, arguments=("problems",))
def solve_command(
    flags: SolveFlags,
    settings: PolicySettings,
    endpoint: EndpointSettings,
    opening: Opening,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Sample n solutions of each problem, score them, and give the best answer with its score and the runners-up."""
    problems = _questions(flags.limit) if flags.problems == "-" else load_problems(flags.problems, limit=flags.limit)
    splitter = SPLITTERS.get(flags.splitter)
    if splitter is None:
        raise ConfigError(f"--splitter {flags.splitter!r}; expected one of {', '.join(sorted(SPLITTERS))}")
    policy = open_policy(flags.policy, settings, endpoint, splitter=splitter)
    scorer = open_scorer(flags.model, opening, reduction=flags.reduction, device=settings.device)
    attempts = solve_problems(
        problems, policy, scorer, n=flags.n, seed=flags.seed, chooser=flags.chooser, splitter=splitter, quiet=quiet
    )
    remark(scorer.stats.notes)
    found = [solved_json(one) for one in attempts]
    not_written, refused = Counter[str](), sum(one.refused for one in attempts)
    for one in attempts:
        not_written.update(one.not_written)
    result = {"solved": found, "policy": policy.name, "model": scorer.name}
    left_out = {"not_written": dict(not_written), "refused": refused}
    asides = notes(policy, not_written, kept=False)
    if refused:
        asides.append(f"{refused} solutions that the reward model can't take were left out")
    told = [_told(one, row) for one, row in zip(attempts, found, strict=True)]
    human = "\n".join(["\n\n".join(told), *(f"note: {line}" for line in asides)])
    show({**result, **left_out, **served(policy)}, as_json, human)


def _told(attempt: Attempt, row: dict[str, Any]) -> str:
    if row["reason"] is not None:
        return f"{row['problem_id']}: no answer ({row['reason']})"
    others = ", ".join(f"{other['answer']} ({other['value']:.3f})" for other in row["runners_up"])
    return f"{row['problem_id']}: {attempt.outcome}\n  runners-up: {others or 'none'}"


def _questions(limit: int | None) -> list[Problem]:
    if limit is not None and limit < 1:
        raise ConfigError(f"limit={limit}; ask for at least one problem")
    found = [Problem(id=f"question-{i}", prompt=line) for i, line in enumerate(islice(_lines(), limit))]
    if not found:
        raise InputError("no question on standard input", expected="one question a line")
    return found


def _lines() -> Iterator[str]:
    """The lines of standard input that are not empty."""
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise InputError(
                f"bytes that are no UTF-8 (at byte {error.start})",
                expected="UTF-8",
                file="<stdin>",
                line=number,
                fix="convert the text, e.g. with iconv",
            ) from None
        if text:
            yield text
