"""What may be wrong with scores: signs that they are not what they are taken for, each with the numbers that it rests on.

A warning is a reason to look, not a verdict. The limits are round numbers, fixed by argument: well beyond what chance or an
honest model gives on a few hundred solutions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gradatim.stats import auroc, bootstrap_statistic

CONSTANT_SHARE = 0.95
"""One value makes up at least this share of all step scores."""

FLAT_SHARE = 0.5
"""At least this share of the solutions with several steps has one score for all of them."""

EDGE, EDGE_SHARE = 0.001, 0.8
"""At least this share of the step scores lies within EDGE of 0 or of 1."""

FEW_VALUES, MANY_STEPS = 16, 500
"""So many different values, or fewer, among at least so many step scores."""

CORRELATION = 0.5
"""From here on (either sign) a value is said to follow a solution's length, or a score its step's place."""

WITHIN, GROUPS = 0.3, 20
"""The same among the right solutions of one problem, where difficulty is the same too and a fair scorer has about 0: the
mean correlation over at least so many problems."""

LEAST = 30
"""Solutions (of the inverted: right ones, and wrong ones) below which nothing is said of correlations and ranks."""

AUROC_DRAWS = 200
"""Resamples behind the interval of an AUROC."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One solution as the checks see it."""

    problem: str
    steps: tuple[float, ...]
    """Its step scores, as many as were recorded."""
    listed: int
    """How many steps it has."""
    characters: int
    right: bool | None = None
    """Whether it is right (no wrong step, or the right answer); None where nobody says."""
    value: float = math.nan
    """Its score as a whole, where there is one of its own; NaN: the mean of its step scores, which does not fall or rise
    with their number by itself, as the smallest and the product do."""


@dataclass(frozen=True, slots=True)
class Warned:
    """A sign that something is wrong."""

    kind: str
    message: str
    evidence: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """With its evidence."""
        return asdict(self)


def check_scores(solutions: Sequence[Scored]) -> list[Warned]:
    """The warnings about one scorer's scores, the gravest first; none for no solutions."""
    found = [
        _misaligned(solutions),
        *_ranges(solutions),
        _flat(solutions),
        _inverted(solutions),
        *_proxies(solutions),
    ]
    return [one for one in found if one is not None]


def _misaligned(solutions: Sequence[Scored]) -> Warned | None:
    by = Counter(len(one.steps) - one.listed for one in solutions if one.steps and len(one.steps) != one.listed)
    if not by:
        return None
    offset, times = by.most_common(1)[0]
    total = sum(bool(one.steps) for one in solutions)
    return Warned(
        "misaligned",
        f"{by.total()} of {total} solutions have another number of scores than steps ({times} of them {offset:+d}): the "
        "steps were cut otherwise when they were scored",
        {"solutions": total, "misaligned": by.total(), "offsets": {f"{key:+d}": by[key] for key in sorted(by)}},
    )


def _ranges(solutions: Sequence[Scored]) -> list[Warned | None]:
    scores = np.array([score for one in solutions for score in one.steps if not math.isnan(score)])
    if not len(scores):
        return []
    values, counts = np.unique(scores, return_counts=True)
    most = int(counts.argmax())
    facts = {"steps": len(scores), "lowest": float(scores.min()), "highest": float(scores.max())}
    share = float(counts[most] / len(scores))
    edge = float(((scores <= EDGE) | (scores >= 1 - EDGE)).mean())
    outside = float(((scores < 0) | (scores > 1)).mean())
    found: list[Warned | None] = []
    if share >= CONSTANT_SHARE:
        text = f"{share:.1%} of all step scores are {values[most]:.6g}: they tell nothing apart"
        found.append(Warned("constant", text, {**facts, "value": float(values[most]), "share": share}))
    if outside:
        text = (
            f"{outside:.1%} of the step scores lie outside 0 to 1 ({facts['lowest']:.4g} to {facts['highest']:.4g}): no "
            "probabilities; a threshold of 0.5, prod and calibration do not apply"
        )
        found.append(Warned("out of range", text, {**facts, "share_outside": outside}))
    elif edge >= EDGE_SHARE and share < CONSTANT_SHARE:
        text = f"{edge:.1%} of the step scores are within {EDGE} of 0 or 1: saturated, ranks among them are rounding"
        found.append(Warned("saturated", text, {**facts, "share_at_the_edges": edge}))
    if len(values) <= FEW_VALUES and len(scores) >= MANY_STEPS and share < CONSTANT_SHARE:
        text = f"only {len(values)} different values among {len(scores)} step scores: rounded, or counts of votes"
        found.append(Warned("few values", text, {**facts, "values": len(values)}))
    return found


