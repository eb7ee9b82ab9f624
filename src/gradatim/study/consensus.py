"""How far consensus gets where Monte-Carlo labels fail: a policy that mends its own errors.

Such a policy gives a wrong step nearly the value of a right one, so no number of rollouts finds it. Judges of known error
rates see the step itself. The study measures first errors of both alone and of what they agree on, on the rows that are
kept, and how many rows of each class that are. The exact checker grades, and tells the scripted judges what to err about;
nothing else is told. Which rule is best is chosen on development problems and reported on others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim import runs
from gradatim.core import Labels
from gradatim.judges.scripted import ScriptedJudge, like
from gradatim.labels.consensus import agree
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.problems.lab.students import Student
from gradatim.study import pages
from gradatim.study.against import Said, at_a_glance, said
from gradatim.study.consensus_report import report
from gradatim.study.material import Part, labelled, sampled
from gradatim.study.settings import ConsensusConfig

MISREAD = 0.75
"""How often the policy misreads a constant, as in the lab's tier A."""


JUDGES = 3
"""Judges that are asked."""
CORRELATIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""In which share of the solutions judges err where the labels by counting do."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who has to name the same first error ("none" is one) for a row to be kept."""

    name: str
    counting: str | None
    """Which Monte-Carlo labels take part."""
    judges: int
    """How many judges take part, the first ones."""
    least: int
    """How many of them all have to agree; more than half."""


COUNTED, UNMENDED = "Monte-Carlo", "no mending"
"""Labels by the policy's own rollouts, and by those of a completer that never mends."""
RULES = (
    Rule("1 judge", None, 1, 1),
    Rule("2 judges", None, 2, 2),
    Rule("3 judges", None, 3, 3),
    Rule("2 of 3 judges", None, 3, 2),
    Rule("Monte-Carlo + 1", COUNTED, 1, 2),
    Rule("Monte-Carlo + 2", COUNTED, 2, 3),
    Rule("Monte-Carlo + 3", COUNTED, 3, 4),
    Rule("2 of MC + 2", COUNTED, 2, 2),
    Rule("3 of MC + 3", COUNTED, 3, 3),
    Rule("no mending + 1", UNMENDED, 1, 2),
    Rule("no mending + 2", UNMENDED, 2, 3),
)


