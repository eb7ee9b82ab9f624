"""vLLM's HTTP API for reward models, and finding out which of its versions answers.

What differs between versions (vllm-project/vllm, pull requests 20538, 25370, 25524, 30666 and 43601):

- `/pooling` answers a row a token. It takes a `task` since 0.11.1 ("token_classify"; "encode" before), may answer rows
  at step tags only (STEP pooling), and answers hidden states where the model was not started as a classifier.
- `/classify` answers a row a sequence, read at its last token.
- Both apply softmax or sigmoid unless told otherwise by `use_activation`, before that `activation`, before that
  `softmax`, before that not at all. Names that a version does not know are ignored without a word, and one release
  reads `activation: false` as true. So a name counts only if switching it changes the answer as it should.
"""

from __future__ import annotations

import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any, Literal

from gradatim.errors import BackendError, ConfigError
from gradatim.models.activation import sigmoid
from gradatim.models.model import Kind

Row = list[float]
"""The numbers of one token or sequence: one or two from a classification head."""

SWITCHES = ("use_activation", "activation", "softmax")
"""Names under which versions switch the activation off, newest first."""

START = "start it with: vllm serve FOLDER --runner pooling --convert classify"
"""How a server is started that answers as it should."""

UNCACHED = "start it with --no-enable-prefix-caching: what is cached gets no rows"
"""What helps where an answer has too few rows."""

ANSWER_BYTES = 2**28
"""Most bytes of an answer that are read; a million tokens with two numbers each take a fifth of it."""

_BUSY = {429, 502, 503, 504}
_ROUNDING = 0.02
"""How far a served probability may lie from the activation of the served logit: bfloat16 has 8 bits."""
_LEAST = 1.2e-38
"""Smallest probability that float32 tells from 0: a probability of 0 counts as this."""


class Refused(BackendError):
    """The server answered, and did not want to: 400, 404, 422 and the like."""


