"""Who completes decides what Monte-Carlo labels are worth: label quality by the completer's capability and diversity.

The same solutions are labelled by rollouts of several completers, alone and mixed, with equally many rollouts, and the
labels are compared with each step's exact validity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gradatim import runs
from gradatim.core import Estimate, Labels, Policy
from gradatim.evaluate.first_error import Judged
from gradatim.evaluate.steps import step_auroc, steps_of
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.problems.lab.students import Student
from gradatim.stages import POLICY
from gradatim.stats import bootstrap
from gradatim.study import pages
from gradatim.study.against import Kept, Said, f1_gain, kept, said
from gradatim.study.material import Part, labelled, sampled
from gradatim.study.mixture import Mixture
from gradatim.study.settings import CompletersConfig
from gradatim.view.parts import Cell, Report, Table

MIXED = {"misreader+slipper": ("misreader", "slipper"), "careful+careless": ("careful", "careless")}
"""Mixtures in tier a: of equally able policies with other errors, and of an able one with a weak one."""
MIXED_B = {"cool+hot": ("cool", "hot")}
"""The mixture in tier b."""


def completers(tier: Literal["a", "b"]) -> dict[str, Policy]:
    """The completers by name; the first one is also the author of the solutions."""
    if tier == "a":
        single: dict[str, Policy] = {
            "author": MarkovPolicy(),
            "careful": MarkovPolicy(Student(misread=0.25), slips=(0.01, 0.02, 0.05, 0.1)),
            "careless": MarkovPolicy(Student(misread=0.75), slips=(0.1, 0.2, 0.3, 0.4)),
            "misreader": MarkovPolicy(Student(misread=0.9), slips=(0.0,)),
            "slipper": MarkovPolicy(Student(), slips=(0.11,)),
            "mender": MarkovPolicy(Student(misread=0.75, repair=0.3)),
        }
        mixed = MIXED
    else:
        from gradatim.solutions.local.policy import load_policy

        warmth = {"author": 1.0, "cool": 0.5, "hot": 1.4}
        single = {name: load_policy("lab", replace(POLICY, temperature=t)) for name, t in warmth.items()}
        mixed = MIXED_B
    return {**single, **{name: Mixture(tuple(single[part] for part in parts)) for name, parts in mixed.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Completer:
    """What one completer's labels are worth, at each number of rollouts."""

    name: str
    ability: Estimate
    """How often it solves a problem from the start, by the most rollouts."""
    said: tuple[tuple[Said, ...], ...]
    """What its labels say of each solution; an entry a number of rollouts."""
    kept: tuple[Kept, ...]
    """First-error accuracies, an entry a number of rollouts."""
    auroc: tuple[Estimate, ...]
    """Chance that a right step has the higher rate than a wrong one."""
    relative: Estimate
    """The same, by the most rollouts, for the rate over the problem's own: so steps of all problems can be compared."""


