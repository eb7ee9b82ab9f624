from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tiny_tasks
from accelerate import PartialState

from gradatim.errors import BackendError
from gradatim.train import tracking
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.materials import from_labelled
from gradatim.train.stage import train
from gradatim.train.targets import TargetConfig
from gradatim.train.tracking import LOGS, tracked

STEPS = TargetConfig(mask_after_error=False)


def asked(backbone: str, out: Path) -> TrainConfig:
    fit = FitConfig(epochs=2, lr=3e-3, batch_tokens=200, block_tokens=200)
    return TrainConfig(backbone=backbone, out=str(out), held_out=0.2, targets=STEPS, fit=fit, device="cpu")


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard would show: name -> step -> value."""
    accumulator: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return {name: {event.step: event.value for event in found.Scalars(name)} for name in found.Tags()["scalars"]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_is_told_of_every_step_and_check(backbone: str, tmp_path: Path) -> None:
    """The loss of each step, and the held-out losses of the report, lie beside the weights; the training is the same."""
    pytest.importorskip("tensorboard")
    materials = from_labelled(tiny_tasks.labelled(), STEPS)

    _, plain = train(asked(backbone, tmp_path / "plain"), materials, quiet=True)
    _, report = train(replace(asked(backbone, tmp_path / "told"), tracker="tensorboard"), materials, quiet=True)

    shown = scalars(tmp_path / "told" / LOGS)
    assert report["history"] == plain["history"]
    assert list(shown["batch_loss"]) == list(range(1, report["steps"] + 1))
    assert list(shown["lr"].values())[-1] < max(shown["lr"].values())
    held_out = {int(row["step"]): row["held_out_loss"] for row in report["history"]}
    assert shown["held_out_loss"] == pytest.approx(held_out, rel=1e-6)
    PartialState._reset_state()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_was_told_before_a_stop_is_told_once(tmp_path: Path) -> None:
    """A training that goes on from an earlier step replaces what it had told of later ones."""
    pytest.importorskip("tensorboard")
    config = TrainConfig(tracker="tensorboard", device="cpu")
    for steps, value in ((range(1, 6), 0.0), (range(3, 8), 1.0)):
        with tracked(config, tmp_path) as track:
            for step in steps:
                track(step, {"loss": value})

    assert scalars(tmp_path / LOGS)["loss"] == {1: 0, 2: 0, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1}
    PartialState._reset_state()


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_the_second_start_goes_on_in_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Both starts of one training name one run that may be gone on with; another training in the folder names another."""
    given: list[dict[str, Any]] = []
    package = ModuleType(name)
    package.init = lambda **options: given.append(options) or package  # type: ignore[attr-defined]
    package.log = package.finish = lambda *_, **__: None  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, name, package)
    monkeypatch.setattr(tracking, "find_spec", lambda name: name)
    config = TrainConfig(tracker=name, device="cpu")  # type: ignore[arg-type]
    for key in ("0123456789", "0123456789", "9876543210"):
        with tracked(config, tmp_path / "prm", key) as track:
            track(1, {"loss": 1.0})

    assert [one["name"] for one in given] == ["prm-01234567", "prm-01234567", "prm-98765432"]
    assert {one["resume"] for one in given} == {"allow"}
    PartialState._reset_state()


def test_a_missing_tracker_is_told_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the package and how to get it."""
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)

    with (
        pytest.raises(BackendError, match="tracker=wandb needs the package wandb; run: pip install wandb"),
        tracked(TrainConfig(tracker="wandb"), None),
    ):
        pass


def test_wandb_stays_offline_unless_the_user_says_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without WANDB_MODE nothing leaves the machine; with it the user's word counts."""
    given: list[dict[str, Any]] = []
    wandb = ModuleType("wandb")
    wandb.init = lambda **options: given.append(options) or wandb  # type: ignore[attr-defined]
    wandb.log = wandb.finish = lambda *_, **__: None  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "wandb", wandb)
    monkeypatch.setattr(tracking, "find_spec", lambda name: name)
    config = TrainConfig(tracker="wandb", device="cpu")
    for mode in (None, "online"):
        if mode:
            monkeypatch.setenv("WANDB_MODE", mode)
        else:
            monkeypatch.delenv("WANDB_MODE", raising=False)
        with tracked(config, tmp_path) as track:
            track(1, {"loss": 1.0})

    assert given[0]["mode"] == "offline"
    assert "mode" not in given[1]
    assert given[0]["dir"] == str(tmp_path / LOGS)
    assert given[0]["config"]["tracker"] == "wandb"
    PartialState._reset_state()
