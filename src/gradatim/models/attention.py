"""Attention over trees in pieces: each piece of a block sees the path above it and itself, not the whole block.

With a dense mask a block of n tokens costs n x n, most of it masked out. In depth-first order the tokens that a piece
[a, b) sees are the ancestors of a and those in the piece: a node before a that is an ancestor of a later node in the
piece has a among its descendants too. So a piece costs (b - a) x (depth of a + b - a).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from gradatim.models.forward import body_of
from gradatim.trees import Block

NAME = "gradatim_tree"
"""Under which transformers knows this attention."""

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


_pieces: ContextVar[tuple[Piece, ...]] = ContextVar("pieces")


@contextmanager
def in_pieces(module: nn.Module, blocks: Sequence[Block]) -> Iterator[None]:
    """Run the body's attention in pieces while the block lasts, where that saves work and the model uses SDPA.

    What is run inside must be a forward pass over exactly these blocks, in this order. A backward pass may come later,
    unless it computes activations again.
    """
    config: Any = body_of(module).config
    if config._attn_implementation != "sdpa" or not _pays(blocks):
        yield
        return
    device = next(module.parameters()).device
    token = _pieces.set(tuple(piece for row, block in enumerate(blocks) for piece in _cut(row, block, device)))
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = "sdpa"
        _pieces.reset(token)


def _pays(blocks: Sequence[Block]) -> bool:
    if all(block.is_chain for block in blocks):
        return False
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
    """(batch, heads, tokens, size) -> (batch, tokens, heads, size), as transformers' own; padding gets zeros."""
    groups = query.shape[1] // key.shape[1]
    rows: list[list[Tensor]] = [[] for _ in range(query.shape[0])]
    for piece in _pieces.get():
        row = slice(piece.row, piece.row + 1)
        keys, values = (states[row, :, piece.keys].repeat_interleave(groups, dim=1) for states in (key, value))
        asks = query[row, :, piece.first : piece.after]
        found = scaled_dot_product_attention(asks, keys, values, attn_mask=piece.mask, dropout_p=dropout, scale=scaling)
        rows[piece.row].append(found)
    whole = [torch.cat(pieces, dim=2) for pieces in rows]
    padded = [nn.functional.pad(row, (0, 0, 0, query.shape[2] - row.shape[2])) for row in whole]
    return torch.cat(padded).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _attention)