def completers_study(
    config: CompletersConfig, out: str | Path, *, force: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Run the study in the folder `out`, or go on with it; returns the tables, and where report and figure are."""
    run = runs.Run(out, force=force)
    policies = completers(config.tier)
    author = next(iter(policies.values()))
    part = sampled(run, "solutions", "test", config.problems, config.solutions, author, seed=config.seed, quiet=quiet)
    rules = {f"k{k}": LabelConfig(k=k, seed=config.seed) for k in config.rollouts}
    found = []
    for name, policy in policies.items():
        labels = labelled(run, name.replace("+", "-and-"), rules, policy, part, quiet=quiet)
        found.append(measured(name, part, [labels[rule] for rule in rules]))
    return pages.leave(run, _report(run, config, found))


def measured(name: str, part: Part, labels: Sequence[Sequence[Labels]]) -> Completer:
    """One completer's labels, an entry a number of rollouts, against the truth."""
    known = [said(part.truth, part.solutions, rows) for rows in labels]
    return Completer(
        name=name,
        ability=_ability(part, labels[-1]),
        said=tuple(map(tuple, known)),
        kept=tuple(map(kept, known)),
        auroc=tuple(step_auroc(steps_of(_rated(part, rows, relative=False))) for rows in labels),
        relative=step_auroc(steps_of(_rated(part, labels[-1], relative=True))),
    )


def _ability(part: Part, labels: Sequence[Labels]) -> Estimate:
    """The mean rate of success from the bare problem, a problem weighing one."""
    rates: dict[str, list[float]] = {}
    for solution, row in zip(part.solutions, labels, strict=True):
        rates.setdefault(solution.prefix.problem_id, []).append(row.start.rate)
    return bootstrap([sum(some) / len(some) for some in rates.values()])


def _rated(part: Part, labels: Sequence[Labels], *, relative: bool) -> list[Judged]:
    """Each step's rate as its score. The last step has none: its tally is the solution's own answer, no rollout."""
    rows = []
    for truth, row in zip(part.truth, labels, strict=True):
        start = row.start.smoothed if relative else 1.0
        rates = [tally.rate / start for tally in row.tallies]
        rows.append(replace(truth, scores=(*rates[:-1], math.nan)))
    return rows


def _report(run: runs.Run, config: CompletersConfig, found: Sequence[Completer]) -> Report:
    ks = config.rollouts
    f1 = [pages.line(one.name, ks, [rows.found.f1 for rows in one.kept]) for one in found]
    auroc = [pages.line(one.name, ks, one.auroc) for one in found]
    return Report(
        title="Completers: who should write the rollouts?",
        summary=_summary(found, ks[-1]),
        command=runs.invocation(f"gradatim study completers --tier {config.tier}"),
        facts=pages.facts(run, config),
        tables=(_table(found, ks[-1]), _by_rollouts(found, ks), _gains(found, ks[-1], config.tier)),
        curves=(
            pages.curve("First-error F1 of the labels", "rollouts a step", "F1", f1),
            pages.curve("AUROC of the rates", "rollouts a step", "AUROC", auroc),
        ),
    )


def _table(found: Sequence[Completer], k: int) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            one.name,
            one.ability,
            one.kept[-1].found.f1,
            one.kept[-1].found.error_accuracy,
            one.kept[-1].found.correct_accuracy,
            one.auroc[-1],
            one.relative,
        )
        for one in found
    ]
    return Table(
        title=f"Labels by {k} rollouts a step",
        columns=("completer", "solves", "F1", "error found", "sound kept", "AUROC of the rate", "of rate / start"),
        rows=tuple(rows),
        note="Against exact validity. Solves: how often the completer gets from the problem to the right answer.",
    )


def _by_rollouts(found: Sequence[Completer], ks: Sequence[int]) -> Table:
    return Table(
        title="First-error F1 by rollouts a step",
        columns=("completer", *map(str, ks)),
        rows=tuple((one.name, *(rows.found.f1 for rows in one.kept)) for one in found),
    )


def _gains(found: Sequence[Completer], k: int, tier: str) -> Table:
    by_name = {one.name: one for one in found}
    pairs = [(mix, part) for mix, parts in (MIXED if tier == "a" else MIXED_B).items() for part in parts]
    others = [(name, "author") for name in by_name if name != "author"]
    rows = [(f"{a} − {b}", f1_gain(by_name[a].said[-1], by_name[b].said[-1])) for a, b in [*pairs, *others]]
    return Table(
        title=f"F1, paired differences at {k} rollouts a step",
        columns=("difference", "F1"),
        rows=tuple(rows),
        note="Equally many rollouts on both sides: a mixture has half of them from each of its policies.",
    )


def _summary(found: Sequence[Completer], k: int) -> str:
    ranked = sorted(found, key=lambda one: -one.kept[-1].found.f1.value)
    told: Mapping[str, Estimate] = {one.name: one.kept[-1].found.f1 for one in (ranked[0], ranked[-1])}
    said_of = "; ".join(f"{name} {f1.value:.3f} [{f1.low:.3f}, {f1.high:.3f}]" for name, f1 in told.items())
    return f"First-error F1 of labels by {k} rollouts a step, best and worst completer: {said_of}."
