"""A file on a server of which only parts are fetched, by HTTP's byte ranges (RFC 9110, 14)."""

from __future__ import annotations

import io
import urllib.request

SECONDS = 180.0
"""How long a server may take to answer."""


class WholeFilesOnlyError(Exception):
    """A server does not serve parts of files; no OSError, which zipfile would take for a broken file."""


class RemoteFile(io.RawIOBase):
    """A file on a server, of which only the parts are fetched that are read."""

    def __init__(self, opener: urllib.request.OpenerDirector, url: str, size: int) -> None:
        self.opener, self.url, self.size, self.position = opener, url, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        return self.position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self.size - self.position)
        if wanted <= 0:
            return 0
        request = urllib.request.Request(self.url, headers={"Range": f"bytes={self.position}-{self.position + wanted - 1}"})
        with self.opener.open(request, timeout=SECONDS) as answer:
            if answer.status != 206:
                raise WholeFilesOnlyError
            data = answer.read(wanted)
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)
