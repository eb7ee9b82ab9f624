"""Training on from a reward model that was trained here: it begins where the other ended, or it says why it can't."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_tasks
import torch

from gradatim import backbones
from gradatim.errors import ConfigError
from gradatim.labels.datasets import write_labelled
from gradatim.models import checkpoint
from gradatim.train import trained
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.explain import Hollow, explain_stage
from gradatim.train.stage import train_stage

FIT = FitConfig(epochs=4, lr=3e-3, batch_tokens=60, block_tokens=200)
STILL = FitConfig(epochs=1, lr=1e-20, batch_tokens=60, block_tokens=200)


@pytest.fixture(name="first", scope="module")
def _first(backbone: str, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    folder = tmp_path_factory.mktemp("first")
    write_labelled(folder / "rows.jsonl", tiny_tasks.labelled(problems=8, draws=2))
    config = TrainConfig(
        data=(str(folder / "rows.jsonl"),),
        out=str(folder / "model"),
        backbone=backbone,
        separator="\n\n",
        held_out=0,
        fit=FIT,
        device="cpu",
    )
    train_stage(config, quiet=True)
    return config


def test_it_begins_where_the_other_ended(first: TrainConfig, tmp_path: Path) -> None:
    """Without a step to speak of it has the other's weights, head and all; with steps it has moved away from them."""
    on = replace(first, backbone=first.out, out=str(tmp_path / "still"), fit=STILL, name="on")

    report = train_stage(on, quiet=True)
    train_stage(replace(on, out=str(tmp_path / "moved"), fit=FIT), quiet=True)

    before = checkpoint.load(first.out, device="cpu")
    still, moved = (checkpoint.load(tmp_path / name, device="cpu") for name in ("still", "moved"))
    assert report["notes"][0] == f"goes on from the reward model {first.out}, with its head"
    assert (still.name, still.recipe.backbone) == ("on", first.out)
    for name, weight in before.module.state_dict().items():
        assert torch.equal(still.module.state_dict()[name], weight)
    assert not torch.equal(moved.module.state_dict()["score.weight"], before.module.state_dict()["score.weight"])
    assert moved.encoder.digest == before.encoder.digest


def test_explain_says_it_too(first: TrainConfig, tmp_path: Path) -> None:
    """With the same counts as for the backbone, and without loading a weight."""
    on = replace(first, backbone=first.out, out=str(tmp_path / "on"))

    found = explain_stage(on)

    assert found["notes"][0] == f"goes on from the reward model {first.out}, with its head"
    assert found["tokens"] == explain_stage(first)["tokens"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kind": "orm"}, "kind='orm', and backbone=.* of kind 'prm'; give that one"),
        ({"objective": "implicit-ce"}, "a LlamaForTokenClassification scores texts and writes none"),
        ({"separator": "\n"}, r"separator='\\n', and .* at '\\n\\n'; give that one"),
    ],
)
def test_what_does_not_fit_is_refused(first: TrainConfig, asked: dict[str, str], said: str) -> None:
    """Nothing is trained on a body whose head would be left out in silence."""
    on = replace(first, backbone=first.out, **asked)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=said):
        trained.fresh(on, "cpu")
    with pytest.raises(ConfigError, match=said):
        Hollow.of(on)


def test_a_reward_model_is_no_policy_and_no_language_model(first: TrainConfig, tmp_path: Path) -> None:
    """It would write with a body that has forgotten how, and a stranger's head would be left out."""
    with pytest.raises(ConfigError, match="a LlamaForTokenClassification scores texts and writes none"):
        backbones.load_policy_backbone(first.out)
    (Path(first.out) / checkpoint.CARD).rename(tmp_path / "card")
    try:
        for stage in (train_stage, explain_stage):
            with pytest.raises(ConfigError, match="scores texts and writes none"):
                stage(replace(first, backbone=first.out, out=str(tmp_path / "on")))
    finally:
        (tmp_path / "card").rename(Path(first.out) / checkpoint.CARD)
