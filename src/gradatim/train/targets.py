"""Labels -> targets. Every threshold, mask and reading of "neutral" lives here and is recorded with the model.

A target is evidence: with logit z and evidence (good, bad) a step costs

    -(good ln s(z) + bad ln s(-z)),    s(z) = 1 / (1 + e^-z),

so that one loss serves hard labels (1, 0) and (0, 1), soft ones (rate, 1 - rate) and counts (good, tried - good), where
it is the binomial's negative log-likelihood up to a constant.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

from gradatim.core import Labels, Pair, Prefix, Solution, Tally, Verdict
from gradatim.errors import ConfigError, InputError

RELATIVE_SHARE = 0.5
"""Rule "relative": a step is good if at least this share of the problem's own success rate is left after it."""


HALF = 0.5
"""The threshold where none is asked for."""


class Evidence(NamedTuple):
    """How much speaks for a step and how much against it; both at least 0, not both 0."""

    good: float
    bad: float


@dataclass(frozen=True, slots=True)
class Example:
    """A solution to learn from: `evidence` has one entry a step for a process model, exactly one for an outcome model.

    None marks a step that is context only.
    """

    prefix: Prefix
    evidence: tuple[Evidence | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetConfig:
    """How labels become evidence."""

    target: Literal["hard", "soft", "binomial"] = "binomial"
    """"hard": (1, 0) or (0, 1), by the first error that the labeller found, or by `rule` where every step was rolled out;
    "soft": (rate, 1 - rate); "binomial": (good, tried - good), so that eight continuations weigh eight times one. For
    labels of one vote a step (people, judges) all three are the same. Labels whose tests stopped when the evidence decided
    have biased rates: "binomial" learns from their counts, "hard" from the labeller's first error, and "soft" refuses
    them."""
    rule: Literal["any", "relative", "threshold"] = "any"
    """When a tally is called good: any continuation succeeded; the rate is at least half of the rate (s+1)/(n+2) that
    the problem had before the first step; or the rate is at least `threshold`. Decides hard labels with their first error,
    and for other targets where the first error is when the labeller did not say."""
    threshold: float = HALF
    """For rule "threshold": the least rate of a good step, in (0, 1]."""
    mask_after_error: bool = True
    """Leave out the steps after the first error: what is right there is not defined."""
    neutral: Literal["good", "bad", "skip"] = "good"
    """What a human rating of 0 means: evidence for the step, against it (it is an error then), or none."""
    step_weight: Literal["step", "solution", "position"] = "step"
    """What a labelled step counts: "step": its evidence, so that long solutions count more than short ones. "solution": its
    evidence over the number of labelled steps, so that solutions count alike. "position": the t-th of n labelled steps
    2t / (n + 1) times its evidence, so that late steps count more."""
    positive_weight: float = 1.0
    """What evidence for a step counts, beside 1 for evidence against it. Probabilities stay what they are: the loss is
    taken at the logit plus the weight's logarithm."""
    unread: Literal["zero", "drop"] = "zero"
    """The outcome of a solution that was cut off or whose answer could not be read: not correct, or none (counted)."""

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"threshold={self.threshold} is not a rate above 0 and at most 1")
        if self.rule != "threshold" and self.threshold != HALF:
            raise ConfigError(
                f"threshold={self.threshold} changes nothing with rule={self.rule!r}; give rule='threshold'"
            )
        if not 0 < self.positive_weight < math.inf:
            raise ConfigError(f"positive_weight={self.positive_weight} is not a weight above 0")

    def recipe(self) -> dict[str, object]:
        """The settings by name, as a checkpoint keeps them."""
        return asdict(self)


def process_examples(
    labelled: Iterable[tuple[Solution, Labels]], config: TargetConfig, drops: Counter[str]
) -> list[Example]:
    """One example a solution with evidence a step; solutions in which no step has any are dropped and counted."""
    examples = []
    for solution, labels in labelled:
        evidence = step_evidence(solution, labels, config)
        if any(evidence):
            examples.append(Example(solution.prefix, step_weighted(evidence, config)))
        else:
            drops["no labelled step"] += 1
    return examples


def step_weighted(evidence: Sequence[Evidence | None], config: TargetConfig) -> tuple[Evidence | None, ...]:
    """The evidence of one solution's steps with `step_weight` in it."""
    if config.step_weight == "step":
        return tuple(evidence)
    labelled, seen, found = sum(owed is not None for owed in evidence), 0, list[Evidence | None]()
    for owed in evidence:
        seen += owed is not None
        weight = 1 / labelled if config.step_weight == "solution" else 2 * seen / (labelled + 1)
        found.append(owed and Evidence(weight * owed.good, weight * owed.bad))
    return tuple(found)


def outcome_examples(solutions: Iterable[Solution], config: TargetConfig, drops: Counter[str]) -> list[Example]:
    """One example a solution with a verdict; those without, and unread ones if so asked, are dropped and counted."""
    examples = []
    for solution in solutions:
        if not solution.prefix.steps:
            drops["no steps"] += 1
        elif solution.verdict is None:
            drops["no verdict"] += 1
        elif _unread(solution) and config.unread == "drop":
            drops["unread answer"] += 1
        else:
            good = solution.verdict is Verdict.CORRECT and not _unread(solution)
            examples.append(Example(solution.prefix, (_vote(good),)))
    return examples


def usable_pairs(pairs: Iterable[Pair], drops: Counter[str]) -> list[Pair]:
    """The pairs that can teach something: both sides have steps, and they differ. The rest is dropped and counted."""
    kept = []
    for pair in pairs:
        if not (pair.chosen.steps and pair.rejected.steps):
            drops["no steps"] += 1
        elif pair.chosen == pair.rejected:
            drops["identical pair"] += 1
        else:
            kept.append(pair)
    return kept


