"""Which problems are trained on and which are kept apart: always whole problems, chosen by seed and name alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gradatim.core import Prefix, seed_for
from gradatim.errors import ConfigError


def problems_of(prefixes: Iterable[Prefix]) -> list[str]:
    """The problem of each prefix. Problems with different ids and the same prompt are one, under the first id."""
    first: dict[str, str] = {}
    return [first.setdefault(prefix.prompt, prefix.problem_id) for prefix in prefixes]


def chosen_problems(problems: Iterable[str], count: int, seed: int) -> set[str]:
    """At most `count` of the problems; a smaller choice is part of a larger one."""
    return set(_drawn(problems, count, seed, "problems"))


def held_out_problems(problems: Sequence[str], share: float, seed: int) -> set[str]:
    """The problems to keep apart: the share's nearest whole number, at least one.

    ConfigError if that would leave none to train on.
    """
    if not share:
        return set()
    count = max(1, round(share * len(problems)))
    if count >= len(problems):
        raise ConfigError(
            f"held_out={share} of {len(problems)} problem(s) leaves none to train on; set held_out=0, or bring more"
        )
    return set(_drawn(problems, count, seed, "held-out"))


def _drawn(problems: Iterable[str], count: int, seed: int, purpose: str) -> list[str]:
    return sorted(set(problems), key=lambda problem: (seed_for(seed, purpose, problem), problem))[:count]
