"""`gradatim train`: materials -> lessons -> a fitted reward model in a folder, with everything counted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from shutil import rmtree
from typing import Any

from gradatim import backbones, runs
from gradatim.errors import ConfigError
from gradatim.models.forward import body_of
from gradatim.models.implicit import ImplicitModel
from gradatim.models.layers import cut_below
from gradatim.models.model import Recipe
from gradatim.train import trained
from gradatim.train.card import write_card
from gradatim.train.config import TrainConfig
from gradatim.train.features import Read, cached
from gradatim.train.folder import REPORT, STATE_FOLDER, claim, ended
from gradatim.train.goals import IMPLICIT
from gradatim.train.implicit import log_ratios
from gradatim.train.lessons import micro_batches
from gradatim.train.loop import Fitted, Track, block_size, fit, forward, processed_tokens
from gradatim.train.lora import add_lora, merge_lora
from gradatim.train.materials import Materials
from gradatim.train.prepare import Prepared, content, prepare
from gradatim.train.sharding import gather, spread
from gradatim.train.sources import digests, read_materials
from gradatim.train.store import FEATURES
from gradatim.train.tracking import tracked
from gradatim.train.trained import Trained
from gradatim.train.upper import from_states
from gradatim.train.workers import Workers, workers_for

Remark = Callable[[Sequence[str]], None]
"""Told what is unusual about a training, before it begins."""


def unsaid(notes: Sequence[str]) -> None:
    """Tell nobody: the report has the notes too."""


def train_stage(config: TrainConfig, *, remark: Remark = unsaid, quiet: bool = False) -> dict[str, Any]:
    """Train on what `config.data` names and write the model to `config.out`; returns the report, as JSON holds it.

    A training that was stopped, however, goes on from its last saved state. One that has ended with these settings and
    data is not done again: its report is returned. ConfigError if the folder holds another model.
    """
    if not config.data:
        raise ConfigError("nothing to train on; name at least one source in data")
    if not config.out:
        raise ConfigError("no folder for the trained model; set out")
    return train(config, read_materials(config), data=digests(config.data), remark=remark, quiet=quiet)[1]


def train(
    config: TrainConfig,
    materials: Materials,
    *,
    model: Trained | None = None,
    data: dict[str, str] | None = None,
    remark: Remark = unsaid,
    quiet: bool = False,
) -> tuple[Trained, dict[str, Any]]:
    """Train on materials in memory; returns the model and the report. See `train_stage`.

    `model` is a fresh reward model to train instead of one on `config.backbone`; it is changed in place. Without
    `config.out` nothing is saved. `data` are digests of the files that the materials come from.
    """
    started, workers = time.monotonic(), workers_for(config.device)
    if workers.spread and (config.freeze or config.train_layers or config.objective in IMPLICIT):
        raise ConfigError(
            "weights are spread over processes only where all of them are trained, or LoRA updates, with a head; "
            "start the processes without FSDP"
        )
    out = Path(config.out) if config.out else None
    if out is not None:
        claim(out)
    if model is None:
        model = trained.fresh(config, "cpu" if workers.spread else workers.device)
    prepared = prepare(config, materials, model)
    key = _key(config, prepared, model)
    if out is not None and (report := ended(out, key)) is not None:
        return trained.load(out, str(model.device)), report
    if workers.is_main:
        remark(prepared.notes)
    with tracked(config, out, key) as track:
        fitted = _fit(config, prepared, model, workers, track, key, quiet)
    report = runs.plain(
        {
            **_report(prepared, fitted, _once(config, prepared, model)),
            "seconds": time.monotonic() - started,
            "path": config.out or None,
        }
    )
    model = replace(model, recipe=_recipe(config, materials, prepared, data or {}, report))
    if out is not None and workers.is_main:
        trained.save(model, out)
        write_card(config, materials, data or {}, report)
        runs.atomic_write(out / REPORT, json.dumps({"key": key, "report": report}, indent=1) + "\n")
        rmtree(out / STATE_FOLDER, ignore_errors=True)
    workers.wait()
    return model, report


def _fit(
    config: TrainConfig,
    prepared: Prepared,
    model: Trained,
    workers: Workers,
    track: Track,
    key: str,
    quiet: bool,
) -> Fitted:
    """Make the weights trainable that should be, fit them, and leave a stock module."""
    folder = Path(config.out) / STATE_FOLDER if config.out else None
    model.module.requires_grad_(True)
    added = add_lora(model.module, config.lora_rank, config.seed) if config.lora_rank else None
    fitting = spread(model.module, workers) if workers.spread else model.module
    with _read(config, prepared, replace(model, module=fitting), folder, workers, quiet) as read:
        fitted = fit(
            fitting,
            prepared.lessons,
            prepared.held_out,
            config.fit,
            lr=config.lr,
            seed=config.seed,
            read=read,
            cost=(lambda _: 0) if config.freeze else None,
            folder=folder,
            key=key,
            workers=workers,
            track=track,
            quiet=quiet,
        )
    if workers.spread:
        gather(fitting, model.module)
    if added is not None:
        merge_lora(added)
    model.module.eval().requires_grad_(True)
    return fitted


@contextmanager
def _read(
    config: TrainConfig, prepared: Prepared, model: Trained, folder: Path | None, workers: Workers, quiet: bool
) -> Iterator[Read]:
    """The forward pass below the head: the whole one, or what is left of it above a frozen part that is run once."""
    module, lessons = model.module, [*prepared.lessons, *prepared.held_out]
    path = Path(config.features) if config.features else folder and folder / FEATURES
    size, bfloat16 = block_size(module, config.fit), config.fit.bfloat16
    body = backbones.fingerprint(body_of(module)) if config.freeze or config.train_layers else ""
    if isinstance(model, ImplicitModel):
        yield log_ratios(model, lessons, path, config.fit, block_tokens=size, workers=workers, quiet=quiet)
    elif config.freeze:
        body_of(module).requires_grad_(False)
        yield cached(
            lessons,
            forward(module, replace(config.fit, checkpointing=False)),
            path,
            backbone=f"{body} bfloat16={bfloat16}",
            block_tokens=size,
            device=model.device,
            workers=workers,
            quiet=quiet,
        )
    elif config.train_layers:
        cut = cut_below(module, config.train_layers)
        whole = forward(module, config.fit)
        with from_states(
            cut, lessons, whole, path, backbone=body, block_tokens=size, bfloat16=bfloat16, workers=workers, quiet=quiet
        ) as read:
            yield read
    else:
        yield forward(module, config.fit)


def _recipe(
    config: TrainConfig, materials: Materials, prepared: Prepared, data: dict[str, str], report: dict[str, Any]
) -> Recipe:
    told = ("rows", "problems", "tokens", "steps", "stopped_early", "held_out_loss", "constant_loss")
    return Recipe(
        backbone=config.backbone,
        labels={
            **config.targets.recipe(),
            "objective": config.objective,
            "by": list(materials.labelled_by),
            "weights": runs.plain(prepared.weights),
            "logit_shift": prepared.lessons[0].goal.logit_shift,
        },
        data=data,
        weighting=config.weighting,
        card={"training": {name: report[name] for name in told}, "config": runs.plain(config)},
    )


def _once(config: TrainConfig, prepared: Prepared, model: Trained) -> int:
    """Tokens that went through a frozen part, or through an implicit model's reference, before the first step."""
    if not (config.freeze or config.train_layers is not None or config.objective in IMPLICIT):
        return 0
    lessons = [*prepared.lessons, *prepared.held_out]
    return sum(map(processed_tokens, micro_batches(lessons, block_size(model.module, config.fit))))


