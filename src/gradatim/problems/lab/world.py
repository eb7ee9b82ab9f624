"""Problems of the lab: definitions over numbers mod 23, shuffled, with distractors, and one variable asked for.

    Mod 23.
    given lom=7
    dax: loom - fep
    given loom=12
    given fep=4
    What is dax?

A definition is a constant or a sum or difference of two other variables. The answer needs some of them; the others are
distractors. Names come in look-alike pairs (lom, loom): a *trap* is a needed constant with a long name whose short
sibling is a constant too. What people do with traps is told in students.py.

The text of the prompt is the whole problem: `parse` gets the definitions back from it, and nothing else is consulted.
In the manner of iGSM (arXiv 2407.20311), with a generator of our own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from random import Random

from gradatim.core import Problem
from gradatim.errors import InputError

MODULUS = 23

SHORT_NAMES = (
    "bal",
    "dem",
    "fop",
    "gam",
    "hes",
    "jol",
    "kal",
    "lom",
    "mot",
    "nal",
    "pes",
    "rof",
    "sot",
    "tam",
    "vel",
    "wog",
    "yan",
    "zem",
    "bir",
    "cug",
    "dax",
    "fep",
    "gis",
    "hup",
)


def long_name(short: str) -> str:
    """The look-alike of a short name: its vowel doubled (lom -> loom)."""
    return short[0] + short[1] * 2 + short[2]


SIBLING = {long_name(short): short for short in SHORT_NAMES}
"""Long name -> the short name it looks like."""


@dataclass(frozen=True, slots=True)
class Definition:
    """As the prompt says it: `name: left op right`, or `given name=value` where value is not None."""

    name: str
    value: int | None = None
    left: str = ""
    op: str = ""
    right: str = ""

    @property
    def operands(self) -> tuple[str, ...]:
        """The variables it needs: none for a constant."""
        return () if self.value is not None else (self.left, self.right)

    def compute(self, left: int, right: int) -> int:
        """left op right, mod 23."""
        return (left + right if self.op == "+" else left - right) % MODULUS

    def __str__(self) -> str:
        return (
            f"given {self.name}={self.value}"
            if self.value is not None
            else f"{self.name}: {self.left} {self.op} {self.right}"
        )


@dataclass(frozen=True, slots=True)
class Graph:
    """The definitions of a problem, in the order of its prompt, and the variable asked for."""

    definitions: Mapping[str, Definition]
    query: str

    def needed(self) -> tuple[str, ...]:
        """The variables the query depends on, itself last, in the canonical order: left operands before right ones."""
        order: dict[str, None] = {}

        def visit(name: str) -> None:
            if name in order:
                return
            for operand in self.definitions[name].operands:
                visit(operand)
            order[name] = None

        visit(self.query)
        return tuple(order)

    def values(self) -> dict[str, int]:
        """The true value of every variable, 0 to 22."""
        known: dict[str, int] = {}

        def value(name: str) -> int:
            if name not in known:
                definition = self.definitions[name]
                known[name] = (
                    definition.value
                    if definition.value is not None
                    else definition.compute(value(definition.left), value(definition.right))
                )
            return known[name]

        for name in self.definitions:
            value(name)
        return known

    def influence(self, stated: Collection[str] = ()) -> dict[str, int]:
        """How much the query's value moves (mod 23) when that of a needed variable moves by one.

        Stated variables pass nothing on from their operands: what was written stays written. All operations are linear, so
        this tells the final error exactly.
        """
        weight = dict.fromkeys(self.needed(), 0)
        weight[self.query] = 1
        for name in reversed(self.needed()):
            definition = self.definitions[name]
            if name in stated or definition.value is not None:
                continue
            weight[definition.left] += weight[name]
            weight[definition.right] += weight[name] if definition.op == "+" else -weight[name]
        return {name: value % MODULUS for name, value in weight.items()}

    def traps(self) -> dict[str, str]:
        """Needed constants with a long name -> their short sibling, where that is a constant with another value."""
        return {
            name: SIBLING[name]
            for name in self.needed()
            if (short := SIBLING.get(name, "")) in self.definitions
            and self.definitions[name].value is not None
            and self.definitions[short].value not in (None, self.definitions[name].value)
        }

    def prompt(self) -> str:
        """The problem as text."""
        return "\n".join([f"Mod {MODULUS}.", *map(str, self.definitions.values()), f"What is {self.query}?"])

    def hash(self) -> int:
        """The same for all renamings, other constants and orders of the definitions (colour refinement, 8 rounds)."""
        colours = {name: "constant" if d.value is not None else d.op for name, d in self.definitions.items()}
        colours[self.query] += "?"
        for _ in range(8):
            colours = {name: self._refined(name, colours) for name in self.definitions}
        return int(_digest("".join(sorted(colours.values()))), 16)

    def _refined(self, name: str, colours: Mapping[str, str]) -> str:
        definition = self.definitions[name]
        below = [colours[operand] for operand in definition.operands]
        if definition.op == "+":
            below.sort()
        users = sorted(
            colours[d.name] + ("" if d.op == "+" else str(d.operands.index(name)))
            for d in self.definitions.values()
            if name in d.operands
        )
        return _digest("|".join([colours[name], *below, "/", *users]))


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


_LINE = re.compile(r"given ([a-z]+)=(\d+)|([a-z]+): ([a-z]+) ([+-]) ([a-z]+)")


def _definition(match: re.Match[str]) -> Definition:
    constant, value, name, left, op, right = match.groups()
    return Definition(constant, int(value)) if constant else Definition(name, None, left, op, right)


@lru_cache(maxsize=4096)
def parse(prompt: str) -> Graph:
    """The graph a prompt tells of; InputError if it is not a lab problem."""
    head, *lines, tail = prompt.split("\n") if "\n" in prompt else ("", "")
    found = [_LINE.fullmatch(line) for line in lines]
    query = re.fullmatch(r"What is ([a-z]+)\?", tail)
    if head != f"Mod {MODULUS}." or query is None or not found or None in found:
        raise InputError(
            f"not a lab problem: {prompt[:60]!r}",
            expected=f"lines 'Mod {MODULUS}.', 'given NAME=7' or 'NAME: NAME + NAME', 'What is NAME?'",
            fix="see `lab:test:10`",
        )
    definitions = {(d := _definition(match)).name: d for match in found if match}
    if (wrong := _ungrounded(definitions, query.group(1))) is not None:
        raise InputError(
            f"not a lab problem: {wrong!r} has no value in {prompt[:60]!r}",
            expected="every name that is used to be given, or to be computed from names that have values",
            fix="see `lab:test:10`",
        )
    return Graph(definitions, query.group(1))


def _ungrounded(definitions: Mapping[str, Definition], query: str) -> str | None:
    """A name in use that is not defined, or defined by itself; None where all have values."""
    open_, known = set(definitions), set[str]()
    while found := {name for name in open_ if known.issuperset(definitions[name].operands)}:
        known |= found
        open_ -= found
    used = {query, *(operand for one in definitions.values() for operand in one.operands)}
    return next(iter(sorted(used - set(definitions)) or sorted(open_)), None)


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """The shape of lab problems; frozen by decision record 0002."""

    steps: tuple[int, int] = (4, 8)
    """Fewest and most definitions that the answer needs."""
    definitions: tuple[int, int] = (6, 12)
    """Fewest and most definitions in all."""
    traps: tuple[float, float, float] = (0.60, 0.32, 0.08)
    """Chance that a problem has no, one, two traps."""
    deaf: float = 0.15
    """Share kept of the graphs in which a variable cancels out of the answer: they make answers right by luck."""


WORLD = WorldConfig()
LONG_WORLD = WorldConfig(steps=(10, 14), definitions=(12, 18))
"""Out of distribution: longer solutions."""


def graphs(rng: Random, config: WorldConfig = WORLD) -> Iterator[Graph]:
    """Problems without end. Few (`config.deaf`) are such that an error in some needed variable can't reach the answer."""
    while True:
        graph = _graph(rng, config)
        if 0 not in graph.influence().values() or rng.random() < config.deaf:
            yield graph


