"""Solutions to look at: what each model gets wrong, the mistakes it was surest of first (see `evaluate.said`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradatim.core import Solution
from gradatim.evaluate.asked import Part
from gradatim.evaluate.bench import BenchRow
from gradatim.evaluate.pool_suite import candidate_key
from gradatim.evaluate.preferences import Choice
from gradatim.evaluate.results import Result
from gradatim.evaluate.said import Said
from gradatim.problems.pools import Candidate
from gradatim.records import solution_row

MOST_CHARACTERS = 4_000_000
"""Of problems and steps in all cases together: no page becomes larger than a browser opens at once."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A solution, or a choice between several, that models were asked about."""

    facts: Mapping[str, Any]
    """What a case holds beside what the models said."""
    size: int
    """Characters."""


def cases(parts: Sequence[Part], results: Sequence[Result], most: int) -> list[dict[str, Any]]:
    """Up to `most` mistakes of each result, and what the other models said of the same solutions.

    Kinds of mistakes are taken in turn, in each the surest first; ranks go round all results, so that a result whose texts
    are long takes no room from another. What goes beyond `MOST_CHARACTERS` is left out.
    """
    items = {(part.suite, part.subset): _items(part) for part in parts}
    listed: dict[tuple[str, str, str], set[str]] = {}
    orders = [(one, worst(one.said, most)) for one in results]
    used = 0
    for rank in range(most):
        for one, order in orders:
            if rank >= len(order):
                continue
            place = (one.suite, one.subset, order[rank])
            size = 0 if place in listed else items[one.suite, one.subset][order[rank]].size
            if used + size <= MOST_CHARACTERS:
                listed.setdefault(place, set()).add(one.model)
                used += size
    found = []
    for (suite, subset, key), models in listed.items():
        said = {
            one.model: one.said[key]
            for one in results
            if (one.suite, one.subset) == (suite, subset) and key in one.said
        }
        by = {model: {**some.as_json(), "listed": model in models} for model, some in said.items()}
        found.append({"suite": suite, "subset": subset, "id": key, **items[suite, subset][key].facts, "by": by})
    return found


def worst(said: Mapping[str, Said], most: int) -> list[str]:
    """The keys of up to `most` mistakes: the kinds in turn, the surest of each first; equals by key."""
    kinds: dict[str, list[str]] = {}
    for key in sorted((key for key, one in said.items() if one.mistaken), key=lambda key: (-said[key].sureness, key)):
        kinds.setdefault(said[key].kind, []).append(key)
    ranked = [kinds[kind] for kind in sorted(kinds)]
    dealt = (kind[place] for place in range(most) for kind in ranked if place < len(kind))
    return [key for key, _ in zip(dealt, range(most), strict=False)]


# What is asked


def _items(part: Part) -> dict[str, _Item]:
    if part.pool is not None:
        return {
            candidate_key(problem.id, one): _candidate(one)
            for problem in part.pool.problems
            for one in problem.candidates
        }
    return {row.id: _row(row) for row in part.rows} | {choice.id: _choice(choice) for choice in part.choices}


def _row(row: BenchRow) -> _Item:
    solution = row.solution or Solution(prefix=row.prefix, author=row.author, draw=0)
    facts = {"class": row.group, "marks": list(row.marks), "true": row.error, "true_known": True}
    return _solved(solution, {**facts, "answer_correct": row.answer_correct})


def _candidate(one: Candidate) -> _Item:
    return _solved(
        one.solution, {"class": "", "marks": [], "true": None, "true_known": False, "answer_correct": one.correct}
    )


def _solved(solution: Solution, facts: Mapping[str, Any]) -> _Item:
    size = len(solution.prefix.prompt) + len(solution.prefix.text)
    return _Item({"solution": solution_row(solution), **facts}, size)


def _choice(choice: Choice) -> _Item:
    prompt, texts = choice.chosen[0].prompt, [answer.text for answer in choice.answers]
    facts = {"class": choice.subset, "prompt": prompt, "answers": texts, "chosen": len(choice.chosen)}
    return _Item(facts, len(prompt) + sum(map(len, texts)))