def _report(prepared: Prepared, fitted: Fitted, once: int) -> dict[str, Any]:
    return {
        "rows": {"read": prepared.read, "used": prepared.used, "dropped": dict(prepared.drops)},
        "problems": {"trained": prepared.problems, "held_out": prepared.held_out_problems},
        "tokens": {
            "distinct": prepared.distinct_tokens,
            "separate": prepared.separate_tokens,
            "processed": fitted.processed_tokens + once,
        },
        "steps": fitted.steps,
        "stopped_early": fitted.stopped_early,
        "held_out_loss": fitted.held_out_loss,
        "constant_loss": prepared.constant_loss,
        "history": list(fitted.history),
        "loop_seconds": fitted.seconds,
        "notes": list(prepared.notes),
    }


def _key(config: TrainConfig, prepared: Prepared, model: Trained) -> str:
    """16 hex digits of what decides the outcome: settings, lessons, encoder and first weights."""
    fit = replace(config.fit, save_minutes=0.0)
    asked = replace(config, data=(), source_weights=(), out="", features="", device="", tracker="", fit=fit)
    parts = (
        json.dumps(runs.plain(asked), sort_keys=True),
        content([*prepared.lessons, *prepared.held_out]),
        model.encoder.digest,
        backbones.fingerprint(model.module),
    )
    return blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest()
