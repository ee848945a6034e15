"""Packages as an image may have them: what dpkg's lists name and images do without, and what was moved or chosen, is no fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from images_read import Files
from test_checks import DPKG, TOOLS, base, judged

from aistack.compose.findings import Outcome
from aistack.facts.filesystem import Filesystem

__all__ = ["base"]

HARMLESS: list[tuple[str, str, Files]] = [
    (
        "documentation that was left out",
        "package-files",
        {f"{DPKG}/info/a.md5sums": b"0  usr/share/doc/a\n1  usr/share/man/man1/a.1.gz\n"},
    ),
    (
        "a file that another package moved",
        "package-files",
        {
            f"{DPKG}/info/a.md5sums": b"900150983cd24fb0d6963f7d28e17f72  usr/bin/dash\n",
            "/usr/bin/dash.a": b"abc",
            f"{DPKG}/diversions": b"/usr/bin/dash\n/usr/bin/dash.a\ndash\n",
        },
    ),
    (
        "folders and links of documentation",
        "package-files",
        {f"{DPKG}/info/a.list": b"/usr/share/man\n/usr/share/doc/a\n/usr/share/locale/de\n"},
    ),
    (
        "settings that were deleted, and state",
        "package-files",
        {f"{DPKG}/info/a:amd64.list": b"/etc\n/etc/a.conf\n/etc/rc0.d\n/var\n/var/lib/a\n/opt/a\n/run/a\n"},
    ),
    (
        "what dpkg is told to leave out",
        "package-files",
        {
            f"{DPKG}/info/a.list": b"/usr/include/a.h\n/usr/lib/a/tests/deep/a\n",
            f"{DPKG}/info/a.md5sums": b"0  usr/include/a.h\n",
            "/etc/dpkg/dpkg.cfg": b"no-debsig\npath-exclude = /usr/lib/a/tests/*\n",
            "/etc/dpkg/dpkg.cfg.d/excludes": b'# path-include=/usr/include/*\npath-exclude="/usr/include/*"\n',
        },
    ),
    (
        "a link that leads to what nobody brought, and one through links",
        "package-files",
        {f"{DPKG}/info/a.list": b"/usr/lib/a/certs\n/bin/a\n/lib/a/certs\n", "/usr/lib/a/certs": "/etc/gone", "/usr/bin/a": "dash"},
    ),
    (
        "a file that somebody at the machine moved",
        "package-files",
        {
            f"{DPKG}/info/a.list": b"/usr/bin/tool\n",
            f"{DPKG}/diversions": b"/usr/bin/tool\n/usr/bin/tool.distrib\n:\n",
            "/usr/bin/tool.distrib": b"",
        },
    ),
    (
        "alternatives that are there, not chosen, or documentation",
        "package-files",
        {
            f"{DPKG}/alternatives/tools": TOOLS,
            f"{DPKG}/alternatives/none": b"",
            f"{DPKG}/alternatives/manual": b"manual\n/usr/share/man/man7/a.7.gz\n",
            "/etc/alternatives/manual": "/usr/bin/dash",
            "/etc/alternatives/tools": "/usr/bin/dash",
            "/etc/alternatives/smi": "/usr/bin/dash",
            "/usr/bin/tools": "/etc/alternatives/tools",
            "/usr/bin/smi": "/etc/alternatives/smi",
        },
    ),
]


@pytest.mark.parametrize(("check", "what"), [(check, what) for _, check, what in HARMLESS], ids=[name for name, _, _ in HARMLESS])
def test_what_need_not_be_a_fault_is_none(check: str, what: Files, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, what)[check]
    assert (finding.outcome, finding.message) == (Outcome.YES, finding.message)


def test_modules_in_what_is_no_systems_root_are_looked_for_by_nobody(tmp_path: Path, base: Filesystem) -> None:
    gone: Files = {"/.wh.lib": b"", "/.wh.etc": b""}
    assert judged(base, tmp_path, gone)["module-indexes"].outcome is Outcome.YES
