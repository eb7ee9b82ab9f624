"""How many tokens a model can take so that a token's value depends on what stands before it and on nothing else."""

from __future__ import annotations

from typing import Any


def context_of(config: Any) -> int | None:
    """The most tokens of a sequence for a transformers configuration; None if it does not say.

    With "longrope" (Phi-3 and Phi-4-mini with 128k) it is the original length. Above that transformers turns all positions
    of a pass by other factors, those of short neighbours and of early steps too: scores would depend on their company.
    """
    length = getattr(config, "max_position_embeddings", None)
    ropes = getattr(config, "rope_parameters", None) or {}
    each = [one for one in (ropes, *ropes.values()) if isinstance(one, dict) and one.get("rope_type") == "longrope"]
    lengths = [length, *(one.get("original_max_position_embeddings") for one in each)]
    return min((int(one) for one in lengths if one), default=None)
