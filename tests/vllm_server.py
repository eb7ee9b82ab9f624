"""A small HTTP server that runs a tiny reward model and speaks the API of one of vLLM's versions, faults included."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import torch
from torch import nn

from loopback import served

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": lambda numbers: numbers.softmax(-1),
    "sigmoid": torch.sigmoid,
    "normalise": nn.functional.normalize,
    "none": lambda numbers: numbers,
}


@dataclass
class Version:
    """What the server knows and does."""

    tasks: tuple[str, ...] | None = ("token_classify", "classify")
    """Tasks of /pooling; None: the field is ignored."""
    paths: tuple[str, ...] = ("/pooling", "/classify")
    switches: tuple[str, ...] = ("use_activation",)
    """Names that switch the activation off; others are ignored."""
    backwards: tuple[str, ...] = ()
    """Names that switch it on whatever they are set to."""
    activation: str = "softmax"
    """softmax, sigmoid, normalise (of embeddings) or none."""
    tag: int | None = None
    """Rows of /pooling for this token only."""
    columns: int | None = None
    """So many numbers of the hidden states in place of the head's."""
    squeezed: bool = False
    """Single numbers without a list around each."""
    extra_tokens: int = 0
    """Tokens that it claims to have added."""
    lost_rows: int = 0
    """Rows that are missing from answers, as if they were cached,"""
    lost_after: int = 3
    """after so many requests."""
    busy: int = 0
    """Requests that get a 503 before the first answer."""
    max_model_len: int | None = 512
    models: tuple[str, ...] = ("tiny",)
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Every request's path, body and headers."""


class Model:
    """Body and head -> numbers of every token, by the stock module's own forward pass of one sequence."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def numbers(self, ids: list[int], columns: int | None) -> torch.Tensor:
        with torch.inference_mode():
            hidden = self.module.model(torch.tensor([ids])).last_hidden_state[0]
            return hidden[:, :columns] if columns else nn.functional.linear(hidden, self.module.score.weight)


@contextmanager
def serving(module: nn.Module, version: Version) -> Iterator[str]:
    """The address of a server while the block lasts."""
    model = Model(module)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            models = [{"id": name, "max_model_len": version.max_model_len} for name in version.models]
            self.answer(200, {"object": "list", "data": models} if self.path == "/v1/models" else {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            version.asked.append({"path": self.path, "headers": dict(self.headers), **body})
            if version.busy:
                version.busy -= 1
                self.answer(503, {"error": "busy"})
            elif self.path not in version.paths:
                self.answer(404, {"detail": "Not Found"})
            elif "task" in body and version.tasks is not None and body["task"] not in version.tasks:
                self.answer(400, {"error": {"message": f"Unsupported task: {body['task']!r}"}})
            else:
                self.answer(200, reply(model, version, self.path, body))

        def answer(self, code: int, content: Any) -> None:
            data = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with served(Handler) as address:
        yield address


def reply(model: Model, version: Version, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """One answer, in the shape of the path's responses."""
    data, last = [], path == "/classify" or body.get("task") == "classify"
    for index, ids in enumerate(body["input"]):
        numbers = model.numbers(ids, version.columns)
        if active(version, body):
            numbers = ACTIVATIONS[version.activation](numbers)
        rows = [row for row, token in zip(numbers.tolist(), ids, strict=True) if version.tag in (None, token)]
        rows = rows[version.lost_rows if len(version.asked) > version.lost_after else 0 :]
        if path == "/classify":
            data.append({"index": index, "label": None, "probs": rows[-1], "num_classes": len(rows[-1])})
        else:
            shown = rows[-1] if last else [row[0] for row in rows] if version.squeezed else rows
            data.append({"index": index, "object": "pooling", "data": shown})
    tokens = sum(map(len, body["input"])) + version.extra_tokens
    # Batches finish in any order; the index says which answer is whose.
    return {"object": "list", "model": "tiny", "data": data[::-1], "usage": {"prompt_tokens": tokens}}


def active(version: Version, body: dict[str, Any]) -> bool:
    """Whether the activation is applied to this request."""
    if any(name in body for name in version.backwards):
        return True
    return next((bool(body[name]) for name in version.switches if name in body), True)
