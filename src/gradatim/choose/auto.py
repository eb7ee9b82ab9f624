"""Which chooser, scorer and reduction? The other problems decide: what is chosen is never chosen on the problem it chooses for.

Problems with verdicts are dealt into five folds; the rule for those of a fold is chosen on the other folds. Problems without
verdicts get the rule that is chosen on all that have some. Rules are often nearly equal, and problems few, so that the rule
that was most often right has mostly been lucky. Two things are done about luck:

- a rule's worth on a problem is how often it is right when it chooses among half, three quarters and all of the candidates
  (exact where there is a formula), which varies less from problem to problem than whether one choice is right;
- a vote (majority, weighted majority) is what to fall back on: best-of-n is taken only if its best rule is better than the
  best vote by more than the standard error of their difference. Of equals the first is taken, majority before the others.

The *regret* is how much more often the rule that turned out best on all problems is right. That rule was picked with all
answers known, so it is lucky too: the *optimism*, estimated by the bootstrap (Efron 1983), is by how much.

The learned chooser is treated alike: fitted on the other folds, and on all problems with verdicts for those without.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from gradatim import stats
from gradatim.choose import learned
from gradatim.choose.choosers import Choice, Same, best_of_n, majority, weighted_majority
from gradatim.choose.measure import Method, expected
from gradatim.core import Estimate
from gradatim.errors import InputError
from gradatim.problems.pool_scores import PoolScores
from gradatim.problems.pools import Pool

Floats = NDArray[np.float64]
By = Literal["majority", "weighted_majority", "best_of_n", "learned"]
BYS: tuple[By, ...] = get_args(By)
T = TypeVar("T")

SHARES = (0.5, 0.75, 1.0)
"""Of a problem's candidates, to choose among: what a rule's worth is the mean over."""

RESAMPLES = 1000
"""Of the problems, for the optimism."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A way of choosing, and what it chooses from every problem."""

    chooser: By
    scorer: str | None
    reduction: str | None
    choices: tuple[Choice | None, ...]

    def __str__(self) -> str:
        return " ".join(filter(None, (self.chooser, self.reduction, self.scorer)))


def rules(pool: Pool, methods: Sequence[Method], choosers: Sequence[By], same: Same | None) -> list[Rule]:
    """Majority, and weighted majority and best-of-n by every method; those of `choosers`."""
    answers = [[one.solution.answer for one in problem.candidates] for problem in pool.problems]
    found = []
    if "majority" in choosers:
        found.append(Rule("majority", None, None, tuple(majority(row, same) for row in answers)))
    for chooser in ("weighted_majority", "best_of_n"):
        for method in methods if chooser in choosers else ():
            pairs = zip(method.values, answers, strict=True)
            made = [
                best_of_n(values, row) if chooser == "best_of_n" else weighted_majority(values, row, same)
                for values, row in pairs
            ]
            found.append(Rule(chooser, method.scorer, method.reduction, tuple(made)))
    return found


def automatic(
    pool: Pool, methods: Sequence[Method], choosers: Sequence[By], same: Same | None, level: float, seed: int
) -> tuple[list[Rule], dict[str, Any]]:
    """The rule for each problem, and what is known of the choice: what was chosen, its accuracy, regret and optimism.

    InputError with too few verdicts for the folds.
    """
    offered, gold = rules(pool, methods, choosers, same), _gold(pool)
    votes = np.array([rule.chooser != "best_of_n" for rule in offered])
    worth = np.full((len(offered), len(pool.problems)), np.nan)
    worth[:, gold] = worths(pool, methods, choosers, same, seed)

    taken, final = _held_out(pool, lambda problems: selected(worth[:, problems], votes))
    right = np.stack([right_of(pool, rule.choices) for rule in offered])[:, gold]
    mine = right[[taken[p] for p in gold], np.arange(len(gold))]
    hindsight = int(right.mean(axis=1).argmax())
    accuracy, other, regret = stats.bootstrap_columns(
        np.stack([mine, right[hindsight], right[hindsight] - mine], axis=1), level=level, seed=seed
    )
    return [offered[rule] for rule in taken], {
        "rule": str(offered[final]),
        "rules": len(offered),
        "chosen": dict(Counter(str(offered[taken[p]]) for p in gold).most_common()),
        "accuracy": _row(stats.share(accuracy, level)),
        "best_in_hindsight": {"rule": str(offered[hindsight]), "accuracy": _row(stats.share(other, level))},
        "regret": _row(regret),
        "optimism": optimism(right, seed),
    }


