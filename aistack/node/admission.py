"""Would this system image's apps run on this very machine? The catalog's rules, asked on the node, without a network."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path

from aistack.compose.app_snapshot import snapshots
from aistack.compose.judge_snapshot import judge_snapshot
from aistack.compose.lock import Lock, LockFormatError
from aistack.compose.lock import decode as decode_lock
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Severity, refuse
from aistack.facts.architecture import ARCHITECTURES
from aistack.facts.decode import decode
from aistack.facts.document import parse
from aistack.facts.snapshot import Snapshot
from aistack.host.catalog_files import load_catalog
from aistack.host.probes.accelerators import take_accelerators
from aistack.host.probes.all import take
from aistack.host.probes.machine import architecture
from aistack.host.probes.system import take_system
from aistack.node.first_gate import present
from aistack.node.machine_snapshot import snapshot
from aistack.node.products import product


def require_admitted(root: Path, text: bytes) -> None:
    """Hold the apps of an image's lock against its base and the accelerators that this machine really has.

    Raises DiagnosticError (exit 1) for a lock of another architecture, and with what the rules say against each app. What cannot be told
    refuses nothing, a lock that is newer than this aistack included: the image's own gates look again.
    """
    try:
        lock = decode_lock(text)
    except LockFormatError:
        return
    _require_architecture(root, lock)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    catalog = load_catalog()
    refused: list[Diagnostic] = []
    for app, document in snapshots(lock, catalog, _accelerator(root, lock)):
        parsed, _ = parse(json.dumps(document), app)
        seen = decode(Snapshot, parsed)[0] if parsed is not None else None
        said = judge_snapshot(seen, catalog, {}, today) if seen is not None else ()
        refused += [replace(one, message=f"app `{app}`: {one.message}") for one in said if one.severity is Severity.ERROR]
    if refused:
        raise DiagnosticError(tuple(refused), ExitCode.NO)


def _require_architecture(root: Path, lock: Lock) -> None:
    """No kernel of another architecture can be started, whatever the image's config says that it is."""
    seen = architecture(root)
    here = ARCHITECTURES.get(seen.value or "", seen.value)
    if here is not None and here != lock.arch:
        problem = Diagnostic(
            rule="UPD012",
            name="image-of-another-architecture",
            severity=Severity.ERROR,
            message=f"the image's lock is for {lock.arch}, and this machine is {here}",
            why=(f"{seen.source}: {seen.value}",),
            hints=("each architecture needs a recipe and a tag of its own: aistack node update --to HOST/REPOSITORY:TAG",),
        )
        raise refuse(problem)


def _accelerator(root: Path, lock: Lock) -> dict[str, object]:
    """That part of this machine's snapshot; empty where it has no accelerator."""
    machine = take(root)
    vendor, devices = present(lock, machine.pci.value or ())
    if not devices:
        return {}
    known = product(load_catalog(), devices, lock.accelerator.product if lock.accelerator is not None else None)
    seen = take_accelerators(root, vendor, "none")
    document = snapshot(machine, take_system(root, machine.kernel.value), known, vendor, seen)
    found: dict[str, object] = document.get("accelerator", {})
    return found
