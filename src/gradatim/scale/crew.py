"""A policy that is several: the same stages write on several workers, and end with the same files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from gradatim.core import Continuation, Policy, Prefix, Splitter
from gradatim.errors import BackendError, ConfigError
from gradatim.scale.pool import Pool
from gradatim.scale.settings import WorkerSettings
from gradatim.solutions.opening import open_policy, served
from gradatim.solutions.settings import EndpointSettings, PolicySettings
from gradatim.solutions.spans import Span, Written, write_spans
from gradatim.steps import by_line


class Crew:
    """A Policy whose batches go to the workers of a pool, each of which holds the whole policy.

    A batch is written by one worker in one call, as this process would write it: with the same number of threads the
    texts are the same to the last bit. Nothing but prefixes and texts travels; answers, verdicts and files stay here.
    """

    def __init__(self, pool: Pool[Policy]) -> None:
        self.pool = pool
        ((_, self._name),) = pool.each(_name, [None])

    @property
    def name(self) -> str:
        """The policy's own name: how many write changes no text."""
        return self._name

    def write(
        self, prefixes: Sequence[Prefix], *, draws: range, one_step: bool = False, seed: int = 0
    ) -> list[list[Continuation]]:
        """See `Policy`; one worker writes all of it."""
        ((_, rows),) = self.pool.each(partial(_write, draws=draws, one_step=one_step, seed=seed), [list(prefixes)])
        return rows

    def write_batches(self, batches: Sequence[Sequence[Span]], *, seed: int = 0) -> Iterator[tuple[int, list[Written]]]:
        """See `SeveralPolicy`."""
        return self.pool.each(partial(_write_spans, seed=seed), batches)

    def report(self) -> dict[str, Any]:
        """How many workers are up, and how many died."""
        return {"workers": self.pool.ready, "workers_lost": self.pool.lost}


def open_crew(
    name: str,
    settings: PolicySettings,
    endpoint: EndpointSettings,
    workers: WorkerSettings,
    *,
    splitter: Splitter = by_line,
) -> AbstractContextManager[Policy]:
    """The policy of `open_policy`: in this process without workers, otherwise a crew that ends with the context.

    ConfigError for a policy behind a server: requests are under way side by side as it is (`concurrency`).
    """
    opener = partial(open_policy, name, settings, endpoint, splitter=splitter)
    if not workers.workers:
        return nullcontext(opener())
    if name.startswith(("http://", "https://")):
        raise ConfigError(f"workers={workers.workers} for a policy behind a server; use --concurrency instead")
    return crew(opener, workers)


def told(policy: Policy) -> dict[str, Any]:
    """What a run has to say of its policy beside its result: of a crew, or of one behind a server (see `served`)."""
    return policy.report() if isinstance(policy, Crew) else served(policy)


@contextmanager
def crew(opener: Callable[[], Policy], settings: WorkerSettings) -> Iterator[Crew]:
    """A crew of policies that `opener` makes, one in each worker; see `Pool` for what can go wrong."""
    with Pool(opener, settings) as pool:
        yield Crew(pool)


def _name(policy: Policy, _: None) -> str:
    return policy.name


def _write(
    policy: Policy, prefixes: list[Prefix], *, draws: range, one_step: bool, seed: int
) -> list[list[Continuation]]:
    return policy.write(prefixes, draws=draws, one_step=one_step, seed=seed)


def _write_spans(policy: Policy, spans: Sequence[Span], *, seed: int) -> list[BackendError | list[Continuation]]:
    return write_spans(policy, spans, seed=seed)
