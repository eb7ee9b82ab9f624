"""A scorer that is several: the solutions of a problem go to one worker together, for they share their beginning."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby

from gradatim.core import Prefix, Reduction, Score
from gradatim.errors import ConfigError, InputError
from gradatim.progress import Progress
from gradatim.scale.pool import Pool
from gradatim.scale.settings import WorkerSettings
from gradatim.score.opening import Opening, open_scorer
from gradatim.score.stage import CountingScorer, Stats

TOGETHER = 128
"""Prefixes that a worker gets at a time, or more where one problem has more."""


class ScorerCrew:
    """A `CountingScorer` over the workers of a pool, each of which holds the whole model.

    Scores are those of one process up to the rounding of other batches. `stats` adds up the workers' counts; its seconds
    are wall time.
    """

    def __init__(self, pool: Pool[CountingScorer]) -> None:
        self.pool, self.stats = pool, Stats()
        ((_, (self._name, self._checkpoint, self._threshold)),) = pool.each(_facts, [None])

    @property
    def name(self) -> str:
        """The model's own name."""
        return self._name

    @property
    def checkpoint(self) -> str:
        """The model's own."""
        return self._checkpoint

    @property
    def threshold(self) -> float:
        """The model's own threshold."""
        return self._threshold

    def refused(self, prefixes: Sequence[Prefix]) -> list[InputError | None]:
        """For each prefix why the model can't take it, or None."""
        parts = _parts(prefixes)
        found = dict(self.pool.each(_refused, parts))
        return [reason for place in range(len(parts)) for reason in found[place]]

    def score(self, prefixes: Sequence[Prefix], *, shown: Progress | None = None) -> list[Score]:
        """A score a prefix, in their order."""
        started, parts = time.perf_counter(), _parts(prefixes)
        found: dict[int, list[Score]] = {}
        for place, (scores, cost) in self.pool.each(_score, parts):
            found[place] = scores
            self.stats += cost
            if shown is not None:
                shown.advance(len(scores), tokens=cost.tokens_processed)
        self.stats += Stats(seconds=time.perf_counter() - started)
        return [score for place in range(len(parts)) for score in found[place]]


@contextmanager
def open_scorers(
    model: str,
    opening: Opening,
    workers: WorkerSettings,
    *,
    reduction: Reduction | None = None,
    device: str = "auto",
    dtype: str = "float32",
) -> Iterator[CountingScorer]:
    """The scorer of `open_scorer`: in this process without workers, otherwise a crew that ends with the context.

    ConfigError for a model on a server: it works on many requests at a time as it is.
    """
    opener = partial(open_scorer, model, opening, reduction=reduction, device=device, dtype=dtype)
    if not workers.workers:
        yield opener()
        return
    if opening.server is not None:
        raise ConfigError(f"workers={workers.workers} for a model on a server; leave one of the two out")
    with scorers(opener, workers) as crew:
        yield crew


@contextmanager
def scorers(opener: Callable[[], CountingScorer], settings: WorkerSettings) -> Iterator[ScorerCrew]:
    """A crew of scorers that `opener` makes, one in each worker; see `Pool` for what can go wrong."""
    with Pool(opener, settings) as pool:
        yield ScorerCrew(pool)


def _parts(prefixes: Sequence[Prefix]) -> list[list[Prefix]]:
    """The prefixes in their order, neighbours of one problem together."""
    parts: list[list[Prefix]] = []
    for _, group in groupby(prefixes, key=lambda prefix: (prefix.problem_id, prefix.prompt)):
        same = list(group)
        if parts and len(parts[-1]) + len(same) <= TOGETHER:
            parts[-1] += same
        else:
            parts.append(same)
    return parts


def _facts(scorer: CountingScorer, _: None) -> tuple[str, str, float]:
    return scorer.name, scorer.checkpoint, scorer.threshold


def _refused(scorer: CountingScorer, prefixes: list[Prefix]) -> list[InputError | None]:
    return scorer.refused(prefixes)


def _score(scorer: CountingScorer, prefixes: list[Prefix]) -> tuple[list[Score], Stats]:
    """The scores, and what these cost."""
    before = scorer.stats
    scores, after = scorer.score(prefixes), scorer.stats
    cost = Stats(
        tokens_processed=after.tokens_processed - before.tokens_processed,
        distinct_tokens=after.distinct_tokens - before.distinct_tokens,
        padding_tokens=after.padding_tokens - before.padding_tokens,
        notes=after.notes,
    )
    return scores, cost
