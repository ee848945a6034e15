"""A small server that speaks the model hub's HTTP API over real files, on loopback: what the real client is tested against.

Spoken: model info with siblings (`/api/models/ID`, `/revision/REV`, `?blobs=true`), the tree and paths-info of a revision, resolve
with HEAD, GET and ranges, and refusals (401, 403 gated, 404) with the hub's own error headers. Files of `LARGE` bytes or more are
"LFS" files, which have a sha256 in the metadata, as on the hub; smaller ones have a git id only.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 1 << 20
COMMIT = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"


@dataclass(slots=True)
class Hub:
    """What the server holds and what was asked of it.

    `models` are folders by id; `gated` and `private` ids need the token; `altered` paths are served with one byte changed.
    `requests` are (method, path), `tokens` the bearer tokens that were sent.
    """

    models: Mapping[str, Path]
    gated: frozenset[str] = frozenset()
    private: frozenset[str] = frozenset()
    token: str | None = None
    altered: frozenset[str] = frozenset()
    commit: str = COMMIT
    address: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)


def describe(path: Path, name: str) -> dict[str, Any]:
    """A file as the hub's tree has it."""
    data = path.read_bytes()
    described: dict[str, Any] = {
        "type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
    }  # fmt: skip
    if len(data) >= LARGE:
        described["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return described


def files(folder: Path) -> dict[str, Path]:
    """The files of a model by their paths."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


class Handler(BaseHTTPRequestHandler):
    """One request; the server's `hub` says what there is."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        """What the server holds."""
        return cast(Hub, cast(Any, self.server).hub)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is logged: a test looks at `requests`."""

    def do_HEAD(self) -> None:
        """HEAD."""
        self.answer()

    def do_GET(self) -> None:
        """GET."""
        self.answer()

    def do_POST(self) -> None:
        """POST."""
        self.answer()

    def answer(self) -> None:
        """Find the model and revision that a path names, check who asks, and answer."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        parts = urlsplit(self.path)
        self.hub.requests.append((self.command, self.path))
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        self.hub.tokens.append(bearer)
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?", parts.path)
        resolve = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", parts.path)
        if api:
            model, kind, revision = unquote(api[1]), api[2] or "revision", unquote(api[3] or "main")
        elif resolve:
            model, kind, revision = unquote(resolve[1]), "resolve", unquote(resolve[2])
        else:
            return self.refuse(404, "", "no such address")
        if model not in self.hub.models or (model in self.hub.private and bearer != self.hub.token):
            return self.refuse(401 if bearer is None else 404, "RepoNotFound", "Repository not found")
        if revision not in ("main", self.hub.commit):
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        # As on the hub, a gated model's description is public; its files are not.
        if kind == "resolve" and model in self.hub.gated and (bearer is None or bearer != self.hub.token):
            return self.refuse(401 if bearer is None else 403, "GatedRepo", f"Access to model {model} is restricted.")
        folder = self.hub.models[model]
        if kind == "resolve":
            assert resolve is not None
            return self.send_file(folder, unquote(resolve[3]))
        if kind == "revision":
            siblings = []
            for name, path in files(folder).items():
                described = describe(path, name)
                one: dict[str, Any] = {"rfilename": name}
                if "blobs" in parse_qs(parts.query):
                    lfs = described.get("lfs")
                    one |= {"blobId": described["oid"], "size": described["size"]}
                    one |= {"lfs": {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": 134}} if lfs else {}
                siblings.append(one)
            return self.send_json({
                "_id": "1", "id": model, "modelId": model, "sha": self.hub.commit, "private": model in self.hub.private,
                "gated": "manual" if model in self.hub.gated else False, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings,
            })  # fmt: skip
        described_files = [describe(path, name) for name, path in files(folder).items()]
        if kind == "paths-info":
            form = json.loads(body) if body[:1] == b"{" else parse_qs(body.decode())
            described_files = [one for one in described_files if one["path"] in form.get("paths", [])]
        return self.send_json(described_files)

    def send_file(self, folder: Path, name: str) -> None:
        """A file, or a part of it, with the headers that carry its revision and digest."""
        path = files(folder).get(name)
        if path is None:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        data = path.read_bytes()
        etag = hashlib.sha256(data).hexdigest() if len(data) >= LARGE else describe(path, name)["oid"]
        if name in self.hub.altered:
            data = data[:-1] + bytes([data[-1] ^ 1])
        whole, status = len(data), 200
        start = 0
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(wanted[1]), int(wanted[2] or whole - 1)
            data, status = data[start : end + 1], 206
        self.send_response(status)
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Accept-Ranges", "bytes")
        if whole >= LARGE:
            self.send_header("X-Linked-Size", str(whole))
            self.send_header("X-Linked-Etag", f'"{etag}"')
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{whole}")
        self.send_body(data, "application/octet-stream")
        return None

    def send_json(self, document: object) -> None:
        """A document."""
        self.send_response(200)
        self.send_body(json.dumps(document).encode(), "application/json")

    def refuse(self, status: int, code: str, message: str) -> None:
        """A refusal as the hub words it."""
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_body(json.dumps({"error": message}).encode(), "application/json")

    def send_body(self, data: bytes, kind: str) -> None:
        """The end of every answer."""
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub while it answers; `address` is set."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    cast(Any, server).hub = hub
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
