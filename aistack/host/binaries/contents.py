"""What the files of a file system hold, read while they pass by: texts, private keys, and what binaries say of themselves.

Contents are thrown away once they are read, so that an image takes no more memory than its largest files. Two threads read what takes
time: while one decompresses or hashes, the other parses.
"""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import IO

from aistack.diagnostics import DiagnosticError
from aistack.facts import fatbin
from aistack.facts.binary import Binary
from aistack.facts.fatbin import DeviceCode
from aistack.facts.files import APP
from aistack.facts.filesystem import Entry, Filesystem
from aistack.facts.kernel_files import MODULE_FILE, Kernel, Module
from aistack.host.binaries import compression, elf, initramfs, private_keys
from aistack.host.binaries.elf import DamagedError
from aistack.host.binaries.kernel import kernel
from aistack.host.binaries.module import module
from aistack.values import dataclass

Wanted = Callable[[str], bool]

HEAD = 64
CHUNK = 1 << 20
LARGE = 32 << 20
"""Bytes: a larger program or library is read from the disk instead of from memory."""
MOST_WAITING = 64 << 20
"""Bytes of contents that may wait for a thread."""

KERNEL = re.compile(r"/usr/lib/modules/[^/]+/vmlinuz")
INITRAMFS = re.compile(r"/usr/lib/modules/[^/]+/initramfs\.img")
MODULE = re.compile(r"(?:/usr)?/lib/modules/.*/" + MODULE_FILE.pattern)
FIRMWARE = re.compile(r"/usr/lib/firmware/nvidia/[^/]+/gsp[^/]*\.bin")
"""NVIDIA's firmware, which says for which version of the driver it is."""

PACKAGED = ("/usr/", "/etc/", "/lib", "/bin/", "/sbin/", "/boot/")
"""Where an OS's packages have their files; what else an image holds may be very large."""
UNREAD = (f"{APP}/", "/models/")
"""Where an app's wheels are and a model: nothing here asks more of them than for which accelerators they hold code."""

LARGEST_BELOW = 64 << 10
"""Bytes: a larger text of a lower layer is forgotten when a later one deletes or replaces it."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Why a file cannot be read that says it is a binary."""

    why: str


Value = Binary | Damage | Filesystem | Kernel | Module
Promise = Future[Value | None]


