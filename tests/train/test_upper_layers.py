from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_tasks
import torch

from gradatim.errors import ConfigError
from gradatim.models.layers import cut_below
from gradatim.models.model import RewardModel
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.loop import fit
from gradatim.train.materials import from_labelled
from gradatim.train.prepare import prepare
from gradatim.train.stage import train
from gradatim.train.targets import TargetConfig

FIT = FitConfig(epochs=2, lr=3e-3, batch_tokens=120, block_tokens=100, patience=0)
STEPS = TargetConfig(mask_after_error=False)


@pytest.mark.parametrize("more", [{}, {"checkpointing": True}, {"bfloat16": True}])
def test_last_layers_from_states_learn_what_they_learn_in_full_passes(backbone: str, more: dict[str, bool]) -> None:
    """Losses and weights equal those of a loop that runs the frozen lower layers anew each time, to float32 rounding."""
    config = TrainConfig(
        backbone=backbone, held_out=0.2, targets=STEPS, device="cpu", train_layers=1, fit=replace(FIT, **more)
    )
    materials = from_labelled(tiny_tasks.labelled(), STEPS)
    live = RewardModel.create(backbone, kind="prm", device="cpu")
    before = {name: value.clone() for name, value in live.module.state_dict().items()}
    prepared = prepare(config, materials, live)
    cut_below(live.module, 1)
    want = fit(live.module, prepared.lessons, prepared.held_out, config.fit, lr=config.lr, seed=0, quiet=True)

    model, report = train(config, materials, quiet=True)

    for row, expected in zip(report["history"], want.history, strict=True):
        assert row == pytest.approx(expected, rel=1e-2 if "bfloat16" in more else 1e-5)
    moved = set()
    for name, value in live.module.state_dict().items():
        torch.testing.assert_close(
            model.module.state_dict()[name], value, rtol=1e-3, atol=1e-2 if "bfloat16" in more else 1e-5
        )
        moved |= set() if torch.equal(value, before[name]) else {name}
    assert moved
    assert all(name.startswith(("model.layers.1.", "model.norm.", "score.")) for name in moved)


def test_states_are_kept_once_a_token_for_later_trainings(backbone: str, tmp_path: Path) -> None:
    """The file holds the states of each tree's tokens and no more; a training with other settings adds nothing."""
    path = tmp_path / "states.sqlite"
    config = TrainConfig(
        backbone=backbone, held_out=0.2, targets=STEPS, device="cpu", train_layers=1, features=str(path), fit=FIT
    )
    materials = from_labelled(tiny_tasks.labelled(), STEPS)
    prepared = prepare(config, materials, RewardModel.create(backbone, kind="prm", device="cpu"))
    tokens = sum(lesson.tokens for lesson in [*prepared.lessons, *prepared.held_out])

    train(config, materials, quiet=True)
    with closing(sqlite3.connect(path)) as file:
        [(size,)] = file.execute("SELECT sum(length(content)) FROM features")
    written = path.read_bytes()
    train(replace(config, fit=replace(FIT, lr=1e-2), weighting="trajectory"), materials, quiet=True)

    hidden = 32
    assert size == 4 * hidden * tokens
    assert tokens < prepared.separate_tokens
    assert path.read_bytes() == written


@pytest.mark.parametrize("other", [{"freeze": True}, {"lora_rank": 2}])
def test_layers_are_chosen_in_one_way(other: dict[str, object]) -> None:
    """Other choices of what is trained exclude it."""
    with pytest.raises(ConfigError, match="train_layers"):
        TrainConfig(train_layers=1, **other)  # type: ignore[arg-type]
