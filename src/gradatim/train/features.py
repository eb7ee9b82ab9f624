"""A frozen backbone's features, computed once: the head then trains in seconds, as often as one likes.

They are kept in a file under a digest of the backbone's weights and the tokens, so a later training (another learning
rate, another split) finds those that it shares with an earlier one, and a killed one goes on where it was.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor

from gradatim.train.lessons import Lesson, micro_batches
from gradatim.train.store import fill, opened
from gradatim.train.workers import ALONE, Workers

Read = Callable[[Sequence[Lesson]], Tensor]
"""Lessons -> the last hidden states (reads, hidden size) at their reads, in order."""


def cached(
    lessons: Sequence[Lesson],
    read: Read,
    path: Path | None,
    *,
    backbone: str,
    block_tokens: int,
    device: torch.device,
    workers: Workers = ALONE,
    quiet: bool = False,
) -> Read:
    """A replacement for `read` on these lessons that runs the model only for what is not in the file.

    `backbone` names everything that decides the features beside the tokens: weights and number format. Without a
    `path` they are not kept for later. They are held on `device`.
    """

    def keys(part: Sequence[Lesson]) -> list[bytes]:
        return [_key(lesson, backbone) for lesson in part]

    def compute(part: Sequence[Lesson]) -> Sequence[Tensor]:
        return torch.split(read(part).float(), [lesson.reads for lesson in part])

    known: dict[Lesson, Tensor] = {}
    with opened(path) as store:
        fill(store, micro_batches(lessons, block_tokens), keys, compute, workers, quiet=quiet)
        for lesson, key in zip(lessons, keys(lessons), strict=True):
            if (features := store.get(key, lesson.reads)) is not None:
                known[lesson] = features.to(device)

    def look_up(wanted: Sequence[Lesson]) -> Tensor:
        return torch.cat([known[lesson] for lesson in wanted])

    return look_up


def _key(lesson: Lesson, backbone: str) -> bytes:
    digest = blake2b(backbone.encode(), digest_size=16)
    for block, nodes in zip(lesson.blocks, lesson.nodes, strict=True):
        for numbers in (block.ids, block.depth, nodes):
            digest.update(len(numbers).to_bytes(8, "little"))
            digest.update(array("q", numbers).tobytes())
    return digest.digest()
