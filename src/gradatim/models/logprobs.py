"""Log-probabilities of tokens in trees, without a logit of every token being kept: the vocabulary comes in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gradatim.errors import CheckpointError
from gradatim.models.forward import hidden_at
from gradatim.trees import Block

CHUNK = 2**24
"""Logits that exist at once (64 MiB of float32)."""

_SCALES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier_scale", "lm_head_multiplier")
"""Configuration of language models whose logits are more than a matrix product."""


def check_plain_head(causal: Any, shown: str) -> None:
    """CheckpointError unless the model's logits are its head's matrix product and nothing more."""
    head = causal.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise CheckpointError(f"{shown}: found {type(causal).__name__}, expected a causal language model with a head")
    changed = [name for name in _SCALES if getattr(causal.config, name, None) not in (None, 1, 1.0)]
    if changed:
        raise CheckpointError(
            f"{shown}: found {', '.join(changed)} in its configuration, expected logits that are not scaled or capped"
        )


def log_probabilities(causal: Any, blocks: Sequence[Block], nodes: Sequence[Sequence[int]]) -> Tensor:
    """(sum of len(nodes),), float32: log p(token of the node | its ancestors), in the order asked for.

    A first token has no ancestors: asking for one is a ValueError.
    """
    before = [[block.parent[node] for node in wanted] for block, wanted in zip(blocks, nodes, strict=True)]
    if any(parent < 0 for parent in chain.from_iterable(before)):
        raise ValueError("a first token has no log-probability: nothing comes before it")
    hidden = hidden_at(causal, blocks, before)
    tokens = [block.ids[node] for block, wanted in zip(blocks, nodes, strict=True) for node in wanted]
    return _log_softmax_at(hidden, causal.get_output_embeddings(), torch.tensor(tokens, device=hidden.device))


def _log_softmax_at(hidden: Tensor, head: nn.Linear, tokens: Tensor) -> Tensor:
    """log softmax(head(hidden))[token] in each row, in float32: (rows, hidden), (rows,) -> (rows,).

    A backward pass computes each chunk's logits again: none are kept for it.
    """
    size = max(1, CHUNK // max(1, len(tokens)))
    weights = torch.split(head.weight, size)
    biases = [None] * len(weights) if head.bias is None else torch.split(head.bias, size)
    total = torch.full(tokens.shape, -torch.inf, device=hidden.device)
    chosen, first = torch.zeros_like(total), 0
    with torch.autocast(hidden.device.type, enabled=False):
        for weight, bias in zip(weights, biases, strict=True):
            inputs = hidden.float(), weight, bias, tokens - first
            if torch.is_grad_enabled():
                sums, found = checkpoint(_chunk, *inputs, use_reentrant=False)
            else:
                sums, found = _chunk(*inputs)
            total, chosen, first = torch.logaddexp(total, sums), chosen + found, first + len(weight)
    return chosen - total


def _chunk(hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithm of the sum of the exponentials of some logits, and the one of the token, 0 where it is not among them."""
    logits = hidden @ weight.float().T
    if bias is not None:
        logits = logits + bias.float()
    here = (tokens >= 0) & (tokens < len(weight))
    found = logits.gather(1, tokens.clamp(0, len(weight) - 1)[:, None])[:, 0]
    return logits.logsumexp(-1), torch.where(here, found, 0.0)
