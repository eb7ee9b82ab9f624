"""Logits -> a Score: the activation, a place for every step, and the reduction; the same wherever the logits come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from gradatim.core import Prefix, Reduction, Score
from gradatim.models.activation import Activation, activate
from gradatim.models.encoding import Encoding
from gradatim.score.reduce import reduce


class Judge(Protocol):
    """What has to be known of a model to read its logits."""

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def reduction(self) -> Reduction: ...

    @property
    def activation(self) -> Activation: ...


def assembled(judge: Judge, checkpoint: str, prefix: Prefix, encoding: Encoding, logits: Sequence[float]) -> Score:
    """The score of a prefix from a PRM's logits, one a scored step, or an ORM's one; without any the value is NaN.

    Observations keep their place with NaN. `checkpoint` is the judge's, "" where it is not known.
    """
    reduction, found = judge.reduction, tuple(logits)
    signed: Any = {"reduction": reduction, "by": judge.name, "checkpoint": checkpoint, "prefix": prefix}
    if not found:
        return Score(value=math.nan, steps=(math.nan,) * len(encoding.reads), **signed)
    if judge.kind == "orm":
        return Score(value=activate(judge.activation, found[0]), logits=found, **signed)
    each = iter(found)
    aligned = tuple(math.nan if read is None else next(each) for read in encoding.reads)
    steps = tuple(activate(judge.activation, logit) for logit in aligned)
    return Score(value=reduce(steps, reduction), steps=steps, logits=aligned, **signed)
