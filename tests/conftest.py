"""What several test files share: real things that are made once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from aistack.compose.distros import debian
from aistack.host import apt, apt_sources, rootfs
from aistack.host.store import Store, default_path


@pytest.fixture(scope="session")
def tools_root() -> Path:
    """The throw-away tools root, resolved today and unpacked; it stays in the store, so that the next run finds it."""
    store = Store(default_path(os.environ))
    archives = apt_sources.archives(("trixie", "trixie-updates", "trixie-security"), environment=os.environ)
    root = apt.resolve(store, archives, debian.tools_packages(), "amd64", "debian-13", environment=os.environ)
    apt.fetch(store, root, archives, environment=os.environ)
    content = hashlib.sha256("".join(sorted(package.sha256 for package in root.packages)).encode()).hexdigest()
    return rootfs.make_root(store, root, content)
