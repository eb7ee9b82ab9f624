"""Are step scores right, step by step? Ranking (AUROC) and calibration, on the steps up to the first error.

Steps after a first error are left out: whether one is "right" there depends on the labels a model was trained on (valid
by itself, or on the way to the answer), and a model is not asked to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from gradatim.core import Estimate
from gradatim.evaluate.first_error import Judged
from gradatim.stats import auroc, bootstrap, bootstrap_statistic, ece
from gradatim.view.parts import Bin

DRAWS = 500
"""Bootstrap resamples behind an interval: each sorts all steps again."""

BINS = 10
"""Bins of equal mass in a reliability diagram."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Scored steps, flat: their scores, whether each is right (1.0 or 0.0), and the problem each belongs to."""

    scores: NDArray[np.float64]
    right: NDArray[np.float64]
    problems: tuple[str, ...]


def steps_of(judged: Sequence[Judged]) -> Steps:
    """The scored steps up to and including the first error, in order."""
    found = [
        (score, index != one.error, one.problem)
        for one in judged
        for index, score in enumerate(one.scores)
        if score == score and (one.error is None or index <= one.error)
    ]
    scores = np.array([score for score, _, _ in found], dtype=np.float64)
    right = np.array([good for _, good, _ in found], dtype=np.float64)
    return Steps(scores, right, tuple(problem for _, _, problem in found))


def step_auroc(steps: Steps) -> Estimate:
    """Chance that a right step scores above a wrong one (ties half), interval by problem; NaN if all are alike."""
    return bootstrap_statistic(
        lambda chosen: auroc(steps.scores[chosen], steps.right[chosen]), steps.problems, draws=DRAWS
    )


def calibration_error(steps: Steps) -> Estimate:
    """Debiased equal-mass calibration error of scores that claim to be probabilities, interval by problem.

    NaN where a score is no probability. Resampling makes any model look less calibrated than it is, so the resamples are
    moved to have the estimate as their mean.
    """
    seen: list[float] = []

    def remembered(chosen: NDArray[np.intp]) -> float:
        seen.append(ece(steps.scores[chosen], steps.right[chosen]))
        return seen[-1]

    found = bootstrap_statistic(remembered, steps.problems, draws=DRAWS)
    if np.isnan(found.value):
        return found
    move = found.value - float(np.nanmean(seen[1:])) if len(seen) > 1 else 0.0
    return Estimate(found.value, max(0.0, found.low + move), max(0.0, found.high + move), found.n)


def reliability_bins(steps: Steps, bins: int = BINS) -> tuple[Bin, ...]:
    """Steps in order of score, cut into bins of about equal count; equal scores are never parted."""
    if not len(steps.scores):
        return ()
    order = np.argsort(steps.scores, kind="stable")
    ordered = steps.scores[order]
    # A score goes where the middle of its run of equals falls (as in stats.reliability).
    first = np.searchsorted(ordered, ordered, side="left")
    last = np.searchsorted(ordered, ordered, side="right")
    place = np.minimum((first + last) / 2 * bins / len(ordered), bins - 1).astype(int)
    found = []
    for _, group in groupby(zip(place.tolist(), order.tolist(), strict=True), key=lambda item: item[0]):
        members = [index for _, index in group]
        right = bootstrap(steps.right[members], [steps.problems[index] for index in members])
        found.append(Bin(float(steps.scores[members].mean()), right, len(members)))
    return tuple(found)
