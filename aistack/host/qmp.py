"""QEMU's control socket: commands with answers, and the events that come in between.

The protocol is https://www.qemu.org/docs/master/interop/qmp-spec.html.
"""

from __future__ import annotations

import json
import select
import socket
import time
from dataclasses import field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aistack.values import dataclass


class QmpClosedError(ConnectionError):
    """QEMU closed its control socket: it has ended, or is about to."""


@dataclass(slots=True)
class Qmp:
    """A connection to QEMU's control socket; `events` are those not yet taken."""

    socket: socket.socket
    received: bytes = b""
    events: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()

    def execute(self, command: str, arguments: dict[str, Any] | None = None, *, seconds: float = 30) -> Any:
        """Run a command and return its answer; None when QEMU refuses it. Raises QmpClosedError when QEMU is gone."""
        message: dict[str, Any] = {"execute": command}
        if arguments:
            message["arguments"] = arguments
        try:
            self.socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise QmpClosedError(str(error)) from error
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for document in self._read(end - time.monotonic()):
                if "return" in document:
                    return document["return"]
                if "error" in document:
                    return None
        raise QmpClosedError(f"no answer to `{command}` within {seconds:.0f} s")

    def take_events(self) -> list[dict[str, Any]]:
        """The events since the last call, without waiting."""
        try:
            self._read(0)
        except QmpClosedError:
            if not self.events:
                raise
        taken, self.events = self.events, []
        return taken

    def _read(self, seconds: float) -> list[dict[str, Any]]:
        if not select.select([self.socket], [], [], max(0.0, seconds))[0]:
            return []
        try:
            data = self.socket.recv(1 << 16)
        except OSError as error:
            raise QmpClosedError(str(error)) from error
        if not data:
            raise QmpClosedError("end of stream")
        *lines, self.received = (self.received + data).split(b"\n")
        documents = [json.loads(line) for line in lines if line.strip()]
        self.events += [document for document in documents if "event" in document]
        return [document for document in documents if "event" not in document]


def connect(path: Path, *, seconds: float = 30, alive: Any = lambda: True) -> socket.socket:
    """Connect to a unix socket that a starting program is about to make; QmpClosedError when it does not, or is no longer `alive`."""
    end = time.monotonic() + seconds
    while True:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(path))
            return client
        except OSError as error:
            client.close()
            if time.monotonic() > end or not alive():
                raise QmpClosedError(f"{path.name}: {error}") from error
            time.sleep(0.05)