def _graph(rng: Random, config: WorldConfig) -> Graph:
    steps = rng.randint(*config.steps)
    total = max(rng.randint(*config.definitions), steps + 1)
    needed = _needed(rng, steps)
    leaves = [index for index, operands in enumerate(needed) if not operands]
    traps = min(rng.choices(range(len(config.traps)), config.traps)[0], len(leaves), total - steps)
    names = rng.sample(SHORT_NAMES, total)
    name_of = [rng.choice((names[i], long_name(names[i]))) for i in range(steps)]
    free = names[steps:]
    distractors: list[Definition] = []
    constant = {i: rng.randrange(MODULUS) for i in leaves}
    for i in rng.sample(leaves, traps):
        name_of[i] = long_name(names[i])
        shifted = (constant[i] + rng.randrange(1, MODULUS)) % MODULUS
        distractors.append(Definition(names[i], shifted))
    definitions = [
        Definition(name_of[i], constant[i])
        if not operands
        else Definition(name_of[i], None, name_of[operands[0]], rng.choice("+-"), name_of[operands[1]])
        for i, operands in enumerate(needed)
    ]
    known = [d.name for d in definitions] + [d.name for d in distractors]
    while len(definitions) + len(distractors) < total:
        name = rng.choice((free[-1], long_name(free[-1])))
        free.pop()
        if rng.random() < 0.5:
            distractors.append(Definition(name, rng.randrange(MODULUS)))
        else:
            left, right = rng.sample(known, 2)
            distractors.append(Definition(name, None, left, rng.choice("+-"), right))
        known.append(name)
    shuffled = definitions + distractors
    rng.shuffle(shuffled)
    return Graph({d.name: d for d in shuffled}, name_of[-1])


