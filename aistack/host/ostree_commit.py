"""What a commit of an OSTree repository says: its metadata, and single files of its tree, without a checkout."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, TypeVar

from aistack.host.blobs import CHUNK

T = TypeVar("T")


def undamaged(reader: Callable[[Any, str], T], repo: Any, commit: str) -> T | None:
    """What a reader of a commit returns, None where an object that it needs is missing or damaged."""
    from gi.repository import GLib, OSTree

    try:
        # libostree hands out what a file has, and dies of some of it.
        data = repo.load_variant(OSTree.ObjectType.COMMIT, commit)[1].get_data_as_bytes().get_data()
        return reader(repo, commit) if hashlib.sha256(data).hexdigest() == commit else None
    except GLib.Error:
        return None


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
    return {info.get_name(): _content(repo, child) for info, child in _children(repo, commit, folder) if _is_file(child)}


def links_in(repo: Any, commit: str, folder: str) -> dict[str, bytes | None]:
    """What the links right below a folder of a commit lead to, by the links' names; None where that is no file of the commit."""
    found = {}
    for info, child in _children(repo, commit, folder):
        if target := info.get_symlink_target():
            file = child.resolve_relative_path(str(PurePosixPath(folder, target)))
            found[info.get_name()] = _content(repo, file) if _is_file(file) else None
    return found


def sizes_in(repo: Any, commit: str, folder: str) -> dict[str, tuple[str, int]]:
    """The regular files right below a folder of a commit: by name, OSTree's checksum of the content, and bytes."""
    return {info.get_name(): (child.get_checksum(), info.get_size()) for info, child in _children(repo, commit, folder) if _is_file(child)}


def folders_in(repo: Any, commit: str, folder: str) -> tuple[str, ...]:
    """The names of the folders right below a folder of a commit."""
    from gi.repository import Gio

    return tuple(info.get_name() for info, _ in _children(repo, commit, folder) if info.get_file_type() == Gio.FileType.DIRECTORY)


def _children(repo: Any, commit: str, folder: str) -> Iterator[tuple[Any, Any]]:
    from gi.repository import Gio

    parent = repo.read_commit(commit, None)[1].resolve_relative_path(folder.strip("/"))
    if parent.query_exists(None):
        attributes = "standard::name,standard::type,standard::size,standard::symlink-target"
        children = parent.enumerate_children(attributes, Gio.FileQueryInfoFlags.NOFOLLOW_SYMLINKS, None)
        while info := children.next_file(None):
            yield info, parent.get_child(info.get_name())


def _is_file(file: Any) -> bool:
    from gi.repository import Gio

    return bool(file.query_file_type(Gio.FileQueryInfoFlags.NOFOLLOW_SYMLINKS, None) == Gio.FileType.REGULAR)


def _content(repo: Any, file: Any) -> bytes:
    stream = repo.load_file(file.get_checksum(), None)[1]
    chunks = []
    while chunk := stream.read_bytes(CHUNK, None).get_data():
        chunks.append(chunk)
    return b"".join(chunks)
