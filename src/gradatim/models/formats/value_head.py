"""Causal language models with TRL's value head: one linear layer, `v_head.summary`, on the last hidden states."""

from __future__ import annotations

from typing import Any

from gradatim.errors import CheckpointError
from gradatim.models.formats.contract import Asked, Facts
from gradatim.models.formats.headed import Headed, linear
from gradatim.models.formats.weights import UNUSED, check_present, load_body

WEIGHT, BIAS = "v_head.summary.weight", "v_head.summary.bias"


def load_valued(facts: Facts, asked: Asked, *, wrapper: str = "") -> Headed:
    """The body and its value head; the head's dropout acts in training only, the language model's head is not needed.

    `wrapper` is what may stand in front of the backbone's tensors.
    """
    check_present(facts, [WEIGHT, BIAS])
    body: Any = load_body(facts, asked, beside=(WEIGHT, BIAS, *UNUSED), wrapper=wrapper)
    found, expected = (facts.shapes[WEIGHT], facts.shapes[BIAS]), ((1, int(body.config.hidden_size)), (1,))
    if found != expected:
        raise CheckpointError(f"{facts.folder}: found a value head of shapes {found}, expected {expected}")
    return Headed(body, linear(facts.tensor(WEIGHT), facts.tensor(BIAS)))


def seen(facts: Facts) -> tuple[list[str], list[str]]:
    """What speaks for a value head and what against it, as in `Match`."""
    shapes = [facts.shapes.get(name) for name in (WEIGHT, BIAS)]
    if shapes[0] is not None and len(shapes[0]) == 2 and shapes[0][0] == 1 and shapes[1] == (1,):
        return [f"a value head, {WEIGHT} {shapes[0]}"], []
    return [], [f"found {WEIGHT} {shapes[0] or 'missing'}, {BIAS} {shapes[1] or 'missing'}; expected (1, hidden), (1,)"]
