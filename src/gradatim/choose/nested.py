"""What choosing a scorer, a pair or a learned combination is worth on problems that the choice has not seen.

Nested cross-validation over problems: everything that is chosen or fitted is chosen or fitted on the other folds, and
then chooses one of all candidates of each problem of its own fold. The partition into folds is drawn several times, and
each problem's correctness is the mean over them, so that no single partition decides.

The families were fixed by argument: the four reductions that reward models are published with; pairs of different
scorers, each under its own best reduction in the fold, by mean rank, as scorers differ in scale; and the learned
combination of `choose.learned`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradatim import stats
from gradatim.choose import learned
from gradatim.choose.choosers import Same, group_answers
from gradatim.choose.measure import reduced, usable
from gradatim.choose.stage import LEVEL, sameness
from gradatim.core import REDUCTIONS, Estimate, Reduction
from gradatim.errors import ConfigError, InputError
from gradatim.problems.pool_scores import PoolScores, read_pool_scores
from gradatim.problems.pools import Pool, read_pool
from gradatim.progress import Progress, progress
from gradatim.score.combine import ranks

Floats = NDArray[np.float64]

PUBLISHED: tuple[Reduction, ...] = ("min", "prod", "mean", "last")
"""The reductions that reward models are published with."""

METHODS = ("random", "majority", "best single", "best pair", "all by rank", "learned", "oracle")
"""In this order in the result. "all by rank" is the mean rank over all scorers: nothing is chosen but the reductions."""

CONTRASTS = (
    ("best single", "majority"),
    ("best pair", "majority"),
    ("learned", "majority"),
    ("best pair", "best single"),
    ("all by rank", "best single"),
    ("learned", "best single"),
    ("learned", "best pair"),
    ("oracle", "best single"),
    ("oracle", "learned"),
)
"""Which differences are reported, first minus second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NestedConfig:
    """`gradatim evaluate pool`."""

    pool: str
    """Solutions with verdicts: the public pool format or our own rows. One of all candidates of a problem is chosen."""
    scores: tuple[str, ...]
    """Files of their scores, by at least two scorers."""
    reduction: tuple[Reduction, ...] = PUBLISHED
    """The reductions to choose from."""
    folds: int = stats.FOLDS
    """Folds over problems."""
    repeats: int = 5
    """Partitions into folds; their results are averaged problem by problem."""
    same_answer: Literal["string", "math"] = "string"
    """When two answers are one: the same text, or mathematically equivalent."""
    seed: int = 0
    """Of the partitions and the bootstrap."""
    skip_bad: bool = False
    """Drop and count rows that can't be read, and candidates that some scorer has no score for."""

    def __post_init__(self) -> None:
        if not self.reduction or any(how not in REDUCTIONS for how in self.reduction):
            raise ConfigError(f"reduction={', '.join(self.reduction)}: expected some of {', '.join(REDUCTIONS)}")
        if self.folds < 2 or self.repeats < 1:
            raise ConfigError(f"folds={self.folds}, repeats={self.repeats}: expected at least 2 folds and 1 repeat")
        if self.same_answer not in ("string", "math"):
            raise ConfigError(f"same_answer={self.same_answer}: expected string or math")


@dataclass(frozen=True, slots=True)
class _Single:
    """A scorer under a reduction, on every problem."""

    scorer: str
    reduction: Reduction
    ranks: tuple[Floats, ...]
    """For each problem the rank of every candidate, higher is better."""
    right: Floats
    """For each problem whether the highest value is correct; ties share evenly."""

    def __str__(self) -> str:
        return f"{self.reduction} {self.scorer}"


@dataclass(frozen=True, slots=True)
class _Material:
    """All that the folds choose from."""

    ids: tuple[str, ...]
    good: tuple[Floats, ...]
    singles: tuple[tuple[_Single, ...], ...]
    """A scorer's reductions, for each scorer."""
    examples: tuple[learned.Examples, ...]


