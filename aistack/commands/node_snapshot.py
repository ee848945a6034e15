"""`aistack node snapshot`: this machine as a snapshot, for `aistack check`; on a node of ours or on any other Linux machine."""

from __future__ import annotations

from pathlib import Path

import yaml

from aistack.diagnostics import ExitCode
from aistack.host.catalog_files import load_catalog
from aistack.host.probes.accelerators import take_accelerators
from aistack.host.probes.all import take
from aistack.host.probes.system import take_system
from aistack.node.asking import product
from aistack.node.first_gate import lock_text, present, read_lock
from aistack.node.machine_snapshot import snapshot


def node_snapshot(*, root: Path = Path("/")) -> ExitCode:
    """Print the snapshot; what could not be read is not in it, and is no failure."""
    machine = take(root)
    vendor, devices = present(read_lock(lock_text(root)), machine.pci.value or ())
    known = product(load_catalog(), devices) if devices else None
    seen = take_accelerators(root, vendor, "none") if devices else None
    document = snapshot(machine, take_system(root, machine.kernel.value), known.id if known else None, vendor if devices else None, seen)
    print(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), end="")
    return ExitCode.OK
