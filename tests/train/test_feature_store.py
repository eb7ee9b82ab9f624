"""The file of features: several processes may come to it at once."""

from __future__ import annotations

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import torch

from gradatim.train.store import opened


def test_whoever_comes_while_another_is_at_the_file_waits(tmp_path: Path) -> None:
    """A new file that another connection is reading: opening it waits for the reader and then succeeds."""
    path = tmp_path / "features.sqlite"

    def keep() -> None:
        with opened(path) as store:
            store.put({b"key": torch.ones(2, 3)})

    with closing(sqlite3.connect(path, isolation_level=None)) as other, ThreadPoolExecutor(1) as threads:
        other.execute("CREATE TABLE theirs (x)")
        other.execute("BEGIN")
        other.execute("SELECT * FROM theirs").fetchall()
        kept = threads.submit(keep)
        while not kept.done() and not Path(f"{path}-journal").exists():
            time.sleep(0.005)
        assert not kept.done()
        other.execute("COMMIT")
        kept.result()

    with opened(path) as store:
        found = store.get(b"key", 2)
        assert found is not None
        assert torch.equal(found, torch.ones(2, 3))