def nested_stage(config: NestedConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Measure what choosing and combining scorers is worth; returns what `gradatim evaluate pool --json` prints.

    `methods` and `contrasts` are means over problems with intervals from the bootstrap over problems, all under the same
    resamples (an accuracy of 0 or 1 has Wilson's interval). The intervals say what other problems of this kind would
    change, given the folds; they do not cover other scorers, other candidates, or another size of the pool. `chosen`
    counts what the folds chose.
    """
    drops = Counter[str]()
    pool = read_pool(config.pool, skip_bad=config.skip_bad, drops=drops)
    pool, scored = read_pool_scores(pool, config.scores, skip_bad=config.skip_bad, drops=drops)
    if len(scored) < 2:
        raise ConfigError(f"{len(scored)} scorer; give the scores of at least two")
    bare = sum(not problem.has_gold for problem in pool.problems)
    if bare or len(pool.problems) < 2 * config.folds:
        there = f"{len(pool.problems)} problems, {bare} of them without verdicts"
        expected = f"at least {2 * config.folds} problems, all with verdicts"
        raise InputError(there, expected=expected, file=config.pool)
    with sameness(config.same_answer) as same:
        material = _material(pool, scored, config.reduction, same)
        votes = _majority(pool, same)
    chosen: dict[str, Counter[str]] = {name: Counter() for name in ("best single", "best pair", "learned")}
    rounds = []
    with progress("nested folds", config.folds * config.repeats, "folds", quiet=quiet) as shown:
        for repeat in range(config.repeats):
            place = np.array(stats.fold_of(material.ids, config.folds, seed=config.seed * 1000 + repeat))
            rounds.append(_round(material, place, chosen, shown))
    found = {name: np.mean([one[name] for one in rounds], axis=0) for name in rounds[0]}
    found |= {
        "random": np.array([good.mean() for good in material.good]),
        "majority": votes,
        "oracle": np.array([good.max() for good in material.good]),
    }
    return {**_report(found, config), **_counts(pool, scored, config, drops), "chosen": _often(chosen)}


def _material(pool: Pool, scored: Sequence[PoolScores], asked: Sequence[Reduction], same: Same | None) -> _Material:
    good = tuple(np.array([float(one.correct is True) for one in problem.candidates]) for problem in pool.problems)
    singles = []
    for scores in scored:
        possible = usable(scores)[0]
        hows = [how for how in asked if how in possible] or possible[:1]
        methods = [reduced(scores, how) for how in hows]
        singles.append(
            tuple(_Single(m.scorer, m.reduction, tuple(map(ranks, m.values)), _picked(m.values, good)) for m in methods)
        )
    ids = tuple(problem.id for problem in pool.problems)
    return _Material(ids, good, tuple(singles), tuple(learned.examples(pool, scored, same)))


def _picked(values: Sequence[Sequence[float] | Floats], good: Sequence[Floats]) -> Floats:
    """For each problem the mean correctness of the candidates with the highest value; nobody's value: not correct."""
    return np.array([_top(np.asarray(row, dtype=np.float64), worth) for row, worth in zip(values, good, strict=True)])


def _top(values: Floats, worth: Floats) -> float:
    if np.isnan(values).all():
        return 0.0
    return float(worth[values == np.nanmax(values)].mean())


def _majority(pool: Pool, same: Same | None) -> Floats:
    """The correctness of the most frequent answer; ties share evenly, and all unread is not correct."""
    found = []
    for problem in pool.problems:
        groups = np.array(group_answers([one.solution.answer for one in problem.candidates], same))
        good = np.array([float(one.correct is True) for one in problem.candidates])
        counts = np.bincount(groups[groups >= 0])
        winners = [one for one, votes in enumerate(counts) if votes == counts.max()]
        found.append(float(np.mean([good[groups == one].mean() for one in winners])) if winners else 0.0)
    return np.array(found)


def _round(
    material: _Material, place: NDArray[np.int64], chosen: dict[str, Counter[str]], shown: Progress
) -> dict[str, Floats]:
    """One partition: the correctness on every problem of what the other folds chose."""
    found = {name: np.zeros(len(place)) for name in ("best single", "best pair", "all by rank", "learned")}
    for fold in range(int(place.max()) + 1):
        seen, held = np.flatnonzero(place != fold), np.flatnonzero(place == fold)
        bests = [max(singles, key=lambda one: float(one.right[seen].mean())) for singles in material.singles]
        best = max(bests, key=lambda one: float(one.right[seen].mean()))
        found["best single"][held] = best.right[held]
        pairs = [(pair, _by_rank(material, pair, np.arange(len(place)))) for pair in combinations(bests, 2)]
        pair, right = max(pairs, key=lambda item: float(item[1][seen].mean()))
        found["best pair"][held] = right[held]
        found["all by rank"][held] = _by_rank(material, bests, held)
        model = learned.fit([material.examples[p] for p in seen], [material.ids[p] for p in seen])
        values = [material.examples[p].features @ model.weights for p in held]
        found["learned"][held] = _picked(values, [material.good[p] for p in held])
        chosen["best single"][str(best)] += 1
        chosen["best pair"][" and ".join(map(str, pair))] += 1
        chosen["learned"][f"strength {model.strength:g}"] += 1
        shown.advance()
    return found


def _by_rank(material: _Material, members: Sequence[_Single], problems: NDArray[np.int64]) -> Floats:
    means = [np.mean([one.ranks[p] for one in members], axis=0) for p in problems]
    return _picked(means, [material.good[p] for p in problems])


def _report(found: dict[str, Floats], config: NestedConfig) -> dict[str, Any]:
    columns = [found[name] for name in METHODS] + [found[a] - found[b] for a, b in CONTRASTS]
    estimates = stats.bootstrap_columns(np.stack(columns, axis=1), level=LEVEL, seed=config.seed)
    methods = [stats.share(one, LEVEL) for one in estimates[: len(METHODS)]]
    contrasts = estimates[len(METHODS) :]
    return {
        "methods": [{"method": name, "accuracy": _row(one)} for name, one in zip(METHODS, methods, strict=True)],
        "contrasts": [
            {"contrast": f"{a} - {b}", "difference": _row(one), "null": bool(one.low <= 0 <= one.high)}
            for (a, b), one in zip(CONTRASTS, contrasts, strict=True)
        ],
    }


def _row(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _counts(pool: Pool, scored: Sequence[PoolScores], config: NestedConfig, drops: Counter[str]) -> dict[str, Any]:
    sizes = [len(problem.candidates) for problem in pool.problems]
    return {
        "problems": len(pool.problems),
        "n": [min(sizes), max(sizes)],
        "scorers": [scores.scorer for scores in scored],
        "features": learned.names(scored),
        "reductions": list(config.reduction),
        "folds": config.folds,
        "repeats": config.repeats,
        "level": LEVEL,
        "seed": config.seed,
        "drops": dict(drops),
    }


def _often(chosen: dict[str, Counter[str]]) -> dict[str, dict[str, int]]:
    """What was chosen in how many folds, the most frequent first."""
    return {name: dict(counts.most_common()) for name, counts in chosen.items()}
