"""Losses as pure functions of logits (FORMULAS: binary cross-entropy with evidence; Bradley and Terry 1952)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus


def logistic(z: Tensor, good: Tensor, bad: Tensor) -> Tensor:
    """-(good ln s(z) + bad ln s(-z)) element by element, finite for every finite z.

    `z`, `good` and `bad` have one shape. Hard labels are (1, 0) and (0, 1); soft ones (rate, 1 - rate); counts give the
    binomial's negative log-likelihood less its constant.
    """
    return good * softplus(-z) + bad * softplus(z)


def bradley_terry(chosen: Tensor, rejected: Tensor, margin: Tensor) -> Tensor:
    """-ln s(chosen - rejected - margin) element by element, finite for all finite rewards."""
    return softplus(rejected + margin - chosen)
