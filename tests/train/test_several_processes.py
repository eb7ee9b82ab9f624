from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_tasks
import torch
from forks import CAN_FORK, started, together
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from gradatim.errors import ConfigError
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.folder import STATE_FOLDER
from gradatim.train.lessons import Lesson
from gradatim.train.materials import from_labelled
from gradatim.train.stage import train
from gradatim.train.targets import Evidence, TargetConfig
from gradatim.train.workers import Workers, divided, workers_for
from gradatim.trees import chains

FIT = FitConfig(epochs=2, lr=3e-3, batch_tokens=100, block_tokens=60, patience=0)
STEPS = TargetConfig(mask_after_error=False)

pytestmark = CAN_FORK


def trained(config: TrainConfig) -> Callable[[], None]:
    def work() -> None:
        train(config, from_labelled(tiny_tasks.labelled(problems=6), STEPS), quiet=True)

    return work


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "training.json").read_text())["report"]
    return found


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"lora_rank": 2},
        {"freeze": True},
        {"train_layers": 1},
        {"fit": replace(FIT, batch_tokens=20)},
        {"ACCELERATE_USE_FSDP": "true"},
        {"ACCELERATE_USE_FSDP": "true", "lora_rank": 2},
    ],
)
def test_two_processes_train_what_one_does(backbone: str, tmp_path: Path, how: dict[str, Any]) -> None:
    """Losses and weights are equal to float32 rounding, also where a step has lessons for one process only."""
    more = {name: value for name, value in how.items() if name.isupper()}
    asked = {"fit": FIT, **{name: value for name, value in how.items() if name not in more}}
    config = TrainConfig(backbone=backbone, held_out=0.2, targets=STEPS, device="cpu", **asked)
    trained(replace(config, out=str(tmp_path / "one")))()

    together(2, trained(replace(config, out=str(tmp_path / "two"))), **more)

    one, two = report(tmp_path / "one"), report(tmp_path / "two")
    assert two["steps"] == one["steps"] > 3
    for row, want in zip(two["history"], one["history"], strict=True):
        assert row == pytest.approx(want, rel=1e-4)
    weights, want = (load_file(tmp_path / name / "model.safetensors") for name in ("two", "one"))
    assert weights.keys() == want.keys()
    for name, weight in want.items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-3, atol=1e-5)
    assert not (tmp_path / "two" / STATE_FOLDER).exists()


@pytest.mark.parametrize(
    ("count", "how"),
    [
        (2, {}),
        pytest.param(2, {"ACCELERATE_USE_FSDP": "true"}, marks=pytest.mark.slow),
        (1, {"lora_rank": 2}),
        (1, {"train_layers": 1}),
    ],
)
def test_a_killed_training_ends_as_if_it_had_never_stopped(
    backbone: str, tmp_path: Path, count: int, how: dict[str, Any]
) -> None:
    """SIGKILL for all in the middle, then all again: weights and history equal an uninterrupted run's to the last bit."""
    more = {name: value for name, value in how.items() if name.isupper()}
    # Enough steps for a kill before the last one; those with spread weights are slower.
    fit = replace(FIT, epochs=3 if more else 10, save_minutes=0)
    asked = {name: value for name, value in how.items() if name not in more}
    config = TrainConfig(backbone=backbone, held_out=0.2, targets=STEPS, device="cpu", fit=fit, **asked)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    state = killed / STATE_FOLDER / "state.pt"
    with started(count, trained(replace(config, out=str(killed))), **more):
        saves, limit = set[int](), time.monotonic() + 120
        while len(saves) < 2 and time.monotonic() < limit:
            saves |= {file.stat().st_mtime_ns for file in [state] if file.exists()}
            time.sleep(0.002)
    step = torch.load(state, weights_only=True)["position"]["step"]

    together(count, trained(replace(config, out=str(killed))), **more)
    together(count, trained(replace(config, out=str(whole))), **more)

    assert 0 < step < report(whole)["steps"]
    assert report(killed)["history"] == report(whole)["history"]
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@given(st.lists(st.integers(1, 30), min_size=1, max_size=25), st.integers(1, 5), st.integers(1, 40))
def test_every_lesson_is_learnt_from_once_by_equally_busy_processes(sizes: list[int], count: int, tokens: int) -> None:
    """Over all processes each lesson counts once; they take equally many passes and, but for one lesson, as many tokens."""
    lessons = [Lesson(tuple(chains([range(size)])), ((0,),), (Evidence(1, 0),)) for size in sizes]

    shares = [Workers(count, rank).passes(lessons, tokens) for rank in range(count)]

    learnt = [lesson for share in shares for part, counted in share for lesson in part if counted]
    assert sorted(map(id, learnt)) == sorted(map(id, lessons))
    assert {counted for share in shares for _, counted in share} <= {0.0, 1.0}
    assert len({len(share) for share in shares}) == 1
    loads = [sum(lesson.tokens for lesson in share) for share in divided(lessons, count)]
    assert max(loads) - min(loads) <= max(sizes)
    assert divided(lessons, 1) == [lessons]


def test_one_device_for_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process takes a device of its own; one process takes what it is told."""
    assert workers_for("cuda:1") == Workers(device="cuda:1")
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(ConfigError, match="one device for several processes"):
        workers_for("cuda:1")
