"""Prefixes -> scores with a reward model: each shared beginning is computed once, nothing is dropped."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from gradatim import trees
from gradatim.core import Prefix, Reduction, Score
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.models import checkpoint
from gradatim.models.activation import activate
from gradatim.models.attention import in_pieces
from gradatim.models.encoding import Encoding
from gradatim.models.forward import tree_depth
from gradatim.models.model import Readable
from gradatim.progress import Progress
from gradatim.score.reduce import reduce
from gradatim.score.stage import Stats


class ModelScorer:
    """A `Scorer` that runs a reward model; `stats` adds up what it cost.

    A PRM's step score is the activation (in our own models: the sigmoid) of the step's logit, its value their
    reduction. An ORM's value is the activation of its logit (for a Bradley-Terry model a ranking, no probability). Observations score NaN, and a solution without any
    step to score has the value NaN: choosers pass over it.
    """

    def __init__(
        self, model: Readable, *, block_tokens: int = 1000, batch_tokens: int | None = None, use_trees: bool = True
    ) -> None:
        """`block_tokens` bounds a tree; `batch_tokens` what runs at once (None: 2,048 on a CPU, 32,768 elsewhere).

        Without `use_trees` every solution has its own row in a padded batch: the same scores, as a check.
        """
        if batch_tokens is None:
            batch_tokens = 2_048 if model.device.type == "cpu" else 32_768
        if block_tokens < 1 or batch_tokens < 1:
            raise ConfigError(f"block_tokens={block_tokens} and batch_tokens={batch_tokens} must be at least 1")
        self.model = model
        self.block_tokens, self.batch_tokens = block_tokens, batch_tokens
        self.stats = Stats()
        self._use_trees, self._depth = use_trees, tree_depth(model.module)

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def threshold(self) -> float:
        """Below it a step is called wrong."""
        return self.model.threshold

    def refused(self, prefixes: Sequence[Prefix]) -> list[InputError | None]:
        """For each prefix why it can't be scored (too long, not Unicode), or None if it can."""
        results = self.model.encoder.try_encode(prefixes)
        return [result if isinstance(result, InputError) else None for result in results]

    def score(self, prefixes: Sequence[Prefix], *, shown: Progress | None = None) -> list[Score]:
        """A score a prefix, in their order; InputError for the first prefix that is refused."""
        started = time.perf_counter()
        encodings = self.model.encoder.encode_many(prefixes)
        reads = [self.model.reads(encoding) for encoding in encodings]
        values = self._logits(encodings, reads, shown)
        for prefix, found in zip(prefixes, values, strict=True):
            if any(map(math.isnan, found)):
                raise BackendError(
                    f"{self.name} answers NaN for a solution of problem {prefix.problem_id!r}; load float32"
                )
        scores = [self._score(*parts) for parts in zip(prefixes, encodings, values, strict=True)]
        self.stats += Stats(seconds=time.perf_counter() - started)
        return scores

    def _logits(
        self, encodings: Sequence[Encoding], reads: Sequence[tuple[int, ...]], shown: Progress | None
    ) -> list[tuple[float, ...]]:
        """For each encoding the logits at its reads."""
        logits: list[tuple[float, ...]] = [()] * len(encodings)
        members = [index for index, places in enumerate(reads) if places]
        # What comes after the last read (an observation at the end) can't change any score.
        sequences = [encodings[index].ids[: reads[index][-1] + 1] for index in members]
        blocks = self._blocks(sequences)
        for group in trees.batches(blocks, self.batch_tokens):
            batch = [blocks[index] for index in group]
            places = [
                {member: block.nodes(member, reads[members[member]]) for member in block.members} for block in batch
            ]
            found = self._run(batch, [sorted(set().union(*nodes.values())) for nodes in places])
            for nodes, values in zip(places, found, strict=True):
                for member, path in nodes.items():
                    logits[members[member]] = tuple(values[node] for node in path)
            if shown is not None:
                shown.advance(sum(len(block.members) for block in batch), tokens=sum(map(len, batch)))
        return logits

    def _blocks(self, sequences: Sequence[tuple[int, ...]]) -> list[trees.Block]:
        longest = max(map(len, sequences), default=0)
        fits = longest <= self._depth
        note = f"no trees: the attention of this model takes trees up to {self._depth} deep, not {longest}"
        grown = fits and self._use_trees
        blocks = trees.build(sequences, self.block_tokens) if grown else trees.chains(sequences)
        self.stats += Stats(
            tokens_processed=sum(map(len, blocks)),
            distinct_tokens=trees.distinct_tokens(sequences),
            notes=() if fits or not self._use_trees else (note,),
        )
        return blocks

    def _run(self, batch: Sequence[trees.Block], nodes: Sequence[Sequence[int]]) -> list[dict[int, float]]:
        """For each block its logits by node."""
        with in_pieces(self.model.module, batch), torch.inference_mode():
            found = iter(self.model.logits(batch, nodes).tolist())
        padded = max(map(len, batch)) * len(batch)
        self.stats += Stats(padding_tokens=padded - sum(map(len, batch)))
        return [{node: next(found) for node in wanted} for wanted in nodes]

    def _score(self, prefix: Prefix, encoding: Encoding, values: tuple[float, ...]) -> Score:
        reduction, by, activation = self.model.reduction, self.name, self.model.activation
        if not values:
            steps = (math.nan,) * len(encoding.reads)
            return Score(value=math.nan, steps=steps, reduction=reduction, by=by, prefix=prefix)
        logits = self.model.step_logits(encoding, values)
        if self.model.kind == "orm":
            return Score(
                value=activate(activation, logits[0]), logits=logits, reduction=reduction, by=by, prefix=prefix
            )
        found = iter(logits)
        aligned = tuple(math.nan if read is None else next(found) for read in encoding.reads)
        steps = tuple(activate(activation, logit) for logit in aligned)
        return Score(
            value=reduce(steps, reduction), steps=steps, logits=aligned, reduction=reduction, by=by, prefix=prefix
        )


def load(
    source: str | Path, *, reduction: Reduction | None = None, device: str = "auto", dtype: str = "float32"
) -> ModelScorer:
    """A scorer from a saved reward model's folder, a run's folder, or "lab", the small PRM that ships with the package.

    `reduction` replaces the one that was saved with the model.
    """
    model = checkpoint.load(source, device=device, dtype=dtype)
    return ModelScorer(model if reduction is None else replace(model, reduction=reduction))
