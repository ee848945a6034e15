"""Masks of what every start needs are told; what somebody has good reasons to mask, or may mask to no effect, is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from images_read import SYSTEMD_UNITS, Files
from test_checks import base, judged

from aistack.compose.checks.masks import NEEDED, NETWORK
from aistack.compose.findings import Outcome
from aistack.facts.filesystem import Filesystem

__all__ = ["base"]
OWN = "/etc/systemd/system"
THERE: Files = {f"{SYSTEMD_UNITS}/{name}": f"[Unit]\nDescription={name}\n".encode() for name in (*NEEDED, *NETWORK)}
MANAGER: Files = {
    f"{SYSTEMD_UNITS}/NetworkManager.service": b"[Unit]\nDescription=NetworkManager\n",
    f"{SYSTEMD_UNITS}/multi-user.target.wants/NetworkManager.service": "../NetworkManager.service",
}


@pytest.mark.parametrize("name", [*NEEDED, *NETWORK])
@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        (f"{OWN}/{{}}", "/dev/null", "masks"),
        (f"{OWN}/{{}}", b"", "masks"),
        ("/usr/lib/bootc/kargs.d/90.toml", b'kargs = ["systemd.mask=%s"]\n', "the kernel's arguments mask"),
    ],
)
def test_a_mask_of_what_every_start_needs_is_named(
    name: str, path: str, content: bytes | str, said: str, base: Filesystem, tmp_path: Path
) -> None:
    text = content.replace(b"%s", name.encode()) if isinstance(content, bytes) else content
    finding = judged(base, tmp_path, THERE, {path.format(name): text})["needed-units"]
    assert (finding.outcome, finding.fatal, f"{said} {name}: no start has" in finding.message) == (Outcome.NO, False, True), finding.message


@pytest.mark.parametrize(
    "files",
    [
        {},
        THERE,
        {f"{OWN}/{name}": "/dev/null" for name in ("local-fs.target", "dbus.socket", "systemd-networkd.service")},  # which is not there
        {**THERE, f"{OWN}/systemd-networkd.service": "/dev/null", **MANAGER},
        {**THERE, f"{OWN}/systemd-networkd.service": "/dev/null", "/usr/lib/aistack/.wh.lock.json": b""},
        {
            **THERE,
            f"{OWN}/ldconfig.service": "/dev/null",
            f"{OWN}/systemd-binfmt.service": b"",
            f"{OWN}/systemd-logind.service": "/dev/null",
        },
        {**THERE, f"{OWN}/dbus.socket": b"[Socket]\nListenStream=/run/dbus/system_bus_socket\n"},
    ],
)
def test_other_masks_are_the_administrators(files: Files, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, files)["needed-units"]
    assert (finding.outcome, finding.message) == (Outcome.YES, finding.message)
