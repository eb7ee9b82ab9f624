"""The tables and curves of the study of learning curves. Results of several trainings are averaged problem by problem."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradatim import runs
from gradatim.core import Estimate
from gradatim.evaluate.first_error import FirstError, Judged, f1_of, measure
from gradatim.evaluate.steps import Steps, calibration_error, step_auroc, steps_of
from gradatim.stats import bootstrap, paired_bootstrap, pass_curve
from gradatim.study import pages
from gradatim.study.against import Said, f1_gain
from gradatim.study.contenders import Contender
from gradatim.study.crossing import crossing
from gradatim.study.measuring import Grounds
from gradatim.study.settings import LearningConfig
from gradatim.view import parts
from gradatim.view.parts import Cell, Report, Series, Table

Floats = NDArray[np.float64]
Place = Literal["here", "longer"]
YARDSTICKS = ("ORM", "Bradley-Terry")
"""Outcome models that the crossover points are about."""


@dataclass(frozen=True)
class Curve:
    """One contender at every count; a list an entry a seed."""

    contender: Contender
    grounds: Grounds
    results: tuple[tuple[Mapping[str, Any], ...], ...]
    """By count, then by seed: what `measured` wrote."""

    @cached_property
    def accuracy(self) -> Floats:
        """(counts, problems): best-of-n, averaged over seeds."""
        return np.array([np.mean([one["best"] for one in seeds], axis=0) for seeds in self.results])

    @cached_property
    def weighted(self) -> Floats:
        """(counts, problems): weighted majority, averaged over seeds."""
        return np.array([np.mean([one["weighted"] for one in seeds], axis=0) for seeds in self.results])

    @property
    def stepwise(self) -> bool:
        """Whether it is a model of steps."""
        return self.contender.kind == "prm"

    def truth(self, place: Place) -> list[Judged]:
        """What is true of the judged solutions of one seed."""
        if place == "longer":
            return self.grounds.longer.truth
        return [self.grounds.pool.truth[index] for index in self.grounds.judged]

    def first_error(self, at: int, place: Place, by: Literal["said", "at_half"] = "said") -> FirstError:
        """Accuracies and F1 over all seeds; NaN where no threshold could be chosen."""
        rows = self.said(at, place, by)
        return measure([row.truth for row in rows if row.kept], [row.error for row in rows if row.kept])

    def said(self, at: int, place: Place, by: Literal["said", "at_half"] = "said") -> list[Said]:
        """What it says of each judged solution, seed after seed."""
        return [
            Said(truth=truth, error=error, kept=one["threshold"] is not None or by == "at_half")
            for one in self.results[at]
            for truth, error in zip(self.truth(place), one[place][by], strict=True)
        ]

    def f1_by_seed(self, place: Place) -> list[float]:
        """F1 of each training at the largest count; NaN where no threshold could be chosen."""
        truth = self.truth(place)
        return [math.nan if one["threshold"] is None else f1_of(truth, one[place]["said"]) for one in self.results[-1]]

    def steps(self, at: int, place: Place) -> list[Steps]:
        """Step scores up to the first error, a seed an entry."""
        return [
            steps_of(
                [
                    replace(truth, scores=tuple(scores))
                    for truth, scores in zip(self.truth(place), one[place]["scores"], strict=True)
                ]
            )
            for one in self.results[at]
        ]

    def outcomes(self, at: int) -> list[Steps]:
        """An outcome model's values of the judged candidates and their verdicts, as if each were one step."""
        solutions = [self.grounds.pool.solutions[index] for index in self.grounds.judged]
        right = np.array([float(one.verdict == "correct") for one in solutions])
        problems = tuple(one.prefix.problem_id for one in solutions)
        return [Steps(np.array(one["values"], dtype=np.float64), right, problems) for one in self.results[at]]

    def claims(self, at: int) -> list[Steps]:
        """What its scores claim to be chances of: a step's validity, or a right answer; empty if they claim nothing."""
        if not self.contender.calibrated:
            return []
        return self.steps(at, "here") if self.stepwise else self.outcomes(at)