class Contents:
    """What is known of the contents of a file system while its files come, those of a lower one first."""

    def __init__(
        self,
        wanted: Wanted,
        scratch: Path,
        pool: Executor,
        lower: Filesystem | None = None,
        read: dict[tuple[str, str, bool], Promise] | None = None,
    ) -> None:
        self.wanted, self.scratch, self.pool = wanted, scratch, pool
        self.read = {} if read is None else read  # by checksum and name: an initramfs holds what lies outside, too
        lower = lower or Filesystem(entries={}, texts={})
        self.texts = dict(lower.texts)
        self.keys, self.keys_below = set(lower.keys), set(lower.keys_below)
        self.texts_below = dict(lower.texts_below)
        self.code = dict(lower.code)
        known: dict[str, Value] = {**lower.binaries, **lower.modules, **lower.kernels, **lower.initramfs}
        known |= {path: Damage(why) for path, why in lower.damaged.items()}
        self.values = {path: _kept(value) for path, value in known.items()}
        self.waiting: deque[tuple[Promise, int]] = deque()

    def forget(self, path: str) -> None:
        """A path is gone, or becomes something else."""
        if path in self.keys:
            self.keys.remove(path)
            self.keys_below.add(path)
        if 0 < len(text := self.texts.pop(path, b"")) <= LARGEST_BELOW:
            self.texts_below[path] = (*self.texts_below.get(path, ()), text)
        self.code.pop(path, None)
        self.values.pop(path, None)

    def link(self, path: str, target: str) -> None:
        """A path is another name of a file that came before."""
        if target in self.keys:
            self.keys.add(path)
        if self.wanted(path):
            self.texts[path] = self.texts.get(target, b"")
        if target in self.values:
            self.values[path] = self.values[target]
        if target in self.code:
            self.code[path] = self.code[target]

    def take(self, path: str, entry: Entry, stream: IO[bytes]) -> Entry:
        """Reads a file; its entry comes back with the checksum."""
        head = stream.read(HEAD)
        ours = MODULE.fullmatch(path) or KERNEL.fullmatch(path)
        binary = ours or (head.startswith(elf.MAGIC) and not path.startswith(UNREAD))
        if INITRAMFS.fullmatch(path) or (entry.size > LARGE and not (ours or self.wanted(path))):
            return self._take_large(path, entry, head, stream, read=bool(binary or INITRAMFS.fullmatch(path)))
        data = head + stream.read()
        if self.wanted(path):
            self.texts[path] = data
        if not ours and head.startswith(elf.MAGIC):
            self._hold(path, fatbin.read((data,)))
        if private_keys.is_private(data):
            self.keys.add(path)
        md5 = _md5(data).hexdigest() if binary or path.startswith(PACKAGED) else ""
        if binary:
            same = md5, path.rpartition("/")[2], bool(ours)
            self.values[path] = self.read.get(same) or self._later(path, data)
            self.read[same] = self.values[path]
        return replace(entry, md5=md5)

    def _later(self, path: str, data: bytes) -> Promise:
        """Has a thread read a file, once not too much waits for one."""
        while sum(size for _, size in self.waiting) > MOST_WAITING:
            self.waiting.popleft()[0].exception()
        promise = self.pool.submit(_value, path, io.BytesIO(data), len(data))
        self.waiting.append((promise, len(data)))
        return promise

    def _hold(self, path: str, code: DeviceCode) -> None:
        if code != DeviceCode():
            self.code[path] = code

    def _take_large(self, path: str, entry: Entry, head: bytes, stream: IO[bytes], *, read: bool) -> Entry:
        holds, hashed = head.startswith(elf.MAGIC), read or path.startswith(PACKAGED)
        if not (holds or hashed):
            return entry
        md5 = _md5()
        with tempfile.NamedTemporaryFile(dir=self.scratch) as file:

            def pieces() -> Iterator[bytes]:
                piece = head
                while piece:
                    if hashed:
                        md5.update(piece)
                    if read:
                        file.write(piece)
                    yield piece
                    piece = stream.read(CHUNK)

            if holds:
                self._hold(path, fatbin.read(pieces()))
            else:
                deque(pieces(), maxlen=0)
            if INITRAMFS.fullmatch(path):
                file.flush()
                self.values[path] = _kept(self._initramfs(Path(file.name)))
            elif read:
                file.seek(0)
                self.values[path] = _kept(_value(path, file, entry.size))
        return replace(entry, md5=md5.hexdigest()) if hashed else entry

    def _initramfs(self, file: Path) -> Value:
        inner = Contents(self.wanted, self.scratch, self.pool, read=self.read)
        entries: dict[str, Entry] = {}
        try:
            for path, entry, data in initramfs.members(file, self.scratch / "initramfs.log"):
                inner.forget(path)
                entries[path] = inner.take(path, entry, io.BytesIO(data)) if entry.kind == "file" else entry
        except DamagedError as error:
            return Damage(str(error))
        return inner.filesystem(entries)

    def filesystem(self, entries: dict[str, Entry]) -> Filesystem:
        """All that was read, with those entries."""
        values = {path: promise.result() for path, promise in self.values.items()}
        return Filesystem(
            entries=entries,
            texts=self.texts,
            keys=tuple(sorted(self.keys)),
            texts_below=self.texts_below,
            keys_below=tuple(sorted(self.keys_below)),
            binaries={path: value for path, value in values.items() if isinstance(value, Binary)},
            modules={path: value for path, value in values.items() if isinstance(value, Module)},
            kernels={path: value for path, value in values.items() if isinstance(value, Kernel)},
            initramfs={path: value for path, value in values.items() if isinstance(value, Filesystem)},
            damaged={path: value.why for path, value in values.items() if isinstance(value, Damage)},
            code=self.code,
        )


def _value(path: str, stream: IO[bytes], size: int) -> Value | None:
    """What a file says of itself; None for one that is no binary after all."""
    try:
        if MODULE.fullmatch(path):
            return module(compression.unpacked(stream.read()))
        if KERNEL.fullmatch(path):
            return kernel(stream.read())
        return elf.firmware(stream) if FIRMWARE.fullmatch(path) else elf.binary(stream, size, path)
    except DiagnosticError:
        raise
    except DamagedError as error:
        return Damage(str(error))
    except Exception as error:  # noqa: BLE001 - what is damaged may fail a parser in any way
        return Damage(f"it cannot be parsed ({type(error).__name__}: {error})")


def _kept(value: Value | None) -> Promise:
    promise = Promise()
    promise.set_result(value)
    return promise


def _md5(data: bytes = b"") -> hashlib._Hash:
    return hashlib.md5(data, usedforsecurity=False)
