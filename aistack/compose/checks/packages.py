"""Every file of a Debian package is as the package brought it: dpkg's lists of checksums and of names, held against what was read.

The lists of checksums have files alone; links and empty folders are in the lists of names only. Of these, what lies in the system's own
folders has to be there: a setting may be deleted, which dpkg takes for the administrator's wish, and /var holds state. The same holds of
the links of update-alternatives(1), which no package owns.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase

from aistack.compose.findings import Check
from aistack.facts.filesystem import Filesystem, placed

DATABASES = ("/usr/lib/sysimage/dpkg", "/var/lib/dpkg")
LIST = re.compile(rf"(?:{'|'.join(DATABASES)})/info/([^/:]+)(?::\w+)?\.md5sums")
NAMES = re.compile(LIST.pattern.replace("md5sums", "list"))
CHOICES = re.compile(rf"(?:{'|'.join(DATABASES)})/alternatives/([^/]+)")
CHOSEN = "/etc/alternatives"
CONFIGURATION = re.compile(r"/etc/dpkg/dpkg\.cfg(?:\.d/[\w-]+)?")
FILTER = re.compile(r"^[ \t]*path-(exclude|include)(?:[ \t]*=[ \t]*|[ \t]+)(.*?)[ \t]*$", re.MULTILINE)
BOOT = re.compile(r"/boot/(vmlinuz|config|System\.map)-(.+)")
"""Files of a kernel, which a bootable container has in the folder of its modules."""
SYSTEM = re.compile(r"/(?:usr|bin|sbin|lib\w*)(?:/.*)?")
"""The system's own folders."""
STATE = "/var/"
"""What packages bring there, they and their programs may write anew."""
LEFT_OUT = re.compile(
    r"/usr/share/(?:bug|doc|groff|help|info|linda|lintian|locale|man)(?:/.*)?|/boot/.*|/usr/libexec/podman/podman-testing"
)
"""What images do without: documentation, translations, and a copy of podman for podman's own tests."""


def wanted(path: str) -> bool:
    """The files that this check reads."""
    return any(form.fullmatch(path) for form in (LIST, NAMES, CHOICES, CONFIGURATION)) or path in {
        f"{folder}/diversions" for folder in DATABASES
    }


def database(filesystem: Filesystem) -> str | None:
    """dpkg's database of what is installed; None where there is none."""
    return next((text for folder in DATABASES if (text := filesystem.text(f"{folder}/status")) is not None), None)


def installed(status: str) -> Iterator[tuple[str, str, str]]:
    """(name, version, architecture) of every package that is installed, from dpkg's database; empty where a damaged one does not say it."""
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            yield fields.get("Package", ""), fields.get("Version", ""), fields.get("Architecture", "")


def _changed(filesystem: Filesystem) -> list[str] | str:
    listed = list(_listed(filesystem))
    if not listed:
        return "there is no database of Debian's packages with checksums"
    left_out = _left_out(filesystem)
    wrong: dict[str, None] = {}
    for package, path, md5 in (one for one in listed if not one[1].startswith(STATE)):
        entry = filesystem.entries.get(filesystem.resolved(path))
        if entry is None and not left_out(path):
            wrong[f"{path} of {package} is not there"] = None
        elif entry is not None and entry.md5 != md5:
            wrong[f"{path} is not what {package} brought"] = None
    for package, path in (*_named(filesystem), *_chosen(filesystem)):
        if SYSTEM.fullmatch(path) and not _there(filesystem, path) and not left_out(path):
            wrong[f"{path} of {package} is not there"] = None
    return list(wrong)


def unchanged(filesystem: Filesystem) -> frozenset[str]:
    """The files that are as a package brought them."""
    places = ((filesystem.resolved(path), md5) for _, path, md5 in _listed(filesystem))
    return frozenset(place for place, md5 in places if place in filesystem.entries and filesystem.entries[place].md5 == md5)


def _there(filesystem: Filesystem, path: str) -> bool:
    """Whether a name is there, wherever it leads: what a package's link leads to, another may bring, or nobody."""
    return path in filesystem.entries or placed(filesystem.entries, path)[0] in filesystem.entries


def _left_out(filesystem: Filesystem) -> Callable[[str], bool]:
    """Tells what is left out: what any image may do without, and what this one's dpkg does not unpack. Its last filter counts: dpkg(1)."""
    files = sorted((path for path in filesystem.texts if CONFIGURATION.fullmatch(path)), key=lambda path: (path.endswith(".cfg"), path))
    filters = [(kind, form.strip("\"'")) for path in files for kind, form in FILTER.findall(filesystem.text(path) or "")]

    def left_out(path: str) -> bool:
        last = next((kind for kind, form in reversed(filters) if fnmatchcase(path, form)), "")
        return last == "exclude" or bool(LEFT_OUT.fullmatch(path))

    return left_out


def _listed(filesystem: Filesystem) -> Iterator[tuple[str, str, str]]:
    """Every (package, path, checksum)."""
    moved = _diverted(filesystem)
    for package, lines in _lists(filesystem, LIST):
        for line in filter(None, lines):
            md5, _, name = line.partition("  ")
            yield package, _place(filesystem, moved, package, f"/{name}"), md5


def _named(filesystem: Filesystem) -> Iterator[tuple[str, str]]:
    """Every (package, path) that is no folder in which the package has something."""
    moved = _diverted(filesystem)
    for package, paths in _lists(filesystem, NAMES):
        folders = {posixpath.dirname(path) for path in paths}
        yield from ((package, _place(filesystem, moved, package, path)) for path in paths if path not in folders)


def _chosen(filesystem: Filesystem) -> Iterator[tuple[str, str]]:
    """Every (alternative, link to it) of those that are chosen: a file begins with how, the link, and then the name and link of others."""
    for name, lines in _lists(filesystem, CHOICES):
        head = list(itertools.takewhile(bool, lines))
        for chosen, link in zip((name, *head[2::2]), head[1::2], strict=False):
            if f"{CHOSEN}/{chosen}" in filesystem.entries:
                yield f"the alternative {chosen}", link


def _lists(filesystem: Filesystem, form: re.Pattern[str]) -> Iterator[tuple[str, list[str]]]:
    """The lists of that form: package, lines."""
    for file, data in sorted(filesystem.texts.items()):
        if found := form.fullmatch(file):
            yield found[1], data.decode(errors="surrogateescape").split("\n")


def _place(filesystem: Filesystem, moved: dict[str, tuple[str, str]], package: str, path: str) -> str:
    """Where a file of a package is."""
    place, owner = moved.get(path, (path, package))
    place = path if owner == package else place
    boot = None if place in filesystem.entries else BOOT.fullmatch(place)
    return f"/usr/lib/modules/{boot[2]}/{boot[1]}" if boot else place


def _diverted(filesystem: Filesystem) -> dict[str, tuple[str, str]]:
    """Files that a package had moved out of its files' way: path → (where it is now, that package). dpkg-divert(1)."""
    lines = next((text for folder in DATABASES if (text := filesystem.text(f"{folder}/diversions"))), "").splitlines()
    return {old: (new, owner) for old, new, owner in zip(lines[::3], lines[1::3], lines[2::3], strict=False)}


CHECKS = (Check(name="package-files", description="every file of a package is as the package brought it", look=_changed, fatal=False),)
