"""Images from locked Debian packages: the base that a node boots and the roots that apps start from, layer by layer.

Both are streamed: the finished root is read once, as a tar archive, and parted into layers on the way; no foreign owner's file stays
on this machine's disk. What the files and scripts say is decided elsewhere.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from aistack.diagnostics import unable
from aistack.facts.files import Rendered
from aistack.facts.pins import LockedRoot
from aistack.host import layers, oci, rootfs
from aistack.host.layers import Entry, Layer
from aistack.host.store import Store

VIRTUAL = ("dev", "proc", "run", "sys", "tmp")
"""Folders that are empty in an image: what belongs there is made when it runs."""

KERNEL, MODULES, INITRAMFS, NODE, DATABASE = "kernel", "modules", "initramfs", "node", "database"
LAST = (KERNEL, MODULES, INITRAMFS, NODE, DATABASE)
"""Layers at the top of an image; the kernel's and those that no package owns: compiled modules and what depmod says of all, the initramfs,
our own files, what programs made."""

ENABLERS = ("deb-systemd-helper",)
"""Programs by which packages enable their units: in a base the presets alone say which units start."""

NODE_FOLDER = "usr/lib/aistack/"
MADE_FOR = {
    "etc/ssl/certs/": "ca-certificates",
    "usr/lib/udev/hwdb.bin": "udev",
    "usr/lib/systemd/catalog/database": "systemd",
    "usr/share/glib-2.0/schemas/gschemas.compiled": "libglib2.0-0t64",
}
"""Files and folders that a program makes of what, in practice, one package brings: they lie with it."""


def build_base(
    store: Store,
    root: LockedRoot,
    *,
    files: Sequence[Rendered],
    script: str,
    labels: Mapping[str, str] | None = None,
    compressor: tuple[str, ...] = layers.ZSTD,
    log: Path | None = None,
) -> str:
    """Build the bootable base image of a locked root; returns its manifest's digest. The packages must be in the store."""
    built = build_layers(store, root, files=files, script=script, stand_ins=ENABLERS, compressor=compressor, log=log)
    settings = oci.Settings(command=("/sbin/init",), stop_signal="SIGRTMIN+3")
    return oci.write_image(
        store, built, arch=root.arch, settings=settings, labels={"containers.bootc": "1", "ostree.bootable": "1", **(labels or {})}
    )


def build_layers(
    store: Store,
    root: LockedRoot,
    *,
    files: Sequence[Rendered] = (),
    script: str = "",
    stand_ins: Sequence[str] = (),
    compressor: tuple[str, ...] = layers.ZSTD,
    log: Path | None = None,
) -> tuple[Layer, ...]:
    """Install a locked root, put `files` in, run `script` inside, and write the result as the layers that the lock names."""
    groups = {package: group for group, packages in root.layers for package in packages}
    given = {file.path.strip("/") for file in files}
    with rootfs.make_tar(store, root, files=files, script=script, stand_ins=stand_ins, log=log) as unpacked:
        assign = _assignment(groups, unpacked.owners, given)
        return split(store, unpacked.stream, assign, compressor=compressor)


def _assignment(groups: Mapping[str, str], owners: Mapping[str, str], given: set[str]) -> Callable[[str, bytes], str]:
    """The layer of a path: `groups` are the layers of packages, `owners` the packages of paths, `given` the paths of our own files."""

    def owner(path: str) -> str:
        for made, package in MADE_FOR.items():
            if path.startswith(made) and package in groups:
                return package
        if match := INFO.match(path):
            return match[1]
        return owners.get("/" + BYTE_CODE.sub(r"\1.py", path), "")

    def assign(path: str, kind: bytes) -> str:
        if COMPILED.match(path) and kind != layers.DIRECTORY:
            return MODULES
        if path in given or path.startswith(NODE_FOLDER):
            return NODE
        if kind == layers.DIRECTORY:  # many packages share a folder: it belongs to none of them
            return DATABASE
        if INITRAMFS_FILE.fullmatch(path):
            return INITRAMFS
        if path.startswith("usr/lib/modules/"):
            return KERNEL
        return groups.get(owner(path), DATABASE)

    return assign


