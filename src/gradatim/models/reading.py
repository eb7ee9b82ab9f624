"""Sequences of tokens -> the values at some of their tokens: on sheets, with every token computed once, or in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import nn

from gradatim import trees
from gradatim.models.attention import tree_attention
from gradatim.models.forward import logits_at
from gradatim.models.kept import Kept
from gradatim.models.memory import memory_errors
from gradatim.models.model import Readable
from gradatim.models.sheets import Pool, Sheet, hidden_on


@dataclass(frozen=True, slots=True)
class Pass:
    """What one forward pass found out, and what it cost."""

    values: Mapping[int, tuple[float, ...]]
    """For each sequence (its index) that is done now, the values at all its reads."""
    tokens: int
    """Tokens that went through the model."""
    padding: int = 0
    """Padding beside them."""


class SheetReader:
    """Reads on sheets, and keeps keys, values and what was read for sequences that begin alike, in later calls too.

    Every value is the head's on its token's last hidden state, as in `gradatim.models.forward.forward_blocks`.
    """

    def __init__(self, module: nn.Module, keep_bytes: int) -> None:
        """`keep_bytes` bounds what stays in memory between calls; in a call there is room for one pass at least."""
        self._module, self.keep_bytes = module, keep_bytes
        self._weights: list[tuple[int, int]] = []
        self.forget()

    def forget(self) -> None:
        """Keep nothing of what was computed so far."""
        self._kept, self._pool = Kept(), Pool()

    def read(
        self, sequences: Sequence[tuple[int, ...]], reads: Sequence[tuple[int, ...]], batch_tokens: int
    ) -> Iterator[Pass]:
        """Passes of at most `batch_tokens` tokens that together read every sequence at its `reads` (indices into it)."""
        self._check_weights()
        left = sorted(range(len(sequences)), key=lambda index: sequences[index], reverse=True)
        needed = max(map(len, sequences)) + min(batch_tokens, sum(map(len, sequences)))
        while left:
            self._kept.capacity = max(self._bound, needed)
            sheet, slots = Sheet(self._kept, batch_tokens), dict[int, list[int]]()
            try:
                while left and (found := sheet.add(sequences[left[-1]], reads[left[-1]])) is not None:
                    slots[left.pop()] = found
                self._run(sheet)
            except BaseException:
                # Whatever it was: tokens that were not computed must not be taken for kept ones.
                sheet.undo()
                raise
            values = self._kept.values
            yield Pass({index: tuple(values[slot] for slot in found) for index, found in slots.items()}, len(sheet))
        if self._pool.bytes > self.keep_bytes:
            self.forget()

    @property
    def _bound(self) -> int:
        """Tokens that `keep_bytes` has room for; 0 before the first pass, when the size of one is not known."""
        size = self._pool.token_bytes
        return self.keep_bytes // size if size else 0

    def _run(self, sheet: Sheet) -> None:
        """Compute a sheet and note its values."""
        if len(sheet):
            with memory_errors(), torch.inference_mode():
                hidden = hidden_on(self._module, sheet, self._pool, self._kept.capacity)
                sheet.finish(logits_at(self._module, hidden).tolist())

    def _check_weights(self) -> None:
        """Forget what was computed with other weights: a training between two calls, say."""
        weights = [
            (weight.data_ptr(), -1 if weight.is_inference() else weight._version)
            for weight in chain(self._module.parameters(), self._module.buffers())
        ]
        if weights != self._weights:
            self.forget()
            self._weights = weights


def read_blocks(
    model: Readable,
    sequences: Sequence[tuple[int, ...]],
    reads: Sequence[tuple[int, ...]],
    *,
    block_tokens: int | None,
    batch_tokens: int,
) -> Iterator[Pass]:
    """Passes over whole paths: trees of at most `block_tokens`, or (None) padded rows with a sequence each."""
    blocks = trees.chains(sequences) if block_tokens is None else trees.build(sequences, block_tokens)
    for group in trees.batches(blocks, batch_tokens):
        batch = [blocks[index] for index in group]
        places = [{member: block.nodes(member, reads[member]) for member in block.members} for block in batch]
        wanted = [sorted(set().union(*nodes.values())) for nodes in places]
        with memory_errors(), tree_attention(model.module, batch), torch.inference_mode():
            found = iter(model.logits(batch, wanted).tolist())
        values = {}
        for nodes, block_nodes in zip(places, wanted, strict=True):
            known = {node: next(found) for node in block_nodes}
            values.update({member: tuple(known[node] for node in path) for member, path in nodes.items()})
        tokens = sum(map(len, batch))
        yield Pass(values, tokens, max(map(len, batch)) * len(batch) - tokens)
