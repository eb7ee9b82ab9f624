"""The decode loop: rows of different prefixes side by side, each prefix read once, finished rows taken out.

Rows that stop at a step's end leave their keys and values behind, for whoever goes on from there.

Rows end in the same column, so that one slice of the cache is what all of them attend to; shorter prefixes have masked
columns before them. One column is masked for all rows: a mask that masks nothing is dropped by transformers,
and the kernel it then takes is the slower one on CPUs, and rounds differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, DynamicCache

from gradatim.solutions.local.cache import RowCache, spread
from gradatim.solutions.local.kept import KeptPaths, States, states_of
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
    """A causal language model with what it takes to sample from it."""

    model: Any
    stops: frozenset[int]
    """Tokens that end a text."""
    temperature: float
    top_p: float
    kept: KeptPaths = field(default_factory=lambda: KeptPaths(0))
    """Keys and values from earlier calls."""
    prefilled: int = 0
    """Tokens of prefixes that were read so far; a row's last one makes its first new token and is not counted."""

    @torch.inference_mode()
    def write(self, requests: Sequence[Request], ends: Ends | None = None, over: Ends | None = None) -> list[list[int]]:
        """The new tokens of every row, in the order of the requests and their generators; a stop token is the last.

        With `ends` a row also stops where that says so; then keys and values of what was read and written are kept.
        With `over` it stops where that says so, and nothing goes on from there.
        """
        wave = _Wave(requests, self._cache(requests, keep=ends is not None), self.model.device)
        while wave.active:
            out = self.model(
                input_ids=wave.last[:, None],
                attention_mask=wave.mask(),
                position_ids=wave.positions[:, None],
                past_key_values=wave.cache,
                use_cache=True,
            )
            tokens = choose(out.logits[:, -1], wave.uniforms.at(wave.written, wave.order), self.temperature, self.top_p)
            for row, place in wave.take(tokens, self.stops, ends, over):
                self.kept.add(*wave.path(row, place))
            wave.shrink()
        return wave.texts

    def _cache(self, requests: Sequence[Request], *, keep: bool) -> RowCache:
        """All tokens of every prefix but its last, read once; the last one makes the first step of the loop."""
        contexts = [request.ids[:-1] for request in requests]
        sources, held_by = maximal(contexts)
        computed: list[Cache] = []
        where: dict[int, tuple[int, int]] = {}
        fresh = []
        for source, context in enumerate(sources):
            known, cache = self.kept.find(context)
            if cache is None:
                fresh.append(source)
                continue
            where[source] = (len(computed), 0)
            computed.append(self._read_on(context, known, cache))
        for batch in _batches([sources[source] for source in fresh]):
            for row, place in enumerate(batch):
                where[fresh[place]] = (len(computed), row)
            computed.append(self._read([sources[fresh[place]] for place in batch]))
        if keep:
            for source, (cache_at, row) in where.items():
                context = sources[source]
                self.kept.add(context, states_of(computed[cache_at], row, slice(len(context))))
        places = [
            (*where[held_by[index]], len(context), len(request.generators))
            for index, (context, request) in enumerate(zip(contexts, requests, strict=True))
        ]
        return spread(computed, places, columns=1 + max(map(len, contexts)))

    def _read_on(self, context: tuple[int, ...], known: int, cache: RowCache) -> RowCache:
        """Keys and values of a sequence of which the first `known` tokens have theirs in a cache of one row."""
        if known < len(context):
            self.prefilled += len(context) - known
            ids = torch.tensor([context[known:]], device=self.model.device)
            self.model.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
        return cache

    def _read(self, contexts: Sequence[tuple[int, ...]]) -> Cache:
        """Keys and values of some token sequences. Padding comes after them, where causal attention never looks."""
        self.prefilled += sum(map(len, contexts))
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
        self.prefixes = [request.ids for request in requests for _ in request.generators]
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

    def path(self, row: int, place: int) -> tuple[tuple[int, ...], States]:
        """Tokens of a row but its last, with their keys and values: all that the model has seen of it."""
        start = int(self.padding[place])
        return (*self.prefixes[row], *self.texts[row][:-1]), states_of(self.cache, place, slice(start, None))

    def take(
        self, tokens: torch.Tensor, stops: frozenset[int], ends: Ends | None, over: Ends | None
    ) -> list[tuple[int, int]]:
        """Record one more token a row and see who is done; (row, place) of those that are at a step's end."""
        self.written += 1
        at_end = []
        for place, (row, token) in enumerate(zip(self.order.tolist(), tokens.tolist(), strict=True)):
            if self.done[place]:
                continue
            text = self.texts[row]
            text.append(token)
            if token in stops or self.written >= self.limits[row] or (over is not None and over(row, text)):
                self.done[place] = True
            elif ends is not None and ends(row, text):
                self.done[place] = True
                at_end.append((row, place))
        self.last, self.positions = tokens, self.positions + 1
        return at_end

    def shrink(self) -> None:
        """Once there are enough finished rows, rows from the end take their places, so that few rows move."""
        places = np.flatnonzero(~self.done)
        count = len(places)
        if count in (0, len(self.done)) or (len(self.done) - count) * SHRINK < len(self.done):
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
