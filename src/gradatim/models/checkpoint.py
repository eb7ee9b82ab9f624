"""A reward model on disk: a folder that stock transformers loads, and `gradatim.json` with what it can't know.

`gradatim.json` is taken away first and written last: a folder without it is a save that did not end. While a save lasts
there is `gradatim.unfinished`, or what is left of one could be taken for a public model.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from gradatim import backbones, records, runs
from gradatim.core import REDUCTIONS
from gradatim.errors import CheckpointError, ConfigError
from gradatim.models.encoding import EncoderSettings, StepEncoder
from gradatim.models.model import Kind, Recipe, RewardModel

SCHEMA = 1
CARD = "gradatim.json"
UNFINISHED = "gradatim.unfinished"
_PACKAGED = {"lab": Path(__file__).parent.parent / "problems" / "lab" / "data" / "prm"}


def save(model: RewardModel, folder: str | Path, *, dtype: str | None = None) -> Path:
    """Write the model to a folder, which may hold an older save of it; returns the folder.

    `dtype` ("bfloat16", "float16") halves the file: weights are rounded on disk, and computed with as before.
    """
    number_format = None if dtype is None else _dtype(dtype)
    card, folder = _card(model), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / UNFINISHED).touch()
    (folder / CARD).unlink(missing_ok=True)
    for old in folder.glob("*.safetensors*"):
        old.unlink()
    module: Any = model.module
    weights = module.state_dict()
    if number_format is not None:
        weights = {name: value.to(number_format) for name, value in weights.items()}
    with backbones.quietly(), writing(folder):
        module.save_pretrained(folder, state_dict=weights)
        model.encoder.tokenizer.save_pretrained(folder)
    card["weights"] = {path.name: records.digest(path) for path in sorted(folder.glob("*.safetensors"))}
    runs.atomic_write(folder / CARD, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    (folder / UNFINISHED).unlink()
    return folder


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What the system says of a failed write (a full disk, for one) as the OSError that safetensors keeps in its words."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(folder)) from error


def load(source: str | Path, *, device: str = "auto", dtype: str = "float32") -> RewardModel:
    """The model in a folder, in a run's folder (its `model/`), or shipped with the package ("lab").

    CheckpointError for a folder that is none, for weights that are missing, left over or not safetensors, and for a
    tokenizer or settings that do not encode as they did in training.
    """
    number_format, place = _dtype(dtype), backbones.device_for(device)
    folder = _folder(source)
    card = _read(folder)
    module = _module(folder, card["kind"], number_format).to(place).eval()
    encoder, digest = _encoder(folder, card), card["encoder"]["digest"]
    if encoder.digest != digest:
        raise CheckpointError(
            f"{folder}: trained on steps@{digest}, but its tokenizer and settings now encode steps@{encoder.digest}; "
            f"put back the tokenizer files and the encoder settings in {CARD} as they were saved"
        )
    with _told(folder):
        return RewardModel(
            module=module,
            encoder=encoder,
            kind=card["kind"],
            name=card["name"],
            reduction=card["reduction"],
            threshold=float(card["threshold"]),
            recipe=Recipe(**card["recipe"]),
        )


def load_encoder(folder: Path) -> StepEncoder:
    """What the tokenizer and the settings in a saved model's folder write tokens with, without loading a weight."""
    return _encoder(folder, _read(folder))


def load_kind(folder: Path) -> Kind:
    """What kind of reward model a folder holds, without loading a weight."""
    kind: Kind = _read(folder)["kind"]
    return kind


def saved_weights(folder: Path) -> Mapping[str, str] | None:
    """Name of each file of weights -> its digest when the model was saved; None where the card does not say."""
    return _read(folder).get("weights")


def _encoder(folder: Path, card: Mapping[str, Any]) -> StepEncoder:
    settings = {name: value for name, value in card["encoder"].items() if name not in ("digest", "max_length")}
    tokenizer = _tokenizer(folder)
    with _told(folder):
        return StepEncoder(tokenizer, EncoderSettings(**settings), max_length=card["encoder"]["max_length"])


