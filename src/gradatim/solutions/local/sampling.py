"""Tokens from logits by inverse distribution function, with numbers that belong to (seed, prefix, draw) alone."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import torch

from gradatim.core import Prefix
from gradatim.errors import CheckpointError

BLOCK = 64
"""Tokens a row for which uniform numbers are drawn at a time."""


def key_of(prefix: Prefix) -> bytes:
    """16 bytes that name a prefix: its problem, its prompt and the text and kind of each step."""
    state = blake2b(digest_size=16)
    for part in (prefix.problem_id, prefix.prompt, *(part for step in prefix.steps for part in (step.text, step.kind))):
        data = part.encode("utf-8", "surrogatepass")
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.digest()


def generator(seed: int, key: bytes, draw: int) -> np.random.Generator:
    """The counter-based generator of one row (Philox): no other row's numbers, in whatever batch, have any part in
    it."""
    text = b"%d/%d/" % (seed, draw)
    state = blake2b(text + key, digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(state, "little")))


class Uniforms:
    """One uniform number in [0, 1) a row and token, drawn in blocks; row r's stream is `generators[r]`."""

    def __init__(self, generators: Sequence[np.random.Generator]) -> None:
        self.generators = list(generators)
        self.block = np.empty((len(self.generators), 0))

    def at(self, token: int, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> torch.Tensor:
        """The numbers of these rows for the token with this index; indices must come in order 0, 1, 2, ..."""
        column = token % BLOCK
        if column == 0:
            self.block = np.empty((len(self.generators), BLOCK))
            for row in rows:  # finished rows need no more numbers
                self.block[row] = self.generators[row].random(BLOCK)
        return torch.from_numpy(self.block[rows, column])


def choose(logits: torch.Tensor, uniforms: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """One token a row: the first whose cumulative probability exceeds the row's uniform number.

    `logits` (rows, vocabulary), `uniforms` (rows,) in [0, 1). Temperature 0 takes the largest logit. With `top_p`
    below 1 the smallest set of likeliest tokens that holds at least that probability is kept (nucleus sampling, arXiv
    1904.09751). CheckpointError for logits with NaN among them.
    """
    largest = logits.amax(dim=-1, keepdim=True)
    if not bool(torch.isfinite(largest).all()):
        raise CheckpointError("the policy's logits are not numbers; load it with dtype=float32, or check its weights")
    if temperature == 0:
        return logits.argmax(dim=-1)
    # The largest becomes 0 first: a tiny temperature must not make it infinite.
    probabilities = torch.softmax((logits.double() - largest.double()) / temperature, dim=-1)
    if top_p == 1:
        return _inverse(probabilities, uniforms)
    ordered, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    place = _inverse(ordered.masked_fill(before >= top_p, 0.0), uniforms)
    return tokens.gather(-1, place[:, None])[:, 0]


def _inverse(weights: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    cumulative = weights.cumsum(dim=-1)
    target = uniforms.to(cumulative.device)[:, None] * cumulative[:, -1:]
    found = torch.searchsorted(cumulative, target, right=True)[:, 0]
    return found.clamp(max=weights.shape[-1] - 1)
