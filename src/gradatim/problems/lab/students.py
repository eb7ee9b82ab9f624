"""The buggy students: who writes the lab's solutions, and how they go wrong.

    loom: given; loom=12
    fep: given; fep=4
    dax: loom - fep; loom=12 fep=4; 12 - 4 = 8; dax=8
    Answer: 8

Errors have visible causes, so that a majority of a student's attempts fails on the same problems: a long name is read as
its short look-alike (`misread`), the operands of a difference are swapped, a prerequisite is skipped and guessed, a sum is
off by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from gradatim.problems.lab.world import MODULUS, SIBLING, Definition, Graph


@dataclass(frozen=True, slots=True)
class Student:
    """Chances of each bug, a step."""

    misread: float = 0.0
    """The constant of a long name is read off its short look-alike, where that is a constant too."""
    confuse: float = 0.0
    """The value of an operand with a long name is read off its short look-alike, where that has been stated."""
    slip: float = 0.0
    """A sum or difference is off by one."""
    swap: float = 0.0
    """The operands of a difference are exchanged."""
    skip: float = 0.0
    """A step is written although one operand was not worked out; its value is guessed."""
    repair: float = 0.0
    """A wrong step is at once written again, rightly (as far as what was stated before it allows)."""


POPULATION: tuple[tuple[float, Student], ...] = (
    (0.50, Student(misread=0.90, confuse=0.90, slip=0.015, swap=0.010, skip=0.004)),
    (0.20, Student(misread=0.70, confuse=0.70, slip=0.050, swap=0.010, skip=0.004)),
    (0.15, Student(misread=0.70, confuse=0.70, slip=0.015, swap=0.060, skip=0.004)),
    (0.15, Student(misread=0.35, confuse=0.35, slip=0.010, swap=0.010, skip=0.030)),
)
"""Share and bugs of each type of student; frozen by decision record 0002."""


def pick_student(rng: Random) -> Student:
    """One student of the population."""
    return rng.choices([s for _, s in POPULATION], [share for share, _ in POPULATION])[0]


def state(definition: Definition, left: int = 0, right: int = 0, result: int = 0) -> str:
    """The text of a step, without its line end."""
    if definition.value is not None:
        return f"{definition.name}: given; {definition.name}={definition.value}"
    stated = f"{definition.left}={left} {definition.right}={right}"
    return f"{definition}; {stated}; {left} {definition.op} {right} = {result}; {definition.name}={result}"


def next_step(graph: Graph, stated: dict[str, int], name: str, student: Student, rng: Random) -> str:
    """The student's step for variable `name`, given the values stated so far (which it updates)."""
    definition = graph.definitions[name]
    if definition.value is not None:
        short = graph.definitions.get(SIBLING.get(name, ""))
        if short is not None and short.value is not None and rng.random() < student.misread:
            definition = replace(definition, value=short.value)
        stated[name] = definition.value if definition.value is not None else 0
        return state(definition)
    if definition.op == "-" and rng.random() < student.swap:
        definition = replace(definition, left=definition.right, right=definition.left)
    left, right = (_read(graph, stated, operand, student, rng) for operand in definition.operands)
    result = definition.compute(left, right)
    if rng.random() < student.slip:
        result = (result + rng.choice((1, -1))) % MODULUS
    stated[name] = result
    return state(definition, left, right, result)


def _read(graph: Graph, stated: dict[str, int], operand: str, student: Student, rng: Random) -> int:
    short = SIBLING.get(operand)
    if short in stated and rng.random() < student.confuse:
        return stated[short]
    if operand in stated:
        return stated[operand]
    return rng.randrange(MODULUS)


def is_wrong(graph: Graph, stated: dict[str, int], name: str) -> bool:
    """Whether the value stated for `name` is not what its definition gives from the values stated for its operands."""
    definition = graph.definitions[name]
    if definition.value is not None:
        return stated[name] != definition.value
    if definition.left not in stated or definition.right not in stated:
        return True
    return stated[name] != definition.compute(stated[definition.left], stated[definition.right])


def ready(graph: Graph, needed: Sequence[str], stated: dict[str, int]) -> list[str]:
    """The needed variables that are not stated yet and whose operands are."""
    return [n for n in needed if n not in stated and all(o in stated for o in graph.definitions[n].operands)]


def write(graph: Graph, student: Student, rng: Random) -> list[str]:
    """A whole solution, each step with its line end, in a random order that respects prerequisites."""
    needed, stated, lines = graph.needed(), dict[str, int](), list[str]()
    while graph.query not in stated:
        can = ready(graph, needed, stated)
        skippable = [n for n in needed if n not in stated and n not in can] if rng.random() < student.skip else []
        name = rng.choice(skippable or can)
        lines.append(next_step(graph, stated, name, student, rng) + "\n")
        if is_wrong(graph, stated, name) and rng.random() < student.repair:
            lines.append(next_step(graph, stated, name, Student(), rng) + "\n")
    lines.append(f"Answer: {stated[graph.query]}\n")
    return lines
