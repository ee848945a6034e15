"""OCI images in an OSTree repository: import layer by layer, merge in memory, commit; the same code on the build host and on a node.

Needs Debian's python3-gi with libostree's introspection data, imported only when a function runs: the build host itself has neither.
This stands in for what bootc's ostree-ext does. It can go when Debian ships bootc (https://packages.debian.org/search?keywords=bootc).
The commit depends on the image alone (no parent, no time), so one manifest digest gives one commit checksum everywhere.
"""

from __future__ import annotations

import json
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from aistack.diagnostics import unable
from aistack.host.blobs import CHUNK, Blobs, LayoutFolder, plain, verified, whole
from aistack.host.layer_tree import MOUNT_POINTS, Tree, image_path, kept_xattrs, overlay
from aistack.host.ostree_commit import commit_metadata
from aistack.values import dataclass

MANIFEST_KEY = "ostree.manifest-digest"
MANIFEST_TEXT_KEY = "ostree.manifest"
"""The manifest itself, as bootc keeps it: it says which layers an image is made of."""
LOCK_KEY = "aistack.lock"
LOCK_LABEL = "io.aistack.lock"
VERSION_LABEL = "org.opencontainers.image.version"
INLINE = 4 << 20
DEFAULT_MODE = 0o755
IMPLICIT = ((b"user.aistack.implicit", b"1"),)
"""Marks, in a layer's own commit only, a folder that the layer's archive did not describe: it must not change one below it."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """An image in the repository: its commit checksum, manifest digest, lock identity (None without the label), new layers."""

    commit: str
    digest: str
    lock: str | None
    new_layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer as the manifest names it: `digest` (`sha256:HEX`), `size` of the blob in bytes, annotations as pairs."""

    digest: str
    size: int
    media_type: str
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def ref(self) -> str:
        """The repository's name for it."""
        return "oci/layer/" + self.digest.replace(":", "/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What an image's manifest and config say, layers lowest first, and the manifest's own text."""

    digest: str
    manifest: str
    layers: tuple[Layer, ...]
    labels: Mapping[str, str]


def read_image(blobs: Blobs, digest: str) -> Image:
    """The image `digest` (`sha256:HEX`), manifest and config held against their digests; raises DiagnosticError (exit 3)."""
    text = whole(blobs, digest)
    try:
        named = json.loads(text)["config"]
        config = json.loads(whole(blobs, named["digest"], _size(named["size"])))
        labels = _texts((config.get("config") or {}).get("Labels") or {})
        return Image(digest=digest, manifest=text.decode(), layers=layers_of(text), labels=labels)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise unable("OST008", "image-not-understood", f"{digest} is not an image", why=(f"{type(error).__name__}: {error}",)) from error


def layers_of(manifest: str | bytes) -> tuple[Layer, ...]:
    """The layers that a manifest's text names; raises ValueError, KeyError, TypeError, AttributeError or RecursionError when it is none."""
    return tuple(
        Layer(
            digest=_texts({"digest": one["digest"]})["digest"],
            size=_size(one["size"]),
            media_type=_texts({"mediaType": one["mediaType"]})["mediaType"],
            annotations=tuple(sorted(_texts(one.get("annotations") or {}).items())),
        )
        for one in json.loads(manifest)["layers"]
    )


def _size(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no size")
    return value


def _texts(values: dict[str, object]) -> dict[str, str]:
    for name, value in values.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} is no text")
        value.encode()  # a lone surrogate is JSON's, and nobody else's
    return cast("dict[str, str]", values)


def missing(repository: Path, layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Those of the layers that the repository does not have."""
    with libostree():
        repo = open_repository(repository)
        return tuple(layer for layer in layers if not repo.resolve_rev(layer.ref, True)[1])


def import_layer(repository: Path, blobs: Blobs, layer: Layer, *, sync: bool = True) -> str:
    """Bring one layer into the repository and return its commit; it is there whole or not at all, and not read a second time.

    Raises DiagnosticError (exit 3) when the blob is missing or damaged, or the repository cannot be written.
    """
    with libostree() as (api, glib):
        repo = open_repository(repository)
        repo.set_disable_fsync(not sync)
        if commit := repo.resolve_rev(layer.ref, True)[1]:
            return str(commit)
        with _transaction(repo), verified(blobs, layer.digest, layer.size) as raw, plain(raw, layer.media_type) as stream:
            tree = _read_layer(api, glib, repo, stream)
            commit = _write_commit(api, glib, repo, tree, {}, _folder_meta(api, glib, repo, xattrs=IMPLICIT))
            raw.require()
            repo.transaction_set_ref(None, layer.ref, commit)
        return commit


def import_image(repository: Path, blobs: Blobs, digest: str, *, sync: bool = True, progress: Progress = lambda _: None) -> Imported:
    """Import the image `digest` (`sha256:HEX`) into the OSTree repository; what is there already is not read again.

    Every blob's digest is checked while it is read; nothing of a bad blob stays. `sync=False` is for throw-away repositories.
    Raises DiagnosticError (exit 3) when a blob is missing or damaged, or the repository cannot be written.
    """
    with libostree() as (api, glib):
        repo = open_repository(repository)
        repo.set_disable_fsync(not sync)
        image = read_image(blobs, digest)
        lock = image.labels.get(LOCK_LABEL)
        ref = image_ref(digest)
        commit = repo.resolve_rev(ref, True)[1]
        if commit:
            return Imported(commit=commit, digest=digest, lock=lock, new_layers=0)
        new = missing(repository, image.layers)
        merged = Tree()
        for number, layer in enumerate(image.layers, start=1):
            if layer in new and (number % 10 == 0 or number == len(image.layers)):
                progress(f"layer {number} of {len(image.layers)}")
            overlay(merged, _load(api, glib, repo, import_layer(repository, blobs, layer, sync=sync)))
        metadata = {
            MANIFEST_KEY: digest,
            MANIFEST_TEXT_KEY: image.manifest,
            "version": image.labels.get(VERSION_LABEL) or digest.partition(":")[2][:12],
        }
        if lock:
            metadata[LOCK_KEY] = lock
        with _transaction(repo):
            default = _folder_meta(api, glib, repo)
            for name in MOUNT_POINTS:
                point = merged.folder(name)
                if point.meta is None:
                    point.meta = _folder_meta(api, glib, repo, mode=0o1777 if name == "tmp" else DEFAULT_MODE)
            merged.folder("sysroot")
            commit = _write_commit(api, glib, repo, merged, metadata, default)
            repo.transaction_set_ref(None, ref, commit)
        return Imported(commit=commit, digest=digest, lock=lock, new_layers=len(new))


def image_ref(digest: str) -> str:
    """The repository's name for an image: it keeps the commit from being pruned."""
    return "oci/image/" + digest.replace(":", "/")


def refs_of(repo: Any, commit: str) -> tuple[str, ...]:
    """The refs that keep an image's commit and its layers from being pruned; none for a commit that is no image of ours."""
    said = commit_metadata(repo, commit)
    if MANIFEST_KEY not in said:
        return ()
    return (image_ref(said[MANIFEST_KEY]), *(layer.ref for layer in layers_of(said.get(MANIFEST_TEXT_KEY, '{"layers": []}'))))


@contextmanager
def libostree() -> Iterator[tuple[Any, Any]]:
    """libostree and GLib by introspection; their errors become diagnostics."""
    try:
        import gi

        gi.require_version("OSTree", "1.0")
        from gi.repository import GLib, OSTree
    except (ImportError, ValueError) as error:
        raise unable(
            "OST001", "libostree-missing", "libostree is not usable from Python here", why=(str(error),),
            hints=("apt-get install python3-gi gir1.2-ostree-1.0",),
        ) from error  # fmt: skip
    try:
        yield OSTree, GLib
    except GLib.Error as error:
        raise unable("OST002", "ostree-failed", f"OSTree: {error.message}") from error


def open_repository(path: Path) -> Any:
    """An OSTree.Repo, created in the mode `bare` when the folder does not exist."""
    from gi.repository import Gio, OSTree

    repo = OSTree.Repo.new(Gio.File.new_for_path(str(path)))
    if path.is_dir():
        repo.open(None)
    else:
        path.mkdir(parents=True)
        repo.create(OSTree.RepoMode.BARE, None)
    return repo


# Writing objects.


@contextmanager
def _transaction(repo: Any) -> Iterator[None]:
    repo.prepare_transaction(None)
    try:
        yield
    except BaseException:
        repo.abort_transaction(None)
        raise
    repo.commit_transaction(None)


def _read_layer(api: Any, glib: Any, repo: Any, stream: IO[bytes]) -> Tree:
    """Write a layer's files as objects and return its tree, whiteouts included as files of their own names."""
    tree = Tree()
    metas: dict[tuple[int, int, int, tuple[tuple[bytes, bytes], ...]], str] = {}
    with tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every header in memory
            path = image_path(member.name)
            if path is None or member.ischr() or member.isblk() or member.isfifo():
                continue
            xattrs = kept_xattrs(member.pax_headers)
            mode = stat.S_IMODE(member.mode)
            if member.isdir():
                key = (member.uid, member.gid, mode, xattrs)
                if key not in metas:
                    metas[key] = _folder_meta(api, glib, repo, uid=member.uid, gid=member.gid, mode=mode, xattrs=xattrs)
                tree.folder(path).meta = metas[key]
            elif member.islnk():
                target = tree.file(image_path(member.linkname) or "")
                if target is None:
                    raise unable("OST007", "hard-link-broken", f"`{member.name}` is a hard link to `{member.linkname}`, not in its layer")
                tree.put(path, target)
            elif member.issym():
                packed = _pack_xattrs(glib, xattrs)
                tree.put(path, repo.write_symlink(None, member.uid, member.gid, packed, member.linkname, None))
            elif member.isreg():
                content = archive.extractfile(member)
                assert content is not None
                tree.put(path, _write_file(glib, repo, member, mode, xattrs, content))
    return tree


def _write_file(
    glib: Any,
    repo: Any,
    member: tarfile.TarInfo,
    mode: int,
    xattrs: tuple[tuple[bytes, bytes], ...],
    content: IO[bytes],
) -> str:
    packed = _pack_xattrs(glib, xattrs)
    full_mode = stat.S_IFREG | mode
    if member.size <= INLINE:
        return str(repo.write_regfile_inline(None, member.uid, member.gid, full_mode, packed, content.read(), None))
    writer = repo.write_regfile(None, member.uid, member.gid, full_mode, member.size, packed)
    while chunk := content.read(CHUNK):
        writer.write_all(chunk, None)
    return str(writer.finish(None))


def _pack_xattrs(glib: Any, xattrs: tuple[tuple[bytes, bytes], ...]) -> Any:
    return glib.Variant("a(ayay)", [(name + b"\0", value) for name, value in xattrs]) if xattrs else None


def _folder_meta(
    api: Any,
    glib: Any,
    repo: Any,
    *,
    uid: int = 0,
    gid: int = 0,
    mode: int = DEFAULT_MODE,
    xattrs: tuple[tuple[bytes, bytes], ...] = (),
) -> str:
    from gi.repository import Gio

    info = Gio.FileInfo()
    info.set_file_type(Gio.FileType.DIRECTORY)
    info.set_attribute_uint32("unix::uid", uid)
    info.set_attribute_uint32("unix::gid", gid)
    info.set_attribute_uint32("unix::mode", stat.S_IFDIR | mode)
    meta = api.create_directory_metadata(info, _pack_xattrs(glib, xattrs))
    return bytes(repo.write_metadata(api.ObjectType.DIR_META, None, meta, None)[1]).hex()


def _write_commit(api: Any, glib: Any, repo: Any, tree: Tree, metadata: dict[str, str], default_meta: str) -> str:
    def fill(target: Any, source: Tree) -> None:
        target.set_metadata_checksum(source.meta or default_meta)
        for name, checksum in source.files.items():
            target.replace_file(name, checksum)
        for name, folder in source.folders.items():
            fill(target.ensure_dir(name)[1], folder)

    mutable = api.MutableTree.new()
    fill(mutable, tree)
    root = repo.write_mtree(mutable, None)[1]
    values = glib.Variant("a{sv}", {key: glib.Variant("s", value) for key, value in sorted(metadata.items())})
    return str(repo.write_commit_with_time(None, None, None, values, root, 0, None)[1])


def _load(api: Any, glib: Any, repo: Any, commit: str) -> Tree:
    """A layer's commit as a tree."""
    with _transaction(repo):
        implicit = _folder_meta(api, glib, repo, xattrs=IMPLICIT)

    def checksum(value: Any) -> str:
        return bytes(value.get_data_as_bytes().get_data()).hex()

    def read(tree_checksum: str, meta: str) -> Tree:
        variant = repo.load_variant(api.ObjectType.DIR_TREE, tree_checksum)[1]
        tree = Tree(meta=None if meta == implicit else meta)
        files, folders = variant.get_child_value(0), variant.get_child_value(1)
        for index in range(files.n_children()):
            entry = files.get_child_value(index)
            tree.files[entry.get_child_value(0).get_string()] = checksum(entry.get_child_value(1))
        for index in range(folders.n_children()):
            entry = folders.get_child_value(index)
            tree.folders[entry.get_child_value(0).get_string()] = read(
                checksum(entry.get_child_value(1)), checksum(entry.get_child_value(2))
            )
        return tree

    loaded = repo.load_commit(commit)[1]
    return read(checksum(loaded.get_child_value(6)), checksum(loaded.get_child_value(7)))


def main(arguments: Sequence[str]) -> int:
    """`python3 -m aistack.host.ostree import REPOSITORY LAYOUT DIGEST`: for use inside a root that has libostree."""
    if len(arguments) != 4 or arguments[0] != "import":
        print(main.__doc__)
        return 2
    done = import_image(Path(arguments[1]), LayoutFolder(Path(arguments[2])), arguments[3], progress=print)
    print(json.dumps({"commit": done.commit, "digest": done.digest, "lock": done.lock, "new_layers": done.new_layers}))
    return 0


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
