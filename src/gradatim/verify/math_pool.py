r"""Compare answers by meaning, with math-verify, in processes that we can kill.

math-verify keeps time with SIGALRM, which works in a main thread only and can't interrupt a big power. So it runs
without a time-out in processes of its own, and the deadline is kept from outside: a worker that is late is killed and
replaced, its one check counts as timed out, and every other check goes on.
"""

from __future__ import annotations

import json
import math
import os
import queue
import re
import select
import shlex
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from gradatim.core import Problem, Verdict
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.verify.reading import balanced, normal, number, read_answer

BATCH = 64
"""Checks in one message to a worker."""

LONGEST = 2000
"""Characters of the longest answer that is read as mathematics; a longer one is only compared as text."""

START = 120.0
"""Seconds that a worker may take to import math-verify on a busy machine."""


@dataclass(frozen=True, slots=True)
class Check:
    """What came of one check, and why."""

    verdict: Verdict
    answer: str | None
    """What was read from the text, as it was written."""
    by: Literal["text", "number", "math", ""] = ""
    """What decided: equal texts, two plain numbers, or math-verify; "" where the verdict is UNPARSED."""
    reason: str = ""
    """Why the verdict is UNPARSED: "no answer", "too long", "timed out", "worker died", "failed: ..."."""

    @property
    def ours(self) -> bool:
        """Whether it was our check that failed, not the solution: such a check leaves the denominators."""
        return self.verdict is Verdict.UNPARSED and self.reason not in ("no answer", "too long")