def _dtype(name: str) -> torch.dtype:
    if name not in backbones.DTYPES:
        raise ConfigError(f"dtype={name!r}; expected one of {', '.join(backbones.DTYPES)}")
    return backbones.DTYPES[name]


def _card(model: RewardModel) -> dict[str, Any]:
    own = model.own_encoder
    encoder = {**asdict(own.settings), "max_length": own.max_length, "digest": own.digest}
    return {
        "schema": SCHEMA,
        "name": model.name,
        "kind": model.kind,
        "reduction": model.reduction,
        "threshold": model.threshold,
        "encoder": encoder,
        "recipe": asdict(model.recipe),
        "versions": {package: version(package) for package in ("gradatim", "torch", "transformers")},
    }


def find(source: str | Path) -> Path | None:
    """The folder of the saved reward model that `load` would take; None if there is none."""
    folder = _PACKAGED.get(str(source), Path(source))
    return next((found for found in (folder, folder / "model") if (found / CARD).is_file()), None)


def _folder(source: str | Path) -> Path:
    found, folder = find(source), Path(source)
    if found is not None:
        return found
    if not folder.is_dir():
        raise CheckpointError(
            f"{source}: no such folder; expected a saved reward model, a run with one in it, or 'lab'"
        )
    raise CheckpointError(
        f"{folder}: no {CARD} in it or in its model/; expected a folder that `gradatim train` wrote to its end"
    )


def _read(folder: Path) -> Mapping[str, Any]:
    path = folder / CARD
    try:
        card: Any = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: no JSON ({error})") from None
    wanted = {"schema", "name", "kind", "reduction", "threshold", "encoder", "recipe"}
    missing = sorted(wanted - set(card)) if isinstance(card, dict) else sorted(wanted)
    if missing:
        raise CheckpointError(f"{path}: no {', '.join(missing)}; save the model again")
    if card["schema"] != SCHEMA:
        raise CheckpointError(f"{path}: schema {card['schema']!r}, this version reads {SCHEMA}")
    if card["kind"] not in get_args(Kind) or card["reduction"] not in REDUCTIONS:
        raise CheckpointError(f"{path}: kind {card['kind']!r} with reduction {card['reduction']!r} is not known")
    encoder = {"separator", "prompt_template", "bos", "digest", "max_length"}
    if set(card["encoder"]) != encoder:
        raise CheckpointError(f"{path}: encoder has {sorted(card['encoder'])}, expected {sorted(encoder)}")
    return dict(card)


def _module(folder: Path, kind: Kind, dtype: torch.dtype) -> Any:
    """The stock model with exactly the weights of the folder; nothing is made up, nothing left over."""
    auto = AutoModelForTokenClassification if kind == "prm" else AutoModelForSequenceClassification
    with backbones.quietly(), _told(folder):
        module, found = auto.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    wrong = {name: sorted(map(str, keys)) for name, keys in found.items() if keys}
    if wrong:
        raise CheckpointError(f"{folder}: weights do not fit {type(module).__name__}: {wrong}")
    labels = 2 if kind == "prm" else 1
    if module.config.num_labels != labels:
        raise CheckpointError(f"{folder}: {module.config.num_labels} labels, a {kind} has {labels}")
    return module


def _tokenizer(folder: Path) -> Any:
    """The tokenizer as it was saved."""
    with backbones.quietly(), _told(folder):
        return backbones.tokenizer_class(folder).from_pretrained(folder, local_files_only=True, trust_remote_code=False)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What a library says of a broken folder, as our error."""
    try:
        yield
    except (OSError, ValueError, TypeError, RuntimeError, KeyError, SafetensorError, ConfigError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{folder} can't be loaded: {lines[0]}") from error
