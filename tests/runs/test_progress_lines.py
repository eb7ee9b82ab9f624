"""Progress goes to one stream, adds up right from any thread, and keeps still when quiet."""

from __future__ import annotations

import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from gradatim import progress as module
from gradatim.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_line_at_the_end() -> None:
    """Without a terminal a last line tells how much was done, with sums, rates and the latest values."""
    out = io.StringIO()
    with progress("label", 10, "prefixes", stream=out) as shown:
        shown.advance(4, tokens=100)
        shown.advance(6, tokens=50, lost=1)
        shown.show(loss=0.5)
        shown.show(loss=0.25, phase="last")

    (line,) = out.getvalue().splitlines()
    assert line.startswith("label: 10/10 prefixes  ")
    assert "prefixes/s" in line
    assert "tokens 150 (" in line
    assert "lost 1 (" in line
    assert line.endswith("loss 0.25  phase last")


def test_plain_lines_tell_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line on the way gives the time left; with no total known, the time so far."""
    monkeypatch.setattr(module, "PLAIN_EVERY", 0.0)
    known, unknown = io.StringIO(), io.StringIO()
    with progress("a", 4, stream=known) as shown:
        shown.advance()
    with progress("b", stream=unknown) as shown:
        shown.advance(3)

    assert known.getvalue().splitlines()[0].endswith(" left")
    assert " in " in known.getvalue().splitlines()[1]
    assert unknown.getvalue().startswith("b: 3  ")
    assert " left" not in unknown.getvalue()


def test_quiet_writes_nothing() -> None:
    """Quiet work writes nothing, whatever the stream."""
    out = Terminal()
    with progress("a", 2, stream=out, quiet=True) as shown:
        shown.advance(2, tokens=5)
        shown.show(loss=1.0)

    assert out.getvalue() == ""


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the bar shows title, share, sums and values, and leaves [brackets] as they are."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with progress("train [red]", 3, "examples", stream=out) as shown:
        shown.advance(3, tokens=99)
        shown.show(loss=0.125)

    for part in ("train [red]", "3/3", "tokens 99", "loss 0.125"):
        assert part in out.getvalue()


def test_threads_add_up() -> None:
    """Advances from many threads are all counted."""
    out = io.StringIO()
    with progress("a", 4000, "rows", stream=out) as shown, ThreadPoolExecutor(8) as threads:
        for _ in range(4000):
            threads.submit(shown.advance, 1, tokens=2)

    assert out.getvalue().startswith("a: 4,000/4,000 rows")
    assert "tokens 8,000" in out.getvalue()


def test_last_line_comes_with_an_error() -> None:
    """Work that fails still tells how far it came, and its error goes on."""
    out = io.StringIO()

    def fail() -> None:
        with progress("a", 5, "rows", stream=out) as shown:
            shown.advance(2)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert out.getvalue().startswith("a: 2/5 rows")


def test_standard_output_stays_clean() -> None:
    """By default progress goes to standard error."""
    code = "from gradatim.progress import progress\nwith progress('a', 1) as shown: shown.advance()"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == ""
    assert done.stderr.startswith("a: 1/1")
