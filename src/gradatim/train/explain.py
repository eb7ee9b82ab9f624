"""`gradatim train --explain`: what a training would learn from and cost, without a weight being loaded or changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from gradatim import backbones, runs
from gradatim.errors import CheckpointError, ConfigError
from gradatim.models.context import context_of
from gradatim.models.encoding import EncoderSettings, StepEncoder
from gradatim.models.forward import body_of
from gradatim.train import beginning
from gradatim.train.config import TrainConfig
from gradatim.train.goals import IMPLICIT, POINTWISE
from gradatim.train.lessons import micro_batches
from gradatim.train.loop import batches, block_size, processed_tokens
from gradatim.train.materials import Materials
from gradatim.train.prepare import Prepared, prepare
from gradatim.train.sources import read_materials
from gradatim.train.speed import products_per_second
from gradatim.train.weights import Cell

_CONSTANTS: Mapping[str, tuple[str, ...]] = {
    "focal": ("gamma",),
    "pqm": ("zeta",),
    **dict.fromkeys(IMPLICIT, ("beta",)),
}
"""What an objective is set by beside its name."""


@dataclass(frozen=True)
class Hollow:
    """A backbone's tokenizer and the shape of its model: parameters that take no memory."""

    module: nn.Module
    own_encoder: StepEncoder

    @classmethod
    def of(cls, config: TrainConfig) -> Hollow:
        """Read from the tokenizer's files and `config.json` alone."""
        backbone = backbones.locate(config.backbone)
        try:
            with backbones.quietly():
                shape = AutoConfig.from_pretrained(backbone.source, **backbone.options())
                with torch.device("meta"):
                    module = AutoModelForCausalLM.from_config(shape)
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(f"{config.backbone}: transformers can't read its configuration ({error})") from error
        if (begun := beginning.folder_of(config)) is not None:
            return cls(module, beginning.encoder_of(config, begun))
        backbones.check_writes(config.backbone, shape)
        tokenizer = backbones.load_tokenizer(config.backbone)
        settings = EncoderSettings(separator=config.separator)
        return cls(module, StepEncoder(tokenizer, settings, max_length=context_of(shape)))


def explain_stage(config: TrainConfig) -> dict[str, Any]:
    """What `gradatim.train.stage.train_stage` would do with these settings; nothing is written."""
    if not config.data:
        raise ConfigError("nothing to explain; name at least one source in data")
    return explain(config, read_materials(config))


def explain(config: TrainConfig, materials: Materials) -> dict[str, Any]:
    """The same of materials in memory, as JSON holds it: rows and drops, evidence by class, steps and source, cost."""
    hollow = Hollow.of(config)
    prepared = prepare(config, materials, hollow)
    lessons = prepared.lessons
    return runs.plain(  # type: ignore[no-any-return]
        {
            "kind": config.kind,
            "objective": config.objective,
            "constants": {name: getattr(config, name) for name in _CONSTANTS.get(config.objective, ())},
            "weighting": config.weighting,
            "balance": config.balance,
            "step_bins": config.step_bins,
            "source_weights": config.source_weights,
            "targets": config.targets.recipe(),
            "rows": {"read": prepared.read, "used": prepared.used, "dropped": dict(prepared.drops)},
            "problems": {"trained": prepared.problems, "held_out": prepared.held_out_problems},
            "classes": _classes(config, prepared),
            "steps": _parts(prepared, 1, _bin_names(config.step_bins)),
            "sources": _parts(prepared, 0, config.data or ("in memory",)),
            "weights": prepared.weights,
            "logit_shift": lessons[0].goal.logit_shift,
            "effective_evidence": sum(lesson.weight for lesson in lessons),
            "constant_loss": prepared.constant_loss,
            **_cost(config, prepared, hollow.module),
            "notes": list(prepared.notes),
        }
    )


