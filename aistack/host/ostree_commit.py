"""What a commit of an OSTree repository says: its metadata, and single files of its tree, without a checkout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from aistack.host.blobs import CHUNK


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
