"""The whole loop as one readable function: problems, solutions, labels, two reward models, scores, choices, a report.

It runs in the lab, where the truth about every step is known, with the same stage functions that real models and real data
go through. Every stage leaves files in the run's folder and is skipped when it is already done, so a run that was stopped
goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from gradatim import records, runs
from gradatim.core import Problem
from gradatim.errors import ConfigError
from gradatim.evaluate.lab_pool import Pool
from gradatim.evaluate.loop_report import Ranking, loop_report
from gradatim.labels.rollouts import label_stage
from gradatim.labels.rules import LabelConfig
from gradatim.progress import progress
from gradatim.score.engine import load
from gradatim.solutions.ledger import ledger_path
from gradatim.solutions.local.policy import LocalPolicy, load_policy
from gradatim.solutions.sample import SampleConfig
from gradatim.stages import POLICY, lab_problems, sample
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.materials import from_labelled, from_solutions
from gradatim.train.stage import train
from gradatim.train.targets import TargetConfig
from gradatim.verify.answers import exact_verifier
from gradatim.view.report import write_report

Kind = Literal["prm", "orm"]
KINDS: tuple[Kind, ...] = ("prm", "orm")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """How large the loop is. `--budget` sets all of it; single flags change single numbers."""

    problems: int = 300
    """Training problems."""
    solutions: int = 2
    """Solutions sampled for each training problem; both models learn from all of them. Two solutions each of many problems
    teach more than many of a few."""
    rollouts: int = 8
    """Rollouts from each distinct step that the bisection to the first error tests, and from each problem."""
    test_problems: int = 60
    """Test problems, of a form that no training problem has."""
    candidates: int = 64
    """Solutions sampled for each test problem, to choose from."""
    epochs: int = 6
    """Passes over the solutions, the same for both models."""
    lr: float = 3e-4
    """Peak learning rate, the same for both models."""
    seeds: int = 1
    """Trainings of each model, with seeds 0, 1, ...; their results are averaged problem by problem."""
    seed: int = 0
    """Decides what is sampled and rolled out."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name not in ("lr", "seed") and getattr(self, field.name) < 1:
                raise ConfigError(f"{field.name}={getattr(self, field.name)}; expected at least 1")


BUDGETS: dict[str, LoopConfig] = {
    "smoke": LoopConfig(problems=16, test_problems=6, candidates=8, epochs=1),
    "tiny": LoopConfig(),
    "small": LoopConfig(problems=3000, test_problems=200, epochs=4, seeds=3),
    "full": LoopConfig(problems=10_000, solutions=4, rollouts=16, test_problems=1000, epochs=6, seeds=3),
}
"""What `--budget` stands for: seconds; at most 10 minutes; at most 40 minutes; hours (2 CPU cores each)."""


