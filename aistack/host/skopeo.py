"""Images from anywhere, brought into the store by skopeo: layouts, archives, a registry, a user's own containers."""

from __future__ import annotations

import json
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aistack.diagnostics import unable
from aistack.host import oci, process
from aistack.host.store import Store, digest

TRANSPORTS = ("containers-storage:", "dir:", "docker://", "docker-archive:", "docker-daemon:", "oci:", "oci-archive:")
"""How skopeo's names of images begin (skopeo(1), IMAGE NAMES)."""

LAYOUT, MANIFEST = "oci-layout", "manifest.json"
"""Files that an OCI layout, and an image as Docker or skopeo save it, have at their top."""

PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zX": "xz"}
"""How compressed files begin, and what unpacks them."""

STORAGE = "containers-storage:"
"""podman's store keeps layers unpacked: what they were compressed to, and so the manifest's digest, is gone."""


def named(text: str) -> str | None:
    """The name by which skopeo knows an image that a word of the command line means; None where it means none.

    A folder or an archive on the disk is told by what is in it. Raises DiagnosticError (exit 3) for an archive that is damaged.
    """
    path = Path(text)
    if text.startswith(TRANSPORTS):
        return text
    if path.is_file() and _packer(path) == "zstd":
        raise oci.not_an_image(text, f"it is compressed with zstd, as no archive of an image may be; unpack it first: `zstd -d {text}`")
    if path.is_dir():
        inside = {name: (path / name).is_file() for name in (LAYOUT, MANIFEST)}
    elif path.is_file() and (names := _archived(path)) is not None:
        inside = {name: name in names for name in (LAYOUT, MANIFEST)}
    else:
        return None
    layout, manifest = ("oci:", "dir:") if path.is_dir() else ("oci-archive:", "docker-archive:")
    return f"{layout}{text}" if inside[LAYOUT] else f"{manifest}{text}" if inside[MANIFEST] else None


def files(name: str) -> Iterator[Path]:
    """The files on this machine that an image of that name is read from; none where it lies elsewhere, or in a store of its own."""
    transport, _, rest = name.partition(":")
    for place in dict.fromkeys(map(Path, (rest, rest.partition(":")[0]))):  # with a tag behind it, or without
        if transport in ("oci", "dir") and place.is_dir():
            yield from (path for path in place.rglob("*") if path.is_file())
        elif transport.endswith("-archive") and place.is_file():
            yield place


def _packer(path: Path) -> str:
    """The program that unpacks a compressed file; empty where it is not compressed."""
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
    except OSError:  # whoever reads on tells it
        return ""
    return next((tool for magic, tool in PACKED.items() if head.startswith(magic)), "")


def _archived(path: Path) -> set[str] | None:
    """The names in an archive; None for a file that is none."""
    try:
        if not tarfile.is_tarfile(path):
            return None
        with tarfile.open(path) as archive:
            return {name.removeprefix("./") for name in archive.getnames()}
    except (tarfile.TarError, EOFError, OSError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise oci.not_an_image(str(path), f"it cannot be read as an archive: {error}") from error


def bring(store: Store, name: str) -> str:
    """Bring an image into the store and return its manifest's digest; each part is held against the digest that names it.

    Manifest and parts stay as they are, save where the place that they come from does not keep them. The machine's own policy and
    credentials for images count. Raises DiagnosticError (exit 3) with skopeo's words, or with the part that is not what its name says.
    """
    with store.scratch() as scratch:
        folder = scratch / "image"
        keeping = () if name.startswith(STORAGE) else ("--preserve-digests",)
        argv = [process.require("skopeo", "skopeo"), "copy", "--quiet", *keeping, name, f"dir:{folder}"]
        done = process.run(argv, check=False)
        if done.returncode != 0:
            why = tuple(line.partition("msg=")[2] or line for line in done.stderr.splitlines())[-process.LINES_THAT_MATTER :]
            others = _others(name)
            hints: tuple[str, ...] = (f"name one of {', '.join(others)}",) if others else (f"try `skopeo inspect {name}`",)
            packed = ((path, tool) for path in files(name) if name.partition(":")[0].endswith("-archive") and (tool := _packer(path)))
            hints = tuple(f"unpack it first: `{tool} -d {path}`" for path, tool in packed) or hints
            raise unable("OCI007", "image-not-brought", f"`{name}` cannot be read as an image", why=why, hints=hints)
        manifest = digest(folder / "manifest.json")
        if (listed := _named(name)) and manifest not in listed:
            why = (f"its index names {', '.join(sorted(listed))}, the manifest has {manifest}",)
            raise unable("OCI006", "part-damaged", f"`{name}`: the manifest is not the one that the layout's index names", why=why)
        (folder / "manifest.json").rename(folder / manifest)
        for part in folder.iterdir():
            if re.fullmatch(r"[0-9a-f]{64}", part.name):
                if (found := digest(part)) != part.name:
                    why = (f"its digest is sha256:{found}",)
                    raise unable("OCI006", "part-damaged", f"`{name}`: the part sha256:{part.name} is not what its name says", why=why)
                store.adopt(part, part.name)
    return f"sha256:{manifest}"


def _named(name: str) -> set[str]:
    """The manifests (sha256) that the index of a layout folder names; none where an index names indexes, or for other transports.

    skopeo checks every link but this one.
    """
    named = _index(name)
    if any("index" in one.get("mediaType", "") or "list" in one.get("mediaType", "") for one in named):
        return set()
    return {str(one["digest"]).removeprefix("sha256:") for one in named}


def _others(name: str) -> list[str]:
    """The images of a layout folder where what was named is none of them."""
    _, folder, tag = (*name.split(":", 2), "")[:3]
    notes = (one.get("annotations") for one in _index(name))
    tags = [str(one.get(oci.REFERENCE) or "") for one in notes if isinstance(one, dict)]
    return [f"oci:{folder}:{other}" for other in sorted(tags) if other and tag not in tags]


def _index(name: str) -> list[dict[str, Any]]:
    """What the index of a layout folder lists; nothing for other transports, and where the index is none."""
    transport, _, rest = name.partition(":")
    file = Path(rest.partition(":")[0]) / "index.json"
    try:
        index = json.loads(file.read_bytes()) if transport == "oci" and file.is_file() else {}
    except (ValueError, RecursionError):
        return []
    listed = index.get("manifests") if isinstance(index, dict) else None
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
