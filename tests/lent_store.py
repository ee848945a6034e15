"""A store of a test's own that begins with what another holds: files are links, throw-away roots are shared."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from aistack.host.store import Store


def lend(store: Store, folder: Path) -> Store:
    """A store in `folder`, on the same file system, with the files and throw-away roots of `store` and none of its images or disks."""
    other = Store(folder)
    other.prepare()
    subprocess.run(["cp", "-al", store.path / "blobs", other.path / "blobs"], check=True)
    (other.path / "roots").symlink_to(store.path / "roots")
    for output in store.path.glob("outputs/*/output.json"):
        if "root" in json.loads(output.read_text()):
            shutil.copytree(output.parent, other.path / "outputs" / output.parent.name)
    return other
