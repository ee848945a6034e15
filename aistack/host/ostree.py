"""OCI images in an OSTree repository: import layer by layer, merge in memory, commit; the same code on the build host and on a node.

Needs Debian's python3-gi with libostree's introspection data, imported only when a function runs: the build host itself has neither.
This stands in for what bootc's ostree-ext does. It can go when Debian ships bootc (https://packages.debian.org/search?keywords=bootc).
The commit depends on the image alone (no parent, no time), so one manifest digest gives one commit checksum everywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from aistack.diagnostics import DiagnosticError, unable
from aistack.host import process
from aistack.host.layer_tree import MOUNT_POINTS, Tree, image_path, kept_xattrs, overlay
from aistack.values import dataclass

MANIFEST_KEY = "ostree.manifest-digest"
LOCK_KEY = "aistack.lock"
LOCK_LABEL = "io.aistack.lock"
VERSION_LABEL = "org.opencontainers.image.version"
CHUNK = 1 << 20
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


def import_image(repository: Path, layout: Path, digest: str, *, sync: bool = True, progress: Progress = lambda _: None) -> Imported:
    """Import the image `digest` (`sha256:HEX`) of the OCI layout folder into the OSTree repository; does nothing twice.

    Every blob's digest is checked while it is read; nothing of a bad blob stays. `sync=False` is for throw-away repositories.
    Raises DiagnosticError (exit 3) when a blob is missing or damaged, or the repository cannot be written.
    """
    with libostree() as (api, glib):
        repo = open_repository(repository)
        repo.set_disable_fsync(not sync)
        manifest = json.loads(_verified(layout, digest))
        config = json.loads(_verified(layout, manifest["config"]["digest"]))
        labels = (config.get("config") or {}).get("Labels") or {}
        lock = labels.get(LOCK_LABEL)
        ref = image_ref(digest)
        commit = repo.resolve_rev(ref, True)[1]
        if commit:
            return Imported(commit=commit, digest=digest, lock=lock, new_layers=0)
        new = 0
        merged = Tree()
        for number, layer in enumerate(manifest["layers"], start=1):
            layer_ref = "oci/layer/" + layer["digest"].replace(":", "/")
            layer_commit = repo.resolve_rev(layer_ref, True)[1]
            if not layer_commit:
                if number % 10 == 0 or number == len(manifest["layers"]):
                    progress(f"layer {number} of {len(manifest['layers'])}")
                with _transaction(repo), _blob(layout, layer["digest"]) as raw, _plain(raw, layer["mediaType"]) as stream:
                    tree = _read_layer(api, glib, repo, stream)
                    layer_commit = _write_commit(api, glib, repo, tree, {}, _folder_meta(api, glib, repo, xattrs=IMPLICIT))
                    raw.require()
                    repo.transaction_set_ref(None, layer_ref, layer_commit)
                new += 1
            overlay(merged, _load(api, glib, repo, layer_commit))
        metadata = {MANIFEST_KEY: digest, "version": labels.get(VERSION_LABEL) or digest.partition(":")[2][:12]}
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
        return Imported(commit=str(commit), digest=digest, lock=lock, new_layers=new)


def image_ref(digest: str) -> str:
    """The repository's name for an image: it keeps the commit from being pruned."""
    return "oci/image/" + digest.replace(":", "/")


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


def commit_metadata(repo: Any, commit: str) -> dict[str, str]:
    """The text values of a commit's metadata."""
    values = repo.load_commit(commit)[1].get_child_value(0)
    found = {}
    for index in range(values.n_children()):
        entry = values.get_child_value(index)
        value = entry.get_child_value(1).get_variant()
        if value.get_type_string() == "s":
            found[entry.get_child_value(0).get_string()] = value.get_string()
    return found


def files_in(repo: Any, commit: str, folder: str) -> dict[str, bytes]:
    """The regular files right below a folder of a commit (absolute path), by name; empty when there is no such folder."""
    from gi.repository import Gio, OSTree

    root = repo.read_commit(commit, None)[1]
    parent = root.resolve_relative_path(folder.strip("/"))
    if not parent.query_exists(None):
        return {}
    found = {}
    children = parent.enumerate_children("standard::name,standard::type", Gio.FileQueryInfoFlags.NOFOLLOW_SYMLINKS, None)
    while info := children.next_file(None):
        if info.get_file_type() == Gio.FileType.REGULAR:
            checksum = OSTree.RepoFile.get_checksum(parent.get_child(info.get_name()))
            found[info.get_name()] = _content(repo, checksum)
    return found


