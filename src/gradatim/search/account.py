"""What a search costs: tokens of the policy and of the reward model, and from them floating-point operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from gradatim.core import Policy, Prefix, Scorer
from gradatim.score.calibrate import uncalibrated
from gradatim.score.stage import Stats


@runtime_checkable
class ReadingPolicy(Protocol):
    """A policy that counts what it reads; `gradatim.solutions.local.LocalPolicy` is one."""

    prefilled: int
    """Tokens of prefixes that it has read since it was made, without those whose keys and values it had kept."""


@runtime_checkable
class ReadingScorer(Protocol):
    """A scorer that counts what it reads."""

    stats: Stats


@runtime_checkable
class TreeScorer(Protocol):
    """A scorer that knows its tokens; `gradatim.score.engine.ModelScorer` is both."""

    def distinct_tokens(self, prefixes: Sequence[Prefix]) -> int:
        """Tokens of the one tree of all these prefixes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Floating-point operations of a token: twice the parameters that it is multiplied with, attention left out."""

    write: float
    """Of a token that the policy writes: its layers and its head."""
    read: float
    """Of a token that the policy reads first: its layers."""
    score: float
    """Of a token that the reward model reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What was spent. Counts that a policy or a scorer does not keep are None, which is not zero."""

    generated: int = 0
    """Tokens that the policy wrote."""
    prefilled: int | None = 0
    """Tokens of prefixes that the policy read."""
    scored: int | None = 0
    """Tokens that went through the reward model."""
    distinct: int | None = 0
    """Tokens of the one tree of everything that was scored: `scored` if each was read once."""

    def __add__(self, other: Account) -> Account:
        return Account(
            generated=self.generated + other.generated,
            prefilled=_sum(self.prefilled, other.prefilled),
            scored=_sum(self.scored, other.scored),
            distinct=_sum(self.distinct, other.distinct),
        )

    def flops(self, prices: Prices) -> float | None:
        """Operations of policy and reward model together; None if a count is missing."""
        if self.prefilled is None or self.scored is None:
            return None
        return prices.write * self.generated + prices.read * self.prefilled + prices.score * self.scored


class Meter:
    """Reads a policy's and a scorer's own counters before and after a piece of work."""

    def __init__(self, policy: Policy, scorer: Scorer) -> None:
        self._policy, self._scorer = policy, uncalibrated(scorer)
        self._before = self._now()

    def account(self, generated: int, scored: Sequence[Prefix]) -> Account:
        """What was spent since the meter was made; `scored` are the prefixes that were scored."""
        read, passed = (
            None if before is None or now is None else now - before
            for before, now in zip(self._before, self._now(), strict=True)
        )
        distinct = self._scorer.distinct_tokens(scored) if isinstance(self._scorer, TreeScorer) else None
        return Account(generated=generated, prefilled=read, scored=passed, distinct=distinct)

    def _now(self) -> tuple[int | None, int | None]:
        policy, scorer = self._policy, self._scorer
        return (
            policy.prefilled if isinstance(policy, ReadingPolicy) else None,
            scorer.stats.tokens_processed if isinstance(scorer, ReadingScorer) else None,
        )


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b
