"""aistack's own files, as a node carries them: the package's modules, compiled for the node's Python, and the compiled catalog."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aistack.facts import efi
from aistack.facts.files import RenderedFile
from aistack.host import catalog_files, disk_layout, layers, rootfs
from aistack.host.layers import Layer
from aistack.host.rootfs import Bind
from aistack.host.store import Store

FOLDER = "/usr/lib/aistack/python"
WORK = "/run/node"


def node_part() -> tuple[RenderedFile, ...]:
    """Every module of the running aistack, and its catalog, at their places on a node; sorted by path."""
    package = catalog_files.package()
    modules = [path for path in package.rglob("*.py") if "__pycache__" not in path.parts]
    found = [RenderedFile(path=f"{FOLDER}/aistack/{path.relative_to(package).as_posix()}", content=path.read_bytes()) for path in modules]
    found.append(RenderedFile(path=f"{FOLDER}/aistack/{catalog_files.COMPILED}", content=catalog_files.catalog_bytes()))
    return tuple(sorted(found))


def node_layer(store: Store, root: Path, *, compressor: tuple[str, ...]) -> Layer:
    """The layer of `node_part`, with byte code made by the Python in `root`, which is that of the node's OS.

    The byte code is trusted as it lies: /usr is read-only on a node, so that nothing there can be newer.
    """
    with store.scratch() as scratch:
        for file in node_part():
            target = scratch / file.path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)
        argv = ["python3", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", "-s", WORK, "-p", "/", WORK + FOLDER]
        rootfs.enter(root, argv, binds=(Bind(source=scratch, target=WORK, writable=True),))
        entries = [
            (layers.Entry(path=path.relative_to(scratch).as_posix(), size=path.stat().st_size), path)
            for path in sorted(scratch.rglob("*"))
            if path.is_file()
        ]
        return layers.write_layer(store, entries, compressor=compressor, annotations=((layers.GROUP, "aistack"),))


def esp_layer(store: Store, root: Path, arch: str, versions: Mapping[str, str], *, compressor: tuple[str, ...]) -> Layer:
    """The layer of the programs that UEFI starts, from the tools root: what a node brings onto its ESP when an update is confirmed.

    `arch` is as the kernel spells it, `versions` are those of the packages that the programs are from.
    """
    listed = layers.file_entry(f"{efi.IMAGE}/{efi.VERSIONS}", efi.versions_text(versions))
    entries: list[tuple[layers.Entry, layers.Content]] = [listed]
    for name, source in disk_layout.efi_programs(arch).items():
        file = root / source.lstrip("/")
        entries.append((layers.Entry(path=f"{efi.IMAGE}/{efi.FOLDER}/{name}".lstrip("/"), size=file.stat().st_size), file))
    return layers.write_layer(store, entries, compressor=compressor, annotations=((layers.GROUP, "esp"),))
