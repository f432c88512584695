"""A hub on this machine that answers what huggingface_hub asks when a policy is shared."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

REPO = "user/name"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(ThreadingHTTPServer):
    """Holds one repository, made by the first upload; remembers what was fetched."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.fetched: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path, files = urlsplit(self.path).path, self.server.files
        if path.startswith(f"/{REPO}/resolve/{COMMIT}/") and path.rpartition("/")[2] in files:
            self._send_file(path.rpartition("/")[2])
        elif path == f"/api/models/{REPO}/revision/main" and files:
            self._send({"id": REPO, "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]})
        elif path == f"/api/models/{REPO}/tree/{COMMIT}":
            self._send(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": _oid(content)}
                    for name, content in files.items()
                ]
            )
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if path == "/api/repos/create":
            self._send({"url": f"{self.server.address}/{REPO}", "id": REPO})
        elif path == "/api/validate-yaml":
            self._send({"errors": [], "warnings": []})
        elif path == f"/api/models/{REPO}/preupload/main":
            asked = [entry["path"] for entry in json.loads(body)["files"]]
            kind = {"uploadMode": "regular", "shouldIgnore": False}
            self._send({"files": [{"path": name, **kind} for name in asked]})
        elif path == f"/api/models/{REPO}/commit/main":
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.server.files[line["value"]["path"]] = content
            address = f"{self.server.address}/{REPO}/commit/{COMMIT}"
            self._send({"success": True, "commitOid": COMMIT, "commitUrl": address})
        else:
            self.send_error(404)

    def _send_file(self, name: str) -> None:
        content = self.server.files[name]
        if self.command == "GET":
            self.server.fetched.append(name)
        self._send(content, {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": COMMIT})

    def _send(self, value: Any, headers: dict[str, str] | None = None) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(200)
        for header, content in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(header, content)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def serving() -> Iterator[FakeHub]:
    """Run a hub until the end of the block."""
    hub = FakeHub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
