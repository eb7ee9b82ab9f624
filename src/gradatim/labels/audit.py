"""How far to trust labels: what they hold, how noisy they are, what contradicts them, and where to look first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from gradatim import stats
from gradatim.core import Estimate, Labels, Solution, Tally, Verdict
from gradatim.errors import ConfigError, InputError
from gradatim.labels.consensus import agreement, matched, share
from gradatim.labels.doubts import Doubt, bar, doubts, trap, wrong_end
from gradatim.labels.given import Labelled
from gradatim.stats.repeated import intraclass, mixing, wrong_side

GROUPS = 5
"""Into how many groups of like size solutions are parted by their number of steps, at most."""


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """What an audit is told."""

    refused: float | None = None
    """The share of right answers that the verifier refuses, where it is known (`gradatim verify` tells it for gold
    answers)."""
    top: int = 50
    """How many doubtful solutions are listed."""

    def __post_init__(self) -> None:
        if self.refused is not None and not 0 <= self.refused < 1:
            raise ConfigError(f"refused={self.refused}; expected a share from 0 on and below 1")
        if self.top < 0:
            raise ConfigError(f"top={self.top}; expected a number from 0 on")


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found: `found` as plain values and Estimates, and the doubtful solutions themselves."""

    found: dict[str, Any]
    doubts: tuple[Doubt, ...]


def audit(config: AuditConfig, labelled: Sequence[Labelled], against: Sequence[Labelled] | None = None) -> Audit:
    """Audit labels, alone or against another labeller's of (some of) the same solutions.

    All Estimates are at 95 % over problems; NaN where there is nothing to estimate from. InputError for no labels, for a
    solution that a file labels twice, and for two files without a common solution.
    """
    if not labelled:
        raise InputError("no labels", expected="at least one labelled solution")
    cases, alone = ([], 0) if against is None else matched({"labels": labelled, "against": against}, common=True)
    others = {solution.id: other for solution, (_, other) in cases}
    noise, noise_of = _noise(labelled)
    found = doubts(list(labelled), others, noise_of)
    pairs = [(solution, (first, second)) for solution, (first, second) in cases]
    return Audit(
        {
            **_size(labelled),
            "classes": _classes(labelled),
            "by_steps": _groups(labelled, _by_steps(labelled)),
            "by_author": _groups(labelled, lambda one: one[0].author or "unknown"),
            "by_labeller": _groups(labelled, lambda one: f"{one[1].source}: {one[1].by}"),
            "places": _places(labelled),
            "noise": noise,
            "verifier": _verifier(config, labelled, others),
            "contradictions": _contradictions(labelled),
            "drift": None if against is None else {"not_in_both": alone, **_drift(pairs)},
            "doubtful": len(found),
            "look_first": [doubt.row() for doubt in found[: config.top]],
        },
        tuple(found[: config.top]),
    )


def _size(labelled: Sequence[Labelled]) -> dict[str, Any]:
    tallies = [tally for _, labels in labelled for tally in labels.tallies]
    return {
        "solutions": len(labelled),
        "problems": len({solution.prefix.problem_id for solution, _ in labelled}),
        "steps": len(tallies),
        "steps_looked_at": sum(tally.tried > 0 for tally in tallies),
        "draws": sum(tally.tried for tally in tallies),
        "optional_stopping": sum(labels.optional_stopping for _, labels in labelled),
        "rules": dict(Counter(labels.rule or "none" for _, labels in labelled)),
        "truth": dict(Counter(labels.truth for _, labels in labelled)),
    }


def _share(labelled: Sequence[Labelled], holds: Callable[[Solution, Labels], bool]) -> Estimate:
    return share([holds(*one) for one in labelled], [one.prefix.problem_id for one, _ in labelled])


def _erroneous(solution: Solution, labels: Labels) -> bool:
    return labels.error_known and labels.error is not None


def _classes(labelled: Sequence[Labelled]) -> dict[str, Any]:
    return {
        "erroneous": _share(labelled, _erroneous),
        "correct": _share(labelled, lambda _, labels: labels.error_known and labels.error is None),
        "unknown": _share(labelled, lambda _, labels: not labels.error_known),
    }


