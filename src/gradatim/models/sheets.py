"""Sheets: new tokens of many sequences in one row without padding, hung below tokens whose keys and values are kept.

A sheet is run in one forward pass. In every layer the keys and values of its tokens are written to their slots in the
pool, then each piece of the sheet attends to the slots that it sees. A token that was computed once is never computed
again while it is kept, whether it lies in the same sheet, in an earlier one, or in one of an earlier call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from gradatim.errors import BackendError
from gradatim.models.forward import body_of
from gradatim.models.kept import Kept
from gradatim.trees import shared

NAME = "gradatim_sheet"
"""Under which transformers knows this attention."""

PIECE = 128
"""Most tokens in a piece, on a CPU."""

CALL = 4096
"""What one more call of the attention kernel costs on a CPU, in pairs of a query and a key."""

COARSER = 8
"""How many times as large pieces are elsewhere, where a call costs the time of more pairs (by that squared)."""

GATHER = 8
"""What fetching a key and its value costs, in the same unit."""


@dataclass(frozen=True, slots=True)
class Part:
    """Neighbouring tokens of a sheet that lie on one path."""

    first: int
    """Place of the first of them in the sheet."""
    count: int
    """How many they are."""
    slots: list[int]
    """Slots of the path down to the last of them, from the first token of the sequence on."""


class Sheet:
    """New tokens, gathered sequence by sequence. Sequences must come in sorted order."""

    def __init__(self, kept: Kept, size: int) -> None:
        """At most `size` tokens, as far as `kept` has room for them."""
        self.ids: list[int] = []
        self.depths: list[int] = []
        self.slots: list[int] = []
        self.parts: list[Part] = []
        self.reads: dict[int, int] = {}
        """Place of each token at which the model is to be read -> its slot."""
        self._kept, self._size = kept, size
        self._place: dict[int, int] = {}
        kept.begin()

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, ids: tuple[int, ...], reads: Sequence[int]) -> list[int] | None:
        """Have a sequence read at these depths: the slots of these tokens, where the values will be.

        None if only a part of it had room; the rest goes on the next sheet.
        """
        run, slots = self._kept.find(ids)
        old = len(slots)
        for depth in reads:
            if depth < old and not self._read_again(ids[depth], slots[: depth + 1]):
                return None
        count = self._kept.room(min(len(ids) - old, self._size - len(self)))
        if count:
            slots += self._kept.add(run, ids[old : old + count])
            self._append(ids[old : old + count], slots)
            self.reads |= {self._place[slots[depth]]: slots[depth] for depth in reads if old <= depth < old + count}
        return [slots[depth] for depth in reads] if len(slots) == len(ids) else None

    def finish(self, values: Sequence[float]) -> None:
        """Note what the model said at each of `reads`, in their order."""
        self._kept.values.update(zip(self.reads.values(), values, strict=True))

    def undo(self) -> None:
        """Keep nothing of a sheet that could not be run."""
        self._kept.undo()

    def _read_again(self, token: int, slots: list[int]) -> bool:
        """Have the last token of a kept path read, if it was not yet; False if there is no room for it.

        Unless it lies on this sheet it has to be computed once more: its last hidden state is not kept.
        """
        slot = slots[-1]
        if slot in self._kept.values:
            return True
        if slot not in self._place:
            if len(self) == self._size:
                return False
            self._append((token,), slots)
        self.reads[self._place[slot]] = slot
        return True

    def _append(self, ids: tuple[int, ...], slots: list[int]) -> None:
        """Put the last tokens of a path on the sheet."""
        depth, new = len(slots) - len(ids), slots[len(slots) - len(ids) :]
        self.parts.append(Part(len(self), len(ids), list(slots)))
        self._place.update(zip(new, range(len(self), len(self) + len(new)), strict=True))
        self.ids += ids
        self.depths += range(depth, len(slots))
        self.slots += new


class Pool:
    """Keys and values, a row a slot, for each attention layer; grows as slots are used."""

    def __init__(self) -> None:
        self._layers: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    @property
    def token_bytes(self) -> int:
        """What one token takes over all layers; 0 before any was written."""
        return sum(rows[0].numel() * rows.element_size() for rows in chain(*self._layers.values()))

    @property
    def bytes(self) -> int:
        """What is allocated."""
        return sum(rows.numel() * rows.element_size() for rows in chain(*self._layers.values()))

    def write(self, layer: nn.Module, slots: Tensor, rows: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Put keys and values (tokens, heads, size) into slots, of which there are `rows`; returns the whole of both."""
        held = self._layers.get(layer)
        if held is None or len(held[0]) < rows:
            wider = key.new_empty(rows, *key.shape[1:]), value.new_empty(rows, *value.shape[1:])
            for new, old in zip(wider, held or (), strict=False):
                new[: len(old)] = old
            held = self._layers[layer] = wider
        held[0].index_copy_(0, slots, key)
        held[1].index_copy_(0, slots, value)
        return held


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring tokens of a sheet, and what they see."""

    first: int
    """Place of the first of them."""
    after: int
    """One past the last."""
    keys: Tensor
    """Slots (keys,) that any of them sees."""
    mask: Tensor
    """(after - first, keys): 0 where a token sees a slot, -inf where not."""


@dataclass(frozen=True, slots=True)
class _Laid:
    """A sheet while the model runs over it."""

    pieces: tuple[Piece, ...]
    slots: Tensor
    rows: int
    pool: Pool
    number: torch.dtype
    layers: set[nn.Module]


_laid: ContextVar[_Laid] = ContextVar("laid")


def takes_sheets(module: nn.Module) -> bool:
    """Whether a body's attention can be replaced by ours: SDPA, by way of transformers' attention interface."""
    body: Any = body_of(module)
    return body.config._attn_implementation == "sdpa" and bool(getattr(body, "_supports_attention_backend", False))


def hidden_on(module: nn.Module, sheet: Sheet, pool: Pool, rows: int) -> Tensor:
    """Last hidden states (len(sheet.reads), hidden size) at the sheet's reads; the pool has room for `rows` slots."""
    body: Any = body_of(module)
    device = next(body.parameters()).device
    number = attention_format(next(body.parameters()).dtype, device)
    pieces = tuple(_pieces(sheet.parts, number, device))
    laid = _Laid(pieces, torch.tensor(sheet.slots, device=device), rows, pool, number, set())
    with _laying(body, laid):
        hidden: Tensor = body(
            input_ids=torch.tensor([sheet.ids], device=device),
            position_ids=torch.tensor([sheet.depths], device=device),
            # Any mask of four dimensions keeps the model from making its own; our attention knows who sees what.
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device),
            use_cache=False,
        ).last_hidden_state
    if len(laid.layers) != body.config.num_hidden_layers:
        raise BackendError(
            f"{type(body).__name__} attends in {len(laid.layers)} of {body.config.num_hidden_layers} layers by way of "
            "transformers' attention interface; score it with use_trees=False"
        )
    return hidden[0, torch.tensor(list(sheet.reads), device=device, dtype=torch.long)]


