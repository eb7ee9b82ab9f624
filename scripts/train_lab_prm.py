"""Train the small PRM that ships with the package: the lab's policy as backbone, the exact checker's labels.

    python scripts/train_lab_prm.py --out src/gradatim/problems/lab/data/prm

Problems come from the "train" split; the test split is not touched. The model card keeps the command and what it reached on the
shape split. About 15 minutes on 2 CPU cores.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from gradatim.core import Prefix, Solution
from gradatim.evaluate.lab import against_truth, judged
from gradatim.models import checkpoint
from gradatim.problems import lab
from gradatim.score.engine import ModelScorer
from gradatim.solutions.local.policy import load_policy
from gradatim.solutions.settings import PolicySettings
from gradatim.steps import by_line
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.materials import from_labelled
from gradatim.train.stage import train
from gradatim.train.targets import TargetConfig


def sample(split: str, problems: int, draws: int) -> list[Solution]:
    """Solutions of the first problems of a split by the lab's policy."""
    policy = load_policy("lab", PolicySettings(max_new_tokens=256, batch_rows=512, device="cpu"))
    asked = lab.load(split, problems)
    rows = policy.write([p.start() for p in asked], draws=range(draws), seed=7)
    return [
        Solution(prefix=Prefix(p.id, p.prompt, by_line(c.text)), author=policy.name, draw=draw)
        for p, row in zip(asked, rows, strict=True)
        for draw, c in enumerate(row)
        if c.text
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=3000)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=2e-4)
    args = parser.parse_args()
    solutions = sample("train", args.problems, args.draws)
    print(f"{len(solutions)} solutions", flush=True)
    config = TrainConfig(
        kind="prm",
        backbone="lab",
        name="lab-prm",
        reduction="min",
        held_out=0.05,
        targets=TargetConfig(target="hard"),
        fit=FitConfig(epochs=args.epochs, lr=args.lr, batch_tokens=1024),
    )
    model, report = train(config, from_labelled([(s, lab.exact_labels(s)) for s in solutions], config.targets))
    held = sample("shape", 150, 8)
    scores = ModelScorer(model).score([s.prefix for s in held])
    quality = against_truth(
        [
            judged(s.prefix.problem_id, score, [t.valid for t in lab.check(s.prefix)])
            for s, score in zip(held, scores, strict=True)
        ]
    )
    measured = {
        "first-error F1 (shape split)": str(quality.first_error.f1),
        "step AUROC (shape split)": str(quality.auroc),
        "calibration error (shape split)": str(quality.calibration_error),
        "command": shlex.join(["python", *sys.argv]),
    }
    print(report)
    print("\n".join(f"{name}: {value}" for name, value in measured.items()))
    recipe = replace(model.recipe, card={**model.recipe.card, **measured})
    checkpoint.save(replace(model, recipe=recipe), args.out, dtype="bfloat16")


if __name__ == "__main__":
    main()
