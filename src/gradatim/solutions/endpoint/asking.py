"""Many questions to one server: bounded concurrency, patience, and knowing when to stop.

What may pass is tried again after a pause that doubles (with jitter, so that the questions do not come back together):
no connection, a cut one, a time-out, 408, 409, 425, 429 and 5xx, and answers that can't be read. A Retry-After holds all
questions back, not only the one that was told. What is wrong with one question (400, 413, 422, ...) fails that question;
what is wrong with all (401, 403, 404, 405, a redirection) raises ConfigError at once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from random import Random
from typing import Any, Generic, TypeVar

import httpx2

from gradatim.errors import ConfigError
from gradatim.solutions.endpoint.replies import Refused, TryAgain, message_of
from gradatim.solutions.settings import EndpointSettings

LONGEST_PAUSE = 60.0
"""Seconds that a pause of our own choice lasts at most."""

_PASSING = {408, 409, 425, 429}
_HOPELESS = {401: "the key", 403: "the key", 404: "the URL and the model's name", 405: "the URL"}

T = TypeVar("T")


@dataclass(frozen=True)
class Question(Generic[T]):
    """A request body, how to read the answer (raising `TryAgain` or `Refused`), and where the outcome goes."""

    body: Mapping[str, Any]
    read: Callable[[Any], T]
    done: Callable[[T | Failure], None]
    seed: int
    """Of the jitter."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a question has no answer."""

    reason: str


@dataclass
class Asker:
    """Puts questions to one URL. `counts` adds up requests and retries over all calls."""

    url: str
    headers: Mapping[str, str]
    settings: EndpointSettings
    counts: Counter[str] = field(default_factory=Counter)

    def ask_all(self, questions: Iterable[Question[Any]]) -> None:
        """Ask every question and give each outcome to its `done`; returns when all are done.

        `questions` is read as they are asked. Works with or without an event loop running in this thread.
        """
        call = _Call(self, iter(questions))
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(call.run())
            return
        # A notebook runs a loop of its own in this thread.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, call.run()).result()


@cache
def _tls() -> ssl.SSLContext:
    """The machine's certificates, read once: it takes longer than many a request."""
    return httpx2.create_ssl_context()


class _Call:
    """The state of one `ask_all`."""

    def __init__(self, asker: Asker, questions: Iterable[Question[Any]]) -> None:
        self.asker, self.settings, self.questions = asker, asker.settings, iter(questions)
        self.not_before = 0.0
        self.unreachable, self.given_up = 0, ""

    async def run(self) -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=self.settings.concurrency)
        # The deadline of a request is kept below: httpx's time-outs are for each read, and a server that drips never ends.
        timeout = httpx2.Timeout(self.settings.timeout, pool=None)
        headers = dict(self.asker.headers)
        async with httpx2.AsyncClient(headers=headers, timeout=timeout, limits=limits, verify=_tls()) as self.client:
            try:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(self.settings.concurrency):
                        workers.create_task(self._work())
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None

    async def _work(self) -> None:
        for question in self.questions:  # shared by all workers
            question.done(await self._ask(question))

    async def _ask(self, question: Question[T]) -> T | Failure:
        jitter, reason, tried = Random(question.seed), "", 0
        while tried < self.settings.tries and not self.given_up:
            if (patience := await self._held_back(jitter)) is not None:
                return Failure(patience)
            if tried:
                self.asker.counts["retries"] += 1
            tried += 1
            try:
                answer = question.read(await self._once(question.body))
            except Refused as error:
                self.unreachable = 0
                return Failure(str(error))
            except TryAgain as error:
                reason, unreachable = str(error), error.unreachable
                self._hold_back(error.wait)
            else:
                self.unreachable = 0
                return answer
            if tried < self.settings.tries:
                await asyncio.sleep(self._pause(tried, jitter))
            elif unreachable:
                self._note_unreachable(reason)
        return Failure(f"{reason} ({tried} tries)" if tried else self.given_up)

    async def _once(self, body: Mapping[str, Any]) -> Any:
        """The answer's JSON; `TryAgain`, `Refused` or ConfigError."""
        self.asker.counts["requests"] += 1
        try:
            async with asyncio.timeout(self.settings.timeout):
                response = await self.client.post(self.asker.url, json=body)
        except (TimeoutError, httpx2.ReadTimeout, httpx2.WriteTimeout):
            raise TryAgain(f"no answer within {self.settings.timeout:g} s") from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise TryAgain(f"no connection ({error})", unreachable=True) from None
        except httpx2.RequestError as error:
            raise TryAgain(f"a broken connection ({str(error) or type(error).__name__})") from None
        check_status(self.asker.url, response)
        try:
            return response.json()
        except (ValueError, RecursionError):
            raise TryAgain("an answer that is not JSON") from None

    def _pause(self, tried: int, jitter: Random) -> float:
        """Seconds: between half of and the whole doubled back-off."""
        whole = min(LONGEST_PAUSE, self.settings.backoff * 2.0 ** min(tried - 1, 30))
        return whole * jitter.uniform(0.5, 1.0)

    def _hold_back(self, wait: float | None) -> None:
        if wait is not None:
            self.not_before = max(self.not_before, asyncio.get_running_loop().time() + wait)

    async def _held_back(self, jitter: Random) -> str | None:
        """Wait as long as the server asked; or, without waiting, say that it is too long."""
        while (left := self.not_before - asyncio.get_running_loop().time()) > 0:
            if left > self.settings.timeout:
                return f"the server wants no request for {left:.0f} s; go on later, or give a longer timeout"
            await asyncio.sleep(left + jitter.uniform(0, self.settings.backoff))  # not all at the same moment
        return None

    def _note_unreachable(self, reason: str) -> None:
        """A server that is not there would cost every further question all its tries."""
        self.unreachable += 1
        if self.unreachable >= self.settings.concurrency:
            self.given_up = reason


def check_status(url: str, response: httpx2.Response) -> None:
    """Nothing for success; `Refused`, a request to try later, or ConfigError (see the module)."""
    status = response.status_code
    if response.is_success:
        return
    try:
        words = message_of(response.json())
    except (ValueError, RecursionError):
        words = message_of(response.text)
    if response.is_redirect:
        raise ConfigError(f"{url} redirects to {response.headers.get('location', '?')}; give that URL")
    if status in _HOPELESS:
        raise ConfigError(f"{url} answers {status} ({words}); check {_HOPELESS[status]}")
    if status in _PASSING or status >= 500:
        raise TryAgain(f"{status} ({words})", wait=_retry_after(response.headers.get("retry-after")))
    raise Refused(f"{status} ({words})")


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait: the header has a number of them, or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if seconds < float("inf") else None
