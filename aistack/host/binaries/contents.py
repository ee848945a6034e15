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
from aistack.facts.filesystem import Entry, Filesystem, placed
from aistack.facts.kernel_files import INITRAMFS_FILE, KERNEL_FILE, MODULE_FILE, UNIFIED_FILE, Kernel, Module
from aistack.host.binaries import compression, elf, initramfs, unified
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

MODULE = re.compile(r"(?:/usr)?/lib/modules/.*/" + MODULE_FILE.pattern)
FIRMWARE = re.compile(r"(?:/usr)?/lib/firmware/nvidia/[^/]+/gsp[^/]*\.bin")
"""NVIDIA's firmware, which says for which version of the driver it is."""

PACKAGED = ("/usr/", "/etc/", "/lib", "/bin/", "/sbin/", "/boot/")
"""Where an OS's packages have their files; what else an image holds may be very large."""
UNREAD = (f"{APP}/", "/models/")
"""Where an app's wheels are and a model: nothing here asks more of them than for which accelerators they hold code."""

LARGEST_KEY = 64 << 10
PEM_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\r?\n[A-Za-z0-9+/]")
DER = re.compile(rb"\x30(?:[\x00-\x7f]|\x81.|\x82..)", re.DOTALL)
DER_KEY = re.compile(rb"\x02\x01(?:\x00\x02[\x81\x82]|[\x00\x01]\x30.\x06|\x01\x04[\x1c\x20\x30\x42])", re.DOTALL)
"""How a key begins behind its length: RSA's as PKCS#1 has it, any as PKCS#8 does, an elliptic curve's as RFC 5915 does."""
PKCS12 = b"\x02\x01\x03"
KEY_BAG = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02"
"""What in a PKCS#12 file is a key, and not a certificate alone."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Why a file cannot be read that says it is a binary."""

    why: str


@dataclass(frozen=True, slots=True)
class Unified:
    """A kernel and its initramfs (None: it has none) in one file."""

    kernel: Kernel
    initramfs: Filesystem | None


Value = Binary | Damage | Filesystem | Kernel | Module | Unified
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
        known |= {path: Unified(one, lower.initramfs.get(path)) for path, one in lower.kernels.items() if UNIFIED_FILE.fullmatch(path)}
        self.values = {path: _kept(value) for path, value in known.items()}
        self.waiting: deque[tuple[Promise, int]] = deque()

    def forget(self, path: str) -> None:
        """A path is gone, or becomes something else."""
        if path in self.keys:
            self.keys.remove(path)
            self.keys_below.add(path)
        if 0 < len(text := self.texts.pop(path, b"")) <= LARGEST_KEY:
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
        ours = MODULE.fullmatch(path) or KERNEL_FILE.fullmatch(path)
        whole = INITRAMFS_FILE.fullmatch(path) or UNIFIED_FILE.fullmatch(path)
        binary = ours or (head.startswith(elf.MAGIC) and not path.startswith(UNREAD))
        if whole or (entry.size > LARGE and not (ours or self.wanted(path))):
            return self._take_large(path, entry, head, stream, read=bool(binary or whole))
        data = head + stream.read()
        if self.wanted(path):
            self.texts[path] = data
        if not ours and head.startswith(elf.MAGIC):
            self._hold(path, fatbin.read((data,)))
        if len(data) <= LARGEST_KEY and _is_key(data):
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
            if INITRAMFS_FILE.fullmatch(path):
                file.flush()
                self.values[path] = _kept(self._initramfs(Path(file.name)))
            elif UNIFIED_FILE.fullmatch(path):
                self.values[path] = _kept(self._unified(path, file, entry.size))
            elif read:
                file.seek(0)
                self.values[path] = _kept(_value(path, file, entry.size))
        return replace(entry, md5=md5.hexdigest()) if hashed else entry

    def _initramfs(self, file: Path) -> Value:
        inner = Contents(self.wanted, self.scratch, self.pool, read=self.read)
        entries: dict[str, Entry] = {}
        try:
            for said, entry, data in initramfs.members(file, self.scratch / "initramfs.log"):
                path, _ = placed(entries, said)
                inner.forget(path)
                entries[path] = inner.take(path, entry, io.BytesIO(data)) if entry.kind == "file" else entry
        except DamagedError as error:
            return Damage(str(error))
        return inner.filesystem(entries)

    def _unified(self, path: str, stream: IO[bytes], size: int) -> Value | None:
        own = _value(path, stream, size)
        if not isinstance(own, Kernel):
            return own
        inside: Value | None = None
        if part := unified.sections(stream, size).get(unified.INITRAMFS):
            with tempfile.NamedTemporaryFile(dir=self.scratch) as file:
                place, left = part
                stream.seek(place)
                while piece := stream.read(min(left, CHUNK)):
                    left -= file.write(piece)
                file.flush()
                inside = self._initramfs(Path(file.name))
        return inside if isinstance(inside, Damage) else Unified(own, inside if isinstance(inside, Filesystem) else None)

    def filesystem(self, entries: dict[str, Entry]) -> Filesystem:
        """All that was read, with those entries."""
        values = {path: promise.result() for path, promise in self.values.items()}
        both = {path: value for path, value in values.items() if isinstance(value, Unified)}
        return Filesystem(
            entries=entries,
            texts=self.texts,
            keys=tuple(sorted(self.keys)),
            texts_below=self.texts_below,
            keys_below=tuple(sorted(self.keys_below)),
            binaries={path: value for path, value in values.items() if isinstance(value, Binary)},
            modules={path: value for path, value in values.items() if isinstance(value, Module)},
            kernels={path: value for path, value in values.items() if isinstance(value, Kernel)}
            | {path: one.kernel for path, one in both.items()},
            initramfs={path: value for path, value in values.items() if isinstance(value, Filesystem)}
            | {path: one.initramfs for path, one in both.items() if one.initramfs is not None},
            damaged={path: value.why for path, value in values.items() if isinstance(value, Damage)},
            code=self.code,
        )


def _value(path: str, stream: IO[bytes], size: int) -> Value | None:
    """What a file says of itself; None for one that is no binary after all."""
    try:
        if MODULE.fullmatch(path):
            return module(compression.unpacked(stream.read()))
        if KERNEL_FILE.fullmatch(path):
            return kernel(stream.read())
        if UNIFIED_FILE.fullmatch(path):
            place, length = unified.sections(stream, size).get(unified.KERNEL, (0, 0))
            stream.seek(place)
            return kernel(stream.read(length))
        return elf.firmware(stream) if FIRMWARE.fullmatch(path) else elf.binary(stream, size, path)
    except DiagnosticError:
        raise
    except DamagedError as error:
        return Damage(str(error))
    except Exception as error:  # noqa: BLE001 - what is damaged may fail a parser in any way
        return Damage(f"it cannot be parsed ({type(error).__name__}: {error})")


def _is_key(data: bytes) -> bool:
    """Whether a file is a private key, or holds one."""
    if PEM_KEY.search(data):
        return True
    head = DER.match(data)
    if head is None or len(data) != head.end() + (int.from_bytes(data[2 : head.end()]) if head.end() > 2 else data[1]):
        return False
    return bool(DER_KEY.match(data, head.end())) or (data.startswith(PKCS12, head.end()) and KEY_BAG in data)


def _kept(value: Value | None) -> Promise:
    promise = Promise()
    promise.set_result(value)
    return promise


def _md5(data: bytes = b"") -> hashlib._Hash:
    return hashlib.md5(data, usedforsecurity=False)