def told(found: dict[str, Any], aligned: Callable[[str, list[dict[str, Any]]], str]) -> str:
    """The same for people; `aligned` makes a table of a title and rows."""
    rows, tokens, cost = found["rows"], found["tokens"], found["optimizer"]
    dropped = ", ".join(f"{count} x {reason}" for reason, count in rows["dropped"].items()) or "none"
    lines = [
        f"{found['kind']} by {', '.join([found['objective'], *_named(found['constants'])])}, weighting {found['weighting']}",
        f"labels: {', '.join(_named(found['targets']))}",
        f"balance: {', '.join(found['balance']) or 'none'}; bins of steps end at {', '.join(map(str, found['step_bins']))}; "
        f"source weights: {', '.join(map(str, found['source_weights'])) or 'none'}; positive weight in use: "
        f"{found['weights']['positive']:.6g}",
        f"rows: {rows['used']} of {rows['read']} used; dropped: {dropped}",
        f"problems: {found['problems']['trained']} to train on, {found['problems']['held_out']} held out",
        *(aligned(f"\n{name}", found[name]) for name in ("classes", "steps", "sources") if found[name]),
        f"\neffective evidence: {found['effective_evidence']:.6g}; logit shift {found['logit_shift']:.4f}",
        f"loss of the best constant: {found['constant_loss']:.4f}",
        f"tokens: {tokens['distinct']} distinct, {tokens['separate']} as separate sequences ({tokens['sharing']:.1f} times as "
        f"many); an epoch computes {tokens['epoch']}, padding included",
        f"steps of the optimiser: {cost['steps']} in {cost['epochs']} epochs, learning rate {cost['lr']:g}",
        f"weights: {found['parameters']['all']} of which {found['parameters']['trained']} are trained",
        f"memory: {found['memory_bytes'] / 2**30:.2f} GiB for weights, gradients and optimiser, beside the activations of "
        f"{cost['block_tokens']} tokens",
        f"computation: about {found['flops']:.2g} floating-point operations; at {found['flops_per_second']:.2g} a second, as "
        f"measured here just now, {_span(found['seconds'])} and more",
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in found["notes"])])


def _named(settings: Mapping[str, Any]) -> list[str]:
    """Settings in the words of their flags."""
    return [f"{name.replace('_', ' ')} {str(value).lower()}" for name, value in settings.items()]


