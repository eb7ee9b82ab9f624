"""Losses told to a tracker while a training goes on, by accelerate's adapters: offline, unless the user's settings differ."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gradatim import runs
from gradatim.errors import BackendError
from gradatim.train.config import TrainConfig
from gradatim.train.loop import Track, untracked

LOGS = "logs"
"""Folder, inside the model's, of what a tracker keeps on this machine."""


@contextmanager
def tracked(config: TrainConfig, out: Path | None, key: str = "") -> Iterator[Track]:
    """What tells the tracker that is asked for; nobody, without one. BackendError if its package is missing.

    A training that goes on after a stop (of the same `key`) goes on in the same logs. Of several processes the first one
    tells.
    """
    if not config.tracker:
        yield untracked
        return
    if find_spec(config.tracker) is None:
        raise BackendError(
            f"tracker={config.tracker} needs the package {config.tracker}; run: pip install {config.tracker}"
        )
    started: list[Any] = []

    def track(step: int, values: Mapping[str, float]) -> None:
        if not started:
            started.append(_started(config, out, key, step))
        started[0].log(dict(values), step=step)

    try:
        yield track
    finally:
        # Trackers greet and take leave on standard output, which is for what was asked for.
        with redirect_stdout(sys.stderr):
            for tracker in started:
                tracker.finish()


def _started(config: TrainConfig, out: Path | None, key: str, step: int) -> Any:
    """The tracker; what TensorBoard has of this step and later ones, from before a stop, is forgotten."""
    from accelerate import PartialState
    from accelerate.tracking import TensorBoardTracker, TrackioTracker, WandBTracker

    PartialState(cpu=config.device == "cpu")
    logs, settings = (out or Path()) / LOGS, runs.plain(config)
    name = "-".join(filter(None, (out.name if out else "", key[:8])))
    match config.tracker:
        case "tensorboard":
            tracker = TensorBoardTracker("", logs, purge_step=step)
        case "trackio":
            tracker = TrackioTracker("gradatim", config=settings, **({"name": name, "resume": "allow"} if name else {}))
        case _:
            logs.mkdir(parents=True, exist_ok=True)
            mode = {} if "WANDB_MODE" in os.environ else {"mode": "offline"}
            same = {"name": name, "id": name, "resume": "allow"} if name else {}
            tracker = WandBTracker("gradatim", config=settings, dir=str(logs), **mode, **same)
    with redirect_stdout(sys.stderr):
        tracker.start()
    return tracker
