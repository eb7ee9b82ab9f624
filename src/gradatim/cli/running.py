"""Verbs that run the whole loop, or from a problem to its answer."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Literal

from gradatim.cli.app import aligned, app, remark, show
from gradatim.core import Problem, Reduction
from gradatim.errors import ConfigError, InputError
from gradatim.flags import command
from gradatim.problems.sources import load_problems
from gradatim.score.opening import Opening, open_scorer
from gradatim.solutions.opening import open_policy
from gradatim.solutions.settings import EndpointSettings, PolicySettings
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
    problems = _questions() if flags.problems == "-" else load_problems(flags.problems, limit=flags.limit)
    splitter = SPLITTERS.get(flags.splitter)
    if splitter is None:
        raise ConfigError(f"--splitter {flags.splitter!r}; expected one of {', '.join(sorted(SPLITTERS))}")
    policy = open_policy(flags.policy, settings, endpoint, splitter=splitter)
    scorer = open_scorer(flags.model, opening, reduction=flags.reduction, device=settings.device)
    solved = solve_problems(
        problems, policy, scorer, n=flags.n, seed=flags.seed, chooser=flags.chooser, splitter=splitter, quiet=quiet
    )
    remark(scorer.stats.notes)
    found = [solved_json(one) for one in solved]
    human = []
    for one, row in zip(solved, found, strict=True):
        others = ", ".join(f"{other['answer']} ({other['value']:.3f})" for other in row["runners_up"])
        human.append(f"{row['problem_id']}: {one}\n  runners-up: {others or 'none'}")
    show({"solved": found, "policy": policy.name, "model": scorer.name}, as_json, "\n\n".join(human))


def _questions() -> list[Problem]:
    lines = [line.strip() for line in sys.stdin if line.strip()]
    if not lines:
        raise InputError("no question on standard input", expected="one question a line")
    return [Problem(id=f"question-{i}", prompt=line) for i, line in enumerate(lines)]
