"""Roots in which the modules of one driver package after the other are compiled for all flavours of one kernel.

Made as `aistack kernels --prove` makes its own, with the same script, but for one thing: the root holds the kernel's headers and DKMS, and
the driver's sources are put in and taken out. So a pair costs what the compiler takes, and a driver's package is tried with kernels
beside which apt would not install it.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aistack.commands.fetching import fetched
from aistack.commands.pinning import Places
from aistack.compose import modules as texts
from aistack.compose.distros import debian
from aistack.diagnostics import DiagnosticError
from aistack.facts.pins import Archive, LockedPackage, LockedRoot
from aistack.host import apt, modules, process, rootfs
from aistack.host.store import Store
from aistack.report.progress import Progress
from aistack.values import dataclass

KEPT = 10
"""Unpacked roots, half a gigabyte each, of which the one that was used last is given up for another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """What a root is for: kernels of one version, and the archives of the release that they and the compiler are from."""

    kernels: tuple[str, ...]
    os: str
    archives: tuple[Archive, ...]


class Fields:
    """The roots that are unpacked: `compile` is what they are for, `close` removes them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._roots: dict[Headers, Path] = {}
        self._lacking: dict[Headers, DiagnosticError] = {}

    def close(self) -> None:
        """Remove what was unpacked."""
        while self._roots:
            rootfs.remove_root(self._roots.popitem()[1])

    def compile(self, kernel: str, headers: Headers, driver: LockedPackage, source: Archive) -> tuple[str, ...]:
        """What stands against the modules of a driver's package, from `source`, for one of the kernels; nothing where they compile.

        Raises DiagnosticError where it was not the compiler or the package itself that refused.
        """
        root = self._root(headers)
        with tempfile.TemporaryDirectory() as folder, self._sources(root, driver, source):
            log = Path(folder) / "log"
            ended = modules.compile_modules(Store(Path(folder) / "store"), root, script=debian.module_script(), kernel=kernel, log=log)
        if ended.exit_code == 0:
            return ()
        if errors := texts.errors(ended.log):
            return errors
        raise process.failure(("dkms", "build"), ended.exit_code, ended.log)

    def _root(self, headers: Headers) -> Path:
        if headers in self._roots:
            self._roots[headers] = self._roots.pop(headers)
            return self._roots[headers]
        if headers in self._lacking:
            raise self._lacking[headers]
        if len(self._roots) == KEPT:
            rootfs.remove_root(self._roots.pop(next(iter(self._roots))))
        wanted = (*map(debian.kernel_headers, headers.kernels), "dkms")
        try:
            locked = apt.resolve(self._store, headers.archives, wanted, "amd64", headers.os, environment=os.environ)
            fetched(locked, Places(store=self._store, environment=os.environ), (), Progress(stream=io.StringIO()))
        except DiagnosticError as error:
            self._lacking[headers] = error
            raise
        name = f"field-{os.getpid()}-{'-'.join(headers.kernels)}"  # what a killed run left may hold a driver's sources
        root = rootfs.make_root(self._store, locked, name, files=debian.module_files(), stand_ins=debian.MODULE_STAND_INS)
        self._roots[headers] = root
        return root

    @contextmanager
    def _sources(self, root: Path, driver: LockedPackage, source: Archive) -> Iterator[None]:
        alone = LockedRoot(arch="amd64", os="", packages=(driver,), wanted=(), archives=(source,))
        apt.fetch(self._store, alone, environment=os.environ)
        there = {*(root / "usr/src").iterdir()}
        unpack = 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" ./usr/src'
        try:
            process.run([*rootfs.privileges(), "sh", "-c", unpack, "sh", str(self._store.blob(driver.sha256)), str(root)])
            yield
        finally:
            for folder in {*(root / "usr/src").iterdir()} - there:
                rootfs.remove_root(folder)
