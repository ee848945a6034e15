"""Every file of a Debian package is as the package brought it: dpkg's lists of checksums, held against what was read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.findings import Check
from aistack.facts.filesystem import Filesystem

DATABASES = ("/usr/lib/sysimage/dpkg", "/var/lib/dpkg")
LIST = re.compile(rf"(?:{'|'.join(DATABASES)})/info/([^/:]+)(?::\w+)?\.md5sums")
BOOT = re.compile(r"/boot/(vmlinuz|config|System\.map)-(.+)")
"""Files of a kernel, which a bootable container has in the folder of its modules."""
LEFT_OUT = re.compile(r"/usr/share/(?:bug|doc|groff|help|info|linda|lintian|locale|man)/.*|/boot/.*|/usr/libexec/podman/podman-testing")
"""What images do without: documentation, translations, and a copy of podman for podman's own tests."""


def wanted(path: str) -> bool:
    """The files that this check reads."""
    return bool(LIST.fullmatch(path)) or path in {f"{folder}/diversions" for folder in DATABASES}


def _changed(filesystem: Filesystem) -> list[str] | str:
    listed = list(_listed(filesystem))
    if not listed:
        return "there is no package database with checksums"
    wrong = []
    for package, path, md5 in listed:
        entry = filesystem.entries.get(filesystem.resolved(path))
        if entry is None and not LEFT_OUT.fullmatch(path):
            wrong.append(f"{path} of {package} is not there")
        elif entry is not None and entry.md5 != md5:
            wrong.append(f"{path} is not what {package} brought")
    return wrong


def _listed(filesystem: Filesystem) -> Iterator[tuple[str, str, str]]:
    """Every (package, path, checksum)."""
    moved = _diverted(filesystem)
    for file in sorted(filesystem.texts):
        if found := LIST.fullmatch(file):
            for line in (filesystem.text(file) or "").splitlines():
                md5, _, name = line.partition("  ")
                path, owner = moved.get(f"/{name}", (f"/{name}", found[1]))
                path = path if owner != found[1] else f"/{name}"
                if path not in filesystem.entries and (boot := BOOT.fullmatch(path)):
                    path = f"/usr/lib/modules/{boot[2]}/{boot[1]}"
                yield found[1], path, md5


def _diverted(filesystem: Filesystem) -> dict[str, tuple[str, str]]:
    """Files that a package had moved out of its files' way: path → (where it is now, that package). dpkg-divert(1)."""
    lines = next((text for folder in DATABASES if (text := filesystem.text(f"{folder}/diversions"))), "").splitlines()
    return {old: (new, owner) for old, new, owner in zip(lines[::3], lines[1::3], lines[2::3], strict=False)}


CHECKS = (Check(name="package-files", description="every file of a package is as the package brought it", look=_changed, fatal=False),)