def consensus_study(
    config: ConsensusConfig, out: str | Path, *, force: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Run the study in the folder `out`, or go on with it; returns the tables, and where report and figure are."""
    run = runs.Run(out, force=force)
    policy = MarkovPolicy(Student(misread=MISREAD, repair=config.repair))
    sizes = {"development": ("shape", max(2, config.problems // 2)), "test": ("test", config.problems)}
    alone, joint = {}, {}
    for name, (split, problems) in sizes.items():
        part = sampled(run, name, split, problems, config.solutions, policy, seed=config.seed, quiet=quiet)
        labels = counted(run, config, policy, part, quiet=quiet)
        alone[name] = {rule: said(part.truth, part.solutions, rows) for rule, rows in labels.items()}
        alone[name]["Monte-Carlo, 3/4"] = by_rate(labels[COUNTED], part, bar=0.75)
        alone[name]["k = ∞"] = by_value(policy, part, bar=0.5)
        alone[name]["k = ∞, 3/4"] = by_value(policy, part, bar=0.75)
        joint[name] = together(config, part, labels)
    chosen = {correlation: choose(rows, config.aim) for correlation, rows in joint["development"].items()}
    return pages.leave(run, report(run, config, alone["test"], joint["test"], chosen))


def choose(rows: Mapping[str, Sequence[Said]], aim: float) -> str | None:
    """Of the rules whose F1 reaches the aim the one that keeps most of the class that it keeps less of; None if none
    does."""
    seen = {name: at_a_glance(said_of) for name, said_of in rows.items()}
    able = [name for name, (f1, _) in seen.items() if f1 >= aim]
    return max(able, key=lambda name: seen[name][1], default=None)


def counted(
    run: runs.Run, config: ConsensusConfig, policy: MarkovPolicy, part: Part, *, quiet: bool
) -> dict[str, list[Labels]]:
    """Labels by Monte-Carlo rules, none of them helped by a judge."""
    k, seed = config.rollouts, config.seed
    rules = {
        "k8": LabelConfig(k=8, seed=seed),
        "k": LabelConfig(k=k, seed=seed),
        "any": LabelConfig(k=8, rule="any", seed=seed),
        "sprt": LabelConfig(stop="sprt", search="bisection", cap=32, undecided="likelier", seed=seed),
    }
    by_policy = labelled(run, part.name, rules, policy, part, quiet=quiet)
    unmended = MarkovPolicy(Student(misread=MISREAD))
    by_other = labelled(run, f"{part.name}-unmended", {"k": rules["k"]}, unmended, part, quiet=quiet)
    return {
        "Monte-Carlo, k = 8": by_policy["k8"],
        COUNTED: by_policy["k"],
        "Monte-Carlo, any of 8": by_policy["any"],
        "bisection, SPRT": by_policy["sprt"],
        UNMENDED: by_other["k"],
    }


def by_rate(labels: Sequence[Labels], part: Part, *, bar: float) -> list[Said]:
    """What the same rollouts say with another bar: the first step whose rate is below this share of the start's."""
    rows = []
    for row, truth in zip(labels, part.truth, strict=True):
        start = row.start.smoothed
        error = next((step for step, tally in enumerate(row.tallies) if tally.rate < bar * start), None)
        rows.append(Said(truth=truth, error=error, kept=True))
    return rows


def by_value(policy: MarkovPolicy, part: Part, *, bar: float) -> list[Said]:
    """What counting would say with rollouts without end: the first step after which V is below this share of the start's
    (one half in all rules of this project)."""
    rows = []
    for solution, truth in zip(part.solutions, part.truth, strict=True):
        start, *values = (policy.value(solution.prefix.first(k)) for k in range(len(solution.prefix.steps) + 1))
        error = next((step for step, value in enumerate(values) if value < bar * start), None)
        rows.append(Said(truth=truth, error=error, kept=True))
    return rows


def together(
    config: ConsensusConfig, part: Part, counting: Mapping[str, Sequence[Labels]]
) -> dict[float, dict[str, list[Said]]]:
    """What each rule says, by the correlation of the judges' errors with those of counting."""
    found = {}
    for correlation in CORRELATIONS:
        judges = judged(config, part, counting[COUNTED], correlation)
        found[correlation] = {rule.name: agreed(rule, part, counting, judges) for rule in RULES}
    return found


def judged(config: ConsensusConfig, part: Part, counting: Sequence[Labels], correlation: float) -> list[list[Labels]]:
    """Labels by each scripted judge; with chance `correlation` it errs where `counting` does."""
    numbers = None
    if correlation:
        opinions = zip(part.solutions, part.truth, counting, strict=True)
        numbers = like([(solution.prefix, truth.error, row.error) for solution, truth, row in opinions], config.seed)
    judges = [
        ScriptedJudge(
            miss=config.miss,
            false_alarm=config.false_alarm,
            off_by_one=config.off_by_one,
            seed=JUDGES * config.seed + index,
            shared=numbers,
            correlation=correlation,
        )
        for index in range(JUDGES)
    ]
    return [
        [judge.label(solution, truth.error) for solution, truth in zip(part.solutions, part.truth, strict=True)]
        for judge in judges
    ]


def agreed(
    rule: Rule, part: Part, counting: Mapping[str, Sequence[Labels]], judges: Sequence[Sequence[Labels]]
) -> list[Said]:
    """What those who take part name alike; rows on which too few agree are not kept."""
    taking_part = [*([counting[rule.counting]] if rule.counting else []), *judges[: rule.judges]]
    found = [agree(rows, rule.least) for rows in zip(*taking_part, strict=True)]
    return said(part.truth, part.solutions, [labels for labels in found if labels])
