"""What independent labellers agree on: the solutions in which they name the same first error.

Two labellers that err independently seldom err alike, so what they agree on is right more often than what either says
(arXiv 2501.07301 keeps some 40 % of its solutions that way). Labellers that share a cause of error agree on it: agreement is
evidence of truth only as far as they are independent. Where they do not agree nothing is averaged: the solution is left
out, and written elsewhere with what each of them said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from gradatim.core import Estimate, Labels, Solution, Tally
from gradatim.errors import ConfigError, InputError
from gradatim.labels.given import Labelled
from gradatim.records import labelled_row, labels_row, solution_row, write_rows
from gradatim.stats import bootstrap, wilson
from gradatim.stats.agreement import cohen_kappa, fleiss_kappa


@dataclass(frozen=True, kw_only=True)
class ConsensusConfig:
    """When labellers agree."""

    agree: int | None = None
    """How many labellers have to name the same first error (more than half of them); all where none is given."""
    common: bool = False
    """Use only the solutions that all labellers labelled, and count the others, instead of refusing files that label
    different solutions."""

    def needed(self, labellers: int) -> int:
        """How many have to agree; ConfigError for fewer than two labellers, and for a number that two sides could reach."""
        if labellers < 2:
            raise ConfigError(f"{labellers} file of labels; consensus needs at least 2")
        wanted = labellers if self.agree is None else self.agree
        if not labellers / 2 < wanted <= labellers:
            raise ConfigError(
                f"agree={wanted} of {labellers} labellers; expected more than half, and not more than all"
            )
        return wanted


Case = tuple[Solution, tuple[Labels, ...]]
"""A solution, and what each labeller says of it."""


def consensus_stage(
    config: ConsensusConfig,
    labellers: Mapping[str, Sequence[Labelled]],
    out: str | Path,
    disagreements: str | Path,
) -> dict[str, Any]:
    """Write `out` (solutions with the labels agreed on) and `disagreements` (all solutions on whose first error not all
    labellers agree, with what each says; "kept" where enough of them did); return counts and agreement.

    `labellers` are labelled solutions by the name of their file. A labeller that does not know the first error agrees
    with nobody. Agreement comes with 95 % intervals over problems; "coverage" is, for each labeller, the share kept of
    the solutions that it calls erroneous, and of those that it calls correct.
    """
    needed = config.needed(len(labellers))
    cases, alone = matched(labellers, common=config.common)
    names = list(labellers)
    agreed = [agree(labels, needed) for _, labels in cases]
    kept = [(solution, one) for (solution, _), one in zip(cases, agreed, strict=True) if one is not None]
    write_rows(out, (labelled_row(solution, one) for solution, one in kept))
    apart = [(case, one) for case, one in zip(cases, agreed, strict=True) if agree(case[1], len(names)) is None]
    write_rows(disagreements, (_apart(*case, one is not None) for case, one in apart))
    return {
        "solutions": len(cases),
        "dropped": {"not labelled by all": alone} if alone else {},
        "kept": len(kept),
        "kept_erroneous": sum(one.error is not None for _, one in kept),
        "kept_correct": sum(one.error is None for _, one in kept),
        "disagreements": len(apart),
        "needed": needed,
        "labellers": [_labeller(names, cases, agreed, place) for place in range(len(names))],
        "pairs": [
            {"a": names[a], "b": names[b], **agreement([(s, (said[a], said[b])) for s, said in cases])}
            for a, b in combinations(range(len(names)), 2)
        ],
        "fleiss": _fleiss(cases) if len(names) > 2 else None,
        "notes": _notes(names, cases),
        "path": str(out),
        "disagreements_path": str(disagreements),
    }


def agree(labels: Sequence[Labels], needed: int) -> Labels | None:
    """The labels that at least `needed` (more than half) of the labellers agree on; None where so many do not.

    A tally counts the agreeing labellers alone: each says yes to the steps before the first error, no to that step, and
    nothing of those behind it. They label validity if one of these labellers does.
    """
    named = Counter(one.error for one in labels if one.error_known)
    error, count = named.most_common(1)[0] if named else (None, 0)
    if count < needed:
        return None
    agreeing = [one for one in labels if one.error_known and one.error == error]
    steps = len(labels[0].tallies)
    reached = steps if error is None else error
    judged = [any(one.tallies[step].tried for one in labels) for step in range(steps)]
    yes = [Tally(count, count) if seen else Tally() for seen in judged[:reached]]
    no = [] if error is None else [Tally(0, count)]
    return Labels(
        solution_id=labels[0].solution_id,
        tallies=(*yes, *no, *[Tally()] * (steps - reached - len(no))),
        error=error,
        error_known=True,
        truth="validity" if any(one.truth == "validity" for one in agreeing) else "value",
        source="consensus",
        by=" & ".join(dict.fromkeys(one.by for one in agreeing)),
        rule=f"first error named by {count} of {len(labels)}, at least {needed}",
    )


def matched(labellers: Mapping[str, Sequence[Labelled]], *, common: bool) -> tuple[list[Case], int]:
    """The solutions that all labellers labelled, in the first one's order, and how many others there are.

    InputError where a file labels a solution twice, and where files label different solutions: in any case if they have
    none in common, otherwise unless `common`.
    """
    found = {name: _by_id(name, labelled) for name, labelled in labellers.items()}
    first, *others = found
    shared = [key for key in found[first] if all(key in found[name] for name in others)]
    every = {key for one in found.values() for key in one}
    if not shared or (len(shared) < len(every) and not common):
        name, key = next((name, key) for name in found for key in sorted(every) if key not in found[name])
        raise InputError(
            f"no labels of solution {key}, which another file has ({len(shared)} of {len(every)} solutions are in all)",
            expected="labels of the same solutions",
            file=name,
            fix="label the same solutions" + (", or use --common" if shared else ""),
        )
    cases = [(found[first][key][0], tuple(found[name][key][1] for name in found)) for key in shared]
    return cases, len(every) - len(shared)


def agreement(cases: Sequence[Case]) -> dict[str, Any]:
    """How far two labellers agree: Estimates over problems.

    "same" is the share of solutions in which both name the same first error ("none" is one of the names) and
    "first_error" Cohen's kappa of these names; "steps" is Cohen's kappa of right and wrong a step, over the steps up to
    the first error that either names, behind which one of them says nothing. Solutions of which one does not know the
    first error are in none of it, and counted as "undecided".
    """
    both = [(solution, a, b) for solution, (a, b) in cases if a.error_known and b.error_known]
    problems = [solution.prefix.problem_id for solution, _, _ in both]
    steps = [
        (solution.prefix.problem_id, step == a.error, step == b.error)
        for solution, a, b in both
        for step in range(min(_end(a), _end(b)) + 1)
        if step < len(a.tallies) and solution.prefix.steps[step].kind != "observation"
    ]
    return {
        "decided": len(both),
        "undecided": len(cases) - len(both),
        "same": share([a.error == b.error for _, a, b in both], problems),
        "first_error": cohen_kappa([a.error for _, a, _ in both], [b.error for _, _, b in both], problems),
        "steps": cohen_kappa([a for _, a, _ in steps], [b for _, _, b in steps], [problem for problem, _, _ in steps]),
        "both_erroneous": sum(a.error is not None and b.error is not None for _, a, b in both),
        "both_correct": sum(a.error is None and b.error is None for _, a, b in both),
        "only_a_erroneous": sum(a.error is not None and b.error is None for _, a, b in both),
        "only_b_erroneous": sum(a.error is None and b.error is not None for _, a, b in both),
    }


def share(hits: Sequence[bool], problems: Sequence[str]) -> Estimate:
    """The share of hits with a 95 % interval; NaN for none. `n` counts problems.

    A bootstrap over problems; Wilson's interval, with problems as the sample, where all hits agree or every problem comes
    once (a bootstrap of equal values has no width).
    """
    good, distinct = sum(hits), len(set(problems))
    if distinct == len(hits) or good in (0, len(hits)):
        return wilson(min(good, distinct), distinct)
    return bootstrap([float(hit) for hit in hits], list(problems))


def _end(labels: Labels) -> int:
    return len(labels.tallies) if labels.error is None else labels.error


def _by_id(name: str, labelled: Sequence[Labelled]) -> dict[str, Labelled]:
    found: dict[str, Labelled] = {}
    for solution, labels in labelled:
        if solution.id in found:
            raise InputError(
                f"two labels of solution {solution.id}, by {found[solution.id][1].by!r} and {labels.by!r}",
                expected="one labeller a file",
                file=name,
                fix="write each labeller's rows to a file of its own",
            )
        found[solution.id] = (solution, labels)
    return found


def _labeller(
    names: Sequence[str], cases: Sequence[Case], agreed: Sequence[Labels | None], place: int
) -> dict[str, Any]:
    said = [(solution, labels[place], one is not None) for (solution, labels), one in zip(cases, agreed, strict=True)]

    def coverage(erroneous: bool) -> Estimate:
        rows = [row for row in said if row[1].error_known and (row[1].error is not None) == erroneous]
        return share([kept for *_, kept in rows], [solution.prefix.problem_id for solution, *_ in rows])

    return {
        "labels": names[place],
        "by": sorted({labels.by for _, labels, _ in said}),
        "erroneous": sum(labels.error is not None for _, labels, _ in said),
        "correct": sum(labels.error_known and labels.error is None for _, labels, _ in said),
        "unknown": sum(not labels.error_known for _, labels, _ in said),
        "coverage_erroneous": coverage(True),
        "coverage_correct": coverage(False),
    }


def _fleiss(cases: Sequence[Case]) -> Estimate:
    known = [(solution, labels) for solution, labels in cases if all(one.error_known for one in labels)]
    return fleiss_kappa(
        [[one.error for one in labels] for _, labels in known], [one.prefix.problem_id for one, _ in known]
    )


def _notes(names: Sequence[str], cases: Sequence[Case]) -> list[str]:
    by = [{labels[place].by for _, labels in cases} for place in range(len(names))]
    return [
        f"{names[a]} and {names[b]} name the same labeller: what it agrees on with itself says little of the truth"
        for a, b in combinations(range(len(names)), 2)
        if by[a] & by[b]
    ]


def _apart(solution: Solution, labels: Sequence[Labels], kept: bool) -> dict[str, Any]:
    return {
        "schema": "gradatim.disagreement/1",
        "solution": solution_row(solution),
        "labels": [labels_row(one) for one in labels],
        "kept": kept,
    }
