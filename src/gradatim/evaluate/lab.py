"""A process reward model against exact truth: the lab knows every step, so nothing here is an opinion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradatim.core import Estimate, Score
from gradatim.evaluate.first_error import FirstError, Judged, accuracy, measure, predict
from gradatim.evaluate.steps import calibration_error, reliability_bins, step_auroc, steps_of
from gradatim.stats import bootstrap
from gradatim.view.parts import Bin


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How well step scores fit the truth; intervals are 95 %, by problem."""

    first_error: FirstError
    """At `threshold`."""
    threshold: float
    auroc: Estimate
    """Chance that a right step scores above a wrong one."""
    calibration_error: Estimate
    """Debiased equal-mass error of the scores as probabilities that a step is right."""
    bins: tuple[Bin, ...]
    """For a reliability diagram."""
    solutions: int
    steps: int
    """Scored steps up to the first error, the ones that `auroc`, `calibration_error` and `bins` rest on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The solution that was chosen for a problem, and the truth about it."""

    problem: str
    truth: tuple[bool, ...]
    """Is each step right?"""
    correct: bool
    """Is its final answer right?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """How sound chosen solutions are; intervals are 95 %, by problem. NaN where there is nothing to count."""

    steps: Estimate
    """Mean share of a chosen solution's steps that are right."""
    solutions: Estimate
    """Share of chosen solutions in which every step is right."""
    solutions_given_correct: Estimate
    """The same among those whose final answer is right: right for the right reasons."""


def judged(problem: str, score: Score | Sequence[float], truth: Sequence[bool]) -> Judged:
    """Step scores and exact truth, one a step, side by side; ValueError if their numbers differ."""
    steps = tuple(score.steps if isinstance(score, Score) else score)
    if len(steps) != len(truth):
        raise ValueError(f"{len(steps)} step scores for the truth about {len(truth)} steps of problem {problem}")
    error = next((index for index, good in enumerate(truth) if not good), None)
    return Judged(problem=problem, scores=steps, error=error)


def against_truth(*models: Sequence[Judged], threshold: float = 0.5) -> Quality:
    """First-error accuracies at `threshold`, ranking and calibration of the steps up to the first error.

    Of several models on the same solutions: accuracies over all their verdicts, ranking and calibration error the mean.
    """
    solutions = [one for judged in models for one in judged]
    steps = steps_of(solutions)
    alone = [steps_of(judged) for judged in models]
    return Quality(
        first_error=measure(solutions, [predict(one.scores, threshold) for one in solutions]),
        threshold=threshold,
        auroc=step_auroc(*alone),
        calibration_error=calibration_error(*alone),
        bins=reliability_bins(steps),
        solutions=len(solutions),
        steps=len(steps.scores),
    )


def validity(chosen: Sequence[Chosen]) -> Validity:
    """What share of the chosen solutions' steps is right, and how many solutions are right throughout."""
    whole = [(all(one.truth), one) for one in chosen]
    right = [(sound, one) for sound, one in whole if one.correct]
    shares = [sum(one.truth) / len(one.truth) if one.truth else math.nan for one in chosen]
    return Validity(
        steps=bootstrap(shares, [one.problem for one in chosen]),
        solutions=accuracy([sound for sound, _ in whole], [one.problem for _, one in whole]),
        solutions_given_correct=accuracy([sound for sound, _ in right], [one.problem for _, one in right]),
    )
