"""Units that every start needs are not masked: file systems, devices, the log, the bus, what fills /run and /var, a node's network.

What they start is theirs to say; a mask is a line that somebody wrote to try something, and forgot: bootup(7), systemd.special(7).
"""

from __future__ import annotations

from aistack.compose.checks import udev
from aistack.compose.checks.systemd import FOLDERS, Units
from aistack.compose.findings import Check
from aistack.compose.render.system import LOCK_PATH
from aistack.facts.filesystem import Filesystem

NEEDED = {
    "local-fs.target": "file systems",
    "ostree-remount.service": "/var and /sysroot as OSTree has them",
    udev.DAEMON: "devices",
    udev.TRIGGER: "devices",
    "systemd-journald.service": "a log",
    "systemd-journald.socket": "a log",
    "systemd-tmpfiles-setup.service": "the folders of /run and /var",
    "dbus.socket": "a bus for services",
}
NETWORK = {"systemd-networkd.service": "a network"}
OTHER_NETWORKS = frozenset({"NetworkManager.service", "networking.service", "connman.service", "dhcpcd.service", "wicked.service"})
"""What brings up the network of a node that we made, and what may do so in its place."""


def _masked(filesystem: Filesystem) -> list[str]:
    units = Units(filesystem=filesystem)
    needed = NEEDED | (NETWORK if LOCK_PATH in filesystem.entries and not OTHER_NETWORKS & units.started else {})
    return [
        f"{why}: no start has {what}"
        for name, what in needed.items()
        if any(_is_unit(filesystem, f"{folder}/{name}") for folder in FOLDERS) and (why := units.masked(name))
    ]


def _is_unit(filesystem: Filesystem, path: str) -> bool:
    """Whether a unit's file says something: who masks what is not there says only that it shall not come."""
    end = filesystem.resolved(path)
    return filesystem.kind(end) == "file" and filesystem.entries[end].size > 0


CHECKS = (Check(name="needed-units", description="nothing masks what every start needs", look=_masked, fatal=False, kernel=True),)
