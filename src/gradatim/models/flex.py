"""Flex attention over trees (PyTorch's): which blocks of tokens see which is told, and no mask of their square is made.

In depth-first order a token sees those before it whose descendants it is among: `key <= query < end[key]`. So a block
of queries sees nothing of an earlier block of keys if none of these has descendants as late as its first query, and
everything if all of them have its last query among theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from gradatim.trees import Block

SIZE = 128
"""Tokens in a block of queries or keys: what the kernels expect."""


def block_mask(blocks: Sequence[Block], device: torch.device) -> BlockMask:
    """What each token sees of its own tree, for trees padded on the right to the longest; padding sees itself."""
    width = max(map(len, blocks))
    count = -(-width // SIZE)
    ends = torch.tensor([[*block.end, *range(len(block) + 1, count * SIZE + 1)] for block in blocks], device=device)
    parts = ends.view(len(blocks), 1, 1, count, SIZE)
    first = torch.arange(count, device=device)[:, None] * SIZE
    earlier = first > first.T
    whole = earlier & (parts.amin(-1) >= first + SIZE)
    partly = (earlier & (parts.amax(-1) > first) | (first == first.T)) & ~whole

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < ends[batch, key])

    return BlockMask.from_kv_blocks(
        *_listed(partly), *_listed(whole), BLOCK_SIZE=SIZE, mask_mod=sees, seq_lengths=(width, width)
    )


def attend(query: Tensor, key: Tensor, value: Tensor, mask: BlockMask, scale: float | None) -> Tensor:
    """(batch, heads, tokens, size) of queries, keys and values (which may have fewer heads) -> the same of queries.

    Compiled on GPUs. Elsewhere it is computed eagerly, which makes the whole matrix: good for checking, not for work.
    """
    kind = query.device.type
    if torch.is_autocast_enabled(kind):
        query, key, value = (states.to(torch.get_autocast_dtype(kind)) for states in (query, key, value))
    groups = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
    run: Any = _compiled() if kind == "cuda" else flex_attention
    found: Tensor = run(query, key, value, block_mask=mask, scale=scale)
    return found


def _listed(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """(..., queries, keys) of booleans -> how many are chosen in each row, and their indices, which come first."""
    order = torch.argsort(chosen.int(), dim=-1, descending=True, stable=True)
    return chosen.sum(-1).int(), order.int()


@cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=True)
