"""Wheels in an app's image: laid out as pip would, compiled by the Python of the app's root, in the layers that the lock names."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from aistack.diagnostics import unable
from aistack.facts.files import APP, site_packages
from aistack.facts.pins import LockedWheel
from aistack.host import layers, python_parts, rootfs
from aistack.host.layers import Layer
from aistack.host.store import Store, digest

WORK = "/run/wheels"
COMPILE = f"""\
import compileall, py_compile
unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
compileall.compile_dir("{WORK}", quiet=2, force=True, invalidation_mode=unchecked, stripdir="{WORK}", prependdir="/")
"""
"""Byte code that is trusted as it lies; a file that this Python cannot read, such as a template, has none."""


def write(
    store: Store,
    root: Path,
    wheels: Sequence[LockedWheel],
    groups: Sequence[tuple[str, Sequence[str]]],
    *,
    python: str,
    compressor: tuple[str, ...],
    advance: Callable[[str, int, int | None], None] | None = None,
) -> tuple[Layer, ...]:
    """A layer for each group of wheels (its name, the names of its wheels); `root` is the unpacked root whose `python` (`3.13`) compiles.

    The wheels must be in the store. One group at a time is on the disk. Raises DiagnosticError (exit 3).
    """
    python_parts.require()
    known = {wheel.name: wheel for wheel in wheels}
    made, laid, total = [], 0, sum(wheel.size for wheel in wheels)
    for group, names in groups:
        with store.scratch() as folder:
            for name in names:
                install(store, known[name], folder, python)
            # A process for each group: what Python compiled before may show in the byte code that it writes next.
            bind = rootfs.Bind(source=folder, target=WORK, writable=True)
            rootfs.enter(root, [f"python{python}", "-W", "ignore", "-c", COMPILE], binds=(bind,), environment={"PYTHONHASHSEED": "0"})
            made.append(layers.write_layer(store, entries(folder), compressor=compressor, annotations=((layers.GROUP, group),)))
        laid += sum(known[name].size for name in names)
        if advance:
            advance(f"laying out {len(wheels)} wheels", laid, total)
    return tuple(made)


def install(store: Store, wheel: LockedWheel, folder: Path, python: str) -> None:
    """Lay out one wheel below `folder`, which stands for an image's root; its programs start the Python of the app's environment.

    A file that an earlier wheel brought too is replaced. Raises DiagnosticError (exit 3) where the wheel is damaged or is none.
    """
    from installer import install as lay_out
    from installer.destinations import SchemeDictionaryDestination
    from installer.exceptions import InstallerError
    from installer.sources import WheelFile

    if digest(store.blob(wheel.sha256)) != wheel.sha256:
        raise unable("STO002", "store-damaged", f"the store's `{wheel.filename}` is not what it was", hints=("build again",))
    site = site_packages(python)
    scheme = {"purelib": site, "platlib": site, "scripts": f"{APP}/bin", "data": APP, "headers": f"{APP}/include/{wheel.name}"}
    target = SchemeDictionaryDestination(scheme, f"{APP}/bin/python", "posix", destdir=str(folder), overwrite_existing=True)
    with store.scratch() as scratch:
        named = scratch / wheel.filename
        named.symlink_to(store.blob(wheel.sha256).resolve())
        try:
            with warnings.catch_warnings(action="ignore"), WheelFile.open(named) as source:
                lay_out(source, target, {"INSTALLER": b"aistack\n"})
        except (InstallerError, zipfile.BadZipFile, ValueError, KeyError, OSError) as error:
            why = (f"{type(error).__name__}: {error}",)
            raise unable("WHL008", "wheel-not-installed", f"`{wheel.filename}` cannot be laid out", why=why) from error


def entries(folder: Path) -> list[tuple[layers.Entry, Path]]:
    """What was laid out below `folder`, as a layer holds it: whose it is, and what a umask made of its modes, does not count."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, status = path.relative_to(folder).as_posix(), path.stat()
        program = name.startswith(f"{APP}/bin/".lstrip("/")) or status.st_mode & 0o100
        found.append((layers.Entry(path=name, mode=0o755 if program else 0o644, size=status.st_size), path))
    return found
