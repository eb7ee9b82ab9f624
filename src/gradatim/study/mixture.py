"""Several policies as one completer: their draws in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradatim.core import Continuation, Policy, Prefix


@dataclass(frozen=True, slots=True)
class Mixture:
    """A Policy (see core) whose draw d is draw d // n of policy d % n, of n: each writes its share of any range."""

    policies: tuple[Policy, ...]

    @property
    def name(self) -> str:
        return f"mixture({'; '.join(policy.name for policy in self.policies)})"

    def write(
        self, prefixes: Sequence[Prefix], *, draws: range, one_step: bool = False, seed: int = 0
    ) -> list[list[Continuation]]:
        """For each prefix a list with one continuation a draw, as each policy writes them."""
        n, found = len(self.policies), [dict[int, Continuation]() for _ in prefixes]
        for place, policy in enumerate(self.policies):
            own = [draw for draw in draws if draw % n == place]
            if not own:
                continue
            some = range(own[0] // n, own[-1] // n + 1)
            rows = policy.write(prefixes, draws=some, one_step=one_step, seed=seed)
            for made, row in zip(found, rows, strict=True):
                made.update(zip(own, row, strict=True))
        return [[made[draw] for draw in draws] for made in found]
