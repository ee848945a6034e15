"""Files as packages may bring them: what images do without, what was moved or chosen, and modes and owners that are usual, is no fault."""

from __future__ import annotations

from pathlib import Path

import elf_samples
import pytest
from images_read import Files, folder, owned, read
from kernel_samples import program
from test_checks import DPKG, TOOLS, UNIT, base, judged

from aistack.compose.findings import Outcome
from aistack.compose.verify import verify_image
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
        "state that a package's own program made anew",
        "package-files",
        {f"{DPKG}/info/a.md5sums": b"0  var/lib/a/words\n1  var/lib/a/gone\n", "/var/lib/a/words": b"made"},
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
    (
        "programs that are found in another folder, or are scripts for what is there, or made later",
        "unit-programs",
        {
            UNIT: b"[Service]\nExecStart=tool\nExecStartPost=script\nExecStop=more\nExecReload=/usr/bin/last\n[Install]\n",
            "/usr/local/bin/tool": owned(b"", mode=0o644),
            "/usr/sbin/tool": folder("/usr/sbin/tool"),
            "/usr/bin/tool": owned(program(), mode=0o700),
            "/usr/bin/script": b"#! /bin/sh -e\n",
            "/usr/bin/more": b"#!/run/current/sh\n",
            "/usr/bin/last": owned(b"text", mode=0o755),
        },
    ),
    ("a setting of another name", "unit-programs", {UNIT: b"[Service]\n#ExecStart = /usr/bin/gone\nX-ExecStart = gone\n[Install]\n"}),
    (
        "modes as distributions have them",
        "modes",
        {
            "/usr/bin": folder("/usr/bin", 0o555),
            "/usr/local": folder("/usr/local", 0o2775),
            "/usr/share/polkit-1": folder("/usr/share/polkit-1", 0o700),
            "/usr/bin/gettext.sh": owned(b"#! /bin/sh\n", mode=0o644),
            "/usr/bin/sudo": owned(program(), mode=0o111),
            "/usr/lib/systemd/libsystemd-shared.so": owned(elf_samples.binary(), mode=0o644),
            "/usr/lib/own/program": owned(program(), mode=0o644),
            "/etc/shadow": owned(b"", mode=0),
            "/etc/gshadow": owned(b"", mode=0o600),
        },
    ),
    (
        "accounts of the system's, and files that an administrator brings",
        "system-owners",
        {
            "/usr/bin/a": owned(b"", uid=999),
            "/usr/bin/b": owned(b"", uid=64010),
            "/usr/local/bin/c": owned(b"", uid=1000),
            "/usr/src/d": owned(b"", uid=65534),
            "/var/lib/e": owned(b"", uid=1000),
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


def test_an_apps_image_may_have_files_of_its_users(tmp_path: Path) -> None:
    app = read(tmp_path, [{"/usr/share/app/a": owned(b"", uid=65534)}])
    assert "system-owners" not in {finding.name for finding in verify_image(app, bootable=False)}
