"""The exact checker: what is true of every step of a lab solution.

It reads the prompt and the steps as text and consults nothing else. Two labels: a step is *locally valid* if it is right
given what was stated before it, and the *first error* is the first step that is not. Redundant is not wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gradatim.core import Labels, Prefix, Solution, Tally
from gradatim.problems.lab.world import MODULUS, Definition, Graph, parse

Fault = Literal["format", "unknown", "dependency", "prerequisite", "operand", "arithmetic", "answer"]


@dataclass(frozen=True, slots=True)
class StepTruth:
    """`fault` is None for a valid step; `redundant` if the answer does not need it (or it was stated before)."""

    fault: Fault | None = None
    redundant: bool = False

    @property
    def valid(self) -> bool:
        return self.fault is None


_ANSWER = re.compile(r"Answer: (\d+)")
_CONSTANT = re.compile(r"(?P<name>[a-z]+): given; (?P<name_again>[a-z]+)=(?P<value>\d+)")
_SUM = re.compile(
    r"(?P<name>[a-z]+): (?P<left>[a-z]+) (?P<op>[+-]) (?P<right>[a-z]+); "
    r"(?P<left_again>[a-z]+)=(?P<a>\d+) (?P<right_again>[a-z]+)=(?P<b>\d+); "
    r"(?P<a_again>\d+) (?P<op_again>[+-]) (?P<b_again>\d+) = (?P<c>\d+); "
    r"(?P<name_again>[a-z]+)=(?P<c_again>\d+)"
)


def check(prefix: Prefix) -> tuple[StepTruth, ...]:
    """What is true of each step, given the steps before it."""
    return check_steps(parse(prefix.prompt), [step.text for step in prefix.steps])


def first_error(truths: Sequence[StepTruth]) -> int | None:
    """0-based index of the first step that is not valid; None if all are."""
    return next((index for index, truth in enumerate(truths) if not truth.valid), None)


def check_steps(graph: Graph, texts: Sequence[str]) -> tuple[StepTruth, ...]:
    """As `check`, for bare texts; white space around a step is ignored."""
    stated: dict[str, int] = {}
    needed = set(graph.needed())
    truths, answered = [], False
    for text in texts:
        truth = StepTruth("format") if answered else _check_step(graph, stated, needed, text.strip())
        answered = answered or _ANSWER.fullmatch(text.strip()) is not None
        truths.append(truth)
    return tuple(truths)


def _check_step(graph: Graph, stated: dict[str, int], needed: set[str], text: str) -> StepTruth:
    if match := _ANSWER.fullmatch(text):
        right = stated.get(graph.query) == int(match.group(1))
        return StepTruth(None if right else "answer")
    if match := _CONSTANT.fullmatch(text):
        fault = _constant_fault(graph, match)
        return _stated(stated, needed, match["name"], int(match["value"]), fault)
    if match := _SUM.fullmatch(text):
        fault = _sum_fault(graph, stated, match)
        return _stated(stated, needed, match["name"], int(match["c_again"]), fault)
    return StepTruth("format")


def _stated(stated: dict[str, int], needed: set[str], name: str, result: int, fault: Fault | None) -> StepTruth:
    redundant = name not in needed or stated.get(name) == result
    stated[name] = result
    return StepTruth(fault, redundant)


def _constant_fault(graph: Graph, said: re.Match[str]) -> Fault | None:
    definition = graph.definitions.get(said["name"])
    if definition is None:
        return "unknown"
    if said["name"] != said["name_again"]:
        return "format"
    return None if definition.value == int(said["value"]) else "dependency"


def _sum_fault(graph: Graph, stated: dict[str, int], said: re.Match[str]) -> Fault | None:
    definition = graph.definitions.get(said["name"])
    if definition is None:
        return "unknown"
    if any(said[part] != said[f"{part}_again"] for part in ("name", "left", "right")):
        return "format"
    told = Definition(said["name"], None, said["left"], said["op"], said["right"])
    mirrored = told.op == definition.op == "+" and (told.left, told.right) == (definition.right, definition.left)
    if told != definition and not mirrored:
        return "dependency"
    if told.left not in stated or told.right not in stated:
        return "prerequisite"
    if stated[told.left] != int(said["a"]) or stated[told.right] != int(said["b"]):
        return "operand"
    copied = all(said[part] == said[f"{part}_again"] for part in ("a", "b", "c", "op"))
    right = told.compute(int(said["a"]), int(said["b"])) == int(said["c"]) < MODULUS
    return None if copied and right else "arithmetic"


def stated_values(prefix: Prefix) -> dict[str, int]:
    """The value last stated for each variable, in the order of their last statements; unreadable steps state nothing."""
    stated: dict[str, int] = {}
    for step in prefix.steps:
        match = _CONSTANT.fullmatch(step.text.strip()) or _SUM.fullmatch(step.text.strip())
        if match:
            stated.pop(match.group(1), None)
            stated[match.group(1)] = int(match.groups()[-1])
    return stated


def stated_answer(prefix: Prefix) -> int | None:
    """What the last step gives as the answer; None if it is not an answer."""
    match = _ANSWER.fullmatch(prefix.steps[-1].text.strip()) if prefix.steps else None
    return int(match.group(1)) if match else None


def exact_labels(solution: Solution) -> Labels:
    """The checker's labels in the loop's own type: tally (1, 1) for a valid step, (0, 1) for another."""
    truths = check(solution.prefix)
    return Labels(
        solution_id=solution.id,
        tallies=tuple(Tally(int(truth.valid), 1) for truth in truths),
        error=first_error(truths),
        error_known=True,
        truth="validity",
        source="exact",
        by="lab-checker",
        rule="locally valid given the prefix",
    )
