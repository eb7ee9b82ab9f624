"""What a forward pass owes: from the logits of some lessons to one number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradatim.train.lessons import Lesson
from gradatim.train.losses import bradley_terry, logistic


def loss_of(z: Tensor, lessons: Sequence[Lesson]) -> Tensor:
    """The sum (not the mean) of the losses at the logits (reads,) of some lessons, all of one kind."""
    if not lessons[0].matches:
        owed = [evidence for lesson in lessons for evidence in lesson.evidence]
        good, bad = torch.tensor(owed, dtype=z.dtype, device=z.device).unbind(1)
        return logistic(z, good, bad).sum()
    rows, first = [], 0
    for lesson in lessons:
        rows += [(first + chosen, first + rejected, margin, w) for chosen, rejected, margin, w in lesson.matches]
        first += lesson.reads
    chosen, rejected = torch.tensor([row[:2] for row in rows], device=z.device).unbind(1)
    margin, weight = torch.tensor([row[2:] for row in rows], dtype=z.dtype, device=z.device).unbind(1)
    return (weight * bradley_terry(z[chosen], z[rejected], margin)).sum()
