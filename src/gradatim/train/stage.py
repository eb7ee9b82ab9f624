"""`gradatim train`: materials -> lessons -> a fitted reward model in a folder, with everything counted."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from shutil import rmtree
from typing import Any

from gradatim import backbones, runs
from gradatim.errors import ConfigError
from gradatim.models import checkpoint
from gradatim.models.encoding import EncoderSettings
from gradatim.models.forward import body_of
from gradatim.models.model import Recipe, RewardModel
from gradatim.train.config import TrainConfig
from gradatim.train.features import FEATURES, cached
from gradatim.train.loop import Fitted, Read, block_size, fit, forward
from gradatim.train.lora import add_lora, merge_lora
from gradatim.train.materials import Materials
from gradatim.train.prepare import Prepared, content, prepare
from gradatim.train.sources import digests, read_materials

STATE_FOLDER = ".training"
"""Folder, inside the model's, of what a training needs to go on after a stop; removed when it has ended."""

REPORT = "training.json"
"""File beside the weights that says how the training went."""


def train_stage(config: TrainConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Train on what `config.data` names and write the model to `config.out`; returns the report, as JSON holds it.

    A training that was stopped, however, goes on from its last saved state. One that has ended with these settings and
    data is not done again: its report is returned. ConfigError if the folder holds another model.
    """
    if not config.data:
        raise ConfigError("nothing to train on; name at least one source in data")
    if not config.out:
        raise ConfigError("no folder for the trained model; set out")
    return train(config, read_materials(config), data=digests(config.data), quiet=quiet)[1]


def train(
    config: TrainConfig,
    materials: Materials,
    *,
    model: RewardModel | None = None,
    data: dict[str, str] | None = None,
    quiet: bool = False,
) -> tuple[RewardModel, dict[str, Any]]:
    """Train on materials in memory; returns the model and the report. See `train_stage`.

    `model` is a fresh reward model to train instead of one on `config.backbone`; it is changed in place. Without
    `config.out` nothing is saved. `data` are digests of the files that the materials come from.
    """
    started = time.monotonic()
    if model is None:
        model = RewardModel.create(
            config.backbone,
            kind=config.kind,
            name=config.name,
            settings=EncoderSettings(separator=config.separator),
            reduction=config.reduction,
            seed=config.seed,
            device=config.device,
        )
    prepared = prepare(config, materials, model)
    key = _key(config, prepared, model)
    out = Path(config.out) if config.out else None
    if out is not None and (report := _ended(out, key)) is not None:
        return checkpoint.load(out, device=str(model.device)), report
    fitted = _fit(config, prepared, model, out, key, quiet)
    report = runs.plain(
        {**_report(prepared, fitted), "seconds": time.monotonic() - started, "path": config.out or None}
    )
    model = replace(model, recipe=_recipe(config, materials, data or {}, report))
    if out is not None:
        checkpoint.save(model, out)
        runs.atomic_write(out / REPORT, json.dumps({"key": key, "report": report}, indent=1) + "\n")
        rmtree(out / STATE_FOLDER, ignore_errors=True)
    return model, report


def _fit(
    config: TrainConfig, prepared: Prepared, model: RewardModel, out: Path | None, key: str, quiet: bool
) -> Fitted:
    """Make the weights trainable that should be, fit them, and leave a stock module."""
    module, folder = model.module, None if out is None else out / STATE_FOLDER
    module.requires_grad_(True)
    added, read = None, None
    if config.lora_rank:
        added = add_lora(module, config.lora_rank, config.seed)
    elif config.freeze:
        body_of(module).requires_grad_(False)
        read = _features(config, prepared, model, folder, quiet)
    fitted = fit(
        module,
        prepared.lessons,
        prepared.held_out,
        config.fit,
        lr=config.lr,
        seed=config.seed,
        read=read,
        folder=folder,
        key=key,
        quiet=quiet,
    )
    if added is not None:
        merge_lora(added)
    module.eval().requires_grad_(True)
    return fitted


def _features(config: TrainConfig, prepared: Prepared, model: RewardModel, folder: Path | None, quiet: bool) -> Read:
    path = Path(config.features) if config.features else folder and folder / FEATURES
    return cached(
        [*prepared.lessons, *prepared.held_out],
        forward(model.module, replace(config.fit, checkpointing=False)),
        path,
        backbone=f"{backbones.fingerprint(body_of(model.module))} bfloat16={config.fit.bfloat16}",
        block_tokens=block_size(model.module, config.fit),
        device=model.device,
        quiet=quiet,
    )


def _recipe(config: TrainConfig, materials: Materials, data: dict[str, str], report: dict[str, Any]) -> Recipe:
    told = ("rows", "problems", "tokens", "steps", "stopped_early", "held_out_loss", "constant_loss")
    return Recipe(
        backbone=config.backbone,
        labels={**config.targets.recipe(), "objective": config.objective, "by": list(materials.labelled_by)},
        data=data,
        weighting=config.weighting,
        card={"training": {name: report[name] for name in told}, "config": runs.plain(config)},
    )


def _report(prepared: Prepared, fitted: Fitted) -> dict[str, Any]:
    return {
        "rows": {"read": prepared.read, "used": prepared.used, "dropped": dict(prepared.drops)},
        "problems": {"trained": prepared.problems, "held_out": prepared.held_out_problems},
        "tokens": {
            "distinct": prepared.distinct_tokens,
            "separate": prepared.separate_tokens,
            "processed": fitted.processed_tokens,
        },
        "steps": fitted.steps,
        "stopped_early": fitted.stopped_early,
        "held_out_loss": fitted.held_out_loss,
        "constant_loss": prepared.constant_loss,
        "history": list(fitted.history),
        "loop_seconds": fitted.seconds,
        "notes": list(prepared.notes),
    }


def _key(config: TrainConfig, prepared: Prepared, model: RewardModel) -> str:
    """16 hex digits of what decides the outcome: settings, lessons, encoder and first weights."""
    asked = replace(config, data=(), out="", features="", device="", fit=replace(config.fit, save_minutes=0.0))
    parts = (
        json.dumps(runs.plain(asked), sort_keys=True),
        content([*prepared.lessons, *prepared.held_out]),
        model.encoder.digest,
        backbones.fingerprint(model.module),
    )
    return blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest()


def _ended(out: Path, key: str) -> dict[str, Any] | None:
    """The report of this same training if the folder holds its model; None if the folder holds no model."""
    if not (out / checkpoint.CARD).exists():
        return None
    try:
        found = json.loads((out / REPORT).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        found = {}
    if not isinstance(found, dict) or found.get("key") != key:
        raise ConfigError(
            f"{out} holds a model that was trained otherwise (other data, settings or backbone); "
            "choose another folder, or remove it"
        )
    report: dict[str, Any] = found["report"]
    return report
