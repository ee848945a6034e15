"""The first gate's reading and judging: the machine, and its accelerators as deep as the level asks. Changes nothing."""

from __future__ import annotations

import posixpath
from pathlib import Path

from aistack.compose.lock import Lock, LockFormatError, decode
from aistack.compose.render.system import LOCK_PATH
from aistack.facts.device_readings import Accelerators
from aistack.facts.pci import VENDORS, platform
from aistack.facts.readings import MachineReadings, PciDevice, Reading
from aistack.host.probes.all import take
from aistack.host.probes.reading import inside, read
from aistack.node import repository
from aistack.node.health import check, tell
from aistack.node.results import Result
from aistack.values import dataclass

OURS = posixpath.dirname(LOCK_PATH)
"""There on every node of ours, whose lock is then missing and not just absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What the gate found, and what was read of the accelerators, where there are any."""

    results: tuple[Result, ...]
    seen: Accelerators | None = None


def look(root: Path, level: str) -> Looked:
    """Read the machine below `root` and judge it against its lock; of one that is no node of ours, its devices against the catalog."""
    machine, text = take(root), lock_text(root)
    if not inside(root, OURS).exists():
        return _look_elsewhere(root, machine, level)
    lock = read_lock(text)
    vendor, devices = present(lock, machine.pci.value or ())
    if not devices:
        # What is not on the bus the machine's own results tell; no driver could say more of it.
        return Looked(results=(*check(machine, text), *repository.judge(root)))
    from aistack.node.asking import asked, numbers  # the catalog's seconds, which a node without an accelerator need not wait

    found, seen = asked(root, vendor, devices, lock, level)
    return Looked(results=(*check(machine, text, numbers(lock)), *repository.judge(root), *found), seen=seen)


def _look_elsewhere(root: Path, machine: MachineReadings, level: str) -> Looked:
    """The same of a machine that is no node of ours: whatever may be an accelerator, as far as the catalog knows it."""
    results = tell(machine)
    if not present(None, machine.pci.value or ())[1]:
        return Looked(results=results)
    from aistack.host.catalog_files import load_catalog
    from aistack.node.asking import asked
    from aistack.node.products import catalogued

    vendor, devices = catalogued(load_catalog(), machine.pci.value or ())
    if not devices:
        return Looked(results=results)
    found, seen = asked(root, vendor, devices, None, level)
    return Looked(results=(*results, *found), seen=seen)


def lock_text(root: Path) -> Reading[bytes]:
    """The bytes of this system's lock."""
    return read(LOCK_PATH, lambda: inside(root, LOCK_PATH).read_bytes())


def read_lock(text: Reading[bytes]) -> Lock | None:
    """The lock; None where there is none or it is damaged, which a result of the machine's tells."""
    try:
        return decode(text.value) if text.value is not None else None
    except LockFormatError:
        return None


def present(lock: Lock | None, devices: tuple[PciDevice, ...]) -> tuple[str, tuple[PciDevice, ...]]:
    """Whose accelerators to ask, and those of theirs that are on the bus: the lock's platform, or the first that has some.

    Where no lock promises any, those that are kept for virtual machines are none of this machine's.
    """
    promised = platform(lock.accelerator.product) if lock is not None and lock.accelerator is not None else None
    for vendor in (promised,) if promised is not None else VENDORS:
        own = (device for device in devices if device.is_accelerator and device.vendor == VENDORS.get(vendor))
        found = tuple(device for device in own if promised is not None or not device.lent)
        if found:
            return vendor, found
    return promised or "none", ()
