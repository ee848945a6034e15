"""What OCI layers mean: a layer's archive as a tree of named objects, and layers laid over each other; no disk is touched.

Whiteouts are those of https://github.com/opencontainers/image-spec/blob/main/layer.md. Objects are named by any text (OSTree
checksums in practice), so that laying layers over each other moves names only, never bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from aistack.values import dataclass

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
MOUNT_POINTS = ("dev", "proc", "run", "sys", "tmp")
"""Top folders that are mounted over when the system runs: kept, but empty."""

KEPT_XATTRS = ("SCHILY.xattr.",)
DROPPED_XATTRS = ("SCHILY.xattr.security.selinux", "SCHILY.xattr.trusted.")


@dataclass(slots=True)
class Tree:
    """A folder: `meta` names its metadata object (None when no layer described it), `files` and `folders` what it holds."""

    meta: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    folders: dict[str, Tree] = field(default_factory=dict)

    def folder(self, path: str) -> Tree:
        """The folder at a relative path (empty: this one); made, with its parents, when absent, in place of a file of that name."""
        here = self
        for name in path.split("/") if path else ():
            here.files.pop(name, None)
            here = here.folders.setdefault(name, Tree())
        return here

    def file(self, path: str) -> str | None:
        """The object of the file at a relative path, or None."""
        parent, _, name = path.rpartition("/")
        here: Tree | None = self
        for part in parent.split("/") if parent else ():
            here = here.folders.get(part) if here is not None else None
        return here.files.get(name) if here is not None else None

    def put(self, path: str, name: str) -> None:
        """Put a file at a relative path, in place of whatever is there."""
        parent, _, last = path.rpartition("/")
        folder = self.folder(parent)
        folder.folders.pop(last, None)
        folder.files[last] = name

    def count(self) -> int:
        """Files and folders below this folder."""
        return len(self.files) + sum(1 + folder.count() for folder in self.folders.values())


def image_path(name: str) -> str | None:
    """Where an archive member goes in a commit, relative, empty for the root; None: it is left out.

    /etc is kept as /usr/etc (the deployment makes /etc from it), in whiteouts too; what lies below a mount point is left out.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        return None
    if not parts:
        return ""
    if parts[0] in MOUNT_POINTS and len(parts) > 1:
        return None
    if parts[0] in ("etc", WHITEOUT + "etc"):
        parts.insert(0, "usr")
    return "/".join(parts)


def kept_xattrs(headers: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    """The extended attributes to keep out of PAX headers as tarfile decodes them: sorted (name, value)."""
    kept = []
    for key, value in headers.items():
        if key.startswith(KEPT_XATTRS) and not key.startswith(DROPPED_XATTRS):
            name = key.removeprefix("SCHILY.xattr.")
            kept.append((name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape")))
    return tuple(sorted(kept))


def overlay(lower: Tree, upper: Tree) -> None:
    """Lay `upper` over `lower`, in place: whiteouts act on what lower layers brought, then the upper layer's own entries come."""
    if upper.meta is not None:
        lower.meta = upper.meta
    if OPAQUE in upper.files:
        lower.files.clear()
        lower.folders.clear()
    for name in upper.files:
        if name.startswith(WHITEOUT) and name != OPAQUE:
            hidden = name.removeprefix(WHITEOUT)
            lower.files.pop(hidden, None)
            lower.folders.pop(hidden, None)
    for name, file in upper.files.items():
        if not name.startswith(WHITEOUT):
            lower.folders.pop(name, None)
            lower.files[name] = file
    for name, folder in upper.folders.items():
        lower.files.pop(name, None)
        overlay(lower.folders.setdefault(name, Tree()), folder)
