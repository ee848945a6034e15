"""Single blobs of a registry's image, through the proxy that skopeo has for programs that keep images in a way of their own.

Requests and answers are JSON, one in each packet of a socket pair; bytes come over a pipe that the answer brings along. The protocol is
https://github.com/containers/skopeo/blob/main/docs-experimental/skopeo-experimental-image-proxy.1.md; bootc fetches through it as well.
"""

from __future__ import annotations

import json
import os
import select
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from aistack.host import process
from aistack.values import dataclass

LARGEST_PACKET = 1 << 16
SILENCE = 120.0
"""Seconds after which a registry that sends nothing is given up."""


def silent(seconds: float | None = None) -> str:
    """What is said of such a registry; `seconds` where another limit counted."""
    return f"nothing came for {SILENCE if seconds is None else seconds:.0f} s"


class ProxyError(Exception):
    """What skopeo says of an image that it cannot open, or of a blob that did not come whole."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An open image, made by `opened`."""

    _channel: socket.socket
    _image: int

    def manifest(self) -> bytes:
        """The image's manifest, byte by byte where it has OCI's format (skopeo changes others into it)."""
        with self._piped(lambda _: None, "GetManifest", self._image) as stream:
            return b"".join(iter(lambda: stream.read(LARGEST_PACKET), b""))

    @contextmanager
    def blob(self, digest: str, size: int, advance: Callable[[int], None]) -> Iterator[BinaryIO]:
        """A blob's bytes, to be read to their end; `advance` is told how many came. Raises ProxyError when they are not `digest`."""
        with self._piped(advance, "GetBlob", self._image, digest, size) as stream:
            yield stream

    @contextmanager
    def _piped(self, advance: Callable[[int], None], method: str, *arguments: object) -> Iterator[BinaryIO]:
        answer, pipes = _ask(self._channel, method, *arguments)
        with os.fdopen(pipes[0], "rb", buffering=0) as pipe:
            _send(self._channel, "FinishPipe", answer["pipeid"])  # without this the pipe would have no end
            arriving = _Arriving(pipe, advance)
            try:
                yield cast("BinaryIO", arriving)
            except Exception:
                if arriving.ended:
                    _answer(self._channel)  # what skopeo says of a blob that did not come whole is the better explanation
                raise
        _answer(self._channel)


class _Arriving:
    def __init__(self, pipe: Any, advance: Callable[[int], None]) -> None:
        self.pipe, self.advance, self.ended = pipe, advance, False

    def read(self, size: int) -> bytes:
        if not select.select([self.pipe], [], [], SILENCE)[0]:
            raise ProxyError(silent())
        data = cast("bytes", self.pipe.read(size))
        self.ended = not data
        self.advance(len(data))
        return data


def skopeo(*arguments: str, program: Sequence[str] = ()) -> list[str]:
    """The command line of skopeo, or of another `program` that is one.

    Releases before 1.22 do not look at CONTAINERS_REGISTRIES_CONF themselves.
    """
    conf = os.environ.get("CONTAINERS_REGISTRIES_CONF")
    return [*(program or (process.require("skopeo", "skopeo"),)), *(["--registries-conf", conf] if conf else []), *arguments]


@contextmanager
def opened(name: str, policy: Path | None = None) -> Iterator[Proxy]:
    """An image, or another artifact, named as skopeo does (`docker://HOST/REPOSITORY@DIGEST`); raises ProxyError when it cannot be had.

    `policy` counts instead of the machine's own policy.json.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = skopeo(*(("--policy", str(policy)) if policy else ()), "experimental-image-proxy")
    with tempfile.TemporaryDirectory() as folder, theirs, process.stream(argv, log=Path(folder) / "log", stdin=theirs.fileno()):
        theirs.close()
        with ours:  # closed, it ends the proxy
            ours.settimeout(SILENCE)
            _ask(ours, "Initialize")
            yield Proxy(ours, _ask(ours, "OpenImage", name)[0]["value"])


def _ask(channel: socket.socket, method: str, *arguments: object) -> tuple[dict[str, Any], list[int]]:
    """The answer to a request, and the descriptors that came with it."""
    _send(channel, method, *arguments)
    return _answer(channel)


def _send(channel: socket.socket, method: str, *arguments: object) -> None:
    with _alive():
        channel.send(json.dumps({"method": method, "args": arguments}).encode())


def _answer(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    with _alive():
        packet, descriptors, _, _ = socket.recv_fds(channel, LARGEST_PACKET, 1)
        answer: dict[str, Any] = json.loads(packet)
    if not answer["success"]:
        raise ProxyError(answer["error"])
    return answer, descriptors


@contextmanager
def _alive() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise ProxyError(silent()) from error
    except (OSError, ValueError) as error:
        raise ProxyError("skopeo ended too early") from error
