"""What a token costs a reward model: the parameters that it is multiplied with."""

from __future__ import annotations

from torch import nn

from gradatim.backbones import multiplied
from gradatim.models.forward import body_of, head_of
from gradatim.models.implicit import ImplicitModel
from gradatim.models.model import Readable


def read_by(model: Readable) -> int:
    """Parameters that a token is multiplied with where a reward model reads it: in its layers and its head.

    An implicit model has a language model's head, and its reference (which is loaded for this) another with its layers.
    """
    if isinstance(model, ImplicitModel):
        return sum(multiplied(model.module)) + sum(multiplied(model.reference.model))
    return multiplied(body_of(model.module))[0] + _matrices(head_of(model.module))


def _matrices(head: nn.Module) -> int:
    return sum(weight.numel() for weight in head.parameters() if weight.ndim > 1)
