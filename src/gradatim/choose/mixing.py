"""Ensembles and blends of a pool's scorers as further methods to choose by, and how far their members disagree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradatim.choose.choosers import best_of_n
from gradatim.choose.measure import Method, usable
from gradatim.core import Reduction
from gradatim.problems.pool_scores import PoolScores
from gradatim.problems.pools import Pool
from gradatim.score.recorded import Mix, Mixed, keeps_value, kept_values, mean_disagreement, member_scores, mixed


def mixed_methods(
    scored: Sequence[PoolScores], mix: Mix, asked: Sequence[Reduction]
) -> tuple[list[tuple[Method, Mixed]], list[str]]:
    """A method for each combination and reduction (default: min, then all that every scorer with steps can be given),
    and notes. Values that steps do not give (calibrated to answers, or blended) are combined as they are, unless a
    reduction was asked for."""
    made = mixed(scored, mix, asked or _shared(scored), asked=bool(asked)) if mix.asked else []
    kept, notes = [], kept_values(scored, mix, asked=bool(asked))
    for one in made:
        negative = any(step < 0 for problem in one.scores.scores for score in problem for step in score.steps)
        if negative and one.reduction in ("prod", "gmean") and one.scores.has_steps and not asked:
            notes.append(f"{one.scores.scorer}: no {one.reduction}, since some combined step scores are negative")
            continue
        values = tuple(tuple(score.value for score in problem) for problem in one.scores.scores)
        kept.append((Method(one.scores.scorer, one.reduction, values), one))
    return kept, [*notes, *_scales(scored, mix, asked)]


def apart(
    pool: Pool, scored: Sequence[PoolScores], made: Sequence[Mixed], mix: Mix, asked: Sequence[Reduction]
) -> list[dict[str, Any]]:
    """For each ensemble the mean standard deviation over its members, and the share of problems in which their own best
    candidates do not all have one answer."""
    split: dict[Reduction, float] = {}
    for one in made:
        if one.disagreement is not None and one.reduction not in split:
            split[one.reduction] = _split(pool, scored, one.reduction, mix, bool(asked))
    return [
        {
            "scorer": one.scores.scorer,
            "reduction": one.reduction,
            "mean_deviation": mean_disagreement(one),
            "split_problems": split[one.reduction],
        }
        for one in made
        if one.disagreement is not None
    ]


def _split(pool: Pool, scored: Sequence[PoolScores], reduction: Reduction, mix: Mix, asked: bool) -> float:
    count = 0
    for p, problem in enumerate(pool.problems):
        answers = [one.solution.answer for one in problem.candidates]
        members = [member_scores(scores, p, mix, reduction, asked=asked) for scores in scored]
        picks = [best_of_n([one.value for one in member], answers) for member in members]
        count += len({pick and pick.answer for pick in picks}) > 1
    return count / len(pool.problems)


def _shared(scored: Sequence[PoolScores]) -> list[Reduction]:
    """The reductions that every scorer with steps can be given, min first; without steps the recorded one."""
    stepped = [usable(scores)[0] for scores in scored if scores.has_steps]
    if not stepped:
        return [scored[0].reduction or "outcome"] if scored else ["outcome"]
    shared = [how for how in stepped[0] if all(how in hows for hows in stepped)]
    return sorted(shared, key=lambda how: how != "min")


def _scales(scored: Sequence[PoolScores], mix: Mix, asked: Sequence[Reduction]) -> list[str]:
    """A note if numbers of different kinds are added up."""
    if mix.outcome is None and all(how == "rank" for how in mix.ensemble):
        return []
    outside = [
        scores.scorer for scores in scored if not _probabilities(scores, keeps_value(scores, mix, asked=bool(asked)))
    ]
    if not outside:
        return []
    return [f"not between 0 and 1: {', '.join(outside)}; only a rank compares scorers on different scales"]


def _probabilities(scores: PoolScores, own: bool) -> bool:
    return all(
        not (value < 0 or value > 1)
        for problem in scores.scores
        for score in problem
        for value in ((score.value,) if own else score.steps or (score.value,))
    )