INFO = re.compile(r"(?:usr/lib/sysimage|var/lib)/dpkg/info/([a-z0-9][a-z0-9+.-]+)(?::[a-z0-9-]+)?\.[a-z0-9]+$")
BYTE_CODE = re.compile(r"__pycache__/([^/]+)\.cpython-\d+(?:\.opt-\d)?\.pyc$")
COMPILED = re.compile(r"usr/lib/modules/[^/]+/(?:updates/|modules\.(?:alias|dep|devname|softdep|symbols|weakdep)(?:\.bin)?$)")
INITRAMFS_FILE = re.compile(r"usr/lib/modules/[^/]+/initramfs\.img")


def split(
    store: Store, stream: IO[bytes], assign: Callable[[str, bytes], str], *, compressor: tuple[str, ...] = layers.ZSTD
) -> tuple[Layer, ...]:
    """Part a tar archive into layers, lowest first, in one reading; `assign` names the layer of a path and its kind.

    A hard link goes where its target went. Every layer carries the folders above its entries, as they are in the archive.
    Device nodes, sockets and the contents of /dev, /proc, /run, /sys and /tmp are left out; times become 0.
    """
    folders: dict[str, Entry] = {}
    homes: dict[str, str] = {}
    written: dict[str, layers.Written] = {}
    open_layers: list[ExitStack] = []
    with ExitStack() as stack, tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            entry = entry_of(member)
            if entry is None:
                continue
            home = assign(entry.path, entry.kind)
            if entry.kind == layers.HARD_LINK:
                home = homes.get(entry.target, home)
            if home not in written:
                open_layers.append(stack.enter_context(ExitStack()))
                writing = layers.writing(store, compressor=compressor, annotations=((layers.GROUP, home),))
                written[home] = open_layers[-1].enter_context(writing)
            writer = written[home].writer
            for parent in layers.parents(entry.path):
                if parent not in writer.paths:
                    writer.add(folders.get(parent, Entry(path=parent, kind=layers.DIRECTORY, mode=0o755)))
            writer.add(entry, archive.extractfile(member) if entry.kind == layers.FILE else None)
            homes[entry.path] = home
            if entry.kind == layers.DIRECTORY:
                folders[entry.path] = entry
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # a compressor does most of its work when its input has ended
            list(pool.map(ExitStack.close, open_layers))
    order = sorted(written, key=lambda name: (LAST.index(name) + 1 if name in LAST else 0, name))
    return tuple(written[name].result() for name in order)


def entry_of(member: tarfile.TarInfo) -> Entry | None:
    """The normalised entry of an archive's member; None for what an image does not hold. Raises on a path that leaves the root."""
    path = _inside(member.name)
    if not path or (path.partition("/")[0] in VIRTUAL and "/" in path):
        return None
    kinds = {
        tarfile.REGTYPE: layers.FILE,
        tarfile.AREGTYPE: layers.FILE,
        tarfile.CONTTYPE: layers.FILE,
        tarfile.GNUTYPE_SPARSE: layers.FILE,
    }
    kind = {tarfile.LNKTYPE: layers.HARD_LINK, tarfile.SYMTYPE: layers.SYMBOLIC_LINK, tarfile.DIRTYPE: layers.DIRECTORY, **kinds}.get(
        member.type
    )
    if kind is None:
        return None
    xattrs = tuple(
        (name.removeprefix("SCHILY.xattr."), value.encode("utf-8", "surrogateescape"))
        for name, value in sorted(member.pax_headers.items())
        if name.startswith(("SCHILY.xattr.security.capability", "SCHILY.xattr.user."))
    )
    return Entry(
        path=path,
        kind=kind,
        mode=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        size=member.size if kind == layers.FILE else 0,
        target=_inside(member.linkname) if kind == layers.HARD_LINK else member.linkname if kind == layers.SYMBOLIC_LINK else "",
        xattrs=xattrs,
    )


def _inside(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise unable("OCI005", "path-outside", f"the archive's member `{name}` leaves the root")
    return "/".join(parts)