class MathVerifier:
    r"""A Verifier of mathematical answers. Any thread may call it; one call with many texts is faster than many calls.

    Rules, in this order, on what `read_answer` reads:

    1. No answer: UNPARSED.
    2. The same text as the gold answer after light normalisation: CORRECT, whether math-verify can read it or not. Other
       texts with braces that don't match: INCORRECT.
    3. Two plain numbers: equal values are CORRECT, all others INCORRECT ("5" is not "15", 0.0000001 not 0.0000002).
    4. Two phrases in plain words: INCORRECT unless they are the same but for case. (math-verify reads words as products
       of letters, in which "seat" equals "east".)
    5. What math-verify says. It takes x=5 for 5, 20% for 20 and for 0.2, (1, 2) for 1,2, 0.333333 for 1/3, drops units
       and the base of a number, and compares sets without order.

    A check that takes longer than `timeout` seconds is UNPARSED, never INCORRECT, and its worker is killed and
    replaced. Workers start with the first check that needs one; `close` (or leaving a `with` block, or the end of the
    program) ends them. BackendError if a worker can't start; InputError for a problem without a gold answer.
    """

    def __init__(self, timeout: float = 5.0, workers: int = 2) -> None:
        if not (timeout > 0 and math.isfinite(timeout)):
            raise ConfigError(f"timeout={timeout} is not a number of seconds above 0")
        if workers < 1:
            raise ConfigError(f"workers={workers}: at least one process has to check")
        self.timeout = timeout
        self._workers = [_Worker(timeout) for _ in range(workers)]
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._finalizer = weakref.finalize(self, _stop_all, self._workers)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return self.check_many([(problem, text)])[0].verdict

    def verify_many(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """The verdict of each (problem, text), in order."""
        return [check.verdict for check in self.check_many(items)]

    def check_many(self, items: Sequence[tuple[Problem, str]], *, shortcuts: bool = True) -> list[Check]:
        """As `verify_many`, with what was read and why.

        Without `shortcuts`, math-verify is asked even where texts or numbers are equal, and `by` says "text" or
        "number" only where it disagrees with them: so one finds out which gold answers it can't read.
        """
        golds = [gold_of(problem) for problem, _ in items]
        answers = [read_answer(text) for _, text in items]
        plain = [
            None if answer is None else _plainly(gold, answer) for gold, answer in zip(golds, answers, strict=True)
        ]
        asked = {
            (gold, answer): ""
            for gold, answer, known in zip(golds, answers, plain, strict=True)
            if answer is not None and (known is None or not shortcuts) and max(len(gold), len(answer)) <= LONGEST
        }
        replies = dict(zip(asked, self._ask(list(asked)), strict=True))
        return [
            _check(answer, known, None if answer is None else replies.get((gold, answer)))
            for gold, answer, known in zip(golds, answers, plain, strict=True)
        ]

    def equivalent(self, a: str, b: str) -> bool:
        """Whether two answers mean the same, in either role; False if that can't be found out in time."""
        known = _plainly(a, b)
        if known is not None:
            return known[0]
        return max(len(a), len(b)) <= LONGEST and "same" in self._ask([(a, b), (b, a)])

    def close(self) -> None:
        """Wait for the checks that run, and end the workers; a later check starts new ones."""
        taken = [self._idle.get() for _ in self._workers]
        for worker in taken:
            worker.stop()
            self._idle.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """math-verify's reply to each (gold, answer), in order."""
        pairs = [(normal(gold), normal(answer)) for gold, answer in pairs]
        batches = [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]
        if len(batches) < 2:
            return [reply for batch in batches for reply in self._ask_batch(batch)]
        with ThreadPoolExecutor(min(len(self._workers), len(batches))) as threads:
            return [reply for replies in threads.map(self._ask_batch, batches) for reply in replies]

    def _ask_batch(self, batch: list[tuple[str, str]]) -> list[str]:
        worker = self._idle.get()
        try:
            return worker.ask(batch)
        finally:
            self._idle.put(worker)


_DIED = "worker died"


class _Worker:
    """A process that compares answers; one thread at a time may ask it. It starts when it is first needed."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.process: subprocess.Popen[bytes] | None = None
        self.buffer = b""

    def ask(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """One reply a pair: "same", "different", or why there is none. What happens to one leaves the others alone."""
        replies: list[str] = []
        died = False
        try:
            while len(replies) < len(pairs):
                self._send(pairs[len(replies) :])
                while len(replies) < len(pairs) and self.process is not None:
                    reply = self._reply()
                    if reply == _DIED and not died:
                        died = True  # perhaps someone killed it while it was idle: a fresh one decides
                    else:
                        replies.append(reply)
                        died = False
        except BaseException:  # an interrupted worker would answer the next caller with this one's replies
            self.stop()
            raise
        return replies

    def stop(self) -> None:
        """Kill the process, if there is one, and take it off the system's list."""
        process, self.process, self.buffer = self.process, None, b""
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was not sent can't be flushed to the dead
                    pipe.close()

    def _send(self, pairs: Sequence[tuple[str, str]]) -> None:
        process = self.process or self._start()
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead, as the first reply will tell
            process.stdin.write(json.dumps(pairs).encode() + b"\n")
            process.stdin.flush()

    def _reply(self) -> str:
        """The reply to the check at work; the worker is gone afterwards if it was late or died."""
        line = self._line(self.timeout)
        if line is None:
            self.stop()
            return "timed out"
        if not line:
            self.stop()
            return _DIED
        return str(json.loads(line))

    def _line(self, patience: float) -> bytes | None:
        """The next line that the process writes; b"" if it ended, None if it took too long."""
        assert self.process is not None
        assert self.process.stdout is not None
        deadline = time.monotonic() + patience
        out = self.process.stdout.fileno()
        ready = select.poll()
        ready.register(out, select.POLLIN)
        while b"\n" not in self.buffer:
            if not ready.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            if not (block := os.read(out, 1 << 16)):
                return b""
            self.buffer += block
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def _start(self) -> subprocess.Popen[bytes]:
        alarm = math.ceil(self.timeout) + 10
        command = [sys.executable, "-P", str(Path(__file__).with_name("math_worker.py")), str(alarm)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the caller, who then ends the workers
            )
        except OSError as error:
            raise BackendError(f"can't start a math-verify worker ({error}): {command}") from error
        line = self._line(START)
        if line is None or not line or json.loads(line) != "ready":
            self.stop()
            why = f"not ready after {START:.0f} s" if line is None else json.loads(line) if line else "it ended at once"
            raise BackendError(f"a math-verify worker did not start: {why}; try {shlex.join(command)}")
        return self.process


def _stop_all(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.stop()


def gold_of(problem: Problem) -> str:
    """The answer that a verifier compares with; InputError if the problem has none."""
    if problem.answer is None or not problem.answer.strip():
        raise InputError(
            f"problem {problem.id!r} has no gold answer to verify against", fix="drop it, or add its answer"
        )
    return problem.answer


def _plainly(gold: str, answer: str) -> tuple[bool, Literal["text", "number"]] | None:
    """Whether two answers are the same, and how that is known; None where only mathematics can tell."""
    left, right = normal(gold), normal(answer)
    if left == right:
        return True, "text"
    values = number(gold), number(answer)
    if None not in values:
        return values[0] == values[1], "number"
    if not (balanced(left) and balanced(right)):  # in a box, "5} 7" would end it early
        return False, "text"
    if _WORDS.fullmatch(left) and _WORDS.fullmatch(right):
        return left.casefold() == right.casefold(), "text"
    return None


_WORDS = re.compile(r"(?=.*[A-Za-z]{4})[A-Za-z][A-Za-z' -]*")
"""Plain words, at least one of which is too long for a product of variables."""


def _check(answer: str | None, known: tuple[bool, Literal["text", "number"]] | None, reply: str | None) -> Check:
    """Put together what was read, what is plain, and what math-verify replied (None: it was not asked)."""
    if answer is None:
        return Check(Verdict.UNPARSED, None, reason="no answer")
    if reply == "same" and (known is None or known[0]):
        return Check(Verdict.CORRECT, answer, "math")
    if known is not None:
        return Check(Verdict.CORRECT if known[0] else Verdict.INCORRECT, answer, known[1])
    if reply is None:
        return Check(Verdict.UNPARSED, answer, reason="too long")
    if reply == "different":
        return Check(Verdict.INCORRECT, answer, "math")
    return Check(Verdict.UNPARSED, answer, reason=reply)
