"""kill -9 twenty times in one run, at random moments: what `bench/killing.py` checks after every kill and at the end holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "bench" / "killing.py"


@pytest.mark.parametrize("rule", ["fixed", "adaptive", "judge"])
def test_killed_twenty_times_no_draw_is_lost_or_counted_twice(rule: str) -> None:
    """The ledger only grows, holds each draw once, and the files are an uninterrupted run's, byte for byte."""
    command = [sys.executable, "-P", str(SCRIPT), "--rule", rule]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    found = json.loads(made.stdout)
    assert len(found["kept_by_life"]) == 20
    assert 0 < sum(found["kept_by_life"]) < found["draws"]
