"""Small worlds to search in: policies and scorers of which everything is known. No model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from gradatim.core import Continuation, Policy, Prefix, Problem, Score
from gradatim.solutions.scripted import ScriptedPolicy

PROBLEM = Problem(id="p", prompt="How many?", answer="3")


class FunctionScorer:
    """A Scorer from a function of a prefix; a list of numbers makes a process model with the last one as its value."""

    name = "function"

    def __init__(self, value: Callable[[Prefix], float | list[float]]) -> None:
        self.value = value
        self.seen: list[Prefix] = []

    def score(self, prefixes: Sequence[Prefix]) -> list[Score]:
        self.seen += prefixes
        return [self._score(self.value(prefix)) for prefix in prefixes]

    def _score(self, found: float | list[float]) -> Score:
        if isinstance(found, list):
            return Score(value=found[-1], steps=tuple(found), reduction="last", by=self.name)
        return Score(value=found, by=self.name)


class Recording:
    """A policy that notes every (prefix, draw) that it is asked for, and what it wrote."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.name = policy, policy.name
        self.written: list[tuple[Prefix, int, Continuation]] = []

    def write(
        self, prefixes: Sequence[Prefix], *, draws: range, one_step: bool = False, seed: int = 0
    ) -> list[list[Continuation]]:
        rows = self.policy.write(prefixes, draws=draws, one_step=one_step, seed=seed)
        for prefix, row in zip(prefixes, rows, strict=True):
            self.written += [(prefix, *pair) for pair in zip(draws, row, strict=True)]
        return rows

    def finished(self) -> set[str]:
        """The texts of all solutions that ended by themselves."""
        return {prefix.text + made.text for prefix, _, made in self.written if made.finish == "stop"}


def wandering(letters: str = "abc", most: int = 5) -> ScriptedPolicy:
    """Writes random letters, a line each, and ends after at most `most` lines with the number of lines as answer."""

    def script(prefix: Prefix, draw: int, seed: int) -> str:
        lines = len(prefix.steps)
        text = ""
        while True:
            random = Random(f"{seed}/{prefix.problem_id}/{prefix.text}{text}/{draw}")
            if lines >= most or random.random() < lines / (most + 1):
                return text + f"Answer: {lines}\n"
            text += random.choice(letters) + "\n"
            lines += 1

    return ScriptedPolicy(script, name=f"wandering {letters} {most}")


def table(texts: Mapping[str, Sequence[str | Continuation]]) -> ScriptedPolicy:
    """What each draw writes after a text so far, to the next step's end: "a" is a step, "a." the last one."""

    def script(prefix: Prefix, draw: int, seed: int) -> Continuation:
        made = texts[prefix.text.replace("\n", "")][draw]
        if isinstance(made, Continuation):
            return made
        if made.endswith("."):
            return Continuation(made + "\n", "stop", 1)
        return Continuation(made + "\n", "step", 1)

    return ScriptedPolicy(script, name="table")


def by_text(values: Mapping[str, float | list[float]]) -> FunctionScorer:
    """A scorer from a table of texts without line ends."""
    return FunctionScorer(lambda prefix: values[prefix.text.replace("\n", "")])
