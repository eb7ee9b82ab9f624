"""A reward model from wherever it is: our own checkpoint, a public one in a folder, or one on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradatim.errors import CheckpointError, ConfigError
from gradatim.models import checkpoint, formats, hub
from gradatim.models.model import Readable

OWN = "gradatim"
"""The format of our own checkpoints."""


def open_model(
    source: str | Path,
    *,
    format: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    options: Mapping[str, Any] | None = None,
) -> Readable:
    """What `gradatim.load` scores with; see there."""
    if format == OWN or (format is None and checkpoint.find(source) is not None):
        if options:
            raise ConfigError(f"our own checkpoints take no options; found {', '.join(sorted(options))}")
        return checkpoint.load(source, device=device, dtype=dtype)
    return formats.load(folder_of(source, format=format), format=format, device=device, dtype=dtype, options=options)


def folder_of(source: str | Path, *, format: str | None = None) -> Path:
    """The folder that `open_model` loads from."""
    if format not in (None, OWN):
        formats.named(str(format))  # before anything is fetched
        return _folder(source)
    return checkpoint.find(source) or _folder(source)


def _folder(source: str | Path) -> Path:
    """The folder of a checkpoint that is not ours."""
    folder = Path(source).expanduser()
    if not folder.exists() and hub.is_name(str(source)):
        return hub.fetch(str(source))
    expected = "expected a reward model: a folder, a run with one in it, a name on the hub (owner/name), or 'lab'"
    if not folder.is_dir():
        raise CheckpointError(f"{source}: no such folder; {expected}")
    if (folder / checkpoint.UNFINISHED).exists():
        raise CheckpointError(f"{folder}: a save that did not end; train or save the model again")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: neither {checkpoint.CARD} nor config.json in it; {expected}")
    return folder
