"""A reward model by its name on the Hugging Face hub: its weights, configuration and tokenizer, and nothing that runs."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import snapshot_download

from gradatim import backbones
from gradatim.errors import BackendError

FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt")
"""What is downloaded: no Python files, no pickles."""


def is_name(source: str) -> bool:
    """Whether it looks like owner/name."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", source) is not None


def fetch(name: str) -> Path:
    """The folder of a model in the hub's cache, downloaded if need be; BackendError if that can't be done."""
    try:
        with backbones.quietly():
            return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BackendError(
            f"{name}: no folder of this name here, and the hub does not give it ({reason}); "
            "check the name and the connection, or download it and give the folder"
        ) from error
