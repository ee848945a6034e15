"""`aistack node snapshot`: this machine as a snapshot, for `aistack check`; on a node of ours or on any other Linux machine."""

from __future__ import annotations

from pathlib import Path

import yaml

from aistack.compose.lock import Lock
from aistack.diagnostics import ExitCode
from aistack.facts.readings import PciDevice
from aistack.host.catalog_files import load_catalog
from aistack.host.probes.accelerators import take_accelerators
from aistack.host.probes.all import take
from aistack.host.probes.system import take_system
from aistack.node.first_gate import lock_text, present, read_lock
from aistack.node.machine_snapshot import snapshot
from aistack.node.products import catalogued, product


def node_snapshot(*, root: Path = Path("/")) -> ExitCode:
    """Print the snapshot; what could not be read is not in it, and is no failure."""
    machine, lock = take(root), read_lock(lock_text(root))
    vendor, devices = _whose(lock, machine.pci.value or ())
    promised = lock.accelerator.product if lock is not None and lock.accelerator is not None else None
    known = product(load_catalog(), devices, promised) if devices else None
    seen = take_accelerators(root, vendor, "none") if devices else None
    document = snapshot(machine, take_system(root, machine.kernel.value), known, vendor if devices else None, seen)
    print(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), end="")
    return ExitCode.OK


def _whose(lock: Lock | None, devices: tuple[PciDevice, ...]) -> tuple[str, tuple[PciDevice, ...]]:
    """Whose accelerators to ask, and theirs: what the lock promises, what the catalog knows, or whatever may be one."""
    if lock is not None and lock.accelerator is not None:
        return present(lock, devices)
    known = catalogued(load_catalog(), devices)
    return known if known[1] else present(lock, devices)
