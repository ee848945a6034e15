"""`aistack store`: what the store holds, and removing what nothing needs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from aistack.diagnostics import ExitCode
from aistack.host import rootfs
from aistack.host.store import Store

SCHEMA = "aistack/store/v1"


def show(store: Store, *, as_json: bool) -> ExitCode:
    """Prints how much lies in each part of the store."""
    parts = {name: _measured(store.path / name) for name in ("blobs", "outputs", "roots", "apt", "logs", "tmp")}
    if as_json:
        document = {name: {"files": files, "bytes": size} for name, (files, size) in parts.items()}
        print(json.dumps({"schema": SCHEMA, "path": str(store.path), "parts": document}, indent=2))
        return ExitCode.OK
    print(store.path)
    for name, (files, size) in parts.items():
        print(f"  {name:<8} {size / 1e6:10.1f} MB  {files} files")
    return ExitCode.OK


def prune(store: Store, *, everything: bool, dry_run: bool) -> ExitCode:
    """Removes unfinished work and throw-away roots, with `everything` all that was fetched and built too."""
    parts = ["tmp", "roots", "logs"] + (["outputs", "blobs", "apt"] if everything else [])
    for name in parts:
        folder = store.path / name
        files, size = _measured(folder)
        print(f"{'would remove' if dry_run else 'removed'} {folder}: {size / 1e6:.1f} MB, {files} files")
        if dry_run or not folder.is_dir():
            continue
        if name in ("tmp", "roots"):
            for child in folder.iterdir():
                rootfs.remove_root(child)
        else:
            shutil.rmtree(folder)
    return ExitCode.OK


def _measured(folder: Path) -> tuple[int, int]:
    files = size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            files += 1
            size += Path(parent, name).lstat().st_blocks * 512
    return files, size
