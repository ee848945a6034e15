"""Compiling kernel modules in a root that is made for it, and signing them. What is compiled, the root's packages and a script say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aistack.facts.pins import LockedFile
from aistack.host import process, rootfs
from aistack.host.store import Store
from aistack.values import dataclass

WORK, OUTPUT = "/var/lib/dkms", "/out"
HOURS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """How a compilation ended: its exit code, the modules that it left (kept in the store, by name), and all that the tools said."""

    exit_code: int
    modules: tuple[LockedFile, ...]
    log: str


def compile_modules(store: Store, root: Path, *, script: str, kernel: str, log: Path) -> Compiled:
    """Run `script` (sh) with the kernel's version string in the unpacked `root`, an empty /out and a work folder, without a network.

    Two runs give the same bytes: what a build may show of where, when and by whom it was done is the same each time.
    """
    with store.scratch() as scratch:
        work, out = scratch / "work", scratch / "out"
        for folder, place in ((work, WORK), (out, OUTPUT)):
            folder.mkdir()
            process.run([*rootfs.privileges(), "mkdir", "-p", str(root / place.strip("/"))])  # the root is read-only while it is used
        binds = (rootfs.Bind(source=work, target=WORK, writable=True), rootfs.Bind(source=out, target=OUTPUT, writable=True))
        argv = ("sh", "-c", script, "sh", kernel)
        ended = rootfs.enter(root, argv, binds=binds, check=False, timeout=HOURS * 3600, log=log)
        return Compiled(exit_code=ended.returncode, modules=_kept(store, out) if ended.returncode == 0 else (), log=ended.stdout)


def _kept(store: Store, folder: Path) -> tuple[LockedFile, ...]:
    made = []
    for file in sorted(folder.glob("*.ko")):
        with file.open("rb") as stream:
            sha256, size = store.add(stream)
        made.append(LockedFile(path=file.name, sha256=sha256, size=size))
    return tuple(made)


def content(store: Store, modules: Sequence[LockedFile]) -> dict[str, bytes]:
    """The modules' bytes, by their names."""
    return {module.path: store.blob(module.sha256).read_bytes() for module in modules}
