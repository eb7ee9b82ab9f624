"""A file of what a frozen part of a model computes: matrices of float32 under digests of what they were computed from."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from errno import ENOSPC
from pathlib import Path

import torch
from torch import Tensor

from gradatim.errors import ConfigError
from gradatim.progress import progress
from gradatim.train.lessons import Lesson
from gradatim.train.workers import Workers

FEATURES = "features.sqlite"
"""Name of the file where no other is asked for, in the folder of a training's state."""


class Store:
    """Matrices by key, in an SQLite file that several processes may write; it outlives any of them being killed."""

    def __init__(self, file: sqlite3.Connection, *, shared: bool) -> None:
        self._file = file
        self.shared = shared
        """Whether other processes see what this one puts into it."""

    def get(self, key: bytes, rows: int) -> Tensor | None:
        """(rows, any) or None if there is nothing under this key."""
        row = self._file.execute("SELECT content FROM features WHERE key = ?", (key,)).fetchone()
        return None if row is None else torch.frombuffer(bytearray(row[0]), dtype=torch.float32).reshape(rows, -1)

    def put(self, found: Mapping[bytes, Tensor]) -> None:
        """Keep some matrices: all of them or, after a kill at any moment, none."""
        rows = [(key, rows.cpu().contiguous().numpy().tobytes()) for key, rows in found.items()]
        self._file.execute("BEGIN IMMEDIATE")
        self._file.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)
        self._file.execute("COMMIT")

    def has(self, keys: Sequence[bytes]) -> bool:
        """Whether there is something under each of these keys."""
        find = "SELECT 1 FROM features WHERE key = ?"
        return all(self._file.execute(find, (key,)).fetchone() for key in keys)


@contextmanager
def opened(path: Path | None) -> Iterator[Store]:
    """A store in this file; without one, in a file of the system's that is gone afterwards.

    ConfigError if the file is none, OSError if the disk is full.
    """
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path or "", timeout=60, isolation_level=None)) as file:
            # No write-ahead log: SQLite waits for no one when it turns to it, so that of two openers one would fail.
            file.execute(
                "CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID"
            )
            yield Store(file, shared=path is not None)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise OSError(ENOSPC, os.strerror(ENOSPC), str(path or "")) from error
        raise ConfigError(
            f"features={str(path or '')!r}: {error}; expected a file that a training with features= wrote, or a new name"
        ) from error


def fill(
    store: Store,
    parts: Sequence[list[Lesson]],
    keys: Callable[[list[Lesson]], list[bytes]],
    compute: Callable[[list[Lesson]], Sequence[Tensor]],
    workers: Workers,
    *,
    quiet: bool = False,
) -> None:
    """Compute what is missing, `compute(part)` with one matrix for each of `keys(part)`, divided over the processes.

    A part is computed whole or not at all, so that a stop in between does not change its rounding.
    """
    mine = parts[workers.rank :: workers.count] if store.shared else parts
    total = sum(map(len, mine))
    with progress("features", total, "trees", quiet=quiet or not workers.is_main) as shown, torch.no_grad():
        for part in mine:
            if not store.has(wanted := keys(part)):
                store.put(dict(zip(wanted, compute(part), strict=True)))
            shown.advance(len(part), tokens=sum(lesson.tokens for lesson in part))
    workers.wait()
