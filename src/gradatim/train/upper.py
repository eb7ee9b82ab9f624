"""Training the last layers on the states below them, computed once: a token costs the upper part of the model only.

The states of each tree are kept in a file, a block at a time, and read again whenever it is learnt from: a token that
many solutions share has one state. With bfloat16 the lower part computes in it too; what it hands on is in float32.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor

from gradatim import trees
from gradatim.models.attention import tree_attention
from gradatim.models.layers import Cut
from gradatim.train.features import Read
from gradatim.train.lessons import Lesson, micro_batches
from gradatim.train.store import fill, opened
from gradatim.train.workers import ALONE, Workers


@contextmanager
def from_states(
    cut: Cut,
    lessons: Sequence[Lesson],
    read: Read,
    path: Path | None,
    *,
    backbone: str,
    block_tokens: int,
    bfloat16: bool = False,
    workers: Workers = ALONE,
    quiet: bool = False,
) -> Iterator[Read]:
    """A replacement for `read` on these lessons that starts from the states at the cut.

    `backbone` names the weights below the cut. Without a `path` the states are gone in the end.
    """
    lower = f"{backbone} states below {len(cut.upper)} layers, bfloat16={bfloat16}"
    device = next(cut.module.parameters()).device.type

    def keys(part: Sequence[Lesson]) -> list[bytes]:
        return [_key(block, lower) for block in _blocks(part)]

    def compute(part: Sequence[Lesson]) -> list[Tensor]:
        blocks = _blocks(part)
        with tree_attention(cut.module, blocks), torch.autocast(device, dtype=torch.bfloat16, enabled=bfloat16):
            return [states.float() for states in cut.states(blocks)]

    with opened(path) as store:
        fill(store, micro_batches(lessons, block_tokens), keys, compute, workers, quiet=quiet)

        def read_above(part: Sequence[Lesson]) -> Tensor:
            found = [store.get(key, len(block)) for key, block in zip(keys(part), _blocks(part), strict=True)]
            with cut.above([states for states in found if states is not None]):
                return read(part)

        yield read_above


def _blocks(part: Sequence[Lesson]) -> list[trees.Block]:
    return [block for lesson in part for block in lesson.blocks]


def _key(block: trees.Block, lower: str) -> bytes:
    digest = blake2b(lower.encode(), digest_size=16)
    for numbers in (block.ids, block.depth):
        digest.update(array("q", numbers).tobytes())
    return digest.digest()