def worths(pool: Pool, methods: Sequence[Method], choosers: Sequence[By], same: Same | None, seed: int = 0) -> Floats:
    """(rules, problems with verdicts): how often each of `rules(...)` is right on each problem, in their order, over three
    numbers of candidates."""
    gold = _gold(pool)
    held = [Method(one.scorer, one.reduction, tuple(one.values[p] for p in gold)) for one in methods]
    found = expected([pool.problems[p] for p in gold], held, SHARES, same=same, seed=seed)
    return np.concatenate([found[chooser] for chooser in BYS if chooser in choosers and chooser in found])


def selected(worth: Floats, votes: NDArray[np.bool_]) -> int:
    """The row of `worth` (rules, problems) to take, `votes` says which rules are votes: the best vote, unless the best of
    the others is better by more than the standard error of their difference."""
    means = worth.mean(axis=1)
    if votes.all() or not votes.any():
        return int(means.argmax())
    vote, other = (int(rows[means[rows].argmax()]) for rows in (np.flatnonzero(votes), np.flatnonzero(~votes)))
    gap = worth[other] - worth[vote]
    return other if gap.mean() > gap.std(ddof=1) / math.sqrt(len(gap)) else vote


def optimism(right: Floats, seed: int) -> float:
    """By how much the best of (rules, problems) looks better than it is, as it was picked by these very problems.

    The mean over resamples of the problems of what the rule that is best there gains there over its own mean on all.
    """
    count = right.shape[1]
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count
    there = weights @ right.T
    best = there.argmax(axis=1)
    return float((there[np.arange(RESAMPLES), best] - right.mean(axis=1)[best]).mean())


def by_learned(
    pool: Pool, scored: Sequence[PoolScores], same: Same | None, level: float, seed: int
) -> tuple[list[Choice | None], dict[str, Any]]:
    """What a learned combination of the scorers chooses, and how often that is right where it is known."""
    examples = learned.examples(pool, scored, same)

    def fit(problems: NDArray[np.intp]) -> learned.Learned:
        return learned.fit([examples[p] for p in problems], [pool.problems[p].id for p in problems])

    taken, final = _held_out(pool, fit)
    choices = []
    for problem, example, model in zip(pool.problems, examples, taken, strict=True):
        values = (example.features @ model.weights).tolist()
        choices.append(best_of_n(values, [one.solution.answer for one in problem.candidates]))
    right = right_of(pool, choices)[_gold(pool)]
    weights = dict(zip(learned.names(scored), final.weights.tolist(), strict=True))
    accuracy = stats.share(stats.bootstrap(right, level=level, seed=seed), level)
    return choices, {"weights": weights, "strength": final.strength, "accuracy": _row(accuracy)}


def _held_out(pool: Pool, make: Callable[[NDArray[np.intp]], T]) -> tuple[list[T], T]:
    """For each problem what `make` makes of the problems with verdicts outside its fold (without a verdict: of all)."""
    gold = _gold(pool)
    if len(gold) < 2 * stats.FOLDS:
        raise InputError(
            f"{len(gold)} problems with verdicts", expected=f"at least {2 * stats.FOLDS} to choose by", file=pool.file
        )
    place = np.array(stats.fold_of([pool.problems[p].id for p in gold]))
    of_fold = [make(gold[place != fold]) for fold in range(stats.FOLDS)]
    final = make(gold)
    taken = [final] * len(pool.problems)
    for p, fold in zip(gold.tolist(), place.tolist(), strict=True):
        taken[p] = of_fold[fold]
    return taken, final


def _gold(pool: Pool) -> NDArray[np.intp]:
    return np.array([p for p, problem in enumerate(pool.problems) if problem.has_gold], dtype=np.intp)


def right_of(pool: Pool, choices: Sequence[Choice | None]) -> Floats:
    """For each problem whether its choice is correct; no choice is not."""
    pairs = zip(pool.problems, choices, strict=True)
    return np.array([float(c is not None and problem.candidates[c.index].correct is True) for problem, c in pairs])


def _row(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
