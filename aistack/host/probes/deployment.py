"""Which OSTree deployment is booted, and what its commit and its origin file say of it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from aistack.facts.readings import Deployment, Reading
from aistack.host.probes.reading import inside, read
from aistack.host.process import run

MANIFEST_KEY = "ostree.manifest-digest"
LOCK_KEY = "aistack.lock"
LIVE = "/run/aistack/live.json"
"""The deployment whose own layer (lock and quadlets) is in force over the booted one's; absent after each start."""


def deployment(root: Path) -> Reading[Deployment]:
    """The deployment in force: the booted one, or that whose own layer was laid over it since."""
    absent = read(LIVE, lambda: not inside(root, LIVE).exists())
    return booted(root) if absent.value else read(LIVE, lambda: Deployment(**json.loads(inside(root, LIVE).read_text())))


def booted(root: Path) -> Reading[Deployment]:
    """The booted deployment: the one whose folder is the root."""
    return read("/ostree, /proc/cmdline, ostree show", lambda: _booted(root))


def _booted(root: Path) -> Deployment:
    stateroot, commit, serial = _running(root)
    origin = inside(root, f"/ostree/deploy/{stateroot}/deploy/{commit}.{serial}.origin").read_text()
    promised = re.search(r"^manifest-digest=(sha256:[0-9a-f]{64})$", origin, re.MULTILINE)
    reference = re.search(r"^container-image-reference=(.+)$", origin, re.MULTILINE)
    repository = inside(root, "/ostree/repo")
    return Deployment(
        stateroot=stateroot,
        commit=commit,
        serial=serial,
        promised_manifest=promised.group(1) if promised else None,
        manifest=_metadata(repository, commit, MANIFEST_KEY),
        lock_identity=_metadata(repository, commit, LOCK_KEY),
        reference=reference.group(1) if reference else None,
    )


def _running(root: Path) -> tuple[str, str, int]:
    """Stateroot, commit and serial of the deployment that is the root, as OSTree itself finds it: by its folder's device and inode.

    The kernel's `ostree=` names a link that was true at the start and may be gone, or lead to another deployment, once the menu is written
    anew. It counts where no folder is the root: before the root is mounted from it, or where something is laid over it.
    """
    here = root.stat()
    for folder in inside(root, "/ostree/deploy").glob("*/deploy/*.*"):
        if folder.is_dir() and os.path.samestat(folder.stat(), here):
            return _parts(folder.as_posix())
    named = re.search(r"(?:^|\s)ostree=(\S+)", inside(root, "/proc/cmdline").read_text())
    if named is None:
        raise ValueError("no `ostree=` on the kernel command line")
    return _parts(inside(root, named[1]).readlink().as_posix())


def _parts(path: str) -> tuple[str, str, int]:
    found = re.search(r"deploy/([^/]+)/deploy/([0-9a-f]{64})\.(\d+)/?$", path)
    if found is None:
        raise ValueError(f"{path} is the path of no deployment")
    return found[1], found[2], int(found[3])


def _metadata(repository: Path, commit: str, key: str) -> str | None:
    shown = run(["ostree", f"--repo={repository}", "show", f"--print-metadata-key={key}", commit], check=False, timeout=60)
    if shown.returncode == 0:
        return shown.stdout.strip().strip("'")
    if "No such metadata key" in shown.stderr:
        return None
    raise ValueError(shown.stderr.strip() or f"ostree show ended with {shown.returncode}")
