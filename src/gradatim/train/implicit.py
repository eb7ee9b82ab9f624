"""Training an implicit PRM: the logit of a solution is beta times its log-ratio to the model that the training began with.

The reference's log-probabilities are computed once, by the model itself before its first step, and kept in the file of
features; of the model's own there are never more logits than a chunk of the vocabulary.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor, nn

from gradatim import backbones
from gradatim.models.attention import tree_attention
from gradatim.models.context import context_of
from gradatim.models.encoding import EncoderSettings, StepEncoder
from gradatim.models.formats.own_implicit import reference_to
from gradatim.models.implicit import ImplicitModel, StepResponses
from gradatim.models.logprobs import check_plain_head, log_probabilities
from gradatim.models.model import Recipe
from gradatim.train.config import FitConfig, TrainConfig
from gradatim.train.features import Read
from gradatim.train.lessons import Lesson, micro_batches
from gradatim.train.loop import recomputed
from gradatim.train.store import fill, opened
from gradatim.train.workers import ALONE, Workers


def fresh(config: TrainConfig, device: str) -> ImplicitModel:
    """The backbone beside itself."""
    causal, tokenizer = backbones.load_policy_backbone(config.backbone, device=device)
    check_plain_head(causal, config.backbone)
    # What the loop takes for the head: the log-ratios' sums are the logits as they are.
    causal.score = nn.Identity()
    fingerprint = backbones.fingerprint(causal)
    return ImplicitModel(
        module=causal,
        reference=reference_to(config.backbone, fingerprint, device=device),
        encoder=StepResponses(
            StepEncoder(tokenizer, EncoderSettings(separator=config.separator), max_length=context_of(causal.config))
        ),
        name=config.name or f"{config.objective} on {config.backbone}",
        beta=config.beta,
        reduction=config.step_reduction,
        recipe=Recipe(backbone=config.backbone),
        fingerprint=fingerprint,
    )


def log_ratios(
    model: ImplicitModel,
    lessons: Sequence[Lesson],
    path: Path | None,
    config: FitConfig,
    *,
    block_tokens: int,
    workers: Workers = ALONE,
    quiet: bool = False,
) -> Read:
    """What the loop reads: beta times the summed log-ratios on the way to each read of these lessons, (reads, 1).

    To be called before the model has changed: it computes the reference's part. `path` keeps that for later trainings.
    """
    module, device = model.module, model.device
    module.eval()

    def own(part: Sequence[Lesson]) -> Tensor:
        blocks = [block for lesson in part for block in lesson.blocks]
        counted = [nodes for lesson in part for nodes in lesson.counted]
        rounded = torch.autocast(device.type, torch.bfloat16, enabled=config.bfloat16)
        with tree_attention(module, blocks), recomputed(module, config), rounded:
            return log_probabilities(module, blocks, counted)

    reference = f"{model.fingerprint} log-probabilities, bfloat16={config.bfloat16}"
    with opened(path) as store:
        parts = micro_batches(lessons, block_tokens)
        fill(store, parts, partial(_keys, reference), lambda part: _split(own(part), part), workers, quiet=quiet)
        kept = zip(lessons, _keys(reference, lessons), strict=True)
        found = {lesson: store.get(key, sum(map(len, lesson.counted))) for lesson, key in kept}
    known = {lesson: values[:, 0].to(device) for lesson, values in found.items() if values is not None}

    def read(part: Sequence[Lesson]) -> Tensor:
        ratios = own(part) - torch.cat([known[lesson] for lesson in part])
        rows, columns = (torch.tensor(places, device=device) for places in _places(part))
        sums = torch.zeros(sum(lesson.reads for lesson in part), device=device)
        return model.beta * sums.index_add(0, rows, ratios[columns])[:, None]

    return read


def _split(values: Tensor, part: Sequence[Lesson]) -> Sequence[Tensor]:
    """The values at each lesson's counted nodes."""
    return torch.split(values, [sum(map(len, lesson.counted)) for lesson in part])


def _places(part: Sequence[Lesson]) -> tuple[list[int], list[int]]:
    """Pairs of a read and a counted node on the way to it, both numbered through the lessons."""
    rows: list[int] = []
    columns: list[int] = []
    read = first = 0
    for lesson in part:
        for block, nodes, counted in zip(lesson.blocks, lesson.nodes, lesson.counted, strict=True):
            place = {node: first + number for number, node in enumerate(counted)}
            for node in nodes:
                at = node
                while at >= 0:
                    if at in place:
                        rows.append(read)
                        columns.append(place[at])
                    at = block.parent[at]
                read += 1
            first += len(counted)
    return rows, columns


def _keys(reference: str, part: Sequence[Lesson]) -> list[bytes]:
    return [_key(reference, lesson) for lesson in part]


def _key(reference: str, lesson: Lesson) -> bytes:
    digest = blake2b(reference.encode(), digest_size=16)
    for block, counted in zip(lesson.blocks, lesson.counted, strict=True):
        for numbers in (block.ids, block.depth, counted):
            digest.update(array("q", [len(numbers), *numbers]).tobytes())
    return digest.digest()
