"""The flags with which a command opens a reward model of a public format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradatim.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How a reward model that Gradatim did not train is read."""

    format: str | None = None
    """The model's format (qwen-prm, math-shepherd, trl, ...), where the checkpoint does not say which it is."""
    option: tuple[str, ...] = ()
    """NAME=VALUE, an option of the format, as its documentation lists them."""

    def __post_init__(self) -> None:
        for one in self.option:
            if "=" not in one:
                raise ConfigError(f"--option {one!r}; expected NAME=VALUE")

    def asked(self) -> Mapping[str, Any]:
        """As `gradatim.load` takes it."""
        return {"format": self.format, **dict(one.split("=", 1) for one in self.option)}