def _needed(rng: Random, steps: int) -> list[tuple[int, ...]]:
    """Operand indices of each needed definition, every one used by a later one, the last being the query."""
    leaves = rng.randint(2, (steps + 1) // 2)
    nodes: list[tuple[int, ...]] = [()] * leaves
    unused = list(range(leaves))
    joins = [True] * (leaves - 1) + [False] * (steps - 2 * leaves + 1)
    rng.shuffle(joins)
    for join in joins:
        left = unused.pop(rng.randrange(len(unused)))
        if join and unused:
            right = unused.pop(rng.randrange(len(unused)))
        else:
            right = rng.choice([i for i in range(len(nodes)) if i != left])
            if right in unused:
                unused.remove(right)
        unused.append(len(nodes))
        nodes.append((left, right) if rng.random() < 0.5 else (right, left))
    while len(unused) > 1:  # a step that was to reuse a variable took an unused one: join what is left
        right, left = unused.pop(), unused.pop()
        unused.append(len(nodes))
        nodes.append((left, right))
    return nodes


SPLITS = {"policy": range(5), "train": range(5, 8), "shape": range(8, 9), "test": range(9, 10)}
"""Which tenths of the graph hashes belong to which split: no test problem has the form of a training problem."""


def split_of(graph: Graph) -> str:
    """The split that the graph's hash puts it in."""
    return next(name for name, tenths in SPLITS.items() if graph.hash() % 10 in tenths)


def load(split: str, n: int, config: WorldConfig | None = None) -> list[Problem]:
    """The first n problems of a split: "policy", "train", "shape", "test", or "long" (out of distribution, 10 to 14 steps)."""
    if split != "long" and split not in SPLITS:
        raise InputError(
            f"lab split {split!r}", expected=f"one of {', '.join([*SPLITS, 'long'])}", fix="write lab:test:100"
        )
    chosen = config or (LONG_WORLD if split == "long" else WORLD)
    problems: list[Problem] = []
    for graph in graphs(Random(f"lab/{split}/1"), chosen):
        if len(problems) == n:
            break
        if split in ("long", split_of(graph)):
            problems.append(as_problem(graph, f"lab-{split}-{len(problems)}"))
    return problems


def as_problem(graph: Graph, id: str) -> Problem:
    """The graph as a Problem with its gold answer."""
    return Problem(
        id=id,
        prompt=graph.prompt(),
        answer=str(graph.values()[graph.query]),
        source="lab",
        meta={"steps": str(len(graph.needed())), "traps": str(len(graph.traps()))},
    )
