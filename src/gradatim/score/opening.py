"""The flags with which a command opens a reward model, here or on a server, and the one place where they are obeyed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gradatim.core import Reduction
from gradatim.errors import ConfigError
from gradatim.score.stage import CountingScorer

_RESERVED = ("source", "format", "reduction", "device", "dtype")
"""What `gradatim.load` takes beside a format's options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Where a reward model runs, and how one that Gradatim did not train is read."""

    format: str | None = None
    """The model's format (qwen-prm, math-shepherd, trl, ...), where the checkpoint does not say which it is."""
    option: tuple[str, ...] = ()
    """NAME=VALUE, an option of the format, as its documentation lists them."""
    server: str | None = None
    """URL of a vLLM server that runs the model, a folder with a card that `gradatim convert --to vllm` wrote (of a model in
    our own form or TRL's)."""
    calibration: str | None = None
    """File of `gradatim calibrate --out`: its map makes probabilities of the scores, and each score says so."""

    def __post_init__(self) -> None:
        for one in self.option:
            if not one.partition("=")[0] or "=" not in one:
                raise ConfigError(f"--option {one!r}; expected NAME=VALUE")
        names = [one.partition("=")[0] for one in self.option]
        for name in names:
            if name in _RESERVED:
                raise ConfigError(
                    f"--option {name}=...: no option of a format; expected a flag --{name}, if there is one"
                )
            if names.count(name) > 1:
                raise ConfigError(f"--option {name}=... is given {names.count(name)} times; expected each option once")
        if self.server is not None and (self.format is not None or self.option):
            raise ConfigError("--format and --option are for models that run here, not for those of a --server")

    def asked(self) -> Mapping[str, Any]:
        """As `gradatim.load` takes it; ConfigError where a server was named, which can't be loaded."""
        if self.server is not None:
            raise ConfigError("--server can only score; this command needs the model itself")
        if self.calibration is not None:
            raise ConfigError("--calibration is about scores; this command needs the model itself")
        return {"format": self.format, **dict(one.split("=", 1) for one in self.option)}


def open_scorer(
    model: str, opening: Opening, *, reduction: Reduction | None = None, device: str = "auto", dtype: str = "float32"
) -> CountingScorer:
    """The reward model that the flags name; `device` and `dtype` are for one that runs here."""
    if opening.calibration is not None:
        from gradatim.score.calibrate import CalibratedScorer

        plain = replace(opening, calibration=None)
        scorer = open_scorer(model, plain, reduction=reduction, device=device, dtype=dtype)
        return CalibratedScorer(scorer, opening.calibration)
    if opening.server is not None:
        from gradatim.score.vllm import connect

        return connect(opening.server, model, reduction=reduction)
    from gradatim.score.engine import load

    return load(model, reduction=reduction, device=device, dtype=dtype, **opening.asked())
