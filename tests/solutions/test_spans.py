"""Spans of draws: one call where the policy can, batches that are done in any order, failures that are told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from gradatim.core import Continuation, Prefix, Step
from gradatim.errors import BackendError
from gradatim.labels.rollouts import label_stage
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab import load
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.records import read_solutions
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.solutions.spans import Span, Written, write_batches, write_spans
from gradatim.verify.answers import exact_verifier

A, B, C = (Prefix("p", "2 + 5?", (Step(text),)) for text in ("a\n", "b\n", "c\n"))


class Uneven:
    """Writes spans, and says how many calls it took."""

    def __init__(self) -> None:
        self.inner, self.calls = MarkovPolicy(), 0
        self.name = self.inner.name

    def write(
        self, prefixes: Sequence[Prefix], *, draws: range, one_step: bool = False, seed: int = 0
    ) -> list[list[Continuation]]:
        self.calls += 1
        return self.inner.write(prefixes, draws=draws, one_step=one_step, seed=seed)

    def write_spans(self, spans: Sequence[Span], *, seed: int = 0) -> list[list[Continuation]]:
        self.calls += 1
        return [self.inner.write([span.prefix], draws=span.draws, seed=seed)[0] for span in spans]


class Backwards:
    """Does the last batch first, and is interrupted after some."""

    def __init__(self, most: int) -> None:
        self.inner, self.most = MarkovPolicy(), most
        self.name = self.inner.name
        self.done = 0

    def write(
        self, prefixes: Sequence[Prefix], *, draws: range, one_step: bool = False, seed: int = 0
    ) -> list[list[Continuation]]:
        return self.inner.write(prefixes, draws=draws, one_step=one_step, seed=seed)

    def write_batches(self, batches: Sequence[Sequence[Span]], *, seed: int = 0) -> Iterator[tuple[int, list[Written]]]:
        for place in reversed(range(len(batches))):
            if self.done == self.most:
                raise KeyboardInterrupt
            self.done += 1
            yield place, write_spans(self.inner, batches[place], seed=seed)


def texts(rows: Sequence[Written]) -> list[list[str]]:
    return [[made.text for made in row] for row in rows if not isinstance(row, BackendError)]


def test_every_policy_writes_spans() -> None:
    """A policy without spans gets a call for neighbours with the same draws; the texts are in the spans' order."""
    asked: list[tuple[int, range]] = []

    class Counting(ScriptedPolicy):
        def write(self, prefixes: Sequence[Prefix], *, draws: range, **rest: int) -> list[list[Continuation]]:  # type: ignore[override]
            asked.append((len(prefixes), draws))
            return super().write(prefixes, draws=draws, **rest)  # type: ignore[arg-type]

    policy = Counting(lambda prefix, draw, seed: f"{prefix.text.strip()}{draw}/{seed}")
    spans = [Span(A, range(2)), Span(B, range(2)), Span(C, range(1, 4)), Span(A, range(5, 6))]
    assert [len(span) for span in spans] == [2, 2, 3, 1]
    rows = write_spans(policy, spans, seed=9)
    assert texts(rows) == [["a0/9", "a1/9"], ["b0/9", "b1/9"], ["c1/9", "c2/9", "c3/9"], ["a5/9"]]
    assert asked == [(2, range(2)), (1, range(1, 4)), (1, range(5, 6))]
    ((place, again),) = write_batches(policy, [spans], seed=9)
    assert (place, again) == (0, rows)


def test_a_call_that_fails_takes_nothing_else_with_it() -> None:
    """BackendError stands for the spans of its call; other calls go on. An InputError is not caught."""

    def script(prefix: Prefix, draw: int, seed: int) -> str:
        if prefix == B:
            raise BackendError("down")
        return "7"

    rows = write_spans(ScriptedPolicy(script), [Span(A, range(2)), Span(B, range(3)), Span(C, range(1))], seed=0)
    assert [str(row) if isinstance(row, BackendError) else len(row) for row in rows] == [2, "down", 1]


@pytest.mark.parametrize("rule", ["fixed", "adaptive"])
def test_a_round_is_one_call_and_batches_come_in_any_order(tmp_path: Path, rule: str) -> None:
    """Labels are the same from calls of one range, from uneven calls, and from batches that come backwards, even where
    a prefix is cut over batches and the run was interrupted between them."""
    problems, cut = load("test", 4), 3
    sample_stage(SampleConfig(n=3), MarkovPolicy(), problems, exact_verifier, tmp_path / "s.jsonl", quiet=True)
    solutions = read_solutions(tmp_path / "s.jsonl")
    adaptive = {"stop": "posterior", "search": "bisection", "cap": 16, "undecided": "likelier"}
    config = LabelConfig(k=7, batch=cut, **(adaptive if rule == "adaptive" else {}))  # type: ignore[arg-type]

    def labels(name: str, policy: object) -> tuple[bytes, dict[str, object]]:
        out = tmp_path / name
        result = label_stage(config, policy, problems, solutions, exact_verifier, out, quiet=True)  # type: ignore[arg-type]
        return out.read_bytes(), result

    whole, _ = labels("plain", MarkovPolicy())
    uneven = Uneven()
    found, result = labels("uneven", uneven)
    assert (found, uneven.calls) == (whole, result["batches"])
    for most in (Random(rule).randrange(1, 6), 7):
        with pytest.raises(KeyboardInterrupt):
            labels("backwards", Backwards(most))
    found, result = labels("backwards", Backwards(10_000))
    assert found == whole
    assert result["batches_resumed"] > 7
