"""Attention over trees without a mask of the square of their length: in pieces on CPUs, by flex attention on GPUs.

With a dense mask a block of n tokens costs n x n, most of it masked out. In depth-first order the tokens that a piece
[a, b) sees are the ancestors of a and those in the piece: a node before a that is an ancestor of a later node in the
piece has a among its descendants too. So a piece costs (b - a) x (depth of a + b - a).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from gradatim.models.flex import attend, block_mask
from gradatim.models.forward import TREES, body_of
from gradatim.trees import Block

PIECE = 128
"""Tokens in a piece."""

WORTH = 0.75
"""Pieces are used if they cost at most this share of the dense mask."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring tokens of one block, and what they see."""

    row: int
    """Place of the block in the batch."""
    first: int
    """First token."""
    after: int
    """One past the last token."""
    keys: Tensor
    """Indices (keys,) of the tokens that any of them sees."""
    mask: Tensor
    """(after - first, keys): what each of them sees."""


Seen = tuple[Piece, ...] | BlockMask
"""What the tokens of a batch of blocks see: all that the layers need in place of a mask."""

_seen: ContextVar[Seen] = ContextVar("seen")


@contextmanager
def tree_attention(module: nn.Module, blocks: Sequence[Block]) -> Iterator[None]:
    """Run the body's attention without a dense mask while the block lasts, where that saves work and it uses SDPA.

    What is run inside must be a forward pass over exactly these blocks, in this order. A backward pass may come later;
    where it computes activations again it has to do so in the second context of `as_now`.
    """
    config: Any = body_of(module).config
    seen = _chosen(blocks, next(module.parameters()).device) if config._attn_implementation == "sdpa" else None
    with nullcontext() if seen is None else _used(config, seen):
        yield


def as_now(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts for a first computation, which is now, and for a second one later, in which attention is as it is now."""
    config: Any = body_of(module).config
    return nullcontext(), nullcontext() if config._attn_implementation != TREES else _used(config, _seen.get())


@contextmanager
def _used(config: Any, seen: Seen) -> Iterator[None]:
    token, before = _seen.set(seen), config._attn_implementation
    config._attn_implementation = TREES
    try:
        yield
    finally:
        config._attn_implementation = before
        _seen.reset(token)


def _chosen(blocks: Sequence[Block], device: torch.device) -> Seen | None:
    """None: the model's own attention, with a mask for trees and the causal kernel for chains."""
    if all(block.is_chain for block in blocks):
        return None
    if device.type == "cuda":
        return block_mask(blocks, device)
    if not _pays(blocks):
        return None
    return tuple(piece for row, block in enumerate(blocks) for piece in _cut(row, block, device))


def _pays(blocks: Sequence[Block]) -> bool:
    dense = len(blocks) * max(map(len, blocks)) ** 2
    cut = 0
    for block in blocks:
        for first in range(0, len(block), PIECE):
            size = min(PIECE, len(block) - first)
            cut += size * (block.depth[first] + size)
    return cut <= WORTH * dense


def _cut(row: int, block: Block, device: torch.device) -> Iterator[Piece]:
    end = torch.tensor(block.end, device=device)
    for first in range(0, len(block), PIECE):
        after = min(first + PIECE, len(block))
        path, node = [], block.parent[first]
        while node >= 0:
            path.append(node)
            node = block.parent[node]
        keys = torch.tensor([*reversed(path), *range(first, after)], device=device)
        tokens = torch.arange(first, after, device=device)[:, None]
        yield Piece(row, first, after, keys, (keys <= tokens) & (tokens < end[keys]))


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """(batch, heads, tokens, size) -> (batch, tokens, heads, size), as transformers' own; padding gets anything finite."""
    seen = _seen.get()
    if isinstance(seen, BlockMask):
        return attend(query, key, value, seen, scaling).transpose(1, 2).contiguous(), None
    groups = query.shape[1] // key.shape[1]
    rows: list[list[Tensor]] = [[] for _ in range(query.shape[0])]
    for piece in seen:
        row = slice(piece.row, piece.row + 1)
        keys, values = (states[row, :, piece.keys].repeat_interleave(groups, dim=1) for states in (key, value))
        asks = query[row, :, piece.first : piece.after]
        found = scaled_dot_product_attention(asks, keys, values, attn_mask=piece.mask, dropout_p=dropout, scale=scaling)
        rows[piece.row].append(found)
    whole = [torch.cat(pieces, dim=2) for pieces in rows]
    padded = [nn.functional.pad(row, (0, 0, 0, query.shape[2] - row.shape[2])) for row in whole]
    return torch.cat(padded).transpose(1, 2).contiguous(), None


AttentionInterface.register(TREES, _attention)
