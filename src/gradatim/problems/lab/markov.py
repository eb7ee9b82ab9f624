"""Tier A: a policy in closed form, whose chance of success V(prefix) is an exact number.

One student writes the needed variables in their canonical order. Constants may be misread, sums may slip, a wrong step may
be repaired at once; all of it depends on the problem and the variable alone. As every operation is linear mod 23, the final
error is a sum of independent contributions, and its distribution is a convolution: 23 numbers a variable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from gradatim.core import Continuation, Prefix, seed_for
from gradatim.errors import ConfigError
from gradatim.problems.lab.checker import stated_answer, stated_values
from gradatim.problems.lab.students import Student, is_wrong, next_step
from gradatim.problems.lab.world import MODULUS, SIBLING, Graph, parse

_MISREADER = Student(misread=0.75)


@dataclass(frozen=True, slots=True)
class MarkovPolicy:
    """A Policy (see core) with `value`. Tokens are counted as words."""

    student: Student = _MISREADER
    """Its bugs; `swap`, `skip` and `confuse` must be 0, for they depend on more than the variable."""
    slips: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2)
    """Each problem has one of these chances of a slip, by its hash: problems differ in difficulty."""

    def __post_init__(self) -> None:
        if self.student.swap or self.student.skip or self.student.confuse or self.student.slip:
            raise ConfigError("a MarkovPolicy's student may misread and repair only; give slips in `slips`")

    @property
    def name(self) -> str:
        return f"markov(misread={self.student.misread}, slips={self.slips}, repair={self.student.repair})"

    def slip(self, prompt: str) -> float:
        """The problem's chance of a slip a sum."""
        return self.slips[seed_for(0, "slip", prompt) % len(self.slips)]

    def write(
        self, prefixes: Sequence[Prefix], *, draws: range, one_step: bool = False, seed: int = 0
    ) -> list[list[Continuation]]:
        """Continuations to the end (or of one step), each with a random stream of its own."""
        return [[self._continue(prefix, draw, one_step, seed) for draw in draws] for prefix in prefixes]

    def _continue(self, prefix: Prefix, draw: int, one_step: bool, seed: int) -> Continuation:
        rng = Random(seed_for(seed, self.name, prefix.problem_id, prefix.prompt, prefix.text, draw))
        graph, stated = parse(prefix.prompt), stated_values(prefix)
        student = Student(misread=self.student.misread, slip=self.slip(prefix.prompt), repair=self.student.repair)
        lines: list[str] = []
        last = next(reversed(stated), None)
        while stated_answer(prefix) is None:
            if last is not None and is_wrong(graph, stated, last) and rng.random() < student.repair:
                lines.append(next_step(graph, stated, last, Student(), rng) + "\n")
            elif graph.query in stated:
                lines.append(f"Answer: {stated[graph.query]}\n")
                break
            else:
                last = next(name for name in graph.needed() if name not in stated)
                lines.append(next_step(graph, stated, last, student, rng) + "\n")
            if one_step:
                break
        text = "".join(lines)
        unfinished = one_step and "Answer:" not in text
        return Continuation(text, "step" if unfinished else "stop", len(text.split()))

    def value(self, prefix: Prefix) -> float:
        """Exact chance that a continuation of the prefix ends in the right answer; for a finished solution 0 or 1."""
        graph, stated = parse(prefix.prompt), stated_values(prefix)
        truth, answer = graph.values(), stated_answer(prefix)
        if answer is not None:
            return float(answer == truth[graph.query])
        last = next(reversed(stated), None)
        as_is = self._value(graph, stated, prefix.prompt)
        if last is None or not self.student.repair or not is_wrong(graph, stated, last):
            return as_is
        next_step(graph, stated, last, Student(), Random(0))
        return self.student.repair * self._value(graph, stated, prefix.prompt) + (1 - self.student.repair) * as_is

    def _value(self, graph: Graph, stated: dict[str, int], prompt: str) -> float:
        """Chance of the right answer if what is stated stays as it is."""
        influence, slip, kept = graph.influence(stated), self.slip(prompt), 1 - self.student.repair
        chances = [0.0] * MODULUS
        chances[(_finish(graph, stated) - graph.values()[graph.query]) % MODULUS] = 1.0
        for name in graph.needed():
            if name in stated:
                continue
            errors = self._errors(graph, name, slip)
            chances = _convolve(chances, {s * influence[name] % MODULUS: p * kept for s, p in errors.items()})
        return chances[0]

    def _errors(self, graph: Graph, name: str, slip: float) -> dict[int, float]:
        definition = graph.definitions[name]
        if definition.value is None:
            return {1: slip / 2, MODULUS - 1: slip / 2}
        short = graph.definitions.get(SIBLING.get(name, ""))
        if short is None or short.value is None:
            return {}
        return {short.value - definition.value: self.student.misread}


def _convolve(chances: list[float], errors: dict[int, float]) -> list[float]:
    """Distribution of the sum mod 23 of a number with `chances` and an independent error (0 with what is left)."""
    none = 1 - sum(errors.values())
    return [
        none * chances[e] + sum(p * chances[(e - shift) % MODULUS] for shift, p in errors.items())
        for e in range(MODULUS)
    ]


def _finish(graph: Graph, stated: dict[str, int]) -> int:
    """The query's value if everything that is not stated yet is worked out rightly."""
    known = dict(stated)
    for name in graph.needed():
        if name not in known:
            next_step(graph, known, name, Student(), Random(0))
    return known[graph.query]
