"""Rollouts, each written and verified once, kept in a ledger.

Work comes in rounds: for some prefixes, so many draws are wanted. A round is cut into batches, and what a batch wrote is
recorded in one transaction, by this process alone, whoever wrote it. Killed at any moment and asked for the same rounds
again, this reads what is recorded and writes the rest in the batches in which an uninterrupted run would have written it.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from typing import Any

from gradatim.core import Continuation, Policy, Prefix, Problem, Tally, Verdict, Verifier
from gradatim.errors import BackendError
from gradatim.progress import Progress
from gradatim.solutions.ledger import Ledger
from gradatim.solutions.spans import Span, Written, write_batches
from gradatim.solutions.verifying import verify_all

OUTCOMES = {"g": "good", "b": "bad", "l": "lost", "f": "failed"}
"""How a rollout ended: right answer; wrong answer; cut off or unreadable; the verifier itself failed."""

_GAP = "-"
"""A draw that the policy could not have: read as nothing now, asked for again by the next call."""


@dataclass(slots=True)
class _Record:
    """What the ledger holds of a prefix, by draw: a letter, and the tokens written."""

    letters: list[str] = field(default_factory=list)
    tokens: array[int] = field(default_factory=lambda: array("q"))

    def put(self, first: int, letters: str, tokens: Sequence[int]) -> None:
        """Keep these draws: behind the last one, or in place of gaps. Draws before them that are not here become gaps:
        batches may be done in any order."""
        gap = max(0, first - len(self.letters))
        self.letters += _GAP * gap
        self.tokens.extend([0] * gap)
        self.letters[first : first + len(letters)] = letters
        self.tokens[first : first + len(letters)] = array("q", tokens)

    def missing(self, span: Span) -> Iterator[Span]:
        """The stretches of a span that are not here, or are gaps."""
        wanted = [draw for draw in span.draws if draw >= len(self.letters) or self.letters[draw] == _GAP]
        for _, run in groupby(enumerate(wanted), key=lambda pair: pair[1] - pair[0]):
            draws = [draw for _, draw in run]
            yield Span(span.prefix, range(draws[0], draws[-1] + 1))


class Draws:
    """What came of each prefix's draws, from draw 0 on. Holds a ledger."""

    def __init__(
        self, policy: Policy, verifier: Verifier, known: Mapping[str, Problem], ledger: Ledger, *, seed: int, batch: int
    ) -> None:
        """`known` are the problems by id; `batch` is how many rollouts are written, verified and recorded together."""
        self.policy, self.verifier, self.known, self.ledger = policy, verifier, known, ledger
        self.seed, self.batch = seed, batch
        self.batches = 0
        """Batches that were asked for."""
        self.resumed = ledger.count()
        """Batches that were in the ledger before."""
        self.not_written: Counter[str] = Counter()
        """How many rollouts could not be written, and why."""
        self.rollouts: Counter[str] = Counter()
        """How many were asked for and read, by problem."""
        self.tokens: Counter[str] = Counter()
        """What they took to write, by problem."""
        self.seconds = 0.0
        """What it took to write and verify everything in the ledger."""
        self.recorded_tokens = 0
        """Tokens of everything in the ledger."""
        self._records: dict[str, _Record] = {}
        self._read: dict[Prefix, str] = {}
        self._refused: set[Prefix] = set()
        self._keys: dict[Prefix, str] = {}
        for _, result in ledger.done():
            self._take(result)

    @property
    def prefixes(self) -> int:
        """From how many distinct prefixes something was read."""
        return len(self._read)

    @property
    def outcomes(self) -> dict[str, int]:
        """How the rollouts that were read ended."""
        letters = Counter(letter for read in self._read.values() for letter in read)
        return {outcome: letters[letter] for letter, outcome in OUTCOMES.items()}

    def tally(self, prefix: Prefix, drawn: int) -> Tally | None:
        """The tally of a prefix's first `drawn` draws, without gaps and those whose check failed; None if not all of
        them were read."""
        read = self._read.get(prefix, "")
        if len(read) < drawn:
            return None
        good, bad, lost = (read.count(letter, 0, drawn) for letter in "gbl")
        return Tally(good, good + bad + lost, lost)

    def read(self, wanted: Mapping[Prefix, int], shown: Progress) -> None:
        """See to it that so many draws of each prefix are read.

        A draw that the policy could not have (finish "failed") is a gap, counted in `not_written`. A call of the policy
        that failed (BackendError) is counted there too; its prefixes are left as they are and not asked for again.
        """
        spans = [
            Span(prefix, range(len(read), drawn))
            for prefix, drawn in wanted.items()
            if len(read := self._read.get(prefix, "")) < drawn and prefix not in self._refused
        ]
        batches = list(_batches(spans, self.batch))
        self.batches += len(batches)
        for place in self._write(batches):
            for span in batches[place]:
                written, tokens = self._recorded(span)
                shown.advance(len(written) - written.count(_GAP), tokens=sum(tokens))
        for span in (span for batch in batches for span in batch):
            self._reveal(span)

    def _write(self, batches: Sequence[Sequence[Span]]) -> Iterator[int]:
        """Write what is not recorded of the batches, record each as it is done, and say which it was."""
        missing: list[list[Span]] = []
        places: list[int] = []
        for place, batch in enumerate(batches):
            if part := [some for span in batch for some in self._record(span.prefix).missing(span)]:
                missing.append(part)
                places.append(place)
            else:
                yield place
        started = time.perf_counter()
        for done, rows in write_batches(self.policy, missing, seed=self.seed):
            if made := self._made(missing[done], rows):
                found = self._found(made)
                now = time.perf_counter()
                result = {"draws": found, "seconds": now - started}
                started = now
                self.ledger.record(self.ledger.count(), result)
                self._take(result)
            yield places[done]

    def _found(self, made: Sequence[tuple[Span, list[Continuation]]]) -> list[list[Any]]:
        """What the ledger keeps of each span: its prefix, its first draw, a letter and the tokens of every draw."""
        self.not_written.update(text.error for _, row in made for text in row if text.finish == "failed")
        letters = self._letters([(span.prefix, text) for span, row in made for text in row])
        return [
            [self._key(span.prefix), span.draws.start, "".join(next(letters) for _ in row), [t.tokens for t in row]]
            for span, row in made
        ]

    def _made(self, spans: Sequence[Span], rows: Sequence[Written]) -> list[tuple[Span, list[Continuation]]]:
        """What was written; a span whose call failed is counted, and not asked for again."""
        made: list[tuple[Span, list[Continuation]]] = []
        for span, row in zip(spans, rows, strict=True):
            if isinstance(row, BackendError):
                self.not_written[str(row)] += len(span)
                self._refused.add(span.prefix)
            else:
                made.append((span, row))
        return made

    def _letters(self, made: Sequence[tuple[Prefix, Continuation]]) -> Iterator[str]:
        whole = [
            (self.known[prefix.problem_id], prefix.text + text.text) for prefix, text in made if text.finish == "stop"
        ]
        verdicts = iter(verify_all(self.verifier, whole))
        for _, text in made:
            if text.finish == "stop":
                yield _letter(next(verdicts))
            else:
                yield _GAP if text.finish == "failed" else "l"

    def _take(self, result: Mapping[str, Any]) -> None:
        """Remember what a batch in the ledger says."""
        for key, first, letters, tokens in result["draws"]:
            self._records.setdefault(key, _Record()).put(first, letters, tokens)
            self.recorded_tokens += sum(tokens)
        self.seconds += result["seconds"]

    def _record(self, prefix: Prefix) -> _Record:
        return self._records.get(self._key(prefix)) or _Record()

    def _recorded(self, span: Span) -> tuple[str, Sequence[int]]:
        """Letters and tokens of the draws of a span that are recorded."""
        record, here = self._record(span.prefix), slice(span.draws.start, span.draws.stop)
        return "".join(record.letters[here]), record.tokens[here]

    def _reveal(self, span: Span) -> None:
        """Read what is recorded of a span: only what was asked for, so that going on reads what was read before."""
        letters, tokens = self._recorded(span)
        if letters:
            self._read[span.prefix] = self._read.get(span.prefix, "") + letters
            self.rollouts[span.prefix.problem_id] += len(letters) - letters.count(_GAP)
            self.tokens[span.prefix.problem_id] += sum(tokens)

    def _key(self, prefix: Prefix) -> str:
        """32 hex digits from all that a prefix is."""
        if prefix not in self._keys:
            steps = (part for step in prefix.steps for part in (step.kind, step.text))
            content = "\x1f".join((prefix.problem_id, prefix.prompt, *steps)).encode("utf-8", "surrogatepass")
            self._keys[prefix] = blake2b(content, digest_size=16).hexdigest()
        return self._keys[prefix]


def _letter(verdict: Verdict | None) -> str:
    if verdict is None:
        return "f"
    return {Verdict.CORRECT: "g", Verdict.INCORRECT: "b", Verdict.UNPARSED: "l"}[verdict]


def _batches(spans: Sequence[Span], most: int) -> Iterator[list[Span]]:
    """The spans in batches of at most `most` draws, equal ranges of draws side by side; a longer span is cut."""
    batch: list[Span] = []
    size = 0
    for span in sorted(spans, key=lambda span: (span.draws.start, span.draws.stop)):
        for first in range(0, len(span), most):
            piece = Span(span.prefix, span.draws[first : first + most])
            if size + len(piece) > most:
                yield batch
                batch, size = [], 0
            batch.append(piece)
            size += len(piece)
    if batch:
        yield batch