def attention_format(number: torch.dtype, device: torch.device) -> torch.dtype:
    """In what keys, values and attention are computed: on a CPU always float32, whose attention kernel is faster."""
    return torch.float32 if device.type == "cpu" else number


@contextmanager
def _laying(body: Any, laid: _Laid) -> Iterator[None]:
    token, usual = _laid.set(laid), body.config._attn_implementation
    body.config._attn_implementation = NAME
    try:
        yield
    finally:
        body.config._attn_implementation = usual
        _laid.reset(token)


def _pieces(parts: Sequence[Part], number: torch.dtype, device: torch.device) -> Iterator[Piece]:
    """Parts cut to the size of a piece, and small neighbours joined where that costs less than a call of their own."""
    size, call = (PIECE, CALL) if device.type == "cpu" else (PIECE * COARSER, CALL * COARSER**2)
    group: list[Part] = []
    keys = tokens = 0
    for part in (cut for whole in parts for cut in _cut(whole, size)):
        own = len(part.slots)
        more = own - shared(group[-1].slots, part.slots) if group else own
        joined, apart = _cost(tokens + part.count, keys + more), _cost(tokens, keys) + _cost(part.count, own) + call
        if group and (joined > apart or tokens + part.count > size):
            yield _piece(group, number, device)
            group, keys, tokens, more = [], 0, 0, own
        group.append(part)
        keys, tokens = keys + more, tokens + part.count
    if group:
        yield _piece(group, number, device)


def _cost(tokens: int, keys: int) -> int:
    return (tokens + GATHER) * keys


def _cut(part: Part, size: int) -> Iterator[Part]:
    above = len(part.slots) - part.count
    for start in range(0, part.count, size):
        count = min(size, part.count - start)
        yield Part(part.first + start, count, part.slots[: above + start + count])


def _piece(parts: Sequence[Part], number: torch.dtype, device: torch.device) -> Piece:
    """In sorted order, what a part's path has in common with any part before it, it has in common with the last one."""
    keys: list[int] = []
    columns: list[Tensor] = []
    before: list[int] = []
    seen: list[int] = []
    for part in parts:
        common = shared(before, part.slots)
        seen = [*seen[:common], *range(len(keys), len(keys) + len(part.slots) - common)]
        keys += part.slots[common:]
        columns.append(torch.tensor(seen))
        before = part.slots
    mask = torch.full((sum(part.count for part in parts), len(keys)), -torch.inf)
    row = 0
    for part, own in zip(parts, columns, strict=True):
        mask[row : row + part.count, own] = mask.new_full((part.count, len(own)), -torch.inf).triu(
            len(own) - part.count + 1
        )
        row += part.count
    return Piece(parts[0].first, parts[0].first + row, torch.tensor(keys, device=device), mask.to(device, number))


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
    """(1, heads, tokens, size) -> (1, tokens, heads, size), as transformers' own."""
    laid = _laid.get()
    laid.layers.add(module)
    keys, values = laid.pool.write(
        module, laid.slots, laid.rows, *(states[0].transpose(0, 1).to(laid.number) for states in (key, value))
    )
    asks, found = query.to(laid.number), []
    for piece in laid.pieces:
        seen = keys.index_select(0, piece.keys), values.index_select(0, piece.keys)
        found.append(_kernel(asks[:, :, piece.first : piece.after], *seen, piece.mask, scaling))
    return torch.cat(found, dim=2).transpose(1, 2).to(query.dtype).contiguous(), None


def _kernel(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float | None) -> Tensor:
    """(1, heads, tokens, size) with keys and values (keys, grouped heads, size) -> (1, heads, tokens, size)."""
    key, value = (states.transpose(0, 1)[None] for states in (key, value))
    if query.device.type == "cpu":
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale, enable_gqa=True)
    # CUDA's kernels that take a mask want every query head to have its own keys.
    groups = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


AttentionInterface.register(NAME, _attention)
