"""What a public format is to us: how a checkpoint is recognised, and how it becomes something the engine runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from gradatim import backbones
from gradatim.errors import CheckpointError
from gradatim.models.model import Readable


@dataclass(frozen=True)
class Facts:
    """What a folder holds, read without loading a weight: configuration, names and shapes of tensors, tokenizer."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder's name, or the hub's name of what was downloaded into its cache: what scores are signed with."""
        folder = self.folder.resolve()
        if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
            return folder.parent.parent.name.removeprefix("models--").replace("--", "/")
        return folder.name

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """`config.json`."""
        path = self.folder / "config.json"
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise CheckpointError(f"{path}: can't be read ({error})") from None
        if not isinstance(found, dict):
            raise CheckpointError(f"{path}: found {type(found).__name__}, expected an object")
        return found

    @property
    def architecture(self) -> str:
        """The first of the configuration's `architectures`, or ""."""
        names = self.config.get("architectures") or [""]
        return str(names[0])

    @cached_property
    def files(self) -> Mapping[str, str]:
        """Name of each tensor -> the safetensors file (in the folder) that holds it."""
        paths = sorted(self.folder.glob("*.safetensors"))
        if not paths:
            raise CheckpointError(
                f"{self.folder}: no .safetensors file in it; weights in other forms (.bin, .pt) can run code when they are "
                "read and are refused: convert them with transformers' save_pretrained"
            )
        found: dict[str, str] = {}
        for path in paths:
            with _opened(path) as file:
                for name in file.keys():  # noqa: SIM118 (no mapping)
                    if name in found:
                        raise CheckpointError(f"{path}: {name} is in {found[name]} too; expected each tensor once")
                    found[name] = path.name
        return found

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name of each tensor -> its shape."""
        found: dict[str, tuple[int, ...]] = {}
        for file in dict.fromkeys(self.files.values()):
            with _opened(self.folder / file) as opened:
                found |= {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118 (no mapping)
        return found

    @cached_property
    def tokenizer(self) -> Any:
        """The folder's own tokenizer, as it was saved."""
        return backbones.load_tokenizer(str(self.folder))

    def tensor(self, name: str) -> Any:
        """One tensor, as it is stored."""
        with _opened(self.folder / self.files[name]) as file:
            return file.get_tensor(name)


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: no whole safetensors file ({error}); download it again") from None


@dataclass(frozen=True, slots=True)
class Match:
    """How well a checkpoint fits a format."""

    fits: bool
    """Everything that the format needs is there, and nothing that it does not know."""
    found: tuple[str, ...] = ()
    """What speaks for it: empty if nothing does."""
    missing: tuple[str, ...] = ()
    """What speaks against it, as "found ..., expected ..."."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a caller may decide when a foreign checkpoint is loaded; every format takes what it names and no more."""

    dtype: str = "float32"
    device: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the format, such as `separator` for "trl" or `reference` for "implicit"."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One public format; each has a module whose docstring says how it is rendered and read, and where that is from."""

    name: str
    """What `format=` takes, and what scores are signed with beside the folder's name."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Name of each option -> one line on it."""
    match: Callable[[Facts], Match]
    """Recognise a checkpoint by its configuration, weights and tokenizer, never by its name."""
    load: Callable[[Facts, Asked], Readable]
    """Make it scorable; CheckpointError, with what was found and expected, if it does not fit."""