def _flat(solutions: Sequence[Scored]) -> Warned | None:
    several = [one for one in solutions if len(one.steps) > 1]
    flat = sum(max(one.steps) == min(one.steps) for one in several)
    everywhere = len({score for one in several for score in one.steps}) == 1
    if not several or flat / len(several) < FLAT_SHARE or everywhere:
        return None
    return Warned(
        "flat",
        f"{flat} of {len(several)} solutions have one score for all their steps: a score of the whole solution, repeated",
        {"solutions": len(several), "flat": flat},
    )


def _inverted(solutions: Sequence[Scored]) -> Warned | None:
    known = [one for one in solutions if one.right is not None and not math.isnan(_value(one))]
    if min(sum(one.right is truth for one in known) for truth in (True, False)) < LEAST:
        return None
    values, right = np.array([_value(one) for one in known]), np.array([float(bool(one.right)) for one in known])
    found = bootstrap_statistic(
        lambda chosen: auroc(values[chosen], right[chosen]), [one.problem for one in known], draws=AUROC_DRAWS
    )
    if not found.high < 0.5:
        return None
    return Warned(
        "inverted",
        f"right solutions score below wrong ones (AUROC {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]): are the "
        "labels swapped?",
        {"auroc": found.value, "low": found.low, "high": found.high, "solutions": len(known)},
    )


def _proxies(solutions: Sequence[Scored]) -> list[Warned | None]:
    known = [one for one in solutions if one.steps and not math.isnan(_value(one))]
    right = [one for one in known if one.right] or (known if all(one.right is None for one in known) else [])
    among = "right" if any(one.right for one in known) else "all"
    values = [_value(one) for one in right]
    found: list[Warned | None] = []
    if len(right) < LEAST:
        return found
    sizes = {"steps": [float(one.listed) for one in right], "characters": [float(one.characters) for one in right]}
    for name, size in sizes.items():
        r = rank_correlation(values, size)
        inside, groups = _within(right, name)
        if abs(r) >= CORRELATION or (abs(inside) >= WITHIN and groups >= GROUPS):
            text = (
                f"among {len(right)} {among} solutions the value follows the number of {name} (rank correlation {r:+.2f}"
                f"{'' if math.isnan(inside) else f'; {inside:+.2f} within problems'}): it may measure length"
            )
            evidence = {
                "solutions": len(right),
                "correlation": r,
                "within_problems": inside,
                "of": name,
                "among": among,
            }
            found.append(Warned("length proxy", text, evidence))
    places = [(score, float(at)) for one in known for at, score in enumerate(one.steps) if not math.isnan(score)]
    r = rank_correlation([score for score, _ in places], [at for _, at in places])
    if abs(r) >= CORRELATION:
        text = (
            f"step scores follow the step's place (rank correlation {r:+.2f}): they may measure how far a solution is"
        )
        found.append(Warned("position proxy", text, {"steps": len(places), "correlation": r}))
    return found


def _value(one: Scored) -> float:
    if not math.isnan(one.value):
        return one.value
    known = [score for score in one.steps if not math.isnan(score)]
    return math.fsum(known) / len(known) if known else math.nan


def _within(solutions: Sequence[Scored], size: str) -> tuple[float, int]:
    """The mean over problems of the rank correlation of value and size among the problem's solutions (NaN for none), and
    how many problems have one."""
    groups: dict[str, list[Scored]] = {}
    for one in solutions:
        groups.setdefault(one.problem, []).append(one)
    found = [
        rank_correlation(
            [_value(one) for one in group],
            [float(one.listed if size == "steps" else one.characters) for one in group],
        )
        for group in groups.values()
        if len(group) > 2
    ]
    known = [r for r in found if not math.isnan(r)]
    return (math.fsum(known) / len(known) if known else math.nan), len(known)


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's correlation, ties at their mean rank; NaN where one side does not vary."""
    if len(a) < 2:
        return math.nan
    first, second = _ranks(a), _ranks(b)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    _, where, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2.0)[where], dtype=np.float64)
