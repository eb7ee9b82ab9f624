"""The log-probabilities of a reference model, which are kept in a file if wanted: then its weights are not needed again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradatim.errors import ConfigError
from gradatim.models.attention import tree_attention
from gradatim.models.logprobs import log_probabilities
from gradatim.trees import Block


class Reference:
    """A language model that is loaded when it is first needed, and the file that remembers what it said.

    A value in the file is found by a digest of the model's identity, its number format and all tokens up to its own. So
    values of other weights are never taken for these, and one file serves any number of models.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], Any],
        *,
        identity: str,
        dtype: str = "float32",
        cache: Path | None = None,
    ) -> None:
        """`load` gives the causal model; `identity` tells its weights from all others, `dtype` what they are computed in."""
        self.name, self.identity, self._load, self._cache = name, identity, load, cache
        self._seed = blake2b(f"{identity} {dtype}".encode(), digest_size=16).digest()
        if cache is not None:
            self._on_file(lambda _: None)

    @cached_property
    def model(self) -> Any:
        """The causal language model."""
        return self._load()

    def log_probabilities(self, blocks: Sequence[Block], nodes: Sequence[Sequence[int]]) -> Tensor:
        """As `gradatim.models.logprobs.log_probabilities`; on the CPU if all was on file."""
        if self._cache is None:
            return self._computed(blocks, nodes)
        keys = [_keys(self._seed, block, wanted) for block, wanted in zip(blocks, nodes, strict=True)]
        known = self._on_file(lambda file: _found(file, list(chain.from_iterable(keys))))
        new = [row for row, wanted in enumerate(keys) if any(key not in known for key in wanted)]
        if new:
            values = self._computed([blocks[row] for row in new], [nodes[row] for row in new]).tolist()
            fresh = dict(zip(chain.from_iterable(keys[row] for row in new), values, strict=True))
            self._on_file(lambda file: file.executemany("insert or replace into logprobs values (?, ?)", fresh.items()))
            known = {**known, **fresh}
        return torch.tensor([known[key] for key in chain.from_iterable(keys)], dtype=torch.float32)

    def _computed(self, blocks: Sequence[Block], nodes: Sequence[Sequence[int]]) -> Tensor:
        with tree_attention(self.model, blocks):
            return log_probabilities(self.model, blocks, nodes)

    def _on_file(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Work on the open file; what is written is there when this returns."""
        assert self._cache is not None
        try:
            with closing(sqlite3.connect(self._cache)) as file, file:
                file.execute(
                    "create table if not exists logprobs (path blob primary key, value real not null) without rowid"
                )
                return work(file)
        except sqlite3.Error as error:
            raise ConfigError(
                f"cache={str(self._cache)!r}: {error}; expected a file of reference log-probabilities, or a new name in "
                "a folder that exists"
            ) from error


def _keys(seed: bytes, block: Block, nodes: Sequence[int]) -> list[bytes]:
    """A digest of the whole path of each of the nodes."""
    digests: list[bytes] = []
    for token, parent in zip(block.ids, block.parent, strict=True):
        above = seed if parent < 0 else digests[parent]
        digests.append(blake2b(above + token.to_bytes(4, "little"), digest_size=16).digest())
    return [digests[node] for node in nodes]


def _found(file: sqlite3.Connection, keys: Sequence[bytes]) -> Mapping[bytes, float]:
    known: dict[bytes, float] = {}
    for first in range(0, len(keys), 500):
        some = keys[first : first + 500]
        marks = ", ".join("?" * len(some))
        known.update(file.execute(f"select path, value from logprobs where path in ({marks})", some))
    return known
