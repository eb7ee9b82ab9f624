"""How labels are made: which prefixes are tested, how long, and when a prefix counts as dead. Settings, and their words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gradatim.core import Tally
from gradatim.errors import ConfigError
from gradatim.labels.search import Informed
from gradatim.labels.sequential import FirstSuccess, Fixed, Posterior, Sprt, StoppingRule

DEAD, ALIVE = 0.25, 0.75
"""The sequential test tells rates of at most this share of the problem's own rate from rates of at least that."""

ENOUGH = 12
"""A problem's own rate is taken from its sampled solutions if there are more than these, otherwise from so many rollouts
(where `k` does not say how many)."""


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """How steps are labelled by rollouts."""

    k: int = 8
    """Rollouts of each distinct prefix that is tested: draws 0 to k-1; at most so many where `stop` is "first"."""
    seed: int = 0
    """With the policy, the prefix and the draw it decides every rollout; the rollouts' seed is derived from it, so that
    they differ from solutions that were sampled with the same number."""
    batch: int = 512
    """Rollouts that are written, verified and recorded together; what a run loses at most when it is killed."""
    rule: Literal["relative", "any"] = "relative"
    """Where the first error is: "relative" = the first step whose rate is below half of the problem's start rate
    (s+1)/(n+2); "any" = the first step from which nothing succeeded."""
    stop: Literal["fixed", "first", "sprt", "posterior"] = "fixed"
    """When a prefix has been rolled out enough: "fixed" = after k; "first" = after the first success (for rule "any": the
    same decisions for less); "sprt" and "posterior" (for rule "relative") = when the evidence decides: a sequential
    ratio test of 1/4 against 3/4 of the start rate, or the posterior of the rate against half of the start rate. Rates
    on which a test stopped are biased: train on such labels with target "binomial" or "hard"."""
    search: Literal["all", "bisection", "informed"] = "all"
    """Which prefixes are tested: "all"; or by halving those that decide where the first error is ("bisection"); or, for
    stop "posterior", wherever the next rollout is expected to tell most about the first error, given all that was seen
    of the solution, until none is worth its `bits` ("informed"). The last two take dead prefixes to stay dead, and
    leave the tally (0, 0) where they do not look."""
    nominal: float = 0.1
    """For "sprt" and "posterior": the chance of either error that the test is built for; for "informed": how likely
    another first error than the one that is said may be. The start rate is an estimate, so the true chance is another
    one, most of all where the policy rarely succeeds."""
    bits: float = 0.015
    """For "informed": how many bits about the first error a rollout as long as the whole solution has to tell, and one of
    a late prefix in proportion to the steps that it has to write."""
    cap: int = 64
    """For "sprt" and "posterior": draws of a prefix after which the test is over, decided or not."""
    undecided: Literal["mask", "likelier"] = "mask"
    """What a test says that reached its cap, or a search that is not sure enough: nothing, so that the first error stays
    unknown; or what is likelier."""

    def __post_init__(self) -> None:
        for name in ("k", "batch", "cap"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}; expected at least 1")
        for name, allowed in (
            ("rule", ("relative", "any")),
            ("stop", ("fixed", "first", "sprt", "posterior")),
            ("search", ("all", "bisection", "informed")),
            ("undecided", ("mask", "likelier")),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name}={getattr(self, name)!r}; expected {' or '.join(allowed)}")
        if not 0 < self.nominal < 0.5:
            raise ConfigError(f"nominal={self.nominal}; expected a chance above 0 and below .5")
        if not 0 < self.bits < 1:
            raise ConfigError(f"bits={self.bits}; expected bits above 0 and below 1")
        if self.search == "informed" and self.stop != "posterior":
            raise ConfigError(f"search='informed' needs stop 'posterior', and stop is {self.stop!r}")
        if self.stop != "fixed" and (self.stop == "first") != (self.rule == "any"):
            wanted = "any" if self.stop == "first" else "relative"
            raise ConfigError(f"stop={self.stop!r} decides rule {wanted!r} only, and rule is {self.rule!r}")

    @property
    def optional_stopping(self) -> bool:
        """Whether the outcomes decide how many there are, so that rates are biased."""
        return self.stop != "fixed"

    @property
    def sequential(self) -> bool:
        """Whether a test with nominal error rates decides."""
        return self.stop in ("sprt", "posterior")

    @property
    def starts(self) -> int:
        """Rollouts of a bare problem whose sampled solutions are not more than these."""
        return {"fixed": self.k, "first": 0}.get(self.stop, ENOUGH)

    def stopping_rule(self, start: Tally) -> StoppingRule:
        """The test of a prefix of a problem whose own tally is `start`."""
        rate = start.smoothed if start.tried else math.nan
        likelier = self.undecided == "likelier"
        if self.stop == "first":
            return FirstSuccess(self.k)
        if self.stop == "fixed":
            return Fixed(self.k, rate / 2 if self.rule == "relative" else 0.0)
        if not start.tried:
            return Fixed(0, math.nan)  # without a bar there is nothing to test
        if self.stop == "sprt":
            return Sprt(DEAD * rate, ALIVE * rate, self.nominal, self.cap, likelier)
        return Posterior(rate, self.nominal, self.cap, likelier)

    def informed(self, start: Tally) -> Informed:
        """The search of a solution of a problem whose own tally is `start`."""
        return Informed(start, self.bits, self.cap, 1.0 if self.undecided == "likelier" else self.nominal)

    @property
    def name(self) -> str:
        """The rule with its settings, as `Labels.rule` records it."""
        said = {
            "any": "first step with no good rollout",
            "relative": "first step with rate < start/2, start = (s+1)/(n+2)",
        }[self.rule]
        wide = f"nominal={self.nominal}; cap={self.cap}, undecided: {self.undecided}"
        stop = {
            "fixed": f"k={self.k}",
            "first": f"k<={self.k}, to the first success",
            "sprt": f"sprt {DEAD} start : {ALIVE} start, {wide}",
            "posterior": f"posterior, {wide}",
        }[self.stop]
        how = {"all": "", "bisection": " by bisection", "informed": f" where informed, bits={self.bits}"}[self.search]
        return f"{self.rule} ({said}; {stop}){how}"
