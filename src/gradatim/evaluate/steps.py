"""Are step scores right, step by step? Ranking (AUROC) and calibration, on the steps up to the first error.

Steps after a first error are left out: whether one is "right" there depends on the labels a model was trained on (valid
by itself, or on the way to the answer), and a model is not asked to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from gradatim.core import Estimate
from gradatim.evaluate.first_error import Judged
from gradatim.stats import auroc, bootstrap, bootstrap_statistic, ece
from gradatim.view.parts import Bin, Reliability

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


def step_auroc(*models: Steps) -> Estimate:
    """Chance that a right step scores above a wrong one (ties half), interval by problem; NaN if all are alike.

    Of several models on the same problems the mean: a model's scores are compared with its own alone.
    """
    return bootstrap_statistic(*_mean(auroc, models), draws=DRAWS)


def calibration_error(*models: Steps) -> Estimate:
    """Debiased equal-mass calibration error of scores that claim to be probabilities, interval by problem; the mean of
    several models.

    NaN where a score is no probability. Resampling makes any model look less calibrated than it is, so the resamples are
    moved to have the estimate as their mean; one problem has no resamples, and no interval.
    """
    seen: list[float] = []
    mean, problems = _mean(ece, models)

    def remembered(chosen: NDArray[np.intp]) -> float:
        seen.append(mean(chosen))
        return seen[-1]

    found = bootstrap_statistic(remembered, problems, draws=DRAWS)
    if np.isnan(found.low):  # max(0.0, nan) is 0.0: a certainty that nobody has
        return found
    move = found.value - float(np.nanmean(seen[1:]))
    return Estimate(found.value, max(0.0, found.low + move), max(0.0, found.high + move), found.n)


def _mean(
    statistic: Callable[[NDArray[np.float64], NDArray[np.float64]], float], models: Sequence[Steps]
) -> tuple[Callable[[NDArray[np.intp]], float], tuple[str, ...]]:
    """The mean over models of a statistic of (scores, right), as a function of which of all their steps; their problems."""
    scores = np.concatenate([one.scores for one in models])
    right = np.concatenate([one.right for one in models])
    model = np.repeat(np.arange(len(models)), [len(one.scores) for one in models])

    def mean(chosen: NDArray[np.intp]) -> float:
        own = (chosen[model[chosen] == index] for index in range(len(models)))
        return float(np.mean([statistic(scores[part], right[part]) for part in own]))

    return mean, tuple(problem for one in models for problem in one.problems)


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


def reliability_charts(title: str, steps: Steps, note: str = "") -> tuple[Reliability, ...]:
    """The diagram; none of scores outside 0 to 1, which claim no share of right steps."""
    if np.any((steps.scores < 0) | (steps.scores > 1)):
        return ()
    return (Reliability(title=title, bins=reliability_bins(steps), note=note),)
