"""Losses as pure functions of logits, all finite with finite gradients for every finite logit.

Evidence (good, bad) says how much speaks for and against a step: hard labels are (1, 0) and (0, 1); soft ones
(rate, 1 - rate); counts (good, tried - good). The three pointwise losses are linear in it, so that the evidence of many
solutions for one prefix may be added up before the loss. s(z) = 1 / (1 + e^-z).

Implicit models (Yuan et al. 2024, arXiv 2412.01981) have no loss of their own: with q = beta ln(p / p_ref) of a whole answer as
the logit, the cross-entropy form is `logistic` of q, and the DPO form (Rafailov et al. 2023) `bradley_terry` of two q.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

_NOTHING = -1e30
"""A logit whose exponential is 0 in every number format, and whose gradients are 0 instead of NaN, unlike -inf's."""


def logistic(z: Tensor, good: Tensor, bad: Tensor) -> Tensor:
    """-(good ln s(z) + bad ln s(-z)) element by element: binary cross-entropy.

    `z`, `good` and `bad` have one shape. For counts it is the binomial's negative log-likelihood less its constant. Its
    minimum is at z = ln(good / bad).
    """
    return good * softplus(-z) + bad * softplus(z)


def squared_error(z: Tensor, good: Tensor, bad: Tensor) -> Tensor:
    """good (1 - s(z))^2 + bad s(z)^2 element by element: the squared error of every vote (Brier 1950).

    That is (good + bad) (s(z) - rate)^2 and, where the votes differ, their variance, in which z has no part.
    """
    return good * torch.sigmoid(-z) ** 2 + bad * torch.sigmoid(z) ** 2


def focal(z: Tensor, good: Tensor, bad: Tensor, gamma: float) -> Tensor:
    """-(good (1 - s(z))^gamma ln s(z) + bad s(z)^gamma ln s(-z)) element by element (Lin et al. 2017).

    With gamma = 0 it is `logistic`. Above, it is no proper score: at its minimum s(z) lies nearer to 1/2 than the rate.
    """
    # Powers as exponentials: s(-z)^gamma itself has the gradient inf * 0 where s(-z) is rounded to 0.
    up, down = softplus(z), softplus(-z)
    return good * torch.exp(-gamma * up) * down + bad * torch.exp(-gamma * down) * up


def bradley_terry(chosen: Tensor, rejected: Tensor, margin: Tensor) -> Tensor:
    """-ln s(chosen - rejected - margin) element by element (Bradley and Terry 1952)."""
    return softplus(rejected + margin - chosen)


def pqm(q: Tensor, good: Tensor, bad: Tensor, zeta: float) -> Tensor:
    """(solutions, steps) -> (solutions,): the ranking of the process Q-value model (Li and Li 2025, arXiv 2410.11287).

    `good` and `bad` are masks of the right and the wrong steps, in their order; where both are False there is no step. With
    the anchor Q_0 = 0 in every denominator it wants wrong << Q_0 < right_1 < right_2 < ...:

        -1 / (|C| + 1[W]) ( sum over t in C of ln( e^Q_t / (1 + sum over q in C, q <= t of e^Q_q + e^zeta sum_W e^Q_w) )
                            + 1[W] ln( 1 / (1 + e^zeta sum_W e^Q_w) ) )

    (The released code counts e^Q_t twice from the second right step on.) Rows without any step are NaN.
    """
    right, wrong = q.masked_fill(~good, _NOTHING), q.masked_fill(~bad, _NOTHING)
    # The anchor is e^0 in every sum.
    against = torch.logaddexp(torch.zeros_like(q[:, 0]), zeta + torch.logsumexp(wrong, dim=1))
    below = torch.logaddexp(against[:, None], torch.logcumsumexp(right, dim=1))
    any_wrong = bad.any(dim=1).to(q.dtype)
    owed = ((below - q) * good).sum(dim=1) + any_wrong * against
    return owed / (good.sum(dim=1) + any_wrong)
