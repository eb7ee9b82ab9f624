"""A pool of Ray actors that each hold something dear, a model say, and work through a list of items.

Plain actors, not Ray Data: see docs/decisions/0005-plain-ray-actors.md. Every item is handed out whole and comes back
whole; the process that asks is the only one that writes files.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, TypeVar

from gradatim.errors import BackendError, ConfigError, GradatimError
from gradatim.scale.settings import WorkerSettings

Held = TypeVar("Held")
Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Items that a worker has at most: the one it works on, and the next, so that it never waits for this process."""

DEATHS = 2
"""So many more workers than there are may die one after another, with nothing done between, before the run stops: a node
that is lost takes all of its workers with it."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}
"""The environment in which Ray tells nobody that it is used, leaves the accelerators' variables alone, and prints nothing
on standard output, which is for results: deaths are counted here."""

STORE = 256 * 2**20
"""Bytes of shared memory for items and results, where Ray is started here."""


class _Actor(Generic[Held]):
    """What runs in a worker. Its methods return a GradatimError that they meet: Ray would wrap one that is raised."""

    def open(self, opener: Callable[[], Held], threads: int) -> GradatimError | None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch, which reads it when it is imported
        try:
            self.held = opener()
        except GradatimError as error:
            return error
        return None

    def work(self, task: Callable[[Held, Any], Any], item: Any) -> Any:
        try:
            return task(self.held, item)
        except GradatimError as error:
            return error


@dataclass(frozen=True)
class _Lost:
    """Instead of a result: the worker died."""

    reason: str


@dataclass(eq=False)
class _Worker:
    """An actor as the pool sees it."""

    actor: Any
    items: dict[Any, int] = field(default_factory=dict)
    """Places of the items that it has, by the reference to their results, the oldest first."""


class Pool(Generic[Held]):
    """Workers that each hold what `opener` makes. A context manager; at its end the workers are gone.

    A worker that dies, however it dies, loses the items that it had: others get them, and a new worker takes its place.
    A node that has not room for all of them gets as many as it has room for. A wait never lasts longer than
    `worker_timeout` without a sign of life.
    """

    def __init__(self, opener: Callable[[], Held], settings: WorkerSettings) -> None:
        """Start the workers; returns as soon as one is ready.

        ConfigError if no node is large enough for even one; BackendError if Ray is not installed, or if no worker came
        up in time. A GradatimError that `opener` raises there is raised here.
        """
        self.settings, self._opener = settings, opener
        self._ray = _imported()
        self._ours = not self._ray.is_initialized()
        if self._ours:
            _start(self._ray, settings)
        named = self._ray.exceptions
        # A worker that Ray's memory monitor killed, or whose node went, is as dead as one that died by itself.
        self._deaths = (named.RayActorError, named.OutOfMemoryError, named.NodeDiedError, named.WorkerCrashedError)
        self._kind = self._ray.remote(_Actor).options(
            num_cpus=settings.worker_cpus, num_gpus=settings.worker_gpus, max_restarts=0, max_concurrency=1
        )
        self.lost = 0
        """Workers that died over their work."""
        self._stillborn = 0  # workers that died before they were up, one after another
        self._starting: dict[Any, _Worker] = {}
        self._ready: list[_Worker] = []
        try:
            self._check_room()
            for _ in range(settings.workers):
                self._new()
            while not self._ready:
                self._wait()
        except BaseException:
            self.close()
            raise

    @property
    def ready(self) -> int:
        """How many workers are up."""
        return len(self._ready)

    def each(self, task: Callable[[Held, Item], Result], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        """(place, what `task` returned) of every item, once each, as they are done.

        A GradatimError that `task` raises is raised here; BackendError if no worker gave a sign of life in time, or if
        worker after worker died. What was lost waits behind all the rest: an item that kills is left for the end.
        """
        waiting = deque(range(len(items)))
        left, lost, ahead = len(items), self.lost, AHEAD
        try:
            while left:
                self._feed(task, items, waiting, ahead)
                for place, result in self._wait():
                    if isinstance(result, _Lost):
                        self._check_deaths(self.lost - lost, result.reason)
                        waiting.append(place)
                        ahead = 1  # from now on nothing shares a worker with an item that may be the reason
                        continue
                    if isinstance(result, GradatimError):
                        raise result
                    left, lost = left - 1, self.lost
                    yield place, result
        finally:
            for worker in self._ready:
                worker.items.clear()  # of what nobody asks for any more the results are let go

    def _feed(
        self, task: Callable[[Held, Item], Result], items: Sequence[Item], waiting: deque[int], ahead: int
    ) -> None:
        """Give the workers items until each has `ahead` of them, one at a time to whoever has least."""
        while waiting and self._ready:
            worker = min(self._ready, key=lambda one: len(one.items))
            if len(worker.items) >= ahead:
                return
            place = waiting.popleft()
            worker.items[worker.actor.work.remote(task, items[place])] = place

    def _wait(self) -> list[tuple[int, Any]]:
        """Wait for something to happen; the items that were done or lost by it."""
        busy = {ref: worker for worker in self._ready for ref in worker.items}
        done, _ = self._ray.wait([*self._starting, *busy], num_returns=1, timeout=self.settings.worker_timeout)
        if not done:
            raise BackendError(self._silence())
        (ref,) = done
        if ref in self._starting:
            self._came_up(ref)
            return []
        worker = busy[ref]
        try:
            result = self._ray.get(ref)
        except (*self._deaths, self._ray.exceptions.ObjectLostError) as error:
            return self._bury(worker, error)
        return [(worker.items.pop(ref), result)]

    def _came_up(self, ref: Any) -> None:
        worker = self._starting.pop(ref)
        try:
            failure = self._ray.get(ref)
        except self._deaths as error:
            self._stillborn += 1
            self._check_deaths(self._stillborn, _first_line(error))
            self._new()
            return
        if failure is not None:
            raise failure
        self._stillborn = 0
        self._ready.append(worker)

    def _bury(self, worker: _Worker, error: Exception) -> list[tuple[int, Any]]:
        """A worker is dead: a new one starts, and its items are lost."""
        self.lost += 1
        self._ready.remove(worker)
        self._stop(worker)
        self._new()
        suspect, *others = worker.items.values()
        return [(place, _Lost(_first_line(error))) for place in (*others, suspect)]

    def _check_deaths(self, count: int, reason: str) -> None:
        """BackendError after too many deaths with nothing done between."""
        if count >= self.settings.workers + DEATHS:
            raise BackendError(f"{count} workers died one after another; is memory short? The last one: {reason}")

    def _new(self) -> None:
        actor = self._kind.remote()
        self._starting[actor.open.remote(self._opener, self.settings.worker_cpus)] = _Worker(actor)

    def _check_room(self) -> None:
        """ConfigError if a worker fits nowhere: it would wait for ever."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        wanted = {"CPU": self.settings.worker_cpus, "GPU": self.settings.worker_gpus}
        if not any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
            found = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
            raise ConfigError(
                f"a worker takes {wanted['CPU']} CPUs and {wanted['GPU']:g} GPUs, and the nodes have {found or 'nothing'}; "
                "lower --worker-cpus or --worker-gpus"
            )

    def _silence(self) -> str:
        seconds, free = self.settings.worker_timeout, self._ray.available_resources()
        if not self._ready:
            return (
                f"no worker came up in {seconds:g} s: each takes {self.settings.worker_cpus} CPUs and "
                f"{self.settings.worker_gpus:g} GPUs, and {free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs are "
                "free; stop what holds them, or ask for less"
            )
        return (
            f"no worker finished anything in {seconds:g} s; what was done is kept: give --worker-timeout more seconds or "
            "a smaller --batch, and the same command goes on"
        )

    def close(self) -> None:
        """Stop the workers, and Ray if it was started here."""
        for worker in [*self._ready, *self._starting.values()]:
            self._stop(worker)
        self._ready, self._starting = [], {}
        if self._ours:
            self._ray.shutdown()

    def _stop(self, worker: _Worker) -> None:
        with suppress(Exception):  # it may be dead already, and Ray's errors here have no common base
            self._ray.kill(worker.actor)

    def __enter__(self) -> Pool[Held]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _imported() -> Any:
    """Ray, which reads its environment when it is imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise BackendError("several workers need Ray; run: pip install 'gradatim[ray]'") from None
    return ray


def _start(ray: Any, settings: WorkerSettings) -> None:
    """Join the cluster of RAY_ADDRESS, or start Ray on this machine with room for just these workers."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address := os.environ.get("RAY_ADDRESS"):
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, ValueError) as error:
            raise BackendError(f"no Ray cluster at RAY_ADDRESS={address} ({_first_line(error)})") from None
        return
    room = {"num_cpus": settings.workers * settings.worker_cpus, "object_store_memory": STORE}
    ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **room, **quiet)
