"""A hub with one data set, as much of its API as reading that takes; for tests, on this machine only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha1
from http.server import BaseHTTPRequestHandler
from typing import Any

from loopback import served

COMMIT = "0" * 40


@contextmanager
def hub(repository: str, files: Mapping[str, bytes]) -> Iterator[str]:
    """Serve the files of one data set; yields the address for HF_ENDPOINT."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            self._json([_entry(name, files[name]) for name in files if name in asked])

        def _answer(self) -> None:
            path, at = self.path.partition("?")[0], f"/api/datasets/{repository}"
            if path.startswith(f"{at}/tree/"):
                self._json([_entry(name, content) for name, content in files.items()])
            elif path in (at, f"{at}/revision/main", f"{at}/revision/{COMMIT}"):
                self._json({"id": repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]})
            elif (name := path.removeprefix(f"/datasets/{repository}/resolve/").partition("/")[2]) in files:
                tags = {"x-repo-commit": COMMIT, "etag": f'"{sha1(files[name]).hexdigest()}"'}
                self._send(200, files[name], tags)
            else:
                self._send(404, b"", {"x-error-code": "EntryNotFound" if "/resolve/" in path else "RepoNotFound"})

        def _json(self, found: Any) -> None:
            self._send(200, json.dumps(found).encode(), {"content-type": "application/json"})

        def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    with served(Handler) as address:
        yield address


def _entry(name: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(content), "oid": sha1(content).hexdigest()}