def report(
    run: runs.Run,
    config: LearningConfig,
    contenders: Sequence[Contender],
    grounds: Grounds,
    results: Mapping[tuple[str, int, int], Mapping[str, Any]],
) -> Report:
    """The page of the study."""
    found = [
        Curve(
            contender,
            grounds,
            tuple(
                tuple(results[contender.name, count, seed] for seed in range(config.seeds)) for count in config.counts
            ),
        )
        for contender in contenders
    ]
    tables = (
        _accuracy(config, grounds, found),
        _differences(config, grounds, found),
        _crossings(config, found),
        _first_errors(config, found, "here", "First-error F1, problems like those learned from"),
        _first_errors(config, found, "longer", "First-error F1, longer problems"),
        _quality(config, found),
    )
    # Outcome models alone have no first errors and nothing to cross.
    return Report(
        title="Learning curves: objectives and labels",
        summary=_summary(config, found),
        command=runs.invocation("gradatim study learning-curve"),
        facts=_facts(run, config, grounds),
        tables=tuple(table for table in tables if table.rows),
        curves=tuple(curve for curve in _curves(config, grounds, found) if curve.series),
    )


def _facts(run: runs.Run, config: LearningConfig, grounds: Grounds) -> dict[str, Cell]:
    longest = max(len(one.prefix.steps) for one in grounds.longer.solutions)
    sound = [np.mean([row.error is None for row in rows]) for rows in (grounds.pool.truth, grounds.longer.truth)]
    return {
        **pages.facts(run, config),
        "steps of the longest longer solution": longest,
        "sound solutions, here and longer": f"{sound[0]:.3f} and {sound[1]:.3f}",
        "passes by count": ", ".join(f"{count}: {config.passes(count)}" for count in config.counts),
    }


def _accuracy(config: LearningConfig, grounds: Grounds, found: Sequence[Curve]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            one.contender.name,
            *map(bootstrap, one.accuracy),
            _by_seed(float(np.mean(r["best"])) for r in one.results[-1]),
        )
        for one in found
    ]
    for name, values in _floors(grounds).items():
        rows.append((name, *(bootstrap(values) for _ in config.counts), None))
    return Table(
        title=f"Accuracy of the best of {config.candidates}, by solutions learned from",
        columns=("trained", *map(str, config.counts), f"{config.counts[-1]}, by seed"),
        rows=tuple(rows),
        note="Every contender has the same solutions, passes, backbone and learning rate.",
    )


def _by_seed(values: Iterable[float]) -> str:
    """One number a training: how much chance there is in it."""
    return " ".join("-" if math.isnan(value) else f"{value:.3f}" for value in values)


def _floors(grounds: Grounds) -> dict[str, Floats]:
    pool, n = grounds.candidates, grounds.candidates.good.shape[1]
    return {
        "majority": pool.majority([n])[:, 0],
        "random": pool.good.mean(axis=1),
        "oracle": pass_curve(pool.good, [n])[:, 0],
    }


def _differences(config: LearningConfig, grounds: Grounds, found: Sequence[Curve]) -> Table:
    majority, by_name = _floors(grounds)["majority"], {one.contender.name: one for one in found}
    outcome, exact = by_name.get("ORM"), by_name.get("PRM exact")
    rows: list[tuple[Cell, ...]] = []
    for one in found:
        last = one.accuracy[-1]
        gain = (
            f1_gain(one.said(-1, "here"), exact.said(-1, "here")) if exact and one.stepwise and one != exact else None
        )
        rows.append(
            (
                one.contender.name,
                paired_bootstrap(last, outcome.accuracy[-1]) if outcome and one != outcome else None,
                paired_bootstrap(last, majority),
                bootstrap(one.weighted[-1]),
                paired_bootstrap(one.weighted[-1], majority),
                gain,
            )
        )
    return Table(
        title=f"Paired differences at {config.counts[-1]} solutions",
        columns=(
            "trained", "accuracy − ORM", "accuracy − majority", "weighted majority", "the same − majority",
            "F1 − PRM exact",
        ),
        rows=tuple(rows),
    )  # fmt: skip


