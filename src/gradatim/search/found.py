"""What a search found for one problem: every finished solution once, the best first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gradatim.core import Problem, Score, Solution, Verdict, Verifier
from gradatim.records import Row, score_from, score_row, solution_from, solution_row
from gradatim.search.frontier import Node, Tree
from gradatim.solutions.verifying import verify_all
from gradatim.verify.answers import read_answer


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finished solution and what the scorer thinks of it (the value is NaN where it refused, or had no step)."""

    solution: Solution
    """Its `draw` counts the finished solutions of the problem in the order in which they were found."""
    score: Score
    won: bool
    """Whether the search counts it against the number it was asked for; others were finished on the way."""

    @property
    def scored(self) -> bool:
        """Whether it has a value, or no step for which it could have one."""
        steps = self.solution.prefix.steps
        return not math.isnan(self.score.value) or all(step.kind == "observation" for step in steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search found for one problem."""

    problem_id: str
    candidates: tuple[Candidate, ...]
    """By value, the best first; equal values by the draws of their steps, the lower first; NaN last. No two are alike."""
    generated: int
    """Tokens that the policy wrote."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """`draws` of one step that were written; `duplicates` among them, which wrote what another draw of the same prefix
    had; `empty` ones; `truncated` solutions (cut off by the policy or the step limit); prefixes that the scorer
    `refused`; steps that backtracking `turned_down`; `out_of_budget` is 1 if the token budget ended the search."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """Draws that the policy could not write, by reason."""

    @property
    def best(self) -> Candidate | None:
        """The candidate with the highest value; None if none has one."""
        first = self.candidates[0] if self.candidates else None
        return None if first is None or math.isnan(first.score.value) else first

    @property
    def won(self) -> int:
        """Solutions that count against the number asked for; never filled up with copies."""
        return sum(candidate.won for candidate in self.candidates)


COUNTS = ("draws", "duplicates", "empty", "truncated", "refused", "turned_down", "out_of_budget")
"""The names in `Found.counts`."""


def found_in(tree: Tree, author: str, by: str, verifier: Verifier | None) -> Found:
    """What a tree holds when its search is over. With a verifier the solutions of a problem with a gold answer get
    verdicts; one that was cut off is "unparsed", one whose check failed has none."""
    solutions = [_solution(node, draw, author) for draw, node in enumerate(tree.finished)]
    if verifier is not None and tree.problem.answer is not None:
        solutions = _verified(solutions, tree.problem, verifier)
    pairs = sorted(zip(tree.finished, solutions, strict=True), key=lambda pair: pair[0].rank)
    return Found(
        problem_id=tree.problem.id,
        candidates=tuple(
            Candidate(solution, node.score or Score(value=math.nan, by=by), node in tree.won)
            for node, solution in pairs
        ),
        generated=tree.generated,
        counts={name: tree.counts[name] for name in COUNTS},
        failures=dict(tree.failures),
    )


def _solution(node: Node, draw: int, author: str) -> Solution:
    cut = node.finish == "length"
    answer = None if cut else read_answer(node.prefix.text)
    return Solution(prefix=node.prefix, author=author, draw=draw, finish="length" if cut else "stop", answer=answer)


def _verified(solutions: Sequence[Solution], problem: Problem, verifier: Verifier) -> list[Solution]:
    asked = [(problem, solution.prefix.text) for solution in solutions if solution.finish == "stop"]
    verdicts = iter(verify_all(verifier, asked))
    return [replace(one, verdict=next(verdicts) if one.finish == "stop" else Verdict.UNPARSED) for one in solutions]


def found_row(found: Found) -> dict[str, Any]:
    """As the ledger keeps it (JSON values)."""
    return {
        "problem_id": found.problem_id,
        "candidates": [
            [solution_row(one.solution), score_row(one.solution.id, one.score), one.won] for one in found.candidates
        ],
        "generated": found.generated,
        "counts": dict(found.counts),
        "failures": dict(found.failures),
    }


def found_from(row: Mapping[str, Any], name: str) -> Found:
    """Back from `found_row`; `name` says where it was kept."""
    candidates = [
        Candidate(solution_from(Row(name, 0, solution)), score_from(Row(name, 0, score))[1], won)
        for solution, score, won in row["candidates"]
    ]
    rest = {key: row[key] for key in ("problem_id", "generated", "counts", "failures")}
    return Found(candidates=tuple(candidates), **rest)


def total(found: Sequence[Found]) -> dict[str, Any]:
    """Counts and failures of many searches, added up."""
    counts, failures = Counter[str](dict.fromkeys(COUNTS, 0)), Counter[str]()
    for one in found:
        counts.update(one.counts)
        failures.update(one.failures)
    return {"counts": dict(counts), "not_written": dict(failures)}
