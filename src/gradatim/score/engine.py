"""Prefixes -> scores with a reward model: each shared beginning is computed once, nothing is dropped.

Keys and values stay in memory from call to call: a prefix that was scored costs, one step longer, only that step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradatim import backbones, trees
from gradatim.core import Prefix, Reduction, Score
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.models.encoding import Encoding
from gradatim.models.forward import tree_depth
from gradatim.models.identity import identity
from gradatim.models.memory import OutOfMemory, batch_tokens_for, release
from gradatim.models.model import Readable, RewardModel
from gradatim.models.opening import folder_of, open_model
from gradatim.models.reading import Pass, SheetReader, read_blocks
from gradatim.models.sheets import takes_sheets
from gradatim.progress import Progress
from gradatim.score.assemble import assembled
from gradatim.score.stage import Stats


class ModelScorer:
    """A `Scorer` that runs a reward model; `stats` adds up what it cost.

    A PRM's step score is the activation (in our own models: the sigmoid) of the step's logit, its value their
    reduction. An ORM's value is the activation of its logit (for a Bradley-Terry model a ranking, no probability).
    Observations score NaN, and a solution without any step to score has the value NaN: choosers pass over it.
    """

    def __init__(
        self,
        model: Readable,
        *,
        checkpoint: str = "",
        block_tokens: int = 1000,
        batch_tokens: int | None = None,
        keep_mib: int = 1024,
        use_trees: bool = True,
    ) -> None:
        """`batch_tokens` bounds what runs at once (None: by the memory that is free), `keep_mib` the keys and values that
        stay in memory for later calls (least recently used first out), `block_tokens` a tree of a model that keeps none.
        `checkpoint` is the model's identity on disk, with which its scores are signed beside its name.

        Without `use_trees` every solution has its own row in a padded batch: the same scores, as a check.
        """
        if batch_tokens is None:
            batch_tokens = batch_tokens_for(model.module)
        if block_tokens < 1 or batch_tokens < 1:
            raise ConfigError(f"block_tokens={block_tokens} and batch_tokens={batch_tokens} must be at least 1")
        if keep_mib < 0:
            raise ConfigError(f"keep_mib={keep_mib} must not be negative")
        self.model, self.checkpoint = model, checkpoint
        self.block_tokens, self.batch_tokens = block_tokens, batch_tokens
        self.stats = Stats()
        self._use_trees, self._depth = use_trees, tree_depth(model.module)
        # Other models than ours may read a token by more than its last hidden state, and need the whole path.
        self._keeps = isinstance(model, RewardModel) and takes_sheets(model.module)
        self._sheets = SheetReader(model.module, keep_mib * 2**20)

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

    def distinct_tokens(self, prefixes: Sequence[Prefix]) -> int:
        """Tokens of the one tree of all these prefixes: what scoring them, in however many calls, must process at least."""
        encodings = self.model.encoder.encode_many(prefixes)
        return trees.distinct_tokens([_sequence(encoding, self.model.reads(encoding)) for encoding in encodings])

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

    def forget(self) -> None:
        """Keep no keys and values. Needed only where weights are changed behind PyTorch's back (by way of `.data`)."""
        self._sheets.forget()

    def _logits(
        self, encodings: Sequence[Encoding], reads: Sequence[tuple[int, ...]], shown: Progress | None
    ) -> list[tuple[float, ...]]:
        """For each encoding the values at its reads. Where memory runs out, the rest is done in smaller batches."""
        logits: dict[int, tuple[float, ...]] = {index: () for index, places in enumerate(reads) if not places}
        sequences = [_sequence(*pair) for pair in zip(encodings, reads, strict=True)]
        distinct = trees.distinct_tokens([ids for ids in sequences if ids])
        self.stats += Stats(distinct_tokens=distinct)
        while left := [index for index in range(len(reads)) if index not in logits]:
            try:
                for done in self._passes([sequences[index] for index in left], [reads[index] for index in left]):
                    logits |= {left[place]: values for place, values in done.values.items()}
                    self.stats += Stats(tokens_processed=done.tokens, padding_tokens=done.padding)
                    if shown is not None:
                        shown.advance(len(done.values), tokens=done.tokens)
            except OutOfMemory:
                short = True
            else:
                short = False
            if short:
                self._shrink()
        return [logits[index] for index in range(len(reads))]

    def _passes(self, sequences: Sequence[tuple[int, ...]], reads: Sequence[tuple[int, ...]]) -> Iterator[Pass]:
        longest = max(map(len, sequences))
        fits = longest <= self._depth
        if self._use_trees and not fits:
            note = f"no trees: the attention of this model takes trees up to {self._depth} deep, not {longest}"
            self.stats += Stats(notes=(note,))
        if self._use_trees and fits and self._keeps:
            return self._sheets.read(sequences, reads, self.batch_tokens)
        block_tokens = self.block_tokens if self._use_trees and fits else None
        return read_blocks(self.model, sequences, reads, block_tokens=block_tokens, batch_tokens=self.batch_tokens)

    def _shrink(self) -> None:
        """Halve what is computed at once and what is kept; BackendError if there is nothing left to halve."""
        if self.batch_tokens == 1:
            raise BackendError(
                f"{self.name}: out of memory even in the smallest batches; use a smaller model, a number format of half "
                "the size, or a device with more memory"
            )
        self.batch_tokens //= 2
        self.block_tokens = min(self.block_tokens, self.batch_tokens)
        self._sheets.forget()
        self._sheets.keep_bytes //= 2
        release()
        self.stats += Stats(notes=(f"out of memory: went on with batches of {self.batch_tokens} tokens",))

    def _score(self, prefix: Prefix, encoding: Encoding, values: tuple[float, ...]) -> Score:
        logits = self.model.step_logits(encoding, values) if values else ()
        return assembled(self.model, self.checkpoint, prefix, encoding, logits)


def _sequence(encoding: Encoding, reads: tuple[int, ...]) -> tuple[int, ...]:
    """The tokens up to the last read: what comes after it (an observation at the end) can't change any score."""
    return encoding.ids[: reads[-1] + 1] if reads else ()


def load(
    source: str | Path,
    *,
    format: str | None = None,
    reduction: Reduction | None = None,
    device: str = "auto",
    dtype: str = "float32",
    **options: Any,
) -> ModelScorer:
    """A scorer from any reward model: our own, or a public one that is read as its authors do.

    `source` is a folder, a run's folder, "lab" (the small PRM that ships with the package), or a name on the hub. A
    public format is recognised by what is in the checkpoint; CheckpointError, with what was found and expected, if none
    fits or several do. `format` names one (see `gradatim.models.formats`), `options` are the format's own. `reduction`
    replaces the one that the model comes with. `dtype` "auto" is bfloat16 where the hardware has it.
    """
    number, folder = backbones.number_format(dtype, device), folder_of(source, format=format)
    model: Any = open_model(folder, format=format, device=device, dtype=number, options=options)
    checkpoint = identity(folder, model, options)
    return ModelScorer(model if reduction is None else replace(model, reduction=reduction), checkpoint=checkpoint)
