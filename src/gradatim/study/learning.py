"""Learning curves: what objectives and labels are worth, on the same solutions, tokens and backbone.

Every contender learns from the same solutions of the lab's policy, in as many passes. A count of solutions takes the first
problems in an order that the training's seed decides, with all their solutions, so that a smaller count is part of a larger
one and all contenders of a seed see the same. Models are measured on problems of a form that no training problem has, and on
longer ones that students wrote. The threshold for first errors is chosen on development problems.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random
from shutil import rmtree
from typing import Any

from gradatim import runs
from gradatim.core import Labels, Solution, seed_for
from gradatim.judges.scripted import ScriptedJudge
from gradatim.labels.rules import LabelConfig
from gradatim.stages import POLICY
from gradatim.study import pages
from gradatim.study.contenders import Contender, LabelKind, consensus, materials, picked, targets
from gradatim.study.learning_report import report
from gradatim.study.material import Part, labelled, sampled, written
from gradatim.study.measuring import Grounds, measured
from gradatim.study.settings import LearningConfig
from gradatim.train.config import FitConfig, TrainConfig

JUDGE = ScriptedJudge(miss=0.2, false_alarm=0.1, off_by_one=0.1)
"""Who has to agree with the rollouts in labels of kind "consensus"."""


def learning_study(
    config: LearningConfig, out: str | Path, *, force: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Run the study in the folder `out`, or go on with it; returns the tables, and where report and figure are."""
    run = runs.Run(out, force=force)
    study = Study(run, config, quiet)
    contenders = picked(config.contenders)
    results = {
        (contender.name, count, seed): study.result(contender, count, seed)
        for seed in range(config.seeds)
        for count in config.counts
        for contender in contenders
    }
    return pages.leave(run, report(run, config, contenders, study.grounds, results))


@dataclass(frozen=True)
class Study:
    """The study's folder, with what all trainings and measurements share."""

    run: runs.Run
    config: LearningConfig
    quiet: bool

    @cached_property
    def train(self) -> Part:
        """The solutions to learn from: those of the largest count."""
        return self._sampled("train", "train", self.config.counts[-1] // self.config.solutions, self.config.solutions)

    @cached_property
    def grounds(self) -> Grounds:
        """What models are measured on."""
        config = self.config
        return Grounds(
            pool=self._sampled("pool", "test", config.test_problems, config.candidates),
            development=self._sampled("development", "shape", config.other_problems, 8),
            longer=written(self.run, "longer", "long", config.other_problems, 8, seed=config.seed),
        )

    @cached_property
    def labels(self) -> Mapping[LabelKind, list[Labels]]:
        """What is not known for nothing of the solutions to learn from."""
        config = self.config
        rules = {
            "rollouts": LabelConfig(k=config.rollouts, seed=config.seed),
            "sequential": LabelConfig(stop="sprt", search="bisection", seed=config.seed),
        }
        found = labelled(self.run, "train", rules, self._policy, self.train, quiet=self.quiet)
        rollouts = found["rollouts"]
        both = consensus(rollouts, self.train.solutions, replace(JUDGE, seed=config.seed))
        return {"rollouts": rollouts, "sequential": found["sequential"], "consensus": both}

    def result(self, contender: Contender, count: int, seed: int) -> dict[str, Any]:
        """Train one contender and measure it, once: stage `CONTENDER-COUNT-SEED`; its model is not kept."""
        name = f"{contender.slug}-{count}-{seed}"
        out, folder = self.run.path(f"results/{name}.json"), self.run.path(f"models/{name}")
        asked = self._training(contender, count, seed)
        grounds, solutions = self.grounds, self._chosen(count, seed)
        labels, read = self._labels_for(contender)

        def work() -> dict[str, Any]:
            from gradatim.score.engine import load
            from gradatim.train.stage import train

            made = materials(asked, contender, solutions, labels)
            told = train(replace(asked, out=str(folder)), made, quiet=self.quiet)[1]
            found = measured(load(folder, device=self.config.device), contender, grounds, quiet=self.quiet)
            out.parent.mkdir(exist_ok=True)
            runs.atomic_write(out, json.dumps(runs.plain({**found, "tokens": told["tokens"]})) + "\n")
            rmtree(folder)
            accuracy = sum(found["best"]) / len(found["best"])
            return {"accuracy": accuracy, "rows": told["rows"], "train_seconds": told["seconds"], "path": str(out)}

        # Not the device: "auto" and its name mean the same training, as in `gradatim train`.
        self.run.stage(
            name,
            {"contender": contender, "train": replace(asked, device=""), "solutions": count, "seed": seed},
            work,
            inputs=[self.train.path, *read, *(part.path for part in grounds.parts)],
            outputs=[out],
            scratch=[folder],
        )
        return dict(json.loads(out.read_text("utf-8")))

    def _labels_for(self, contender: Contender) -> tuple[Mapping[LabelKind, list[Labels]], list[Path]]:
        """The labels that it needs, by kind, and the files that they are read from; none for what is known for nothing."""
        if contender.labels in ("exact", "verdicts"):
            return {}, []
        return self.labels, [self.run.path(f"labels-train-{rule}.jsonl") for rule in ("rollouts", "sequential")]

    def _training(self, contender: Contender, count: int, seed: int) -> TrainConfig:
        config = self.config
        return TrainConfig(
            kind=contender.kind,
            objective=contender.objective,
            weighting=contender.weighting,
            reduction=contender.reduction,
            backbone="lab",
            held_out=0.0,
            device=config.device,
            seed=seed,
            targets=targets(contender),
            fit=FitConfig(epochs=config.passes(count), lr=config.lr, batch_tokens=1024),
        )

    def _chosen(self, count: int, seed: int) -> list[Solution]:
        """The solutions of the first problems in the seed's order."""
        names = [problem.id for problem in self.train.problems]
        Random(seed_for(self.config.seed, "order", seed)).shuffle(names)
        inside = set(names[: count // self.config.solutions])
        return [one for one in self.train.solutions if one.prefix.problem_id in inside]

    def _sampled(self, name: str, split: str, problems: int, n: int) -> Part:
        return sampled(self.run, name, split, problems, n, self._policy, seed=self.config.seed, quiet=self.quiet)

    @cached_property
    def _policy(self) -> Any:
        from gradatim.solutions.local.policy import load_policy

        return load_policy("lab", replace(POLICY, device=self.config.device))