def _content(repo: Any, checksum: str) -> bytes:
    stream = repo.load_file(checksum, None)[1]
    chunks = []
    while chunk := stream.read_bytes(CHUNK, None).get_data():
        chunks.append(chunk)
    return b"".join(chunks)


# Reading blobs.


def _path(layout: Path, digest: str) -> Path:
    algorithm, _, hex_digest = digest.partition(":")
    if algorithm != "sha256" or len(hex_digest) != 64 or not set(hex_digest) <= set("0123456789abcdef"):
        raise unable("OST003", "digest-not-understood", f"`{digest}` is not a sha256 digest")
    path = layout / "blobs" / "sha256" / hex_digest
    if not path.is_file():
        raise unable("OST004", "layout-blob-missing", f"the layout has no blob {digest}", why=(str(path),))
    return path


def _verified(layout: Path, digest: str) -> bytes:
    data = _path(layout, digest).read_bytes()
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        raise _damaged(digest, f"sha256:{hashlib.sha256(data).hexdigest()}")
    return data


def _damaged(digest: str, found: str) -> DiagnosticError:
    return unable("OST005", "blob-damaged", f"the blob {digest} is damaged", why=(f"its bytes have the digest {found}",))


class _Verifying:
    """A blob's bytes, hashed as they pass; `require` reads what is left and compares."""

    def __init__(self, stream: IO[bytes], digest: str) -> None:
        self.stream, self.digest, self.seen = stream, digest, hashlib.sha256()

    def read(self, size: int = CHUNK) -> bytes:
        data = self.stream.read(size if size >= 0 else CHUNK)
        self.seen.update(data)
        return data

    def require(self) -> None:
        while self.read(CHUNK):
            pass
        if f"sha256:{self.seen.hexdigest()}" != self.digest:
            raise _damaged(self.digest, f"sha256:{self.seen.hexdigest()}")


@contextmanager
def _blob(layout: Path, digest: str) -> Iterator[_Verifying]:
    with _path(layout, digest).open("rb") as stream:
        raw = _Verifying(stream, digest)
        try:
            yield raw
        except (tarfile.TarError, zlib.error, EOFError, UnicodeError, DiagnosticError):
            raw.require()  # a damaged blob is the better explanation
            raise


@contextmanager
def _plain(raw: _Verifying, media_type: str) -> Iterator[IO[bytes]]:
    """The layer's tar stream, decompressed."""
    if media_type.endswith(".tar"):
        yield raw  # type: ignore[misc]  # tarfile asks for read() only
        return
    if media_type.endswith(("gzip", "zstd")):
        tool = "gzip" if media_type.endswith("gzip") else "zstd"
        with tempfile.TemporaryDirectory() as folder:
            receive, send = os.pipe()
            feeder = threading.Thread(target=_feed, args=(raw, send), daemon=True)
            try:
                feeder.start()
                with process.stream([tool, "-dc"], log=Path(folder) / "log", stdin=receive) as running:
                    os.close(receive)
                    receive = -1
                    assert running.stdout is not None
                    yield running.stdout
                    while running.stdout.read(CHUNK):
                        pass
            finally:
                if receive >= 0:
                    os.close(receive)
                feeder.join()
        return
    raise unable("OST006", "layer-type-unknown", f"layers of the type `{media_type}` cannot be read")


def _feed(raw: _Verifying, send: int) -> None:
    with contextlib.suppress(BrokenPipeError), open(send, "wb", buffering=0) as pipe:  # a descriptor, not a path
        while chunk := raw.read(CHUNK):
            pipe.write(chunk)


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
    done = import_image(Path(arguments[1]), Path(arguments[2]), arguments[3], progress=print)
    print(json.dumps({"commit": done.commit, "digest": done.digest, "lock": done.lock, "new_layers": done.new_layers}))
    return 0


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
