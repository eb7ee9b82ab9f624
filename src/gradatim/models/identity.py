"""Which model is it? A digest of what decides its scores, for two models may bear one name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from gradatim.errors import CheckpointError
from gradatim.models.implicit import ImplicitModel
from gradatim.models.model import Readable

SAMPLE = 256
"""Bytes of each tensor that are read, from its middle: training changes all of a tensor, and files may be large."""


def identity(folder: Path, model: Readable, options: Mapping[str, Any]) -> str:
    """16 hex digits of the model that was opened from a folder: a sample of each tensor, and how tokens are made and read.

    `options` are those it was opened with; a reference enters by its weights, not by where it lies, and the file that
    keeps what it said not at all. The number format and device it runs in do not enter, nor do its reduction and
    threshold. CheckpointError for weights that can't be read.
    """
    said = sorted((name, str(value)) for name, value in options.items() if name not in ("cache", "reference"))
    if isinstance(model, ImplicitModel):
        said.append(("reference", model.reference.identity))
    state = blake2b(json.dumps([model.encoder.digest, model.activation, said]).encode(), digest_size=8)
    for path in sorted(folder.glob("*.safetensors")):
        for part in _samples(path):
            state.update(part)
    return state.hexdigest()


def of_weights(folder: Path, config: Mapping[str, Any]) -> str:
    """32 hex digits of a language model that is not loaded: its configuration, and a sample of each tensor.

    CheckpointError for weights that can't be read.
    """
    state = blake2b(json.dumps(config, sort_keys=True).encode(), digest_size=16)
    for path in sorted(folder.glob("*.safetensors")):
        for part in _samples(path):
            state.update(part)
    return state.hexdigest()


def _samples(path: Path) -> list[bytes]:
    """Of each tensor in a safetensors file its name, type and shape, and bytes from its middle, by name."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            found = []
            for name, told in sorted(header.items()):
                start, end = told["data_offsets"]
                file.seek(8 + length + start + max(0, (end - start - SAMPLE) // 2))
                found += [
                    json.dumps([name, told["dtype"], told["shape"]]).encode(),
                    file.read(min(SAMPLE, end - start)),
                ]
            return found
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{path}: no whole safetensors file ({error}); download it again") from None
