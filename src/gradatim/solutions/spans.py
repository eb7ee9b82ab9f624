"""Many draws of many prefixes: in one call where the policy can, and many calls at a time where it is several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, TypeAlias, runtime_checkable

from gradatim.core import Continuation, Policy, Prefix
from gradatim.errors import BackendError


@dataclass(frozen=True, slots=True)
class Span:
    """Some draws of one prefix."""

    prefix: Prefix
    draws: range

    def __len__(self) -> int:
        return len(self.draws)


Written: TypeAlias = list[Continuation] | BackendError
"""What came of a span: a continuation a draw, or why the call that it was in failed."""


@runtime_checkable
class UnevenPolicy(Protocol):
    """A Policy that can write other draws of every prefix in one call: late rounds of adaptive labelling want that.

    Law: a span's texts are those of `write` with the same prefix and draws.
    """

    def write_spans(self, spans: Sequence[Span], *, seed: int = 0) -> list[list[Continuation]]:
        """For each span a list with one continuation a draw."""
        ...


@runtime_checkable
class SeveralPolicy(Protocol):
    """A Policy that works on several calls at a time."""

    def write_batches(self, batches: Sequence[Sequence[Span]], *, seed: int = 0) -> Iterator[tuple[int, list[Written]]]:
        """(place, what came of its spans) of every batch, once each, in the order in which they are done.

        A batch is one call: what is in it does not depend on how many work on the batches, or in which order.
        """
        ...


def write_batches(
    policy: Policy, batches: Sequence[Sequence[Span]], *, seed: int
) -> Iterator[tuple[int, list[Written]]]:
    """See `SeveralPolicy`; one batch after another where the policy is none."""
    if isinstance(policy, SeveralPolicy):
        yield from policy.write_batches(batches, seed=seed)
        return
    for place, batch in enumerate(batches):
        yield place, write_spans(policy, batch, seed=seed)


def write_spans(policy: Policy, spans: Sequence[Span], *, seed: int) -> list[Written]:
    """What comes of every span: in one call of an `UnevenPolicy`, otherwise in one for neighbours with the same draws."""
    if isinstance(policy, UnevenPolicy):
        try:
            return list(policy.write_spans(spans, seed=seed))
        except BackendError as error:
            return [error] * len(spans)
    made: list[Written] = []
    for draws, group in groupby(spans, key=lambda span: span.draws):
        prefixes = [span.prefix for span in group]
        try:
            made += policy.write(prefixes, draws=draws, seed=seed)
        except BackendError as error:
            made += [error] * len(prefixes)
    return made
