"""What is scored in `bench/scoring.py`: calls of prefixes, made from the GSM8K pool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gradatim.core import Prefix
from gradatim.problems.pools import read_pool

ECHO = "system\n"
"""How the first step begins where a sampler has echoed its chat prompt."""


@dataclass(frozen=True)
class Load:
    """One after another, as a user would call the scorer: a search can't ask for the next step before this one."""

    name: str
    calls: tuple[tuple[Prefix, ...], ...]


def loads(data: Path, problems: int, candidates: int) -> list[Load]:
    """The pool with and without the rows that echo, a beam of 16 and a tree of rollouts, each for some problems."""
    pool = read_pool(data / "pools" / "gsm8k.pool.jsonl.gz")
    everything = [
        [candidate.solution.prefix for candidate in problem.candidates[:candidates]]
        for problem in pool.problems[:problems]
    ]
    plain = [[prefix for prefix in group if not prefix.steps[0].text.startswith(ECHO)] for group in everything]
    made = [
        Load("pool", (tuple(prefix for group in everything for prefix in group),)),
        Load("pool without echoes", (tuple(prefix for group in plain for prefix in group),)),
        Load("beam of 16", tuple(call for group in plain for call in beam(group))),
        Load("tree of rollouts", tuple(rollouts(group) for group in plain if len(group) > 1)),
    ]
    return [load for load in made if any(load.calls)]


def beam(group: list[Prefix]) -> list[tuple[Prefix, ...]]:
    """A call a depth: the four beams that survived, each with four next steps.

    Steps are real ones of that depth in the pool; who survives does not matter for the cost.
    """
    if not group:
        return []
    beams, calls = [group[0].first(0)], []
    for depth in range(max(len(prefix.steps) for prefix in group)):
        texts = {prefix.steps[depth]: None for prefix in group if len(prefix.steps) > depth}
        grown = [prefix.then(step) for prefix in beams for step in list(texts)[: 4 if depth else 16]]
        calls.append(tuple(grown[:16]))
        beams = grown[:: max(1, len(grown) // 4)][:4]
    return calls


def rollouts(group: list[Prefix]) -> tuple[Prefix, ...]:
    """From every prefix of the first solution, up to eight continuations to the end: what Monte-Carlo labels score."""
    first, others = group[0], group[1:9]
    return tuple(
        Prefix(first.problem_id, first.prompt, (*first.steps[:depth], *other.steps[depth:]))
        for depth in range(len(first.steps))
        for other in others
        if len(other.steps) > depth
    )
