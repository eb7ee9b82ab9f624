"""Which score counts as "wrong": a number fixed beforehand, or chosen on other rows. Never on the same rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from gradatim.errors import ConfigError
from gradatim.evaluate.first_error import Judged
from gradatim.stats import FOLDS, fold_of

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """A threshold for each row, and where they come from."""

    rows: tuple[float, ...]
    """One a row: the row is called wrong at its first step that scores below this."""
    chosen: tuple[float, ...]
    """The choices behind them: one, or one a fold."""
    source: str
    """"fixed", "cross-fit", or the file they were chosen on."""

    @property
    def value(self) -> float:
        """The threshold; of several (cross-fit) the median."""
        return float(np.median(self.chosen))


def fixed(judged: Sequence[Judged], threshold: float, source: str = "fixed") -> Thresholds:
    """The same threshold for every row."""
    return Thresholds((threshold,) * len(judged), (threshold,), source)


def cross_fitted(judged: Sequence[Judged]) -> Thresholds:
    """For each of five folds by problem the threshold with the best F1 on the other four."""
    problems = [one.problem for one in judged]
    rows = cross_fit(judged, problems, best_threshold)
    of_fold = dict(zip(fold_of(problems), rows, strict=True))
    return Thresholds(tuple(rows), tuple(of_fold[fold] for fold in sorted(of_fold)), "cross-fit")


def cross_fit(
    rows: Sequence[T], problems: Sequence[str], choose: Callable[[Sequence[T]], R], *, folds: int = FOLDS
) -> list[R]:
    """For each row what `choose` makes of the rows of the other folds; it never sees a row of the same problem."""
    if len(set(problems)) < 2:
        raise ConfigError(f"cross-fit needs at least 2 problems, found {len(set(problems))}; use --threshold 0.5")
    place = fold_of(problems, folds)
    count = max(place) + 1
    made = [choose([row for row, at in zip(rows, place, strict=True) if at != fold]) for fold in range(count)]
    return [made[at] for at in place]


def best_threshold(judged: Sequence[Judged]) -> float:
    """The threshold with the best F1 on these rows, exact over all thresholds; ConfigError if a class is empty.

    F1 only changes at scores of the rows. Between two such scores all thresholds are equal, and the middle is taken; of
    several best intervals the widest, then the lowest. Beyond the lowest and the highest score it is 0.05 away from them.
    """
    wins = [_winning(one) for one in judged]
    errors = np.array([win for one, win in zip(judged, wins, strict=True) if one.error is not None]).reshape(-1, 2)
    correct = np.array([win for one, win in zip(judged, wins, strict=True) if one.error is None]).reshape(-1, 2)
    if not len(errors) or not len(correct):
        missing = "a wrong step" if not len(errors) else "no wrong step"
        raise ConfigError(f"a threshold can't be chosen on rows none of which has {missing}; use --threshold 0.5")
    ends = np.unique(np.concatenate([errors, correct]))
    ends = ends[np.isfinite(ends)]
    if not len(ends):
        return 0.5
    # Interval i is (ends[i - 1], ends[i]]: open below the lowest score at i = 0, above the highest at the end.
    upper = np.append(ends, math.inf)
    on_errors, on_correct = _hits(errors, upper) / len(errors), _hits(correct, upper) / len(correct)
    both = on_errors + on_correct
    values = np.divide(2 * on_errors * on_correct, both, out=np.zeros_like(both), where=both > 0)
    lower = np.append(ends[0] - 0.1, ends)
    upper = np.append(ends, ends[-1] + 0.1)
    best = np.flatnonzero(values == values.max())
    index = int(best[np.argmax(upper[best] - lower[best])])
    return middle(float(lower[index]), float(upper[index]))


def _winning(one: Judged) -> tuple[float, float]:
    """The thresholds (low, high] for which this row's prediction is right; low >= high where there are none."""
    lowest = math.inf
    for index, score in enumerate(one.scores):
        if index == one.error:
            return (score, lowest) if score < lowest else (math.inf, -math.inf)
        if score < lowest:
            lowest = score
    return (-math.inf, lowest)


def _hits(
    wins: np.ndarray[tuple[int, int], np.dtype[np.float64]], upper: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How many of the intervals (low, high] hold each threshold in `upper`."""
    real = wins[wins[:, 0] < wins[:, 1]]
    begun = np.searchsorted(np.sort(real[:, 0]), upper, side="left")
    ended = np.searchsorted(np.sort(real[:, 1]), upper, side="left")
    return (begun - ended).astype(np.float64)


def middle(low: float, high: float) -> float:
    """The middle of (low, high], or `high` where rounding would reach `low`."""
    middle = low + (high - low) / 2
    return middle if low < middle <= high else high
