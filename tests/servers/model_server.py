"""A real HTTP server with an OpenAI-compatible interface that serves any Policy, and misbehaves on demand.

    with ModelServer(policy, faults=lambda times, body: "cut" if times == 0 else None) as server:
        load_endpoint(server.url)

The seed of a request is the draw that the policy is asked for, so the server keeps seeds as a good one does.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, get_args

from gradatim.core import Continuation, Policy, Prefix, Step

Fault = Literal[
    "400",  # this request is refused
    "401",
    "404",
    "429",  # with Retry-After: 0
    "429 later",  # with Retry-After: 1
    "429 much later",  # with Retry-After: 3600
    "500",
    "503",
    "slow",  # no answer for as long as the server lives
    "cut",  # half an answer, and the connection is closed
    "closed",  # no answer, and the connection is closed
    "malformed",  # half of the JSON, as if it were all
    "html",  # 200 and a page, as some proxies do
    "error",  # 200 and an error object
    "fewer",  # no choice at all where one was asked for
    "more",  # the choice twice, and a further one
    "replay",  # the last answer to somebody else's request, id and all
    "abort",  # a text that the server broke off
    "filtered",
    "reasoning",  # the text split into reasoning and content
    "no usage",
    "wrong usage",
    "echo",  # the assistant's turn from its beginning
]
"""What the server can do wrong with a request."""

FAULTS: tuple[Fault, ...] = get_args(Fault)

Faults = Callable[[int, dict[str, Any]], Fault | None]
"""(how often this very request was made before, its body) -> what to do wrong, None for nothing."""


@dataclass
class ModelServer:
    """Serves `policy` at `url` while it is entered. `log` has every request's body, `served` those that were answered
    well, `most` how many were under way at once."""

    policy: Policy
    faults: Faults = lambda times, body: None
    models: tuple[str, ...] = ("served",)
    key: str | None = None
    delay: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)
    served: list[dict[str, Any]] = field(default_factory=list)
    most: int = 0
    port: int = 0
    says_where: bool = True
    """Whether answers say which stop string ended the text, as vLLM's do."""
    gives_back: bool = False
    """Whether answers begin with what the assistant's turn began with, as llama.cpp's do."""
    probed: int = 0
    """Requests for one token: they are answered apart, without faults, and are not in `log`."""

    def __enter__(self) -> ModelServer:
        self.lock, self.ending = threading.Lock(), threading.Event()
        self.made: Counter[str] = Counter()
        self.under_way, self.ids, self.last = 0, 0, b""
        self.http = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self.http.daemon_threads, self.http.block_on_close = True, False
        self.port = self.http.server_port
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,))
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://127.0.0.1:{self.port}/v1"

    def write(self, body: dict[str, Any]) -> Continuation:
        """What the policy goes on with after the request's prompt."""
        if "messages" in body:
            prompt, *turn = (message["content"] for message in body["messages"])
            prefix = Prefix("served", prompt, tuple(Step(text) for text in turn))
        else:
            prefix = Prefix("served", str(body["prompt"]))
        [[made]] = self.policy.write([prefix], draws=range(body["seed"], body["seed"] + 1))
        return made

    def cut(self, body: dict[str, Any], made: Continuation) -> tuple[Continuation, dict[str, Any]]:
        """The text up to the request's stop string, and what the answer says of it."""
        [stop] = body.get("stop", [None])
        if stop is None or stop not in made.text:
            return made, {"stop_reason": None} if self.says_where else {}
        text = made.text[: made.text.index(stop)]
        return Continuation(text, "stop", len(text.split())), {"stop_reason": stop} if self.says_where else {}


def _handler(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60
        disable_nagle_algorithm = True
        wbufsize = 1 << 16

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if not self.allowed():
                self.answer(401, {"error": {"message": "wrong key"}})
            elif self.path == "/v1/models":
                self.answer(200, {"object": "list", "data": [{"id": name} for name in server.models]})
            else:
                self.answer(404, {"error": {"message": "no such page"}})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body["max_tokens"] == 1 and self.allowed():
                server.probed += 1
                self.answer(200, _misdone(server, body, Continuation("x", "length", 1), None))
                return
            with server.lock:
                key = json.dumps(body, sort_keys=True)
                times = server.made[key]
                server.made[key] += 1
                server.log.append(body)
                server.under_way += 1
                server.most = max(server.most, server.under_way)
            try:
                self.respond(body, server.faults(times, body))
            except OSError:
                self.close_connection = True  # the client went away
            finally:
                with server.lock:
                    server.under_way -= 1

        def allowed(self) -> bool:
            return server.key is None or self.headers.get("Authorization") == f"Bearer {server.key}"

        def respond(self, body: dict[str, Any], fault: Fault | None) -> None:
            if not self.allowed():
                self.answer(401, {"error": {"message": "wrong key"}})
                return
            if fault == "slow":
                server.ending.wait(30)
                self.close_connection = True
                return
            if fault == "closed":
                self.close_connection = True
                return
            if fault is not None and fault[:3].isdigit():
                later = {"429": "0", "429 later": "1", "429 much later": "3600"}.get(fault)
                headers = {} if later is None else {"Retry-After": later}
                self.answer(int(fault[:3]), {"error": {"message": f"a planted {fault}"}}, headers)
                return
            server.ending.wait(server.delay)
            self.write_answer(body, fault)

        def write_answer(self, body: dict[str, Any], fault: Fault | None) -> None:
            made = _misdone(server, body, server.write(body), fault)
            data = json.dumps(made).encode()
            with server.lock:
                if fault == "replay" and server.last:
                    data = server.last
                elif fault in (None, "replay"):
                    server.last = data
                    server.served.append(body)
            if fault == "malformed":
                data = data[: len(data) // 2]
            if fault == "html":
                data = b"<html><body>Bad gateway</body></html>"
            self.send(200, data, keep=len(data) // 2 if fault == "cut" else None)

        def answer(self, status: int, data: Any, headers: dict[str, str] | None = None) -> None:
            self.send(status, json.dumps(data).encode(), headers)

        def send(
            self, status: int, data: bytes, headers: dict[str, str] | None = None, keep: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:keep])
            if keep is not None:
                self.close_connection = True

    return Handler


def _misdone(server: ModelServer, body: dict[str, Any], made: Continuation, fault: Fault | None) -> dict[str, Any]:
    """The answer in OpenAI's shape, right but for the fault."""
    if fault == "error":
        return {"error": {"message": "a planted error"}}
    with server.lock:
        server.ids += 1
        identity = server.ids
    made, where = server.cut(body, made)
    finish = {"abort": "abort", "filtered": "content_filter"}.get(str(fault), made.finish)
    text = made.text
    if (fault == "echo" or server.gives_back) and "messages" in body:
        text = "".join(message["content"] for message in body["messages"][1:]) + text
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish, **where}
    if "messages" in body:
        choice["message"] = {"role": "assistant", "content": text}
        if fault == "reasoning":
            choice["message"]["reasoning_content"] = "first I think"
    else:
        choice["text"] = text
    choices = [choice]
    if fault == "fewer":
        choices = []
    if fault == "more":
        choices = [{**choice, "index": 1, "message": {"content": "other"}, "text": "other"}, choice, choice]
    usage: Any = {"prompt_tokens": 1, "completion_tokens": made.tokens * len(choices)}
    if fault == "no usage":
        usage = None
    if fault == "wrong usage":
        usage = {"completion_tokens": -1}
    return {"id": f"answer-{identity}", "created": 0, "model": body["model"], "choices": choices, "usage": usage}
