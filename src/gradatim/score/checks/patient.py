"""What every check gets and what it answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from gradatim.core import Prefix, Score, Step
from gradatim.models.encoding import Encoder, Encoding
from gradatim.models.model import Readable
from gradatim.score.checks.golden import Golden
from gradatim.score.checks.probes import ORDINARY
from gradatim.score.engine import ModelScorer

Outcome = Literal["pass", "fail", "not applicable"]

ROUNDING = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""How far two computations of one number z may be apart, in units of `Patient.scale` + |z|: another batch rounds
otherwise."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    outcome: Outcome
    """"not applicable" also where the check can't tell; the evidence says why."""
    evidence: str
    """What was measured."""


@dataclass(frozen=True)
class Patient:
    """A scorer, and what is known of it beside its answers."""

    scorer: ModelScorer
    """What is looked at."""
    folder: Path | None = None
    """Where it was loaded from: checks that compare with what is on disk need it."""
    golden: tuple[Golden, ...] = ()
    """What the scorer should say, recorded when or where it was right."""

    @property
    def model(self) -> Readable:
        """What the scorer runs."""
        return self.scorer.model

    @property
    def encoder(self) -> Encoder:
        """What it writes tokens with."""
        return self.model.encoder

    def fresh(self, **settings: Any) -> ModelScorer:
        """Another scorer of the same model, which remembers nothing."""
        return ModelScorer(self.model, **settings)

    @cached_property
    def ordinary(self) -> tuple[Score, ...]:
        """What the scorer says of `probes.ORDINARY`."""
        return tuple(self.scorer.score(ORDINARY))

    @cached_property
    def rounding(self) -> float:
        """See `ROUNDING`; of the number format that the weights are in."""
        return ROUNDING.get(next(self.model.module.parameters()).dtype, ROUNDING[torch.bfloat16])

    @cached_property
    def scale(self) -> float:
        """1, or the largest number that the model gives where all are smaller: of small ones less may be lost."""
        seen = [abs(x) for score in self.ordinary for x in numbers(score) if not math.isnan(x)]
        return min(1.0, max(seen, default=1.0)) or 1.0

    def apart(self, scores: Sequence[Score], than: Sequence[Score] | None = None) -> float:
        """The largest `gap` between the numbers of two scorings of the same solutions; `than` is `ordinary` if not
        given."""
        other = self.ordinary if than is None else than
        if len(scores) != len(other):
            return math.inf
        pairs = zip(scores, other, strict=True)
        return max((gap(numbers(x), numbers(y), self.scale) for x, y in pairs), default=0.0)

    def reads(self, encoding: Encoding) -> tuple[int, ...] | None:
        """Where a model is read that takes one number from one token; None for one that puts several together."""
        asked = self.model.reads(encoding)
        own = tuple(read for read in encoding.reads if read is not None)
        return asked if asked == own or (self.model.kind == "orm" and len(asked) == 1) else None


def numbers(score: Score) -> tuple[float, ...]:
    """The logits, where a score has them; otherwise the step scores, otherwise the value."""
    return score.logits or score.steps or (score.value,)


def gap(a: Sequence[float], b: Sequence[float], scale: float = 1.0) -> float:
    """The largest |x - y| / (scale + max(|x|, |y|)); infinity where lengths differ or one of two is NaN."""
    if len(a) != len(b):
        return math.inf
    return max((_apart(x, y, scale) for x, y in zip(a, b, strict=True)), default=0.0)


def changed(prefix: Prefix, at: int, text: str) -> Prefix:
    """The prefix with another text in one step."""
    steps = [Step(text, step.kind) if index == at else step for index, step in enumerate(prefix.steps)]
    return Prefix(prefix.problem_id, prefix.prompt, tuple(steps))


def _apart(x: float, y: float, scale: float) -> float:
    if math.isnan(x) and math.isnan(y):
        return 0.0
    if math.isnan(x) or math.isnan(y):
        return math.inf
    return abs(x - y) / (scale + max(abs(x), abs(y)))
