"""Test problems of the lab with their candidates, and what is true of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradatim.core import Problem, Solution, Verdict
from gradatim.errors import InputError
from gradatim.problems import lab
from gradatim.stats import majority_curve

Floats = NDArray[np.float64]
JUDGED_DRAWS = 8
"""How many of each test problem's candidates are compared step by step with the truth."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Test problems with equally many candidates each, and what is true of every step."""

    problems: list[Problem]
    solutions: list[list[Solution]]
    truth: list[list[tuple[bool, ...]]]
    good: Floats
    """(problems, candidates): 1 where the answer is right."""

    @classmethod
    def of(cls, problems: Sequence[Problem], solutions: Sequence[Solution]) -> Pool:
        """Group by problem and ask the exact checker; InputError if a problem has more candidates than another."""
        by_problem: dict[str, list[Solution]] = {problem.id: [] for problem in problems}
        for solution in solutions:
            by_problem[solution.prefix.problem_id].append(solution)
        rows = list(by_problem.values())
        if len({len(row) for row in rows}) != 1:
            raise InputError("problems of the pool have different numbers of candidates", fix="sample the pool again")
        return cls(
            list(problems),
            rows,
            [[tuple(step.valid for step in lab.check(s.prefix)) for s in row] for row in rows],
            np.array([[float(s.verdict is Verdict.CORRECT) for s in row] for row in rows]),
        )

    @property
    def ns(self) -> list[int]:
        """Powers of two up to the number of candidates, and that number."""
        m = self.good.shape[1]
        return sorted({2**k for k in range(m.bit_length()) if 2**k <= m} | {m})

    def coded(self, index: int) -> tuple[list[int], list[float]]:
        """A problem's candidates by the number of their answer (-1: unread), and whether each answer is right."""
        row = self.solutions[index]
        names = list(dict.fromkeys(s.answer for s in row if s.answer is not None))
        codes = [names.index(s.answer) if s.answer is not None else -1 for s in row]
        right = [
            float(max(self.good[index][k] for k, code in enumerate(codes) if code == a)) for a in range(len(names))
        ]
        return codes, right

    def majority(self, ns: Sequence[int]) -> Floats:
        """(problems, ns): the expected correctness of the most frequent answer among n."""
        curves = []
        for index in range(len(self.problems)):
            codes, right = self.coded(index)
            sizes = Counter(code for code in codes if code >= 0)
            curves.append(majority_curve([sizes[a] for a in range(len(right))], right, codes.count(-1), ns))
        return np.array(curves)
