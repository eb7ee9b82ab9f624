"""Which loss is minimised, by its name in the field, and the constants in it. Values only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Objective = Literal[
    "logistic", "mse", "focal", "pqm", "sibling-ranking", "bradley-terry", "implicit-ce", "implicit-dpo"
]

POINTWISE: tuple[Objective, ...] = ("logistic", "mse", "focal")
"""Objectives in which every read owes on its own, in proportion to its evidence: only these can weigh steps and classes."""

PAIRED: tuple[Objective, ...] = ("bradley-terry", "implicit-dpo")
"""Objectives that learn from preference pairs."""

IMPLICIT: tuple[Objective, ...] = ("implicit-ce", "implicit-dpo")
"""Objectives in which the logit is a language model's log-ratio to a reference, beta ln(p / p_ref), summed over tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the logits of a lesson are measured by."""

    objective: Objective = "logistic"
    """The loss; see `gradatim.train.losses`."""
    gamma: float = 2.0
    """Exponent of "focal"."""
    zeta: float = 4.0
    """Margin of "pqm"."""
    positive_weight: float = 1.0
    """What evidence for a step counts, beside 1 for evidence against it."""

    @property
    def logit_shift(self) -> float:
        """Added to every logit before the loss, and nowhere else: it takes the positive weight w out of the probabilities.

        The weighted loss of a prefix with success rate V is least where its logit is ln(w V / (1 - V)), whether it is
        logistic or squared: the odds come out w times too high. Shifted by ln w inside of the loss, the model's own logit
        ends at ln(V / (1 - V)) (the logit adjustment of Menon et al. 2021, arXiv 2007.07314). "focal" is no proper score,
        so that there is nothing to put right.
        """
        return 0.0 if self.objective == "focal" else math.log(self.positive_weight)


LOGISTIC = Goal()
"""Cross-entropy with the evidence as it is."""
