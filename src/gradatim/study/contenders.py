"""Who competes in the learning curves: an objective, and the labels that it learns from. One line a contender."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gradatim.core import Labels, Reduction, Solution
from gradatim.errors import ConfigError
from gradatim.judges.scripted import ScriptedJudge
from gradatim.labels.consensus import agree
from gradatim.labels.outcome import outcome_pairs
from gradatim.problems import lab
from gradatim.train.config import TrainConfig
from gradatim.train.goals import PAIRED, Objective
from gradatim.train.lessons import Weighting
from gradatim.train.materials import Materials, from_labelled, from_pairs, from_solutions
from gradatim.train.targets import TargetConfig

LabelKind = Literal["exact", "rollouts", "sequential", "consensus", "verdicts"]
"""Who labels: the exact checker, a fixed number of rollouts of every step, a sequential test with bisection, rollouts and a
judge where they agree, or only the verifier of final answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What is trained. All contenders have the same backbone, solutions, passes and learning rate."""

    name: str
    """As tables and figures show it; at most 17 letters, so that it fits beside its line."""
    labels: LabelKind
    """Whose labels it learns from."""
    kind: Literal["prm", "orm"] = "prm"
    """Whether it is a model of steps."""
    objective: Objective = "logistic"
    """The loss."""
    weighting: Weighting = "prefix"
    """What counts once: a distinct prefix, or each solution through it."""
    reduction: Reduction = "min"
    """How its step scores become one value; "outcome" for an ORM."""
    target: Literal["hard", "binomial"] = "hard"
    """What a tally becomes."""

    @property
    def slug(self) -> str:
        """The name in file names."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.name.lower()).strip("-")

    @property
    def calibrated(self) -> bool:
        """Whether its scores claim to be probabilities."""
        return self.objective == "logistic"


CONTENDERS = (
    Contender(name="PRM exact", labels="exact"),
    Contender(name="PRM exact (traj.)", labels="exact", weighting="trajectory"),
    Contender(name="PRM rollouts", labels="rollouts"),
    Contender(name="PRM roll. (traj.)", labels="rollouts", weighting="trajectory"),
    Contender(name="PRM binomial", labels="rollouts", target="binomial"),
    Contender(name="PRM sequential", labels="sequential"),
    Contender(name="PRM consensus", labels="consensus"),
    Contender(name="PQM exact", labels="exact", objective="pqm"),
    Contender(name="ORM", labels="verdicts", kind="orm", reduction="outcome"),
    Contender(name="Bradley-Terry", labels="verdicts", kind="orm", objective="bradley-terry", reduction="outcome"),
    Contender(name="implicit CE", labels="verdicts", objective="implicit-ce", reduction="last"),
    Contender(name="implicit DPO", labels="verdicts", objective="implicit-dpo", reduction="last"),
)
"""Who competes. (traj.): a prefix that several solutions share counts once for each of them."""

PAIRS = 8
"""Preference pairs a problem, for the contenders that learn from pairs."""


def picked(names: Sequence[str]) -> tuple[Contender, ...]:
    """The contenders of these names, in their order of competing; all for none; ConfigError for a name that is nobody's."""
    known = {contender.name: contender for contender in CONTENDERS}
    if strange := [name for name in names if name not in known]:
        raise ConfigError(f"no contender {strange[0]!r}; expected of {', '.join(known)}")
    return tuple(known[name] for name in known if name in names or not names)


def materials(
    asked: TrainConfig,
    contender: Contender,
    solutions: Sequence[Solution],
    labels: Mapping[LabelKind, Sequence[Labels]],
) -> Materials:
    """What a contender learns from these solutions."""
    if asked.objective in PAIRED:
        return from_pairs(outcome_pairs(solutions, per_problem=PAIRS, seed=asked.seed)[0])
    if contender.labels == "verdicts":
        return from_solutions(solutions, asked.targets)
    if contender.labels == "exact":
        return from_labelled([(one, lab.exact_labels(one)) for one in solutions], asked.targets)
    known = {row.solution_id: row for row in labels[contender.labels]}
    made = from_labelled([(one, known[one.id]) for one in solutions if one.id in known], asked.targets)
    left_out = Counter({"no agreement": missing} if (missing := len(solutions) - made.rows) else {})
    return replace(made, rows=len(solutions), drops=made.drops + left_out)


def targets(contender: Contender) -> TargetConfig:
    """How the contender's labels become evidence: by rates relative to the problem's own where there are rates."""
    rated = contender.labels in ("rollouts", "sequential")
    return TargetConfig(target=contender.target, rule="relative" if rated else "any")


def consensus(rows: Sequence[Labels], solutions: Sequence[Solution], judge: ScriptedJudge) -> list[Labels]:
    """Labels of the solutions in which rollouts and a judge name the same first error; there are none of the others."""
    by_id = {row.solution_id: row for row in rows}
    found = [agree([by_id[one.id], judge.label(one, lab.first_error(lab.check(one.prefix)))], 2) for one in solutions]
    return [labels for labels in found if labels]
