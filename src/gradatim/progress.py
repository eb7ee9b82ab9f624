"""How far a long piece of work is: a bar on a terminal, a line now and then elsewhere, nothing when quiet.

Everything goes to standard error, so that standard output holds only what was asked for.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

PLAIN_EVERY = 10.0
"""Seconds between two plain lines where standard error is not a terminal."""


class Progress(Protocol):
    """What `progress` hands to the work; any thread may call it."""

    def advance(self, n: int = 1, **counts: float) -> None:
        """`n` more units are done. `counts` are added up and shown with their rate: `advance(8, tokens=2100)`."""
        ...

    def show(self, **values: float | str) -> None:
        """The latest values, which replace earlier ones: `show(loss=0.31)`."""
        ...


class _Quiet:
    def advance(self, n: int = 1, **counts: float) -> None:
        pass

    def show(self, **values: float | str) -> None:
        pass


class _Counted:
    """What bar and plain lines share: the sums, the values, and how they read."""

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = 0
        self.counts: dict[str, float] = {}
        self.values: dict[str, float | str] = {}
        self.started = time.monotonic()
        self.lock = threading.Lock()

    def add(self, n: int, counts: dict[str, float]) -> None:
        self.done += n
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count

    def seconds(self) -> float:
        return max(time.monotonic() - self.started, 1e-9)

    def rate(self) -> str:
        return f"{self.done / self.seconds():,.3g} {self.unit}/s".replace(" /s", "/s")

    def extras(self) -> str:
        seconds = self.seconds()
        sums = [f"{name} {count:,.6g} ({count / seconds:,.3g}/s)" for name, count in self.counts.items()]
        latest = [
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.values.items()
        ]
        return "  ".join([*sums, *latest])

    def line(self, *, ended: bool) -> str:
        share = f"{self.done:,}" if self.total is None else f"{self.done:,}/{self.total:,}"
        parts = [f"{self.title}: {share} {self.unit}".rstrip(), self.rate()]
        if self.total and self.done and not ended:
            parts.append(f"{_clock(self.seconds() / self.done * max(self.total - self.done, 0))} left")
        else:
            parts.append(f"in {_clock(self.seconds())}")
        return "  ".join(part for part in [*parts, self.extras()] if part)


class _Plain(_Counted):
    def __init__(self, title: str, total: int | None, unit: str, stream: TextIO) -> None:
        super().__init__(title, total, unit)
        self.stream, self.printed = stream, self.started

    def advance(self, n: int = 1, **counts: float) -> None:
        with self.lock:
            self.add(n, counts)
            if time.monotonic() - self.printed >= PLAIN_EVERY:
                self.printed = time.monotonic()
                self.write(ended=False)

    def show(self, **values: float | str) -> None:
        with self.lock:
            self.values.update(values)

    def write(self, *, ended: bool) -> None:
        print(self.line(ended=ended), file=self.stream, flush=True)


@contextmanager
def progress(
    title: str, total: int | None = None, unit: str = "", *, quiet: bool = False, stream: TextIO | None = None
) -> Iterator[Progress]:
    """Show how a piece of work goes while the block runs: `with progress("label", 120, "prefixes") as shown: ...`.

    `total` None: the end is not known. `stream` is standard error unless given. One at a time: don't nest.
    """
    stream = stream or sys.stderr
    if quiet:
        yield _Quiet()
    elif stream.isatty():
        with _bar(title, total, unit, stream) as bar:
            yield bar
    else:
        plain = _Plain(title, total, unit, stream)
        try:
            yield plain
        finally:
            with plain.lock:
                plain.write(ended=True)


@contextmanager
def _bar(title: str, total: int | None, unit: str, stream: TextIO) -> Iterator[Progress]:
    from rich import progress as rich  # slow to import, and not needed where nobody watches
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(bar_width=24),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[rate]}", markup=False),
        rich.TimeRemainingColumn(elapsed_when_finished=True),
        rich.TextColumn("{task.fields[extras]}", markup=False),
    )
    counted = _Counted(title, total, unit)
    with rich.Progress(*columns, console=Console(file=stream)) as display:
        task = display.add_task(title, total=total, rate="", extras="")

        class Bar:
            def advance(self, n: int = 1, **counts: float) -> None:
                with counted.lock:
                    counted.add(n, counts)
                    display.update(task, advance=n, rate=counted.rate(), extras=counted.extras())

            def show(self, **values: float | str) -> None:
                with counted.lock:
                    counted.values.update(values)
                    display.update(task, extras=counted.extras())

        yield Bar()


def _clock(seconds: float) -> str:
    """1:02:03, 4:05 or 6.1 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
