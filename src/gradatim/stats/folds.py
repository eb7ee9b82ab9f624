"""Folds by problem: what is chosen or fitted on some folds is measured on the problems of another."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

FOLDS = 5


def fold_of(problems: Sequence[str], folds: int = FOLDS, *, seed: int = 0) -> list[int]:
    """The fold of each row: problems in the order of their digests, dealt out in turn.

    Depends on the set of problems and the seed alone, not on the order of rows; all rows of a problem share a fold.
    """
    salt = b"" if seed == 0 else (seed % 2**64).to_bytes(8, "little")

    def key(problem: str) -> tuple[bytes, str]:
        return blake2b(problem.encode("utf-8", "surrogatepass"), salt=salt).digest(), problem

    order = sorted(set(problems), key=key)
    dealt = {problem: index % folds for index, problem in enumerate(order)}
    return [dealt[problem] for problem in problems]