def _by_steps(labelled: Sequence[Labelled]) -> Callable[[Labelled], str]:
    """Names of groups of solutions with like numbers of steps, of about the same size."""
    counts = [len(labels.tallies) for _, labels in labelled]
    cuts = sorted(
        {int(np.quantile(counts, part / GROUPS, method="higher")) for part in range(1, GROUPS)} - {max(counts)}
    )
    edges = [*cuts, max(counts)]

    def name(one: Labelled) -> str:
        steps = len(one[1].tallies)
        place = next(place for place, edge in enumerate(edges) if steps <= edge)
        low = min(counts) if place == 0 else edges[place - 1] + 1
        return str(low) if low == edges[place] else f"{low}-{edges[place]}"

    return name


def _groups(labelled: Sequence[Labelled], name: Callable[[Labelled], str]) -> list[dict[str, Any]]:
    groups: dict[str, list[Labelled]] = {}
    for one in sorted(labelled, key=lambda one: len(one[1].tallies)):
        groups.setdefault(name(one), []).append(one)
    return [
        {
            "group": group,
            "solutions": len(some),
            "erroneous": _share(some, _erroneous),
            "unknown": sum(not labels.error_known for _, labels in some),
            "steps_good": sum(
                tally.good > 0 and 2 * tally.good >= tally.tried for _, one in some for tally in one.tallies
            ),
            "steps_bad": sum(2 * tally.good < tally.tried for _, one in some for tally in one.tallies),
        }
        for group, some in groups.items()
    ]


