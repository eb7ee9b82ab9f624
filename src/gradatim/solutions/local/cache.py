"""Keys and values of many rows that grow by one token at a time: written in place, read as views.

transformers' own growing cache copies everything for each token; its static one attends to all it has room for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers.cache_utils import Cache, DynamicLayer

GROWTH = 1.5
"""A full buffer is replaced by one this many times as long."""

ROOM = 128
"""Tokens that a fresh buffer has room for beside what it starts with."""


class RowLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values of shape (rows, heads, tokens, width): views of buffers with room to grow."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, length: int) -> None:
        """`keys` and `values` are the buffers, `length` how many tokens of them are filled."""
        super().__init__()
        self.buffers = (keys, values)
        self.length = length
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._look()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the new tokens' states; returns all states as views."""
        end = self.length + key_states.shape[2]
        if end > self.buffers[0].shape[2]:
            keys, values = self.buffers
            self.buffers = _grown(keys, self.length, end), _grown(values, self.length, end)
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, self.length : end] = states
        self.length = end
        self._look()
        return self.keys, self.values

    def keep(self, count: int, holes: torch.Tensor, movers: torch.Tensor) -> None:
        """Go on with `count` rows: rows `movers` move into `holes`, the rest of the rows from `count` on is dropped."""
        keys, values = self.buffers
        if len(holes):
            for buffer in self.buffers:
                buffer[holes, :, : self.length] = buffer[movers, :, : self.length]
        self.buffers = keys[:count], values[:count]
        self._look()

    def _look(self) -> None:
        self.keys, self.values = (buffer[:, :, : self.length] for buffer in self.buffers)


def _grown(buffer: torch.Tensor, length: int, needed: int) -> torch.Tensor:
    rows, heads, _, width = buffer.shape
    room = max(needed, int(length * GROWTH))
    grown = buffer.new_empty(rows, heads, room, width)
    grown[:, :, :length] = buffer[:, :, :length]
    return grown


class RowCache(Cache):  # type: ignore[misc]
    """The layers of a model over rows whose tokens end at the same place: shorter rows have empty columns before
    them."""

    def keep(self, count: int, holes: torch.Tensor, movers: torch.Tensor) -> None:
        """See `RowLayer.keep`."""
        for layer in self.layers:
            if layer.is_initialized:
                layer.keep(count, holes, movers)


def spread(computed: Sequence[Cache], places: Sequence[tuple[int, int, int, int]], columns: int) -> RowCache:
    """A cache whose rows start with tokens that were computed once.

    Each place is (cache, row, tokens, copies): the first `tokens` tokens of that row of that cache fill the last of the
    first `columns` columns of the next `copies` rows.
    """
    total = sum(copies for *_, copies in places)
    layers = []
    for index, first in enumerate(computed[0].layers):
        if not first.is_initialized:  # a layer that uses another layer's keys
            layers.append(DynamicLayer())
            continue
        buffers = []
        for name in ("keys", "values"):
            like: torch.Tensor = getattr(first, name)
            buffer = like.new_empty(total, like.shape[1], columns + ROOM, like.shape[3])
            row = 0
            for source, at, tokens, copies in places:
                rows = buffer[row : row + copies]
                # Zeros, not whatever was in memory: a masked NaN is still a NaN.
                rows[:, :, : columns - tokens] = 0
                rows[:, :, columns - tokens : columns] = getattr(computed[source].layers[index], name)[at, :, :tokens]
                row += copies
            buffers.append(buffer)
        layers.append(RowLayer(buffers[0], buffers[1], columns))
    return RowCache(layers=layers)