def _crossings(config: LearningConfig, found: Sequence[Curve]) -> Table:
    by_name = {one.contender.name: one for one in found}
    yardsticks = [by_name[name] for name in YARDSTICKS if name in by_name]
    rows: list[tuple[Cell, ...]] = [
        (one.contender.name, count, *(str(crossing(config.counts, y.accuracy, one.accuracy, at)) for y in yardsticks))
        for one in found
        if one.stepwise
        for at, count in enumerate(config.counts)
    ]
    return Table(
        title="Solutions that an outcome model needs for the same accuracy",
        columns=("process model", "learned from", *(one.contender.name for one in yardsticks)),
        rows=tuple(rows),
        note="On its curve, straight between counts in their logarithm; 95 % by resampling test problems. Beyond the "
        "largest count nothing is guessed.",
    )


def _first_errors(config: LearningConfig, found: Sequence[Curve], place: Place, title: str) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            one.contender.name,
            *(one.first_error(at, place).f1 for at in range(len(config.counts))),
            _by_seed(one.f1_by_seed(place)),
            one.first_error(-1, place, "at_half").f1 if one.contender.calibrated else None,
        )
        for one in found
        if one.stepwise
    ]
    return Table(
        title=title,
        columns=("trained", *map(str, config.counts), f"{config.counts[-1]}, by seed", "at one half"),
        rows=tuple(rows),
        note="Steps below a threshold that was chosen on development problems; the last column: below one half.",
    )


def _quality(config: LearningConfig, found: Sequence[Curve]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for one in found:
        ranked = [step_auroc(*one.steps(-1, place)) for place in ("here", "longer")] if one.stepwise else []
        claims = one.claims(-1)
        rows.append(
            (
                one.contender.name,
                *(ranked or (None, None)),
                calibration_error(*claims) if claims else None,
                float(np.mean([seed["tokens"]["processed"] for seed in one.results[-1]])),
            )
        )
    return Table(
        title=f"Step scores against the truth at {config.counts[-1]} solutions",
        columns=("trained", "step AUROC", "on longer problems", "calibration error", "tokens processed"),
        rows=tuple(rows),
        note="Calibration: of scores as chances that a step is valid, and of an ORM's as chances of a right answer; "
        "rankings claim none.",
    )


def _curves(config: LearningConfig, grounds: Grounds, found: Sequence[Curve]) -> tuple[parts.Curve, ...]:
    counts, x = config.counts, "solutions learned from"
    accuracy = [pages.line(one.contender.name, counts, list(map(bootstrap, one.accuracy))) for one in found]
    majority = bootstrap(_floors(grounds)["majority"]).value
    accuracy.append(Series(name="majority", x=tuple(map(float, counts)), y=(majority,) * len(counts)))
    f1 = {
        place: [
            pages.line(one.contender.name, counts, [one.first_error(at, place).f1 for at in range(len(counts))])
            for one in found
            if one.stepwise
        ]
        for place in ("here", "longer")
    }
    errors = [
        pages.line(one.contender.name, counts, [calibration_error(*one.claims(at)) for at in range(len(counts))])
        for one in found
        if one.contender.calibrated
    ]
    return (
        pages.curve(f"Accuracy of the best of {config.candidates}", x, "accuracy", accuracy),
        pages.curve("Calibration error", x, "error", errors),
        pages.curve("First-error F1", x, "F1", f1["here"]),
        pages.curve("First-error F1 on longer problems", x, "F1", f1["longer"]),
    )


def _summary(config: LearningConfig, found: Sequence[Curve]) -> str:
    by_name = {one.contender.name: one for one in found}
    parts = []
    if "PRM exact" in by_name and "ORM" in by_name:
        gain = paired_bootstrap(by_name["PRM exact"].accuracy[-1], by_name["ORM"].accuracy[-1])
        parts.append(
            f"PRM on exact labels minus ORM, best of {config.candidates} at {config.counts[-1]} solutions: {_signed(gain)}."
        )
    best = max(found, key=lambda one: float(one.accuracy[-1].mean()))
    return " ".join([*parts, f"Best: {best.contender.name}, {bootstrap(best.accuracy[-1])}."])


def _signed(one: Estimate) -> str:
    return f"{one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"
