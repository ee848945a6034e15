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
from aistack.facts.binary import DRIVER_FILE, GSP_FIRMWARE, Binary
from aistack.facts.byte_code import BYTE_CODE_FILE, ByteCode, PythonSource
from aistack.facts.fatbin import DeviceCode
from aistack.facts.files import APP
from aistack.facts.filesystem import Entry, Filesystem, placed
from aistack.facts.kernel_files import INITRAMFS_FILE, KERNEL_FILE, MODULE_FILE, UNIFIED_FILE, Kernel, Module
from aistack.host.binaries import compression, elf, initramfs, private_keys, unified
from aistack.host.binaries.byte_code import byte_code, python_source
from aistack.host.binaries.elf import DamagedError, UnreadError
from aistack.host.binaries.initramfs import Readable
from aistack.host.binaries.kernel import kernel
from aistack.host.binaries.module import module
from aistack.values import dataclass

Wanted = Callable[[str], bool]

HEAD = 2048
"""Bytes: enough to tell what a file is, the file system in an image's, too."""
CHUNK = 1 << 20
LARGE = 32 << 20
"""Bytes: a larger program or library is read from the disk instead of from memory."""
MOST_WAITING = 64 << 20
"""Bytes of contents that may wait for a thread."""

LARGEST_TEXT = 32 << 20
"""Bytes: no text that is asked for has more."""

MODULE = re.compile(r"(?:/usr)?/lib/modules/.*/" + MODULE_FILE.pattern)
IMAGES = {"squashfs": (0, b"hsqs"), "EROFS": (1024, b"\xe2\xe1\xf5\xe0")}
"""File systems that are one file, in which an initramfs may have the rest of its own: where their first bytes stand, and which."""

PACKAGED = ("/usr/", "/etc/", "/lib", "/bin/", "/sbin/", "/boot/")
"""Where an OS's packages have their files; what else an image holds may be very large."""
UNREAD = (f"{APP}/", "/models/")
"""Where an app's wheels are and a model: nothing here asks more of them than for which accelerators they hold code."""

SCRIPT = b"#!"
"""How a program begins that stands in the place of one of the driver's and starts it."""

LARGEST_BELOW = 64 << 10
"""Bytes: a larger text of a lower layer is forgotten when a later one deletes or replaces it."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Why a file cannot be read that says it is a binary; not `certain`, it may be right all the same."""

    why: str
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Unified:
    """A kernel and its initramfs (None: it has none) in one file."""

    kernel: Kernel
    initramfs: Filesystem | None


Value = Binary | ByteCode | Damage | Filesystem | Kernel | Module | PythonSource | Unified
Promise = Future[Value | None]
Reader = Callable[[str, IO[bytes], int], Value | None]
"""What reads a file of that path and size; None for one that is no binary after all."""


class Contents:
    """What is known of the contents of a file system while its files come, those of a lower one first."""

    def __init__(
        self,
        wanted: Wanted,
        scratch: Path,
        pool: Executor,
        lower: Filesystem | None = None,
        read: dict[tuple[str, str, Reader], Promise] | None = None,
    ) -> None:
        self.wanted, self.scratch, self.pool = wanted, scratch, pool
        self.in_initramfs = read is not None
        self.read = {} if read is None else read  # by checksum and name: an initramfs holds what lies outside, too
        lower = lower or Filesystem(entries={}, texts={})
        self.texts = dict(lower.texts)
        self.keys, self.keys_below = set(lower.keys), set(lower.keys_below)
        self.texts_below = dict(lower.texts_below)
        self.code = dict(lower.code)
        known: dict[str, Value] = {
            **lower.binaries,
            **lower.modules,
            **lower.kernels,
            **lower.initramfs,
            **lower.byte_code,
            **lower.sources,
        }
        known |= {path: Damage(why) for path, why in lower.damaged.items()}
        known |= {path: Damage(why, certain=False) for path, why in lower.unread.items()}
        known |= {path: Unified(one, lower.initramfs.get(path)) for path, one in lower.kernels.items() if UNIFIED_FILE.fullmatch(path)}
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

    def take(self, path: str, entry: Entry, stream: Readable) -> Entry:
        """Reads a file; its entry comes back with the checksum."""
        head = stream.read(HEAD)
        entry = replace(entry, interpreter=_interpreter(head))
        reader = _reader(path, head)
        if form := self._unread(path, entry, head, reader):
            self.values[path] = _kept(form)
            return self._take_large(path, entry, head, stream, None)
        whole = reader in WHOLE or self.wanted(path)
        if INITRAMFS_FILE.fullmatch(path) or UNIFIED_FILE.fullmatch(path) or (entry.size > LARGE and not whole):
            return self._take_large(path, entry, head, stream, reader)
        data = head + stream.read()
        if self.wanted(path):
            self.texts[path] = data
        if reader not in WHOLE and head.startswith(elf.MAGIC):
            self._hold(path, fatbin.read((data,)))
        if private_keys.is_private(data):
            self.keys.add(path)
        md5 = _md5(data).hexdigest() if reader or path.startswith(PACKAGED) else ""
        if reader:
            same = md5, path.rpartition("/")[2], reader
            self.values[path] = self.read.get(same) or self._later(path, data, reader)
            self.read[same] = self.values[path]
        return replace(entry, md5=md5)

    def _unread(self, path: str, entry: Entry, head: bytes, reader: Reader | None) -> Damage | None:
        """Why a file is not read at all; None for one that is."""
        if reader in WHOLE and entry.size > compression.LARGEST:
            return Damage(f"it has more than {compression.LARGEST >> 20} MiB", certain=False)
        if self.wanted(path) and entry.size > LARGEST_TEXT:
            return Damage(f"it is a text of more than {LARGEST_TEXT >> 20} MiB", certain=False)
        form = next((form for form, (place, magic) in IMAGES.items() if self.in_initramfs and head.startswith(magic, place)), None)
        return Damage(f"it is a file system of its own ({form}), which nothing here reads", certain=False) if form else None

    def _later(self, path: str, data: bytes, reader: Reader) -> Promise:
        """Has a thread read a file, once not too much waits for one."""
        while sum(size for _, size in self.waiting) > MOST_WAITING:
            self.waiting.popleft()[0].exception()
        promise = self.pool.submit(_value, reader, path, io.BytesIO(data), len(data))
        self.waiting.append((promise, len(data)))
        return promise

    def _hold(self, path: str, code: DeviceCode) -> None:
        if code != DeviceCode():
            self.code[path] = code

    def _take_large(self, path: str, entry: Entry, head: bytes, stream: Readable, reader: Reader | None) -> Entry:
        read = bool(reader or INITRAMFS_FILE.fullmatch(path))
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
            elif reader:
                file.seek(0)
                self.values[path] = _kept(_value(reader, path, file, entry.size))
        return replace(entry, md5=md5.hexdigest()) if hashed else entry

    def _initramfs(self, file: Path) -> Value:
        inner = Contents(self.wanted, self.scratch, self.pool, read=self.read)
        entries: dict[str, Entry] = {}
        try:
            for said, entry, content in initramfs.members(file, self.scratch / "initramfs.log"):
                path, _ = placed(entries, said)
                inner.forget(path)
                if entry.kind == "file" and entry.target:
                    target, _ = placed(entries, entry.target)
                    entries[path] = entries[target]
                    inner.link(path, target)
                else:
                    entries[path] = inner.take(path, entry, content) if entry.kind == "file" else entry
        except (DamagedError, UnreadError) as error:
            return Damage(str(error), certain=isinstance(error, DamagedError))
        return inner.filesystem(entries)

    def _unified(self, path: str, stream: IO[bytes], size: int) -> Value | None:
        own = _value(_unified_kernel, path, stream, size)
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
            byte_code={path: value for path, value in values.items() if isinstance(value, ByteCode)},
            sources={path: value for path, value in values.items() if isinstance(value, PythonSource)},
            damaged={path: value.why for path, value in values.items() if isinstance(value, Damage) and value.certain},
            unread={path: value.why for path, value in values.items() if isinstance(value, Damage) and not value.certain},
            code=self.code,
        )