def _span(seconds: float) -> str:
    """A time for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _classes(config: TrainConfig, prepared: Prepared) -> list[dict[str, Any]]:
    """Evidence for and against, before and after it is weighed; nothing where only ranks are learnt."""
    if config.objective not in (*POINTWISE, "implicit-ce"):
        return []
    rows = []
    for side, name, factor in ((0, "for", prepared.weights.positive), (1, "against", 1.0)):
        given = sum(owed[side] for owed in prepared.evidence.values())
        weighed = sum(prepared.weights.factor(cell) * factor * owed[side] for cell, owed in prepared.evidence.items())
        rows.append({"class": name, "evidence": given, "weighed": weighed})
    return _with_shares(rows)


def _parts(prepared: Prepared, axis: int, names: Iterable[str]) -> list[dict[str, Any]]:
    """Rows and evidence of each part along one axis of the cells; parts without rows are left out."""
    rows = []
    for part, name in enumerate(names):
        cells = [cell for cell in prepared.rows if cell[axis] == part]
        if cells:
            rows.append(
                {
                    ("source", "steps")[axis]: name,
                    "rows": sum(prepared.rows[cell] for cell in cells),
                    "factor": (prepared.weights.sources, prepared.weights.bins)[axis][part],
                    "evidence": sum(sum(prepared.evidence[cell]) for cell in cells),
                    "weighed": sum(_weighed(prepared, cell) for cell in cells),
                }
            )
    return _with_shares(rows)


def _weighed(prepared: Prepared, cell: Cell) -> float:
    good, bad = prepared.evidence[cell]
    return prepared.weights.factor(cell) * (prepared.weights.positive * good + bad)


def _with_shares(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    total = sum(row["weighed"] for row in rows)
    return [{**row, "share": row["weighed"] / total} for row in rows]


def _bin_names(bins: tuple[int, ...]) -> list[str]:
    begins = [1, *(end + 1 for end in bins)]
    names = [f"{first}-{last}" if last > first else f"{first}" for first, last in zip(begins, bins, strict=False)]
    return [*names, f"{begins[-1]}-"]


def _cost(config: TrainConfig, prepared: Prepared, module: nn.Module) -> dict[str, Any]:
    size = block_size(module, config.fit)
    steps = batches(prepared.lessons, config.fit.batch_tokens, config.seed, 0)
    epoch = sum(processed_tokens(part) for batch in steps for part in micro_batches(batch, size))
    whole = module if config.objective in IMPLICIT else body_of(module)
    total, trained, computed = _parameters(config, whole)
    copies = 4 * total + trained * (4 + 8 + (4 if prepared.held_out else 0))
    again = computed if config.lora_rank else min(trained, computed)
    each = _products(config, recomputed=config.fit.checkpointing)
    flops = float(epoch * (2 * (computed - again) + each * again * config.fit.epochs))
    if config.objective in IMPLICIT:
        # The reference's pass, and at each counted token the head, whose logits the backward pass makes again.
        head = int(whole.get_output_embeddings().weight.numel())  # type: ignore[operator]
        counted = sum(len(nodes) for lesson in prepared.lessons for nodes in lesson.counted)
        flops += 2.0 * epoch * computed + counted * head * (2 + _products(config, recomputed=True) * config.fit.epochs)
    speed = _speed(config, whole, size)
    return {
        "tokens": {
            "distinct": prepared.distinct_tokens,
            "separate": prepared.separate_tokens,
            "sharing": prepared.separate_tokens / prepared.distinct_tokens,
            "epoch": epoch,
        },
        "optimizer": {
            "steps": len(steps) * config.fit.epochs,
            "epochs": config.fit.epochs,
            "lr": config.lr,
            "block_tokens": size,
        },
        "parameters": {"all": total, "trained": trained},
        "memory_bytes": copies,
        "flops": flops,
        "flops_per_second": speed,
        "seconds": flops / speed,
    }


def _products(config: TrainConfig, *, recomputed: bool) -> int:
    """Operations a token for each weight it is multiplied with: 2 forwards, 2 for the gradient of what went in and, but with
    LoRA, 2 for that of the weight; forwards once more where it is computed again."""
    return 4 + 2 * (not config.lora_rank) + 2 * recomputed


def _speed(config: TrainConfig, whole: nn.Module, rows: int) -> float:
    shape: Any = whole.config
    width = int(shape.hidden_size)
    inner = int(getattr(shape, "intermediate_size", None) or 4 * width)
    device = backbones.device_for(config.device)
    return products_per_second(rows, width, inner, device=device, bfloat16=config.fit.bfloat16)


def _parameters(config: TrainConfig, whole: nn.Module) -> tuple[int, int, int]:
    """How many there are, how many of them are trained, and how many each token is multiplied with; a head left out."""
    body = body_of(whole) if config.objective in IMPLICIT else whole
    table = sum(weight.numel() for weight in body.get_input_embeddings().parameters())  # type: ignore[operator]
    total = sum(weight.numel() for weight in whole.parameters())
    computed = sum(weight.numel() for weight in body.parameters()) - table
    linear = [layer for layer in body.modules() if isinstance(layer, nn.Linear)]
    if config.lora_rank:
        trained = sum(config.lora_rank * (layer.in_features + layer.out_features) for layer in linear)
    elif config.freeze:
        trained = 0
    elif config.train_layers is not None:
        shape: Any = whole.config
        trained = computed * config.train_layers // int(shape.num_hidden_layers)
    else:
        trained = total
    return total, trained, computed