class Server:
    """One model of a server; every call is one HTTP request, sent again (a few times) where the server is busy."""

    def __init__(
        self, url: str, *, model: str | None = None, api_key: str | None = None, timeout: float = 600, retries: int = 3
    ) -> None:
        """`timeout` is in seconds a request. `model` is needed only where the server has several."""
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"server {url!r}; expected an address that begins with http:// or https://")
        self.url = url.rstrip("/")
        self._timeout, self._retries = timeout, retries
        self._headers = {"Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self.model, self.max_length = self._choose(model)

    def ask(self, path: str, inputs: Sequence[Sequence[int]], **parameters: Any) -> list[Any]:
        """What the server answers to each input, in their order; BackendError if it answers to other tokens.

        Refused if it does not take the request.
        """
        body = {"model": self.model, "input": [list(ids) for ids in inputs], **parameters}
        answer = self._call(path, body)
        try:
            found = sorted(answer["data"], key=lambda item: int(item["index"]))
            items = [item["probs"] if "probs" in item else item["data"] for item in found]
            tokens = int(answer["usage"]["prompt_tokens"])
        except (KeyError, TypeError, ValueError):
            raise BackendError(f"{self.url}{path}: no answer of vLLM's; found {str(answer)[:200]}") from None
        sent = sum(map(len, inputs))
        if len(items) != len(inputs) or tokens != sent:
            raise BackendError(
                f"{self.url}{path}: {len(items)} answers to {tokens} tokens, expected {len(inputs)} to {sent}; "
                "the server adds, drops or cuts tokens"
            )
        return items

    def _choose(self, wanted: str | None) -> tuple[str, int | None]:
        """The model's name and how many tokens the server takes for it."""
        answer = self._call("/v1/models", None)
        try:
            lengths = {str(item["id"]): item.get("max_model_len") for item in answer["data"]}
        except (KeyError, TypeError, AttributeError):
            raise BackendError(f"{self.url}/v1/models: no list of models; expected a vLLM server") from None
        if wanted is None and len(lengths) == 1:
            wanted = next(iter(lengths))
        if wanted is None or wanted not in lengths:
            raise ConfigError(f"model={wanted!r}, but {self.url} serves {sorted(lengths)}; name one of them")
        length = lengths[wanted]
        return wanted, None if length is None else int(length)

    def _call(self, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode("utf-8")
        request = urllib.request.Request(self.url + path, data=data, headers=self._headers)
        for attempt in range(self._retries + 1):
            if attempt:
                time.sleep(0.2 * 2**attempt)
            try:
                with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                    return json.loads(self._bounded(path, answer))
            except urllib.error.HTTPError as error:
                with error:
                    said = error.read(500).decode("utf-8", "replace")
                if error.code not in _BUSY:
                    raise Refused(f"{self.url}{path}: {error.code}: {said}") from None
                failure = BackendError(
                    f"{self.url}{path}: {error.code}: {said}; busy or down after {attempt + 1} requests, try again later"
                )
            except (OSError, HTTPException) as error:
                failure = BackendError(f"{self.url}{path}: no answer ({error}); is the server up? {START}")
            except ValueError as error:
                raise BackendError(f"{self.url}{path}: answered no JSON ({error}); expected a vLLM server") from None
        raise failure

    def _bounded(self, path: str, answer: HTTPResponse) -> bytes:
        """The whole of an answer; an error for one that no reward model gives, and for one that broke off."""
        found = answer.read(ANSWER_BYTES + 1)
        if len(found) > ANSWER_BYTES:
            raise BackendError(
                f"{self.url}{path}: answered more than {ANSWER_BYTES:,} bytes, expected one or two numbers a token; {START}"
            )
        if answer.length:
            raise IncompleteRead(found, answer.length)
        return found


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one server is asked, and what its numbers are."""

    path: str
    """"/pooling" or "/classify"."""
    task: str | None
    """Sent as `task`; None: nothing is sent."""
    switch: str | None
    """The parameter that switches the activation off; None: the server has none that works."""
    rows: Literal["tokens", "tags", "last"]
    """A row for every token, for every token that is a step's tag, or for the last token only."""
    activated: bool
    """Whether the numbers are probabilities; logits otherwise."""

    def parameters(self) -> dict[str, Any]:
        """What is sent beside the model and the input."""
        task = {} if self.task is None else {"task": self.task}
        return task if self.switch is None else {**task, self.switch: False}

    def table(self, item: Any) -> list[Row]:
        """An answer as rows of numbers, one a token (tag, sequence)."""
        return [item] if self.rows == "last" else [row if isinstance(row, list) else [row] for row in item]

    def logit(self, row: Row) -> float:
        """The log-odds that one row tells: z1 - z0 of two numbers, the one itself, or what they were before softmax."""
        if not self.activated:
            return row[1] - row[0] if len(row) == 2 else row[0]
        bad, good = row if len(row) == 2 else (1 - row[0], row[0])
        return math.log(max(good, _LEAST)) - math.log(max(bad, _LEAST))

    def __str__(self) -> str:
        task = "" if self.task is None else f" with task={self.task}"
        numbers = "probabilities" if self.activated else "logits"
        switched = "" if self.switch is None else f" by {self.switch}=false"
        return f"{self.path}{task}: {numbers}{switched}, read at {self.rows}"


def negotiate(
    server: Server, kind: Kind, ids: Sequence[int], reads: Sequence[int], *, activated: bool | None = None
) -> Dialect:
    """The first dialect that answers `ids` (which are read at `reads`) as a reward model would.

    `activated` says whether single numbers are probabilities, for servers from which that can't be found out.
    BackendError, with what every way of asking answered, if there is none.
    """
    tried: list[str] = []
    for path, task in _ROUTES[kind]:
        parameters = {} if task is None else {"task": task}
        try:
            (plain,) = server.ask(path, [ids], **parameters)
        except Refused as error:
            tried.append(str(error))
            continue
        rows = _rows(plain, path, task, ids, reads)
        if rows is None:
            tried.append(f"{path} (task={task}): {_shape(plain)} for {len(ids)} tokens with {len(reads)} reads")
            continue
        found = _with_switch(server, Dialect(path, task, None, rows, False), ids, plain, activated)
        if isinstance(found, Dialect):
            return found
        tried.append(found)
    raise BackendError(
        f"{server.url} does not answer as a {kind} with one or two numbers a token; {START}. Tried: " + "; ".join(tried)
    )


_ROUTES: dict[Kind, tuple[tuple[str, str | None], ...]] = {
    "prm": (("/pooling", "token_classify"), ("/pooling", "encode"), ("/pooling", None), ("/classify", None)),
    "orm": (("/classify", None), ("/pooling", "classify"), ("/pooling", "token_classify"), ("/pooling", None)),
}
"""Ways of asking, best first. A PRM over `/classify` costs one request input a step: the prefix up to its read."""


def _rows(
    item: Any, path: str, task: str | None, ids: Sequence[int], reads: Sequence[int]
) -> Literal["tokens", "tags", "last"] | None:
    """What the rows of an answer stand for; None if they are no rows of one or two numbers."""
    if not isinstance(item, list) or not item:
        return None
    if path == "/classify" or task == "classify":
        return "last" if _is_row(item) else None
    nested = all(map(_is_row, item))
    if len(item) == len(ids) and (nested or all(isinstance(value, float | int) for value in item)):
        return "tokens"
    tags = {ids[read] for read in reads}
    return "tags" if nested and len(tags) == 1 and len(item) == sum(token in tags for token in ids) else None


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and len(row) in (1, 2) and all(isinstance(value, float | int) for value in row)


def _shape(item: Any) -> str:
    if not isinstance(item, list):
        return f"a {type(item).__name__}"
    return f"{len(item)} rows" + (f" of {len(item[0])}" if item and isinstance(item[0], list) else "")


def _with_switch(
    server: Server, dialect: Dialect, ids: Sequence[int], plain: Any, activated: bool | None
) -> Dialect | str:
    """The dialect with the switch that works, or without one; why neither can be, in words."""
    path, task, rows = dialect.path, dialect.task, dialect.rows
    for switch in SWITCHES:
        asked = {} if task is None else {"task": task}
        try:
            (off,) = server.ask(path, [ids], **asked, **{switch: False})
            (on,) = server.ask(path, [ids], **asked, **{switch: True})
        except Refused:
            continue
        if len(off) != len(plain) or len(on) != len(plain):
            return f"{path} (task={task}): {_shape(plain)}, then {_shape(off)}; {UNCACHED}"
        logits, probabilities = dialect.table(off), dialect.table(on)
        if _alike(logits, probabilities):
            continue
        if not _alike([_softmax(row) for row in logits], probabilities, _ROUNDING) and not _alike(
            [[sigmoid(value) for value in row] for row in logits], probabilities, _ROUNDING
        ):
            return f"{path} (task={task}): {switch} changes the answer, but not by softmax or sigmoid"
        return Dialect(path, task, switch, rows, False)
    table = dialect.table(plain)
    if any(not 0 <= value <= 1 for row in table for value in row):
        return Dialect(path, task, None, rows, False)
    if all(len(row) == 2 and abs(sum(row) - 1) < _ROUNDING for row in table):
        return Dialect(path, task, None, rows, True)
    if activated is not None and len(table[0]) == 1:
        return Dialect(path, task, None, rows, activated)
    return f"{path} (task={task}): numbers in [0, 1], which may be logits or probabilities; say activated="


def _softmax(row: Row) -> Row:
    high = max(row)
    powers = [math.exp(value - high) for value in row]
    return [power / sum(powers) for power in powers]


def _alike(a: Sequence[Row], b: Sequence[Row], tolerance: float = 1e-6) -> bool:
    pairs = zip((x for row in a for x in row), (x for row in b for x in row), strict=True)
    return all(abs(x - y) <= tolerance for x, y in pairs)
