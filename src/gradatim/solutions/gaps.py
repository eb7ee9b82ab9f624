"""Draws that failed: asked for once more, and what it means if there are no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradatim.core import Continuation, Policy, Prefix
from gradatim.errors import BackendError


def fill(policy: Policy, gaps: Sequence[tuple[Prefix, int]], seed: int) -> list[Continuation]:
    """A continuation for each (prefix, draw), in their order, in one call of the policy a draw; "failed" where it fails
    again (BackendError included)."""
    places: dict[int, list[int]] = {}
    for place, (_, draw) in enumerate(gaps):
        places.setdefault(draw, []).append(place)
    found: dict[int, Continuation] = {}
    for draw, some in places.items():
        try:
            written = policy.write([gaps[place][0] for place in some], draws=range(draw, draw + 1), seed=seed)
        except BackendError as error:
            written = [[Continuation("", "failed", 0, str(error))] for _ in some]
        found.update(zip(some, (row[0] for row in written), strict=True))
    return [found[place] for place in range(len(gaps))]


def check_any(written: int, failures: Mapping[str, int]) -> None:
    """BackendError if there are failures (counted by reason) and nothing else: no file is better than an empty one."""
    if failures and not written:
        reason = max(failures, key=failures.__getitem__)
        raise BackendError(f"nothing could be written: {reason}; mend that, and run the same command again")
