"""Score with a reward model that a vLLM server runs: our own tokens and read positions, its forward passes.

Texts never reach the server: it is sent token ids, so that its tokenizer, chat template and truncation have no say.
Scores equal those of `gradatim.score.engine` to within the server's number format.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from gradatim import trees
from gradatim.core import Prefix, Reduction, Score
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.models import served as cards
from gradatim.models.encoding import Encoding
from gradatim.models.served import Served
from gradatim.progress import Progress
from gradatim.score.assemble import assembled
from gradatim.score.stage import Stats
from gradatim.score.vllm_api import UNCACHED, Dialect, Server, negotiate

Ids = tuple[int, ...]


def connect(
    url: str,
    folder: str | Path,
    *,
    model: str | None = None,
    api_key: str | None = None,
    reduction: Reduction | None = None,
) -> VllmScorer:
    """A scorer for a server that runs a folder which `gradatim convert --to vllm` wrote.

    The folder is read for its card and tokenizer only. `model` names one of several models that the server has,
    `reduction` replaces the card's.
    """
    served = cards.read(folder)
    served = served if reduction is None else replace(served, reduction=reduction)
    return VllmScorer(Server(url, model=model, api_key=api_key), served)


class VllmScorer:
    """A `Scorer` over vLLM's `/pooling` or `/classify`; `stats` adds up what was sent.

    The way of asking is found out with the first solution and kept: `dialect` says what it is. Don't start the server
    with `returned_token_ids`: it picks numbers of the hidden state, and nothing in the answer shows it.
    """

    def __init__(
        self,
        server: Server,
        served: Served,
        *,
        activated: bool | None = None,
        batch_inputs: int = 32,
        batch_tokens: int = 32_768,
        at_once: int = 4,
    ) -> None:
        """`batch_inputs` and `batch_tokens` bound a request (one longer input goes alone); `at_once` requests are
        under way. `activated`: whether single numbers are probabilities, for servers that do not let it be found out.
        """
        if min(batch_inputs, batch_tokens, at_once) < 1:
            raise ConfigError(
                f"batch_inputs={batch_inputs}, batch_tokens={batch_tokens}, at_once={at_once}: at least 1"
            )
        self.server, self.served = server, served
        self.dialect: Dialect | None = None
        self.stats = Stats()
        self._activated = activated
        self._inputs, self._tokens, self._at_once = batch_inputs, batch_tokens, at_once

    @property
    def name(self) -> str:
        return self.served.name

    @property
    def checkpoint(self) -> str:
        """Of the model that was converted."""
        return self.served.checkpoint

    @property
    def threshold(self) -> float:
        """Below it a step is called wrong."""
        return self.served.threshold

    def refused(self, prefixes: Sequence[Prefix]) -> list[InputError | None]:
        """For each prefix why it can't be scored (too long for the model or the server, not Unicode), or None."""
        results = (self._fitting(result) for result in self.served.encoder.try_encode(prefixes))
        return [result if isinstance(result, InputError) else None for result in results]

    def score(self, prefixes: Sequence[Prefix], *, shown: Progress | None = None) -> list[Score]:
        """A score a prefix, in their order; InputError for the first prefix that is refused, BackendError if the server
        fails or answers what no reward model answers."""
        started = time.perf_counter()
        encodings = []
        for result in map(self._fitting, self.served.encoder.try_encode(prefixes)):
            if isinstance(result, InputError):
                raise result
            encodings.append(result)
        logits = self._logits(encodings, shown)
        self.stats += Stats(seconds=time.perf_counter() - started)
        return [
            assembled(self.served, self.checkpoint, *parts) for parts in zip(prefixes, encodings, logits, strict=True)
        ]

    def _fitting(self, result: Encoding | InputError) -> Encoding | InputError:
        longest = self.server.max_length
        if isinstance(result, InputError) or longest is None or len(result.ids) <= longest:
            return result
        return InputError(
            f"a solution is {len(result.ids)} tokens long",
            expected=f"at most {longest}, which is what {self.server.url} takes",
            fix="drop it, or start the server with a larger --max-model-len",
        )

    def _reads(self, encoding: Encoding) -> tuple[int, ...]:
        if self.served.kind == "orm":
            return (encoding.last,) if encoding.reads else ()
        return tuple(read for read in encoding.reads if read is not None)

    def _logits(self, encodings: Sequence[Encoding], shown: Progress | None) -> list[tuple[float, ...]]:
        reads = [self._reads(encoding) for encoding in encodings]
        first = next((index for index, places in enumerate(reads) if places), None)
        if first is None:
            return [()] * len(encodings)
        if self.dialect is None:
            ids = encodings[first].ids[: reads[first][-1] + 1]
            self.dialect = negotiate(self.server, self.served.kind, ids, reads[first], activated=self._activated)
            self.stats += Stats(notes=(f"vLLM {self.dialect}",))
        # What comes after the last read can't change any score; a read at the last token only needs its own input.
        sent = {
            encoding.ids[: end + 1]: None
            for encoding, places in zip(encodings, reads, strict=True)
            for end in (places if self.dialect.rows == "last" else places[-1:])
        }
        found = self._send(list(sent), self.dialect, shown, len(encodings))
        return [self._pick(encoding.ids, places, found) for encoding, places in zip(encodings, reads, strict=True)]

    def _pick(self, ids: Ids, reads: tuple[int, ...], found: dict[Ids, list[float]]) -> tuple[float, ...]:
        assert self.dialect is not None
        if not reads:
            return ()
        if self.dialect.rows == "last":
            return tuple(found[ids[: read + 1]][0] for read in reads)
        values = found[ids[: reads[-1] + 1]]
        if self.dialect.rows == "tokens":
            return tuple(values[read] for read in reads)
        tags = [place for place, token in enumerate(ids[: reads[-1] + 1]) if token == ids[reads[0]]]
        return tuple(values[tags.index(read)] for read in reads)

    def _send(
        self, inputs: Sequence[Ids], dialect: Dialect, shown: Progress | None, solutions: int
    ) -> dict[Ids, list[float]]:
        """Each distinct input -> the logits of its rows."""
        batches, found, done = list(self._batches(inputs)), dict[Ids, list[float]](), 0
        with ThreadPoolExecutor(self._at_once) as pool:
            waiting = [pool.submit(self.server.ask, dialect.path, batch, **dialect.parameters()) for batch in batches]
            try:
                for batch, answer in zip(batches, waiting, strict=True):
                    for ids, item in zip(batch, answer.result(), strict=True):
                        found[ids] = self._values(dialect, ids, item)
                    if shown is not None:
                        now = solutions * len(found) // len(inputs)
                        shown.advance(now - done, tokens=sum(map(len, batch)))
                        done = now
            finally:
                for answer in waiting:
                    answer.cancel()
        self.stats += Stats(
            tokens_processed=sum(map(len, inputs)), distinct_tokens=trees.distinct_tokens(inputs) if inputs else 0
        )
        return found

    def _values(self, dialect: Dialect, ids: Ids, item: object) -> list[float]:
        """The logits of one answer, which must have as many rows as the negotiated one had; no NaN."""
        wanted = {"tokens": len(ids), "tags": None, "last": 1}[dialect.rows]
        try:
            table = dialect.table(item)
            values = [dialect.logit([float(value) for value in row]) for row in table]
        except (TypeError, ValueError, IndexError):
            raise BackendError(f"{self.server.url}{dialect.path}: answered {str(item)[:200]}") from None
        if dialect.rows == "tags":
            # Every input ends at a read, so its last token is a tag.
            wanted = ids.count(ids[-1])
        if len(values) != wanted:
            raise BackendError(
                f"{self.server.url}{dialect.path}: {len(values)} rows for {len(ids)} tokens, expected {wanted}; "
                f"{UNCACHED}"
            )
        if any(map(math.isnan, values)):
            raise BackendError(f"{self.server.url}{dialect.path}: answered NaN; start the server with --dtype float32")
        return [value + self.served.offset for value in values]

    def _batches(self, inputs: Sequence[Ids]) -> Iterator[list[Ids]]:
        batch: list[Ids] = []
        tokens = 0
        for ids in inputs:
            if batch and (len(batch) >= self._inputs or tokens + len(ids) > self._tokens):
                yield batch
                batch, tokens = [], 0
            batch.append(ids)
            tokens += len(ids)
        if batch:
            yield batch
