"""Implicit PRMs that this project trained: a stock causal language model, with what it is compared with in `config.json`.

Written as our own reward models are (`gradatim.models.encoding.StepEncoder`), with any backbone; a step's sum takes all tokens
of the steps up to and with it, the separators too. Observations are context.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM

from gradatim import backbones
from gradatim.errors import CheckpointError, ConfigError
from gradatim.models import checkpoint
from gradatim.models.encoding import EncoderSettings, StepEncoder
from gradatim.models.formats.contract import Asked, Facts
from gradatim.models.formats.token_pair import CONVERTED
from gradatim.models.formats.weights import load_body
from gradatim.models.implicit import ImplicitModel, StepResponses
from gradatim.models.logprobs import check_plain_head
from gradatim.models.model import Recipe
from gradatim.models.reference import Reference

OWN = "gradatim_implicit"
"""The entry of `config.json`."""


def reference_to(
    backbone: str, fingerprint: str, *, dtype: str = "float32", device: str = "auto", cache: Path | None = None
) -> Reference:
    """A backbone by name as the reference, loaded when it is first needed; CheckpointError then if it is another one now."""

    def load() -> Any:
        model = backbones.load_model(backbone, device=device)
        found = backbones.fingerprint(model)
        if found != fingerprint:
            raise CheckpointError(
                f"{backbone}: found weights {found}, expected {fingerprint}, from which the model was trained; name that "
                "one with reference="
            )
        return model.to(backbones.DTYPES[dtype])

    return Reference(backbone, load, identity=fingerprint, dtype=dtype, cache=cache)


def save(model: ImplicitModel, folder: Path) -> Path:
    """Write a model of our own to a folder, which may hold an older save of it; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / checkpoint.UNFINISHED).touch()
    for old in [folder / checkpoint.CARD, *folder.glob("*.safetensors*")]:
        old.unlink(missing_ok=True)
    own, module = model.own_encoder, model.module
    told = {
        "name": model.name,
        "reference": model.reference.name,
        "fingerprint": model.fingerprint,
        "beta": model.beta,
        "reduction": model.reduction,
        "encoder": {**asdict(own.settings), "max_length": own.max_length, "digest": own.digest},
        "recipe": asdict(model.recipe),
    }
    config: Any = module.config
    setattr(config, OWN, json.loads(json.dumps(told)))
    setattr(config, CONVERTED, "implicit")
    with backbones.quietly(), checkpoint.writing(folder):
        module.save_pretrained(folder)  # type: ignore[operator]
        own.tokenizer.save_pretrained(folder)
    (folder / checkpoint.UNFINISHED).unlink()
    return folder


def load_own(facts: Facts, asked: Asked) -> ImplicitModel:
    """The model in a folder that `save` wrote. Its `config.json` knows beta, the reference and how steps are written."""
    told: Mapping[str, Any] = facts.config[OWN]
    if "reading" in asked.options or "beta" in asked.options:
        raise ConfigError(f"{facts.folder}: trained here, with beta and reading in its config.json; leave them out")
    settings = {name: value for name, value in told["encoder"].items() if name not in ("digest", "max_length")}
    encoder = StepEncoder(facts.tokenizer, EncoderSettings(**settings), max_length=told["encoder"]["max_length"])
    if encoder.digest != told["encoder"]["digest"]:
        raise CheckpointError(
            f"{facts.folder}: trained on steps@{told['encoder']['digest']}, but its tokenizer now encodes "
            f"steps@{encoder.digest}; put back the tokenizer files as they were saved"
        )
    module = load_body(facts, asked, auto=AutoModelForCausalLM)
    check_plain_head(module, str(facts.folder))
    cache = Path(asked.options["cache"]).expanduser() if "cache" in asked.options else None
    return ImplicitModel(
        module=module,
        reference=reference_to(
            str(asked.options.get("reference", told["reference"])),
            told["fingerprint"],
            dtype=asked.dtype,
            device=asked.device,
            cache=cache,
        ),
        encoder=StepResponses(encoder),
        name=told["name"],
        beta=told["beta"],
        reduction=told["reduction"],
        recipe=Recipe(**told["recipe"]),
        fingerprint=told["fingerprint"],
    )
