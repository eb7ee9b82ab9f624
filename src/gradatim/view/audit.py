"""An audit of labels as a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradatim.core import Labels
from gradatim.labels.audit import Audit
from gradatim.labels.doubts import Doubt
from gradatim.view.parts import Case, Cell, Report, Table

CASES = 12
"""Doubtful solutions that the page shows with their steps."""


def audit_report(audit: Audit, name: str, *, command: str) -> Report:
    """The page of `gradatim audit`."""
    found = audit.found
    drift = [_drift(found["drift"])] if found["drift"] is not None else []
    return Report(
        title=f"Audit: {name}",
        summary=_summary(found),
        command=command,
        facts={
            **{
                key.replace("_", " "): found[key]
                for key in ("solutions", "problems", "steps", "steps_looked_at", "draws")
            },
            **{f"rule: {rule}": count for rule, count in found["rules"].items()},
            **{f"labels of {truth}": count for truth, count in found["truth"].items()},
        },
        tables=(
            _classes(found),
            _noise(found["noise"]),
            _verifier(found),
            *drift,
            _groups("By number of steps", found["by_steps"]),
            _groups("By author", found["by_author"]),
            _groups("By labeller", found["by_labeller"]),
            _counts("Where first errors are", found["places"]),
            _first(audit.doubts, found["doubtful"]),
        ),
        cases=tuple(_case(doubt, place) for place, doubt in enumerate(audit.doubts[:CASES], start=1)),
    )


def _summary(found: dict[str, Any]) -> str:
    share = found["classes"]["erroneous"]
    return (
        f"{found['solutions']} solutions of {found['problems']} problems, {share.value:.3f} with a first error; "
        f"{_told(found['noise'])}; {found['doubtful']} worth a look."
    )


def _told(noise: dict[str, Any]) -> str:
    """The noise, or why it is not known: nothing was drawn twice, or draws have no bar (a single success decides, say)."""
    if noise["noise"].value == noise["noise"].value:
        return f"label noise {noise['noise'].value:.3f} of steps"
    if noise["steps"]:
        return "label noise not known, for the labels do not say from which rate on a step is good"
    return "no repeated draws of a fixed number to tell noise by"


def _classes(found: dict[str, Any]) -> Table:
    contradictions = found["contradictions"]
    return Table(
        title="What the labels say",
        columns=("share of solutions", "estimate"),
        rows=(
            ("with a first error", found["classes"]["erroneous"]),
            ("without an error", found["classes"]["correct"]),
            ("first error unknown", found["classes"]["unknown"]),
            ("right answer, wrong step", contradictions["right_answer_wrong_step"]),
            ("wrong answer, no wrong step", contradictions["wrong_answer_no_wrong_step"]),
        ),
        note="The last two are shares of the solutions with a right and with a wrong answer whose first error is known. A "
        "wrong answer without a wrong step is a missed error, or a right answer that the verifier refused.",
    )


def _noise(noise: dict[str, Any]) -> Table:
    return Table(
        title="Noise of repeated draws",
        columns=("what", "value"),
        rows=(
            ("share of steps that more draws would decide otherwise", noise["noise"]),
            ("share of steps whose interval holds the bar", noise["unsure"]),
            ("overdispersion: how alike draws of one step are", noise["overdispersion"]),
            ("reliability of a step's tally", noise["reliability"]),
            ("draws a step", noise["draws_a_step"]),
            ("steps with at least two draws", noise["steps"]),
            ("steps with one", noise["steps_of_one_draw"]),
            ("steps whose outcomes decided how many", noise["steps_after_optional_stopping"]),
        ),
        note="From tallies of at least two draws, their number fixed beforehand. An error that all draws of a labeller "
        "share is not in it: compare with another labeller.",
    )


def _verifier(found: dict[str, Any]) -> Table:
    verifier = found["verifier"]
    return Table(
        title="What rests on the verifier",
        columns=("what", "value"),
        rows=(
            ("share of rollouts without a readable answer", verifier["lost"]),
            (f"share of right answers refused ({verifier['refused_from']})", verifier["refused"]),
            ("right solutions that were refused, about", verifier["right_but_refused"]),
            ("answers accepted", verifier["accepted"]),
            ("answers rejected", verifier["rejected"]),
            ("answers unread", verifier["unread"]),
            ("no verdict", verifier["no_verdict"]),
        ),
        note="A right solution that was refused has a wrong label at its last step where labels come from rollouts.",
    )


def _drift(drift: dict[str, Any]) -> Table:
    names = {
        "same": "same first error",
        "first_error": "kappa of first errors",
        "steps": "kappa of steps",
        "more_erroneous": "other calls more solutions erroneous, by",
        "first_error_later_by": "other's first error is later, by steps",
        "rate_higher_by": "other's rates are higher, by",
    }
    counts = {
        "decided": "decided by both",
        "undecided": "undecided by one",
        "both_erroneous": "erroneous by both",
        "both_correct": "correct by both",
        "only_a_erroneous": "erroneous by these labels only",
        "only_b_erroneous": "erroneous by the other's only",
        "not_in_both": "labelled by one only",
    }
    rows: list[tuple[Cell, ...]] = [(told, drift[name]) for name, told in names.items()]
    return Table(
        title="Against the other labeller",
        columns=("what", "value"),
        rows=(*rows, *((told, drift[name]) for name, told in counts.items())),
        note="Solutions in which one of the two does not know the first error are undecided, and in none of the rows above.",
    )


def _groups(title: str, groups: Sequence[dict[str, Any]]) -> Table:
    return Table(
        title=title,
        columns=("group", "solutions", "with a first error", "unknown", "steps good", "steps bad"),
        rows=tuple(tuple(group.values()) for group in groups),
    )


def _counts(title: str, counts: dict[str, int]) -> Table:
    return Table(title=title, columns=("where", "solutions"), rows=tuple(counts.items()))


def _first(doubts: Sequence[Doubt], doubtful: int) -> Table:
    return Table(
        title="Look here first",
        columns=("solution", "problem", "weight", "why"),
        rows=tuple(
            (one.solution.id, one.solution.prefix.problem_id, one.weight, "; ".join(one.reasons)) for one in doubts
        ),
        note=f"{len(doubts)} of {doubtful} with a reason for doubt. The weight makes the order; it is no probability.",
    )


def _case(doubt: Doubt, place: int) -> Case:
    solution, labels, other = doubt.solution, doubt.labels, doubt.other
    return Case(
        title=f"{place}. {solution.id}: {'; '.join(doubt.reasons)}",
        prompt=solution.prefix.prompt,
        steps=tuple(step.text for step in solution.prefix.steps),
        scores=tuple(tally.rate for tally in labels.tallies),
        predicted=labels.error if labels.error_known else None,
        predicted_known=labels.error_known,
        facts={
            "labeller": labels.by,
            "tallies": ", ".join(f"{tally.good}/{tally.tried}" for tally in labels.tallies),
            **({f"first error by {other.by}": _named(other)} if other is not None else {}),
            **({"verdict": str(solution.verdict)} if solution.verdict is not None else {}),
        },
    )


def _named(labels: Labels) -> str:
    if not labels.error_known:
        return "unknown"
    return "none" if labels.error is None else f"step {labels.error + 1}"