def _value(reader: Reader, path: str, stream: IO[bytes], size: int) -> Value | None:
    """What a file says of itself, or why it cannot be read."""
    try:
        return reader(path, stream, size)
    except DiagnosticError:
        raise
    except (DamagedError, UnreadError) as error:
        return Damage(str(error), certain=isinstance(error, DamagedError))
    except Exception as error:  # noqa: BLE001 - what is damaged may fail a parser in any way
        return Damage(f"it cannot be parsed ({type(error).__name__}: {error})")


def _module(path: str, stream: IO[bytes], size: int) -> Module:
    return module(compression.unpacked(stream.read(), elf.MAGIC))


def _kernel(path: str, stream: IO[bytes], size: int) -> Kernel:
    return kernel(stream.read())


def _unified_kernel(path: str, stream: IO[bytes], size: int) -> Kernel:
    place, length = unified.sections(stream, size).get(unified.KERNEL, (0, 0))
    stream.seek(place)
    return kernel(stream.read(length))


def _firmware(path: str, stream: IO[bytes], size: int) -> Binary:
    return elf.firmware(compression.by_name(path, stream.read()))


def _driver_file(path: str, stream: IO[bytes], size: int) -> Binary:
    found = elf.binary(stream, size, path)
    if found is None:
        raise DamagedError("it is neither a program nor a library")
    return found


def _binary(path: str, stream: IO[bytes], size: int) -> Binary | None:
    return elf.binary(stream, size, path)


WHOLE = (_module, _kernel, _firmware)
"""What reads whole files, which therefore have to fit into memory."""


def _reader(path: str, head: bytes) -> Reader | None:
    """What reads a file: its path decides, as damage may be at its very beginning; then its first bytes. None: nothing."""
    readers = ((MODULE, _module), (KERNEL_FILE, _kernel), (UNIFIED_FILE, _unified_kernel), (GSP_FIRMWARE, _firmware))
    if found := next((reader for pattern, reader in readers if pattern.fullmatch(path)), None):
        return found
    if path.startswith(UNREAD):
        return None
    if DRIVER_FILE.fullmatch(path) and not head.startswith(SCRIPT):
        return _driver_file
    if path.endswith(".py"):
        return python_source
    if BYTE_CODE_FILE.fullmatch(path):
        return byte_code
    return _binary if head.startswith(elf.MAGIC) else None


def _interpreter(head: bytes) -> str:
    """The program that a script names in its first line: execve(2)."""
    words = head.partition(b"\n")[0].removeprefix(SCRIPT).split() if head.startswith(SCRIPT) else []
    return words[0].decode(errors="surrogateescape") if words else ""


def _kept(value: Value | None) -> Promise:
    promise = Promise()
    promise.set_result(value)
    return promise


def _md5(data: bytes = b"") -> hashlib._Hash:
    return hashlib.md5(data, usedforsecurity=False)
