"""The decode loop: rows of different prefixes side by side, each prefix read once, finished rows taken out.

Rows end in the same column, so that one slice of the cache is what all of them attend to; shorter prefixes have masked
columns before them. One column is masked for all rows: a mask that masks nothing is dropped by transformers,
and the kernel it then takes is the slower one on CPUs, and rounds differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, DynamicCache

from gradatim.solutions.local.cache import RowCache, spread
from gradatim.solutions.local.sampling import Uniforms, choose

PREFILL_TOKENS = 8192
"""Padded tokens that are read in one forward pass before the first new token."""

SHRINK = 16
"""Finished rows are taken out once they are at least one in this many."""

Ends = Callable[[int, list[int]], bool]
"""Whether a row (by its index) is at a step's end after the tokens it wrote so far."""


@dataclass(frozen=True)
class Request:
    """Continuations of one prefix: its tokens, one random generator a continuation, and how long each may get."""

    ids: tuple[int, ...]
    generators: tuple[np.random.Generator, ...]
    limit: int


@dataclass
class Decoder:
    """A causal language model with what it takes to sample from it; holds no state between calls."""

    model: Any
    stops: frozenset[int]
    """Tokens that end a text."""
    temperature: float
    top_p: float

    @torch.inference_mode()
    def write(self, requests: Sequence[Request], ends: Ends | None = None) -> list[list[int]]:
        """The new tokens of every row, in the order of the requests and their generators; a stop token is the last.

        With `ends` a row also stops where that says so.
        """
        wave = _Wave(requests, self._cache(requests), self.model.device)
        while wave.active:
            out = self.model(
                input_ids=wave.last[:, None],
                attention_mask=wave.mask(),
                position_ids=wave.positions[:, None],
                past_key_values=wave.cache,
                use_cache=True,
            )
            tokens = choose(out.logits[:, -1], wave.uniforms.at(wave.written, wave.order), self.temperature, self.top_p)
            wave.take(tokens, self.stops, ends)
        return wave.texts

    def _cache(self, requests: Sequence[Request]) -> RowCache:
        """All tokens of every prefix but its last, read once; the last one makes the first step of the loop."""
        contexts = [request.ids[:-1] for request in requests]
        sources, held_by = maximal(contexts)
        computed: list[Cache] = []
        where: dict[int, tuple[int, int]] = {}
        for batch in _batches(sources):
            for row, source in enumerate(batch):
                where[source] = (len(computed), row)
            computed.append(self._read([sources[source] for source in batch]))
        places = [
            (*where[held_by[index]], len(context), len(request.generators))
            for index, (context, request) in enumerate(zip(contexts, requests, strict=True))
        ]
        return spread(computed, places, columns=1 + max(map(len, contexts)))

    def _read(self, contexts: Sequence[tuple[int, ...]]) -> Cache:
        """Keys and values of some token sequences. Padding comes after them, where causal attention never looks."""
        width = max(1, *map(len, contexts))
        ids = torch.tensor(
            [[*context, *[0] * (width - len(context))] for context in contexts], device=self.model.device
        )
        cache = DynamicCache()
        self.model.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
        return cache


class _Wave:
    """Rows in flight. Position i of every tensor belongs to row `order[i]`; finished rows leave now and then."""

    def __init__(self, requests: Sequence[Request], cache: RowCache, device: torch.device) -> None:
        copies = [len(request.generators) for request in requests]
        lengths = np.repeat([len(request.ids) for request in requests], copies)
        self.limits = np.repeat([request.limit for request in requests], copies)
        self.cache = cache
        self.uniforms = Uniforms([generator for request in requests for generator in request.generators])
        self.texts: list[list[int]] = [[] for _ in lengths]
        self.order = np.arange(len(lengths))
        self.done = np.zeros(len(lengths), dtype=bool)
        self.written = 0
        self.columns = int(lengths.max())
        self.last = torch.tensor(np.repeat([request.ids[-1] for request in requests], copies), device=device)
        self.positions = torch.tensor(lengths - 1, device=device)
        # A row's prefix fills the columns up to `columns`, itself included; column 0 is never filled.
        self.padding = torch.tensor(self.columns + 1 - lengths, device=device)

    @property
    def active(self) -> bool:
        return not self.done.all()

    def mask(self) -> torch.Tensor:
        """(rows, columns so far): which columns hold a token of the row."""
        columns = torch.arange(self.columns + 1 + self.written, device=self.padding.device)
        return columns >= self.padding[:, None]

    def take(self, tokens: torch.Tensor, stops: frozenset[int], ends: Ends | None) -> None:
        """Record one more token a row and see who is done."""
        self.written += 1
        for place, (row, token) in enumerate(zip(self.order.tolist(), tokens.tolist(), strict=True)):
            if self.done[place]:
                continue
            text = self.texts[row]
            text.append(token)
            if token in stops or self.written >= self.limits[row] or (ends is not None and ends(row, text)):
                self.done[place] = True
        self.last, self.positions = tokens, self.positions + 1
        if self.done.sum() * SHRINK >= len(self.done):
            self._shrink()

    def _shrink(self) -> None:
        """Rows from the end take the places of finished ones, so that few rows move."""
        places = np.flatnonzero(~self.done)
        count = len(places)
        if count in (0, len(self.done)):
            return
        movers, holes = places[places >= count], np.flatnonzero(self.done[:count])
        kept = np.arange(count)
        kept[holes] = movers
        index = torch.from_numpy(kept).to(self.last.device)
        self.cache.keep(count, torch.from_numpy(holes).to(index.device), torch.from_numpy(movers).to(index.device))
        self.last, self.positions, self.padding = self.last[index], self.positions[index], self.padding[index]
        self.order, self.done = self.order[kept], np.zeros(count, dtype=bool)


def maximal(contexts: Sequence[tuple[int, ...]]) -> tuple[list[tuple[int, ...]], list[int]]:
    """The contexts that no other one extends, and for each context the index of one that starts with it."""
    order = sorted(range(len(contexts)), key=lambda index: contexts[index])
    sources: list[tuple[int, ...]] = []
    held_by = [0] * len(contexts)
    for index in reversed(order):
        # Sorted, whatever extends a context comes right after it.
        context = contexts[index]
        if not sources or sources[-1][: len(context)] != context:
            sources.append(context)
        held_by[index] = len(sources) - 1
    return sources, held_by


def _batches(sources: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Indices of sources of like length together, so that padding is small and a batch no larger than the budget."""
    batches: list[list[int]] = []
    for index in sorted(range(len(sources)), key=lambda index: len(sources[index])):
        fits = batches and (len(batches[-1]) + 1) * max(1, len(sources[index])) <= PREFILL_TOKENS
        if fits:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
