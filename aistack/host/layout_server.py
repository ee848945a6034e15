"""An OCI layout as a registry on loopback, read-only, for as long as it is needed: a node without a network fetches as any other does.

A registries.conf of its own leads the repository that is followed to it, so that names, signatures and policy stay what they are. It is a
drop-in of a home folder of its own as well: those count after all others, be there a mirror for the same repository
(https://github.com/containers/image/blob/main/docs/containers-registries.conf.d.5.md).
The part of the protocol that skopeo asks for: https://github.com/opencontainers/distribution-spec/blob/main/spec.md (pull).
"""

from __future__ import annotations

import http.server
import json
import os
import re
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field, replace
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from aistack.diagnostics import DiagnosticError, unable
from aistack.host import registry
from aistack.values import dataclass

REF_NAME = "org.opencontainers.image.ref.name"
BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
REQUEST = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<what>[^/]+)")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MEDIA_TYPE = re.compile(r"[a-z]+/[A-Za-z0-9.+-]+")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DROP_IN = ".config/containers/registries.conf.d/aistack.conf"
NO_ANSWER = ("REG001", "REG003", "REG007")
"""What host/registry.py says of a registry that does not answer, has not what is asked for, or stops: here the layout lacks it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A layout's index, and where its blobs lie: (file, offset, size) by sha256."""

    tags: Mapping[str, str]
    media_types: Mapping[str, str]
    blobs: Mapping[str, tuple[Path, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A layout while it is served: what it was asked for and had, and what it lacked or could not give."""

    path: Path
    layout: Layout
    reference: str
    given: list[str] = field(default_factory=list)
    lacked: list[str] = field(default_factory=list)

    def require_asked(self) -> None:
        """Raises DiagnosticError (exit 3) where nobody asked it for the image: a mirror of the machine's answered in its place."""
        named, _, digest = self.reference.partition("@")
        if (digest or named.rpartition(":")[2]) not in self.given:
            message = f"{self.path} was not asked for {self.reference}"
            hints = (
                "`skopeo --debug inspect` says which registries.conf it reads; what leads this repository elsewhere has to go meanwhile",
            )
            raise unable("UPD013", "layout-not-asked", message, why=("another place answered for it, and nothing was taken",), hints=hints)


def read(path: Path) -> Layout:
    """The layout in a folder, or in a tar archive that is not compressed; raises DiagnosticError (exit 3) when it is none."""
    try:
        if path.is_dir():
            index = (path / "index.json").read_bytes()
            blobs = {file.name: (file, 0, file.stat().st_size) for file in (path / "blobs/sha256").iterdir() if file.is_file()}
        else:
            with tarfile.open(path, "r:") as archive:
                members = {member.name.removeprefix("./"): member for member in archive if member.isreg()}
                content = archive.extractfile(members["index.json"])
                index = content.read() if content else b""
            found = {BLOB.fullmatch(name): member for name, member in members.items()}
            blobs = {match[1]: (path, member.offset_data, member.size) for match, member in found.items() if match}
        listed = json.loads(index)["manifests"]
        for one in listed:
            if not (DIGEST.fullmatch(one["digest"]) and MEDIA_TYPE.fullmatch(one["mediaType"])):
                raise ValueError(f"{one['digest']}, a {one['mediaType']}, is no image")
        return Layout(
            tags={(one.get("annotations") or {}).get(REF_NAME, one["digest"]).rpartition(":")[2]: one["digest"] for one in listed},
            media_types={one["digest"]: one["mediaType"] for one in listed},
            blobs=blobs,
        )
    except (OSError, tarfile.TarError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _none(path, f"{type(error).__name__}: {error}") from error


def _none(path: Path, why: str) -> DiagnosticError:
    hints = ("skopeo copy --preserve-digests docker://HOST/REPOSITORY:TAG oci:FOLDER:TAG", "a tar archive of it must not be compressed")
    return unable("UPD006", "layout-not-understood", f"{path} cannot be read as an OCI layout", why=(why,), hints=hints)


@contextmanager
def serving(path: Path, reference: str) -> Iterator[Served]:
    """While inside, skopeo finds HOST/REPOSITORY of `reference` in the layout, and nowhere else.

    Raises DiagnosticError (exit 3) where it is no layout with that tag; what it turns out to lack is told in its name.
    """
    layout, repository = read(path), registry.repository(reference)
    if "@" not in reference and (tag := reference.rpartition(":")[2]) not in layout.tags:
        raise _none(path, f"it has no image `{tag}`, as {reference} asks for; it has {', '.join(sorted(layout.tags)) or 'none'}")

    served = Served(path=path, layout=layout, reference=reference)
    with _Server(served) as server, tempfile.TemporaryDirectory() as home:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        conf = Path(home) / DROP_IN
        conf.parent.mkdir(parents=True)
        location = f"127.0.0.1:{server.server_address[1]}/{repository.partition('/')[2]}"
        conf.write_text(f'[[registry]]\nprefix = "{repository}"\nlocation = "{location}"\ninsecure = true\n')
        try:
            with _environment(HOME=home, CONTAINERS_REGISTRIES_CONF=str(conf)):
                yield served
        except DiagnosticError as error:
            raise _in_its_name(served, error) from error
        finally:
            server.shutdown()


@contextmanager
def _environment(**settings: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _in_its_name(served: Served, error: DiagnosticError) -> DiagnosticError:
    first = error.diagnostics[0]
    if first.rule == "REG006":
        changed = replace(first, hints=(f"{served.path} was changed or damaged since it was made; nothing of it was kept",))
        return DiagnosticError((changed,), error.exit_code)
    if first.rule not in NO_ANSWER:
        return error
    lacked = tuple(f"it lacks {what}" for what in dict.fromkeys(served.lacked))
    message, hints = f"{served.path} does not hold all of {served.reference}", ("copy what is missing into it: `skopeo copy …@DIGEST`",)
    return unable("UPD006", "layout-not-understood", message, why=(*lacked[-3:], *first.why), hints=hints)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, served: Served) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.served = served

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Remembers it: who hung up got what it wanted, or says what it lacks."""
        if not isinstance(error := sys.exc_info()[1], ConnectionError):
            self.served.lacked.append(f"something that can be read: {error}")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer(whole=True)

    def do_HEAD(self) -> None:
        self._answer(whole=False)

    def _answer(self, *, whole: bool) -> None:
        asked = REQUEST.fullmatch(self.path.partition("?")[0])
        if self.path == "/v2/":
            return self._send(200, "application/json", BytesIO(b"{}"), 2, whole=whole)
        served = self.server.served
        digest = served.layout.tags.get(asked["what"], asked["what"]) if asked else ""
        found = served.layout.blobs.get(digest.removeprefix("sha256:"))
        if asked is None or found is None:
            served.lacked.append(asked["what"] if asked else self.path)
            said = b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
            return self._send(404, "application/json", BytesIO(said), len(said), whole=whole)
        served.given.append(asked["what"])
        file, offset, size = found
        with file.open("rb") as stream:
            stream.seek(offset)
            kind = "application/octet-stream" if asked["kind"] == "blobs" else self._media_type(digest, file, offset, size)
            return self._send(200, kind, stream, size, whole=whole, digest=digest)

    def _media_type(self, digest: str, file: Path, offset: int, size: int) -> str:
        if known := self.server.served.layout.media_types.get(digest):
            return known
        with file.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(size)
        try:
            said = json.loads(data)["mediaType"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return MANIFEST
        return said if isinstance(said, str) and MEDIA_TYPE.fullmatch(said) else MANIFEST

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
