"""A frozen backbone's features, computed once: the head then trains in seconds, as often as one likes.

They are kept in an SQLite file under a digest of the backbone's weights and the tokens, so a later training (another
learning rate, another split) finds those that it shares with an earlier one, and a killed one goes on where it was.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor

from gradatim.progress import progress
from gradatim.train.lessons import Lesson, micro_batches

FEATURES = "features.sqlite"
"""Name of the file where no other is asked for, in the folder of a training's state."""


def cached(
    lessons: Sequence[Lesson],
    read: Callable[[Sequence[Lesson]], Tensor],
    path: Path | None,
    *,
    backbone: str,
    block_tokens: int,
    device: torch.device,
    quiet: bool = False,
) -> Callable[[Sequence[Lesson]], Tensor]:
    """A replacement for `read` on these lessons that runs the model only for what is not in the file.

    `backbone` names everything that decides the features beside the tokens: weights and number format. Without a
    `path` the features are kept in memory only. They are held on `device`.
    """
    parts = micro_batches(lessons, block_tokens)
    known: dict[Lesson, Tensor] = {}
    with _opened(path) as file, progress("features", len(lessons), "trees", quiet=quiet) as shown:
        for part in parts:
            keys = [_key(lesson, backbone) for lesson in part]
            found = [_get(file, key, lesson) for key, lesson in zip(keys, part, strict=True)]
            if any(features is None for features in found):
                # A part is computed whole or not at all, so that a stop in between does not change its rounding.
                with torch.no_grad():
                    found = list(torch.split(read(part).float(), [lesson.reads for lesson in part]))
                _put(file, keys, [features for features in found if features is not None])
            for lesson, features in zip(part, found, strict=True):
                if features is not None:
                    known[lesson] = features.to(device)
            shown.advance(len(part), tokens=sum(lesson.tokens for lesson in part))

    def look_up(wanted: Sequence[Lesson]) -> Tensor:
        return torch.cat([known[lesson] for lesson in wanted])

    return look_up


@contextmanager
def _opened(path: Path | None) -> Iterator[sqlite3.Connection]:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path or ":memory:", timeout=60, isolation_level=None)) as file:
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID")
        yield file


def _get(file: sqlite3.Connection, key: bytes, lesson: Lesson) -> Tensor | None:
    row = file.execute("SELECT content FROM features WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    return torch.frombuffer(bytearray(row[0]), dtype=torch.float32).reshape(lesson.reads, -1)


def _put(file: sqlite3.Connection, keys: Sequence[bytes], features: Sequence[Tensor]) -> None:
    rows = [(key, rows.cpu().contiguous().numpy().tobytes()) for key, rows in zip(keys, features, strict=True)]
    file.execute("BEGIN IMMEDIATE")
    file.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)
    file.execute("COMMIT")


def _key(lesson: Lesson, backbone: str) -> bytes:
    digest = blake2b(backbone.encode(), digest_size=16)
    for block, nodes in zip(lesson.blocks, lesson.nodes, strict=True):
        for numbers in (block.ids, block.depth, nodes):
            digest.update(len(numbers).to_bytes(8, "little"))
            digest.update(array("q", numbers).tobytes())
    return digest.digest()
