"""Each objective of steps, from labels to scores: right steps of new problems end above wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_tasks

from gradatim.models import checkpoint
from gradatim.score.engine import ModelScorer
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.goals import Objective
from gradatim.train.materials import from_labelled
from gradatim.train.stage import train
from gradatim.train.targets import TargetConfig

HARD = TargetConfig(target="hard", mask_after_error=False)


@pytest.mark.parametrize("objective", ["mse", "focal", "pqm", "sibling-ranking"])
def test_right_steps_end_above_wrong_ones(backbone: str, tmp_path: Path, objective: Objective) -> None:
    """The loss falls well below the best constant's, and every right word scores above every wrong one."""
    config = TrainConfig(
        backbone=backbone, objective=objective, targets=HARD, held_out=0.2, device="cpu", out=str(tmp_path / "m"),
        balance=() if objective in ("pqm", "sibling-ranking") else ("class",),
        fit=FitConfig(epochs=12, lr=5e-3, batch_tokens=120, block_tokens=200, patience=0),
    )  # fmt: skip

    model, report = train(config, from_labelled(tiny_tasks.labelled(draws=3), HARD), quiet=True)
    right, wrong = (
        [score.value for score in ModelScorer(model).score(tiny_tasks.one_step(words))]
        for words in (tiny_tasks.RIGHT, tiny_tasks.WRONG)
    )

    assert report["held_out_loss"] < 0.85 * report["constant_loss"]
    assert min(right) > max(wrong)
    labels = checkpoint.load(config.out, device="cpu").recipe.labels
    assert labels["objective"] == objective
    assert (labels["logit_shift"] != 0) == (objective == "mse")