def _places(labelled: Sequence[Labelled]) -> dict[str, int]:
    """Where in the solution first errors are: in its first step, its last, or the thirds between."""
    found = Counter(
        "first step"
        if labels.error == 0
        else "last step"
        if labels.error == len(labels.tallies) - 1
        else ("early", "middle", "late")[3 * labels.error // len(labels.tallies)]
        for _, labels in labelled
        if labels.error_known and labels.error is not None
    )
    return {name: found[name] for name in ("first step", "early", "middle", "late", "last step")}


def _noise(labelled: Sequence[Labelled]) -> tuple[dict[str, Any], Callable[[Labels, Tally], float]]:
    """Label noise from repeated draws, and the chance of a single decision to be noise.

    Only tallies of at least two draws whose number was fixed beforehand tell anything. What is estimated is how often
    infinitely many draws of the same labeller would decide otherwise: an error that all draws share is not in it. The
    rates' distribution is pooled over all steps: the mean holds over the file, a single step's chance is a guess.
    """
    used = [
        (solution.prefix.problem_id, tally, bar(labels))
        for solution, labels in labelled
        for tally in labels.tallies
        if tally.tried > 1 and not labels.optional_stopping
    ]
    result: dict[str, Any] = {
        "steps": len(used),
        "steps_of_one_draw": sum(tally.tried == 1 for _, labels in labelled for tally in labels.tallies),
        "steps_after_optional_stopping": sum(
            tally.tried > 1 for _, labels in labelled for tally in labels.tallies if labels.optional_stopping
        ),
        "draws_a_step": math.nan,
    }
    nothing = Estimate(math.nan, math.nan, math.nan, 0)
    if not used:
        return {
            **result,
            "overdispersion": nothing,
            "reliability": math.nan,
            "noise": nothing,
            "unsure": nothing,
        }, lambda *_: math.nan
    problems, tallies, _ = zip(*used, strict=True)
    good, tried = [tally.good for tally in tallies], [tally.tried for tally in tallies]
    weights, mean = mixing(good, tried), float(np.mean(tried))
    chance = lru_cache(maxsize=1 << 16)(lambda tally, at: wrong_side(tally.good, tally.tried, at, weights))
    decided = [(problem, chance(tally, at)) for problem, tally, at in used if at == at]
    unsure = [(problem, float(_straddles(tally, at))) for problem, tally, at in used if at == at]
    alike = intraclass(good, tried, problems)

    def noise_of(labels: Labels, tally: Tally) -> float:
        at = bar(labels)
        return math.nan if tally.tried < 2 or labels.optional_stopping or at != at else float(chance(tally, at))

    return {
        **result,
        "draws_a_step": mean,
        "overdispersion": alike,
        "reliability": mean * alike.value / (1 + (mean - 1) * alike.value),  # Spearman-Brown
        "noise": stats.share(_mean(decided)),
        "unsure": stats.share(_mean(unsure)),
    }, noise_of


@lru_cache(maxsize=1 << 16)
def _straddles(tally: Tally, at: float) -> bool:
    """Whether the 95 % interval of a tally's rate holds the bar."""
    rate = stats.wilson(tally.good, tally.tried)
    return rate.low < at <= rate.high


def _verifier(config: AuditConfig, labelled: Sequence[Labelled], others: dict[str, Labels]) -> dict[str, Any]:
    """What the verifier's own errors do to labels that rest on answers.

    "refused" is the share f of right solutions that it calls wrong: as given, or (from above, for a missed error looks
    the same) the share of wrong verdicts among solutions in which the other labeller finds no wrong step. With a
    solutions accepted about a f / (1 - f) right ones were refused ("right_but_refused"), and each of these has a wrong
    label at its last step in rollout labels. Rates and their bar shrink alike by 1 - f, so that relative rules are
    otherwise unmoved; rules that count on a single success need 1 / (1 - f) times as many draws.
    """
    rollouts = [one for one in labelled if one[1].source == "rollouts"]
    rolled = [(s.prefix.problem_id, tally) for s, labels in rollouts for tally in labels.tallies if tally.tried]
    lost, tried = [tally.lost for _, tally in rolled], [tally.tried for _, tally in rolled]
    right = [
        solution
        for solution, _ in labelled
        if (other := others.get(solution.id)) is not None
        and (other.truth, other.error_known, other.error) == ("validity", True, None)
        and solution.verdict in (Verdict.CORRECT, Verdict.INCORRECT)
    ]
    if config.refused is not None:
        refused, source = Estimate(config.refused, config.refused, config.refused, 0), "given"
    else:
        problems = [solution.prefix.problem_id for solution in right]
        refused = share([solution.verdict is Verdict.INCORRECT for solution in right], problems)
        source = "the other labeller, from above" if right else "nothing to tell from"
    accepted = sum(solution.verdict is Verdict.CORRECT for solution, _ in labelled)
    most = sum(solution.verdict is Verdict.INCORRECT for solution, _ in labelled)
    return {
        "lost": stats.share(stats.ratio_bootstrap(lost, tried, [problem for problem, _ in rolled])),
        "refused": refused,
        "refused_from": source,
        "right_but_refused": _refused(accepted, refused, most),
        "accepted": accepted,
        "rejected": most,
        "unread": sum(solution.verdict is Verdict.UNPARSED for solution, _ in labelled),
        "no_verdict": sum(solution.verdict is None for solution, _ in labelled),
    }


def _refused(accepted: int, refused: Estimate, most: int) -> Estimate:
    """How many right solutions were refused, if so many were accepted and a share is refused; at most `most`."""

    def count(share: float) -> float:
        return share if math.isnan(share) else min(most, accepted * share / (1 - share)) if share < 1 else most

    return Estimate(count(refused.value), count(refused.low), count(refused.high), refused.n)


def _contradictions(labelled: Sequence[Labelled]) -> dict[str, Any]:
    """Solutions whose steps and answer are told apart: shares of those with a right (or wrong) answer and a known first
    error."""

    def among(verdict: Verdict, holds: Callable[[Solution, Labels], bool]) -> Estimate:
        return _share([one for one in labelled if one[0].verdict is verdict and one[1].error_known], holds)

    return {
        "right_answer_wrong_step": among(Verdict.CORRECT, trap),
        "wrong_answer_no_wrong_step": among(Verdict.INCORRECT, wrong_end),
    }


def _drift(cases: Sequence[tuple[Solution, tuple[Labels, Labels]]]) -> dict[str, Any]:
    """The other labeller minus this one, on the solutions that both labelled."""
    known = [(s.prefix.problem_id, a, b) for s, (a, b) in cases if a.error_known and b.error_known]
    moved = [(problem, float(b.error - a.error)) for problem, a, b in known if None not in (a.error, b.error)]  # type: ignore[operator]
    rates = [
        (solution.prefix.problem_id, other.rate - own.rate)
        for solution, (a, b) in cases
        for own, other in zip(a.tallies, b.tallies, strict=True)
        if own.tried and other.tried
    ]
    errors = [(problem, float(b.error is not None) - float(a.error is not None)) for problem, a, b in known]
    return {
        **agreement(cases),
        "more_erroneous": _mean(errors),
        "first_error_later_by": _mean(moved),
        "rate_higher_by": _mean(rates),
    }


def _mean(pairs: Iterable[tuple[str, float]]) -> Estimate:
    kept = list(pairs)
    return stats.bootstrap([value for _, value in kept], [problem for problem, _ in kept])