def step_evidence(solution: Solution, labels: Labels, config: TargetConfig) -> tuple[Evidence | None, ...]:
    """The evidence for each step, None where there is none or the mask hides it; observations never have any.

    Human ratings go before tallies, because only they know neutral. Raises InputError if labels and steps do not match,
    if rule "relative" is asked of labels without the problem's own tally, or if soft targets are asked of rates on which
    a test stopped.
    """
    steps = solution.prefix.steps
    for name, found in (("tallies", labels.tallies), ("ratings", labels.ratings)):
        if found is not None and len(found) != len(steps):
            raise InputError(
                f"solution {solution.id} has {len(steps)} steps and {len(found)} {name}",
                expected="one a step",
                fix="label it again or drop the row",
            )
    if labels.optional_stopping and config.target == "soft":
        raise InputError(
            f"the labels of solution {labels.solution_id} have rates on which a test stopped ({labels.rule})",
            expected='rates of a fixed number of continuations for target "soft"',
            fix='train with target "binomial" or "hard", or label with --stop fixed',
        )
    ratings = labels.ratings if labels.ratings is not None else [None] * len(steps)
    seen = [
        None
        if step.kind == "observation"
        else _from_rating(rating, config)
        if labels.ratings is not None
        else _from_tally(tally, labels, config)
        for step, tally, rating in zip(steps, labels.tallies, ratings, strict=True)
    ]
    if config.target == "hard" and labels.ratings is None and not _reread(solution, labels, config):
        seen = _decided(solution, labels, seen)
    if not config.mask_after_error:
        return tuple(seen)
    error = first_error(solution, labels, config)
    return tuple(found if error is None or index <= error else None for index, found in enumerate(seen))


def first_error(solution: Solution, labels: Labels, config: TargetConfig) -> int | None:
    """The first wrong step by the labeller's own word, otherwise the first whose tally the rule calls bad.

    The labeller's word was its reading of the same counts or ratings, and gives way to another one: to another `rule` for
    hard targets where every step was rolled out, and to a neutral step that is read as bad.
    """
    if labels.ratings is not None and config.neutral == "bad":
        return next((index for index, rating in enumerate(labels.ratings) if rating in (-1, 0)), None)
    if labels.error_known and not (config.target == "hard" and _reread(solution, labels, config)):
        return labels.error
    if labels.ratings is not None:
        return next((index for index, rating in enumerate(labels.ratings) if rating == -1), None)
    if labels.optional_stopping:
        return None  # undecided: a threshold on rates that a test stopped on would decide by chance
    tried = ((index, tally) for index, tally in enumerate(labels.tallies) if tally.tried)
    return next((index for index, tally in tried if not is_good(tally, labels, config)), None)


def is_good(tally: Tally, labels: Labels, config: TargetConfig) -> bool:
    """Whether the rule calls a tally good; `tally.tried` must be above 0."""
    if config.rule == "any":
        return tally.good > 0
    if config.rule == "threshold":
        return tally.rate >= config.threshold
    if math.isnan(labels.start.rate):
        raise InputError(
            f"the labels of solution {labels.solution_id} have no tally of the problem itself",
            expected='one for rule "relative"',
            fix="label with continuations of the problem too, or choose another rule",
        )
    return tally.good > 0 and tally.rate >= RELATIVE_SHARE * labels.start.smoothed


def _reread(solution: Solution, labels: Labels, config: TargetConfig) -> bool:
    """Whether the counts are read anew: every step was rolled out a fixed number of times, and the labeller, who knew of
    the solution's own answer too, went by another rule."""
    tested = zip(solution.prefix.steps, labels.tallies, strict=True)
    every = all(tally.tried or step.kind == "observation" for step, tally in tested)
    counted = every and labels.source == "rollouts" and labels.ratings is None and not labels.optional_stopping
    return counted and not labels.rule.startswith(f"{config.rule} ")


def _decided(solution: Solution, labels: Labels, seen: Sequence[Evidence | None]) -> list[Evidence | None]:
    """Hard evidence by the first error that the labeller found: for what is before it, against it, behind it what was
    `seen`. Rates on which a test stopped are no evidence, so behind it, or where it is unknown, there is none then."""
    left: list[Evidence | None] = [None] * len(seen) if labels.optional_stopping else list(seen)
    if not labels.error_known:
        return left
    last = len(seen) if labels.error is None else labels.error
    return [
        None if step.kind == "observation" else found if index > last else _vote(index < last)
        for index, (step, found) in enumerate(zip(solution.prefix.steps, left, strict=True))
    ]


def _from_tally(tally: Tally, labels: Labels, config: TargetConfig) -> Evidence | None:
    if not tally.tried:
        return None
    if config.target == "hard":
        return _vote(is_good(tally, labels, config))
    if config.target == "soft":
        return Evidence(tally.rate, 1 - tally.rate)
    return Evidence(tally.good, tally.tried - tally.good)


def _from_rating(rating: int | None, config: TargetConfig) -> Evidence | None:
    if rating is None or (rating == 0 and config.neutral == "skip"):
        return None
    return _vote(rating == 1 or (rating == 0 and config.neutral == "good"))


def _unread(solution: Solution) -> bool:
    """Whether nobody could say that its answer is right or wrong: none was found, or it was cut off."""
    return solution.verdict is Verdict.UNPARSED or solution.finish == "length"


def _vote(good: bool) -> Evidence:
    return Evidence(1.0, 0.0) if good else Evidence(0.0, 1.0)
