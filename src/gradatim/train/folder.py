"""The folder of a trained model: what may lie in it before, and what says that the training of it has ended."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from gradatim.errors import ConfigError
from gradatim.models import checkpoint

STATE_FOLDER = ".training"
"""Folder, inside the model's, of what a training needs to go on after a stop; removed when it has ended."""

REPORT = "training.json"
"""File beside the weights that says how the training went."""

_MODEL = ("config.json", "*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")
"""What others' models are made of."""


def claim(out: Path) -> None:
    """Make the folder before anything is computed for it. ConfigError if that can't be, or if it holds a model that no
    training of ours wrote: a save would replace its files."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out={str(out)!r} can't be a folder ({error.strerror}); choose another") from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise ConfigError(f"out={str(out)!r} can't be written to; choose another folder, or change its permissions")
    own = (checkpoint.CARD, checkpoint.UNFINISHED, REPORT, STATE_FOLDER)
    foreign = sorted(path.name for pattern in _MODEL for path in out.glob(pattern))
    if foreign and not any((out / name).exists() for name in own):
        raise ConfigError(
            f"{out} holds a model that was not trained here ({', '.join(foreign)}), which would be lost; "
            "choose another folder"
        )


def ended(out: Path, key: str) -> dict[str, Any] | None:
    """The report of this same training if the folder holds its model; None if it has not ended.

    ConfigError if the folder holds the model of another training.
    """
    if not (out / REPORT).exists():
        if (out / STATE_FOLDER).exists() or not (out / checkpoint.CARD).exists():
            return None  # stopped on the way, at the latest between its last two files; the state knows whose it is
        raise ConfigError(
            f"{out} holds a model, and not the report of its training; choose another folder, or remove it"
        )
    try:
        found = json.loads((out / REPORT).read_text("utf-8"))
    except ValueError:
        found = {}
    if not isinstance(found, dict) or found.get("key") != key:
        raise ConfigError(
            f"{out} holds a model that was trained otherwise (other data, settings or backbone); "
            "choose another folder, or remove it"
        )
    report: dict[str, Any] = found["report"]
    return report
