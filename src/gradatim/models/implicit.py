"""Implicit PRMs: a language model beside the one that it was trained from (Yuan et al. 2024, arXiv 2412.01981).

With r = log p(token) - log p_ref(token), the logit of a step is q = beta * (the sum of r over the solution's tokens up to the
step's end). Which tokens those are is the encoder's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import nn

from gradatim.core import Prefix, Reduction
from gradatim.errors import ConfigError, InputError
from gradatim.models.activation import Activation
from gradatim.models.encoding import Encoder, Encoding, StepEncoder
from gradatim.models.logprobs import log_probabilities
from gradatim.models.model import Kind, Recipe
from gradatim.models.reference import Reference
from gradatim.models.step_spans import step_spans
from gradatim.trees import Block


@dataclass(frozen=True, slots=True)
class Response(Encoding):
    """An encoding that also says which tokens count."""

    counted: tuple[int, ...] = ()
    """The tokens (indices into `ids`) whose log-ratios are summed; a step's sum takes those up to its read."""


@dataclass(frozen=True, kw_only=True)
class ImplicitModel:
    """A policy beside its reference, read token by token; `gradatim.models.model.Readable` says what each field is."""

    module: nn.Module
    """The policy: a causal language model."""
    reference: Reference
    """What the policy is compared with."""
    encoder: Encoder
    """Writes prefixes as `Response`."""
    name: str
    """Says the reading, beta and the reference, too."""
    beta: float
    """Factor of the sums."""
    reduction: Reduction = "last"
    """The last q is what the model was trained to tell of a whole solution."""
    threshold: float = 0.5
    """A step that scores below, one with a negative q, is called wrong."""
    kind: Kind = "prm"
    """Always "prm"."""
    activation: Activation = "sigmoid"
    """Of q, as in the published evaluation."""
    recipe: Recipe = field(default_factory=Recipe)
    """How it was made, where that is known."""
    fingerprint: str = ""
    """Of the reference's weights (`gradatim.backbones.fingerprint`), where it was trained here."""

    @property
    def own_encoder(self) -> StepEncoder:
        """Our own encoder, for what trains or saves; ConfigError for a model that reads tokens in a foreign way."""
        if not isinstance(self.encoder, StepResponses):
            raise ConfigError(
                f"{self.name} is written in a foreign format: it can be scored with, not trained or saved"
            )
        return self.encoder.steps

    @property
    def device(self) -> torch.device:
        """Where the policy's weights are."""
        return next(self.module.parameters()).device

    def reads(self, encoding: Encoding) -> tuple[int, ...]:
        """All tokens that count in any sum; none where no step is scored."""
        return encoding.counted if isinstance(encoding, Response) else ()

    def logits(self, blocks: Sequence[Block], nodes: Sequence[Sequence[int]]) -> torch.Tensor:
        """log p - log p_ref of each node's own token, given its ancestors."""
        ours = log_probabilities(self.module, blocks, nodes)
        return ours - self.reference.log_probabilities(blocks, nodes).to(ours.device)

    def step_logits(self, encoding: Encoding, values: Sequence[float]) -> tuple[float, ...]:
        """q of each scored step: beta times the sum of the log-ratios of the counted tokens up to its read."""
        sums = [0.0, *accumulate(values)]
        places = self.reads(encoding)
        ends = [sum(place <= read for place in places) for read in encoding.reads if read is not None]
        return tuple(self.beta * sums[end] for end in ends)


class StepResponses(Encoder):
    """Our own way: what `StepEncoder` writes, in which every token of the author's own steps counts, separators too."""

    def __init__(self, steps: StepEncoder) -> None:
        """`steps` writes the tokens."""
        self.steps = steps
        self.tokenizer, self.max_length, self.digest = steps.tokenizer, steps.max_length, steps.digest

    def try_encode(self, prefixes: Sequence[Prefix]) -> list[Encoding | InputError]:
        found = self.steps.try_encode(prefixes)
        written = [(prefix, one) for prefix, one in zip(prefixes, found, strict=True) if isinstance(one, Encoding)]
        spans = step_spans(self.steps, [prefix for prefix, _ in written], [encoding for _, encoding in written])
        responses = iter(
            Response(encoding.ids, encoding.reads, tuple(_own_tokens(encoding, steps)))
            for (_, encoding), steps in zip(written, spans, strict=True)
        )
        return [next(responses) if isinstance(one, Encoding) else one for one in found]


def _own_tokens(encoding: Encoding, steps: Sequence[tuple[int, int]]) -> Iterator[int]:
    """The tokens of the steps that are read. (A first token has no log-probability.)"""
    for read, (first, after) in zip(encoding.reads, steps, strict=True):
        if read is not None:
            yield from range(max(first, 1), after)
