"""Work in flight in a SQLite file, so that a run that was killed at any moment goes on where it was.

The unit of work is fixed before the first one starts. A unit is recorded in one transaction when all of it is done,
and done again from its beginning if it is not in the file: nothing is half done, and nothing is counted twice. (WAL
mode; a transaction that was committed survives kill -9; after a power failure the last units may be missing, and are
done again.)
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from gradatim.errors import BackendError, ConfigError, InputError

SCHEMA = 1
"""Version of the ledger's tables."""


def ledger_path(out: str | Path) -> Path:
    """Where the ledger of a stage that writes `out` lies: beside it."""
    out = Path(out)
    return out.with_name(out.name + ".ledger")


class Ledger:
    """What is done of one piece of work. One process at a time; a context manager."""

    def __init__(self, path: str | Path, identity: Mapping[str, Any]) -> None:
        """Open or create the ledger of the work that `identity` (JSON values) describes.

        A ledger in which nothing is done yet is anybody's. ConfigError if the file belongs to work with another identity
        (it says what differs), or if another process has it open; InputError if it is no ledger.
        """
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=0)
        except sqlite3.OperationalError as error:
            raise InputError(f"a ledger that can't be made ({error})", file=self.path, fix="check the path") from None
        try:
            self._open(json.loads(json.dumps(identity)))
        except sqlite3.OperationalError as error:
            self._db.close()
            if "locked" not in str(error):
                raise InputError(f"a ledger that can't be opened ({error})", file=self.path) from None
            raise ConfigError(f"another process is at work on {self.path}; wait for it, or stop it") from None
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise InputError(f"no ledger ({error})", file=self.path, fix="delete the file to start again") from None
        except BaseException:
            self._db.close()
            raise

    def _open(self, identity: dict[str, Any]) -> None:
        # An exclusive lock is let go when its process dies, however it dies.
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("BEGIN EXCLUSIVE")
        self._db.execute("CREATE TABLE IF NOT EXISTS work (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        self._db.execute("CREATE TABLE IF NOT EXISTS units (unit INTEGER PRIMARY KEY, result TEXT NOT NULL)")
        wanted = {name: json.dumps(value, sort_keys=True) for name, value in {"schema": SCHEMA, **identity}.items()}
        if not self.count():
            self._db.execute("DELETE FROM work")
        found = dict(self._db.execute("SELECT name, value FROM work"))
        if not found:
            self._db.executemany("INSERT INTO work VALUES (?, ?)", wanted.items())
        self._db.execute("COMMIT")
        differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if found and differing:
            name = differing[0]
            raise ConfigError(
                f"{self.path} holds unfinished work with {name} = {found.get(name, 'nothing')}, and this run has "
                f"{wanted.get(name, 'nothing')}; go on with the old settings and inputs, or delete the file to start again"
            )

    def done(self) -> Iterator[tuple[int, Any]]:
        """The units that are done, in order, with their results."""
        for unit, result in self._db.execute("SELECT unit, result FROM units ORDER BY unit"):
            yield unit, json.loads(result)

    def count(self) -> int:
        """How many units are done."""
        (count,) = self._db.execute("SELECT count(*) FROM units").fetchone()
        return int(count)

    def missing(self, units: int) -> list[int]:
        """Which of the units 0..units-1 are not done."""
        done = {unit for (unit,) in self._db.execute("SELECT unit FROM units")}
        return [unit for unit in range(units) if unit not in done]

    def record(self, unit: int, result: Any) -> None:
        """Unit `unit` is done, with this result (JSON values). A unit is recorded once; sqlite3.IntegrityError
        otherwise. BackendError if the disk is full."""
        self._write("INSERT INTO units (unit, result) VALUES (:unit, :result)", unit, result)

    def amend(self, unit: int, result: Any) -> None:
        """Replace the result of a unit that is done: gaps that it had are filled now. In one transaction, too."""
        self._write("UPDATE units SET result = :result WHERE unit = :unit", unit, result)

    def _write(self, statement: str, unit: int, result: Any) -> None:
        try:
            self._db.execute(statement, {"unit": unit, "result": json.dumps(result)})
        except sqlite3.OperationalError as error:
            raise BackendError(
                f"{self.path} can't be written ({error}); what it held before stays: free some space, and the same command "
                "goes on"
            ) from None

    def close(self) -> None:
        """Close the file; what was recorded stays."""
        self._db.close()

    def remove(self) -> None:
        """Close and delete the file: the work is finished and its results lie elsewhere."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
