"""An OCI layout as a registry on loopback, read-only, for as long as it is needed: a node without a network fetches as any other does.

A registries.conf of its own leads the repository that is followed to it, so that names, signatures and policy stay what they are.
The part of the protocol that skopeo asks for: https://github.com/opencontainers/distribution-spec/blob/main/spec.md (pull).
"""

from __future__ import annotations

import http.server
import json
import os
import re
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

from aistack.diagnostics import DiagnosticError, unable
from aistack.host import registry
from aistack.values import dataclass

REF_NAME = "org.opencontainers.image.ref.name"
BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
REQUEST = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<what>[^/]+)")
CONFIGURED = "CONTAINERS_REGISTRIES_CONF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A layout's index, and where its blobs lie: (file, offset, size) by sha256."""

    tags: Mapping[str, str]
    media_types: Mapping[str, str]
    blobs: Mapping[str, tuple[Path, int, int]]


def read(path: Path) -> Layout:
    """The layout in a folder, or in a tar archive that is not compressed; raises DiagnosticError (exit 3) when it is none."""
    try:
        if path.is_dir():
            index = (path / "index.json").read_bytes()
            blobs = {file.name: (file, 0, file.stat().st_size) for file in (path / "blobs/sha256").iterdir()}
        else:
            with tarfile.open(path, "r:") as archive:
                members = {member.name.removeprefix("./"): member for member in archive if member.isreg()}
                content = archive.extractfile(members["index.json"])
                index = content.read() if content else b""
            found = {BLOB.fullmatch(name): member for name, member in members.items()}
            blobs = {match[1]: (path, member.offset_data, member.size) for match, member in found.items() if match}
        listed = json.loads(index)["manifests"]
        return Layout(
            tags={(one.get("annotations") or {}).get(REF_NAME, one["digest"]).rpartition(":")[2]: one["digest"] for one in listed},
            media_types={one["digest"]: one["mediaType"] for one in listed},
            blobs=blobs,
        )
    except (OSError, tarfile.TarError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _none(path, f"{type(error).__name__}: {error}") from error


def _none(path: Path, why: str) -> DiagnosticError:
    hints = ("skopeo copy --preserve-digests docker://HOST/REPOSITORY:TAG oci:FOLDER:TAG", "a tar archive of it must not be compressed")
    return unable("UPD006", "layout-not-understood", f"{path} cannot be read as an OCI layout", why=(why,), hints=hints)


@contextmanager
def serving(path: Path, reference: str) -> Iterator[None]:
    """While inside, skopeo finds HOST/REPOSITORY of `reference` in the layout, and nowhere else."""
    layout, repository = read(path), registry.repository(reference)
    if "@" not in reference and (tag := reference.rpartition(":")[2]) not in layout.tags:
        raise _none(path, f"it has no image `{tag}`, as {reference} asks for; it has {', '.join(sorted(layout.tags)) or 'none'}")

    class Handler(_Handler):
        served = layout

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, tempfile.TemporaryDirectory() as folder:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        conf = Path(folder) / "registries.conf"
        location = f"127.0.0.1:{server.server_address[1]}/{repository.partition('/')[2]}"
        conf.write_text(f'[[registry]]\nprefix = "{repository}"\nlocation = "{location}"\ninsecure = true\n')
        before = os.environ.get(CONFIGURED)
        os.environ[CONFIGURED] = str(conf)
        try:
            yield
        finally:
            server.shutdown()
            if before is None:
                del os.environ[CONFIGURED]
            else:
                os.environ[CONFIGURED] = before


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Layout

    def do_GET(self) -> None:
        self._answer(whole=True)

    def do_HEAD(self) -> None:
        self._answer(whole=False)

    def _answer(self, *, whole: bool) -> None:
        asked = REQUEST.fullmatch(self.path.partition("?")[0])
        if self.path == "/v2/":
            return self._send(200, "application/json", BytesIO(b"{}"), 2, whole=whole)
        digest = self.served.tags.get(asked["what"], asked["what"]) if asked else ""
        found = self.served.blobs.get(digest.removeprefix("sha256:"))
        if asked is None or found is None:
            said = b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
            return self._send(404, "application/json", BytesIO(said), len(said), whole=whole)
        file, offset, size = found
        with file.open("rb") as stream:
            stream.seek(offset)
            kind = "application/octet-stream" if asked["kind"] == "blobs" else self._media_type(digest, file, offset, size)
            return self._send(200, kind, stream, size, whole=whole, digest=digest)

    def _media_type(self, digest: str, file: Path, offset: int, size: int) -> str:
        if known := self.served.media_types.get(digest):
            return known
        with file.open("rb") as stream:
            stream.seek(offset)
            return str(json.loads(stream.read(size)).get("mediaType", "application/vnd.oci.image.manifest.v1+json"))

    def _send(self, code: int, kind: str, content: IO[bytes], size: int, *, whole: bool, digest: str | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if whole:
            while size and (data := content.read(min(size, 1 << 20))):
                self.wfile.write(data)
                size -= len(data)

    def log_message(self, *_: object) -> None:
        """Nothing: a node's journal is for what matters."""
