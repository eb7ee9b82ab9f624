"""Logits -> a Score: the activation, a place for every step, and the reduction; the same wherever the logits come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from gradatim.core import Prefix, Reduction, Score
from gradatim.models.activation import Activation, activate
from gradatim.models.encoding import Encoding
from gradatim.score.reduce import reduce


class Judge(Protocol):
    """What has to be known of a model to read its logits."""

    @property
    def kind(self) -> str: ...

    @property
    def reduction(self) -> Reduction: ...

    @property
    def activation(self) -> Activation: ...


def assembled(judge: Judge, by: str, prefix: Prefix, encoding: Encoding, logits: Sequence[float]) -> Score:
    """The score of a prefix from a PRM's logits, one a scored step, or an ORM's one; without any the value is NaN.

    Observations keep their place with NaN.
    """
    reduction, found = judge.reduction, tuple(logits)
    if not found:
        steps = (math.nan,) * len(encoding.reads)
        return Score(value=math.nan, steps=steps, reduction=reduction, by=by, prefix=prefix)
    if judge.kind == "orm":
        value = activate(judge.activation, found[0])
        return Score(value=value, logits=found, reduction=reduction, by=by, prefix=prefix)
    each = iter(found)
    aligned = tuple(math.nan if read is None else next(each) for read in encoding.reads)
    steps = tuple(activate(judge.activation, logit) for logit in aligned)
    value = reduce(steps, reduction)
    return Score(value=value, steps=steps, logits=aligned, reduction=reduction, by=by, prefix=prefix)
