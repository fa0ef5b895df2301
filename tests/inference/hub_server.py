"""A Hugging Face hub of one repository on this machine: what its real client asks for, and how the hub refuses."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODEL = "meta-llama/Tiny"
OLD, NEW = "1" * 40, "2" * 40
GOOD_TOKEN, BAD_TOKEN, POOR_TOKEN = "hf_good", "hf_revoked", "hf_fine_grained"


@dataclass
class Hub:
    """What the server holds and does."""

    commits: dict[str, dict[str, bytes]]
    """Files of each commit."""
    gated: bool = False
    """Whether only the good token's account may read it."""
    cut: bool = False
    """Whether every file breaks off after its headers."""
    requests: list[str] = field(default_factory=list)
    """Methods and paths asked for."""
    address: str = ""

    def refusal(self, path: str, token: str | None) -> tuple[int, dict[str, str]] | None:
        """Status and headers as the hub has them; None if it may be read."""
        if token == BAD_TOKEN:
            return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}
        if not path.startswith((f"/api/models/{MODEL}", f"/{MODEL}/")):
            return (404 if token else 401), {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
        if self.gated and token != GOOD_TOKEN and ("/tree/" in path or "/resolve/" in path):
            if token == POOR_TOKEN:
                return 403, {"X-Error-Message": "Please enable access to public gated repositories"}
            return (403 if token else 401), {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
        return None


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        refused = self.hub.refusal(path, token)
        if refused is not None:
            return self.send(refused[0], refused[1], b"{}", body)
        if path.startswith("/api/models/"):
            _, _, revision = path.removeprefix(f"/api/models/{MODEL}/").partition("/")
            commit = self.commit(revision)
            if commit is None:
                return self.send(404, {"X-Error-Code": "RevisionNotFound"}, b"{}", body)
            found: Any = {"id": MODEL, "modelId": MODEL, "sha": commit, "siblings": [], "tags": [], "private": False}
            if "/tree/" in path:
                found = [_entry(name, content) for name, content in self.hub.commits[commit].items()]
            return self.send(200, {"Content-Type": "application/json"}, json.dumps(found).encode(), body)
        _, _, rest = path.partition("/resolve/")
        commit, _, name = rest.partition("/")
        content = self.hub.commits[commit][name]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_etag(name, content)}"'}
        if body and self.hub.cut:
            self.send(200, headers | {"Content-Length": str(len(content))}, b"", body)
            self.close_connection = True
            return None
        return self.send(200, headers, content, body)

    def commit(self, revision: str) -> str | None:
        return {"main": NEW, "v1": OLD}.get(revision, revision if revision in self.hub.commits else None)

    def send(self, status: int, headers: dict[str, str], content: bytes, body: bool) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _etag(name: str, content: bytes) -> str:
    if name.endswith(".safetensors"):  # in large file storage, known by sha256
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _entry(name: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": _etag(name, content)}
    if name.endswith(".safetensors"):
        entry["lfs"] = {"oid": _etag(name, content), "size": len(content), "pointerSize": 134}
    return entry


@contextmanager
def served(*folders: Path) -> Iterator[Hub]:
    """A hub whose commits hold these folders' files, the newest last."""
    commits = {
        commit: {path.name: path.read_bytes() for path in folder.iterdir()}
        for commit, folder in zip((OLD, NEW)[-len(folders) :], folders, strict=True)
    }
    hub = Hub(commits)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
