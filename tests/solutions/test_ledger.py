"""The ledger of work in flight."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gradatim.errors import ConfigError, InputError
from gradatim.solutions.ledger import Ledger, ledger_path


def test_what_is_recorded_is_there_again(tmp_path: Path) -> None:
    """Results come back in order of their units, and a unit is recorded once."""
    path = tmp_path / "deep" / "work.ledger"
    with Ledger(path, {"seed": 1}) as ledger:
        ledger.record(2, ["é", None, 1.5])
        ledger.record(0, {"a": 1})
        with pytest.raises(sqlite3.IntegrityError):
            ledger.record(0, {"a": 2})
    with Ledger(path, {"seed": 1}) as ledger:
        assert list(ledger.done()) == [(0, {"a": 1}), (2, ["é", None, 1.5])]
        assert (ledger.count(), ledger.missing(4)) == (2, [1, 3])
        ledger.remove()
    assert list(path.parent.iterdir()) == []


def test_other_work_and_other_processes_are_refused(tmp_path: Path) -> None:
    """A ledger goes on with its own work alone, for one process at a time, and a file that is no ledger is said to be."""
    path = ledger_path(tmp_path / "labels.jsonl")
    assert path == tmp_path / "labels.jsonl.ledger"
    with Ledger(path, {"seed": 1, "k": 8}) as ledger:
        ledger.record(0, "done")
        with pytest.raises(ConfigError, match="another process"):
            Ledger(path, {"seed": 1, "k": 8})
    with pytest.raises(ConfigError, match="k = 8, and this run has 9"):
        Ledger(path, {"seed": 1, "k": 9})
    with pytest.raises(ConfigError, match="seed = 1, and this run has nothing"):
        Ledger(path, {"k": 8})
    path.write_text("a" * 5000)
    with pytest.raises(InputError, match="no ledger"):
        Ledger(path, {"seed": 1})


def test_a_ledger_in_which_nothing_is_done_is_anybodys(tmp_path: Path) -> None:
    """A run that failed before its first unit bars nobody; the first unit makes the ledger its own."""
    path = tmp_path / "work.ledger"
    Ledger(path, {"policy": "a misspelt one"}).close()
    with Ledger(path, {"policy": "the right one"}) as ledger:
        ledger.record(0, "done")
    with pytest.raises(ConfigError, match="the right one"):
        Ledger(path, {"policy": "a misspelt one"})