def loop(config: LoopConfig, out: str | Path, *, force: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Run the loop in the folder `out`, or go on with it; returns `{"report", "headline", "seconds"}`.

    ConfigError if the folder holds a loop of another size (and not `force`).
    """
    run = runs.Run(out, force=force)
    problems = lab_problems(run, "problems", "train", config.problems)
    tests = lab_problems(run, "pool-problems", "test", config.test_problems)
    policy = load_policy("lab", POLICY)

    asked = SampleConfig(n=config.solutions, seed=config.seed, splitter="line")
    sample(run, "solutions", asked, policy, problems, run.path("problems.jsonl"), quiet=quiet)
    _label(run, config, policy, problems, quiet)
    for seed in range(config.seeds):
        for kind in KINDS:
            _train(run, config, kind, seed, quiet)
    asked = SampleConfig(n=config.candidates, seed=config.seed, splitter="line")
    sample(run, "pool", asked, policy, tests, run.path("pool-problems.jsonl"), quiet=quiet)
    for seed in range(config.seeds):
        for kind in KINDS:
            _score(run, kind, seed, quiet)
    return _report(run, config, tests)


def _label(run: runs.Run, config: LoopConfig, policy: LocalPolicy, problems: list[Problem], quiet: bool) -> None:
    asked = LabelConfig(k=config.rollouts, search="bisection", seed=config.seed)
    out = run.path("labels.jsonl")
    source = run.path("solutions.jsonl")
    run.stage(
        "label",
        asked,
        lambda: label_stage(asked, policy, problems, records.read_solutions(source), exact_verifier, out, quiet=quiet),
        inputs=[source],
        outputs=[out],
        scratch=[ledger_path(out)],
    )


def _folder(run: runs.Run, kind: Kind, seed: int) -> Path:
    """`model` is the first PRM: what `gradatim.load(run)` finds."""
    return run.path("model" if (kind, seed) == ("prm", 0) else f"model-{kind}-{seed}")


def training(config: LoopConfig, kind: Kind, seed: int) -> TrainConfig:
    """How the loop trains: for both kinds the same backbone, solutions, epochs and learning rate."""
    return TrainConfig(
        kind=kind,
        backbone="lab",
        reduction="min" if kind == "prm" else "outcome",
        held_out=0.0,
        seed=seed,
        targets=TargetConfig(target="hard", rule="relative"),
        fit=FitConfig(epochs=config.epochs, lr=config.lr, batch_tokens=1024),
    )


def _train(run: runs.Run, config: LoopConfig, kind: Kind, seed: int, quiet: bool) -> None:
    folder = _folder(run, kind, seed)
    asked = training(config, kind, seed)
    solutions_file, labels_file = run.path("solutions.jsonl"), run.path("labels.jsonl")
    used = [solutions_file, labels_file] if kind == "prm" else [solutions_file]

    def work() -> dict[str, Any]:
        solutions = records.read_solutions(solutions_file)
        if kind == "orm":
            materials = from_solutions(solutions, asked.targets)
        else:
            labels = {row.solution_id: row for row in records.read_labels(labels_file)}
            materials = from_labelled([(s, labels[s.id]) for s in solutions if s.id in labels], asked.targets)
        data = {path.name: records.digest(path) for path in used}
        # The folder is no setting of the stage: it may be moved.
        return train(replace(asked, out=str(folder)), materials, data=data, quiet=quiet)[1]

    run.stage(f"train-{kind}-{seed}", asked, work, inputs=used, outputs=[folder])


def _score(run: runs.Run, kind: Kind, seed: int, quiet: bool) -> None:
    model, pool, out = _folder(run, kind, seed), run.path("pool.jsonl"), run.path(f"scores-{kind}-{seed}.jsonl")

    def work() -> dict[str, Any]:
        solutions = records.read_solutions(pool)
        scorer = load(model, device="cpu")
        with progress(f"score {kind} {seed}", len(solutions), "solutions", quiet=quiet) as shown:
            scores = scorer.score([solution.prefix for solution in solutions], shown=shown)
        records.write_scores(out, [(s.id, score) for s, score in zip(solutions, scores, strict=True)])
        return runs.plain({"solutions": len(solutions), "stats": scorer.stats})  # type: ignore[no-any-return]

    run.stage(f"score-{kind}-{seed}", {"kind": kind, "seed": seed}, work, inputs=[model, pool], outputs=[out])


def _report(run: runs.Run, config: LoopConfig, tests: list[Problem]) -> dict[str, Any]:
    pool = Pool.of(tests, records.read_solutions(run.path("pool.jsonl")))
    rankings = [
        Ranking.of(kind, seed, pool, records.read_scores(run.path(f"scores-{kind}-{seed}.jsonl")))
        for seed in range(config.seeds)
        for kind in KINDS
    ]
    manifest = run.manifest()
    report, headline, choices = loop_report(pool, rankings, runs.plain(config), manifest)
    records.write_rows(run.path("choices.jsonl"), choices)
    page = write_report(report, run.folder)
    return {"report": str(page), "headline": headline, "seconds": run.seconds()}
