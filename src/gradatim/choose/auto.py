"""Which chooser, scorer and reduction? The other problems decide: what is chosen is never chosen on the problem it chooses for.

Problems with verdicts are dealt into five folds; for those of a fold the rule is taken that is most often right on the other
folds (of equals the first: majority, then weighted majority, then best-of-n). Problems without verdicts get the rule that is
most often right on all that have some. The *regret* is how much more often the rule that turned out best on all problems is
right; that rule was picked with all answers known, so the regret is too large on average rather than too small.

The learned chooser is treated alike: fitted on the other folds, and on all problems with verdicts for those without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from gradatim import stats
from gradatim.choose import learned
from gradatim.choose.choosers import Choice, Same, best_of_n, majority, weighted_majority
from gradatim.choose.measure import Method
from gradatim.core import Estimate
from gradatim.errors import InputError
from gradatim.problems.pool_scores import PoolScores
from gradatim.problems.pools import Pool

Floats = NDArray[np.float64]
By = Literal["majority", "weighted_majority", "best_of_n", "learned"]
BYS: tuple[By, ...] = get_args(By)
T = TypeVar("T")


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


def automatic(pool: Pool, offered: Sequence[Rule], level: float, seed: int) -> tuple[list[Rule], dict[str, Any]]:
    """The rule for each problem, and what is known of the choice: what was chosen, its accuracy and regret.

    InputError with too few verdicts for the folds.
    """
    right = {id(rule): _right(pool, rule.choices) for rule in offered}

    def best(problems: NDArray[np.intp]) -> Rule:
        return max(offered, key=lambda rule: float(right[id(rule)][problems].mean()))

    taken, final = _held_out(pool, best)
    gold = _gold(pool)
    mine = np.array([right[id(taken[p])][p] for p in gold])
    hindsight = best(gold)
    theirs = right[id(hindsight)][gold]
    accuracy, other, regret = stats.bootstrap_columns(
        np.stack([mine, theirs, theirs - mine], axis=1), level=level, seed=seed
    )
    return taken, {
        "rule": str(final),
        "rules": len(offered),
        "chosen": dict(Counter(str(taken[p]) for p in gold).most_common()),
        "accuracy": _row(accuracy),
        "best_in_hindsight": {"rule": str(hindsight), "accuracy": _row(other)},
        "regret": _row(regret),
    }


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
    right = _right(pool, choices)[_gold(pool)]
    weights = dict(zip(learned.names(scored), final.weights.tolist(), strict=True))
    accuracy = stats.bootstrap(right, level=level, seed=seed)
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


def _right(pool: Pool, choices: Sequence[Choice | None]) -> Floats:
    """For each problem whether its choice is correct; no choice is not."""
    pairs = zip(pool.problems, choices, strict=True)
    return np.array([float(c is not None and problem.candidates[c.index].correct is True) for problem, c in pairs])


def _row(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
