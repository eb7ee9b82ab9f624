"""Keys and values that stay from call to call, for prefixes that are gone on from step by step; least recent out first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers.cache_utils import Cache, DynamicLayer

from gradatim.solutions.local.cache import RowCache, RowLayer
from gradatim.trees import shared

States = list[tuple[torch.Tensor, torch.Tensor] | None]
"""A layer's keys and values, each (heads, tokens, width); None for a layer that uses another layer's."""


@dataclass(eq=False, slots=True)
class Piece:
    """Neighbouring tokens of a path, with their keys and values."""

    ids: tuple[int, ...]
    states: States
    above: Piece | None = None
    below: list[Piece] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """What the keys and values take."""
        return sum(part.numel() * part.element_size() for layer in self.states if layer for part in layer)


class KeptPaths:
    """Paths of tokens in pieces. What hangs below a piece is always dropped before it, so that paths stay whole."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._root = Piece((), [])
        self._recent: OrderedDict[Piece, None] = OrderedDict()

    def find(self, ids: Sequence[int]) -> tuple[int, RowCache | None]:
        """How many of the first tokens are kept, and their keys and values as a cache of one row (None for none)."""
        pieces, counts = self._path(tuple(ids))
        return sum(counts), _joined(pieces, counts) if pieces else None

    def add(self, ids: Sequence[int], states: States) -> None:
        """Keep a path, whose tokens have these keys and values; what is kept of it already is not kept twice."""
        path = tuple(ids)
        pieces, counts = self._path(path)
        if sum(counts) == len(path) or not self.most_bytes:
            return
        if pieces and counts[-1] < len(pieces[-1].ids):
            # It leaves a piece in its middle: the beginning of that is kept a second time.
            pieces, counts = pieces[:-1], counts[:-1]
        start, above = sum(counts), pieces[-1] if pieces else self._root
        own: States = [layer and (layer[0][:, start:].clone(), layer[1][:, start:].clone()) for layer in states]
        piece = Piece(path[start:], own, above)
        above.below.append(piece)
        self.bytes += piece.bytes
        self._use(piece)
        while self.bytes > self.most_bytes:
            self._drop(next(iter(self._recent)))

    def _path(self, ids: tuple[int, ...]) -> tuple[list[Piece], list[int]]:
        """The kept pieces along a path and how many tokens of each lie on it: all of them, except in the last one."""
        pieces: list[Piece] = []
        counts: list[int] = []
        piece, left = self._root, ids
        while left and piece.below:
            common, following = max(((shared(one.ids, left), one) for one in piece.below), key=lambda pair: pair[0])
            if not common:
                break
            pieces.append(following)
            counts.append(common)
            if common < len(following.ids):
                break
            piece, left = following, left[common:]
        if pieces:
            self._use(pieces[-1])
        return pieces, counts

    def _use(self, piece: Piece) -> None:
        """Mark a piece, then what is above it: a piece is always more recent than all below it."""
        step: Piece | None = piece
        while step is not None and step is not self._root:
            self._recent[step] = None
            self._recent.move_to_end(step)
            step = step.above

    def _drop(self, piece: Piece) -> None:
        assert piece.above is not None
        assert not piece.below
        piece.above.below.remove(piece)
        del self._recent[piece]
        self.bytes -= piece.bytes


def states_of(cache: Cache, row: int, columns: slice) -> States:
    """Keys and values of some columns of a row, as views."""
    return [
        (layer.keys[row, :, columns], layer.values[row, :, columns]) if layer.is_initialized else None
        for layer in cache.layers
    ]


def _joined(pieces: Sequence[Piece], counts: Sequence[int]) -> RowCache:
    layers = []
    for index, first in enumerate(pieces[0].states):
        if first is None:
            layers.append(DynamicLayer())
            continue
        parts = [(layer[0][:, :count], layer[1][:, :count]) for layer, count in _layer(pieces, counts, index)]
        keys, values = (torch.cat([part[which] for part in parts], dim=1)[None] for which in (0, 1))
        layers.append(RowLayer(keys, values, keys.shape[2]))
    return RowCache(layers=layers)


def _layer(
    pieces: Sequence[Piece], counts: Sequence[int], index: int
) -> list[tuple[tuple[torch.Tensor, torch.Tensor], int]]:
    found = []
    for piece, count in zip(pieces, counts, strict=True):
        states = piece.states[index]
        assert states is not None
        found.append((states, count))
    return found
