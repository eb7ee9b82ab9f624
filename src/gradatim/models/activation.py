"""What turns a logit into the score that a model's authors publish."""

from __future__ import annotations

import math
from typing import Literal

Activation = Literal["sigmoid", "centered", "none"]
"""sigmoid: a probability; centered: p1 - p0 = tanh(z / 2), in [-1, 1] (PURE); none: the logit itself (rankings)."""


def activate(activation: Activation, logit: float) -> float:
    """The score of a logit; NaN of NaN."""
    match activation:
        case "sigmoid":
            return sigmoid(logit)
        case "centered":
            return math.tanh(logit / 2)
        case _:
            return logit


def sigmoid(logit: float) -> float:
    """1 / (1 + e^-logit) without overflow; NaN of NaN."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    power = math.exp(logit)
    return power / (1 + power)
