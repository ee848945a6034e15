"""Kernel modules: compiled for one kernel in a root made for it, signed, and what stands against them where they do not compile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aistack.commands.fetching import fetched
from aistack.commands.pinning import Places
from aistack.compose import modules as texts
from aistack.compose.distros import debian
from aistack.facts.files import RenderedFile
from aistack.facts.pins import LockedFile, LockedRoot, Signing
from aistack.host import modules, process, rootfs, sharing, signing
from aistack.host.store import Store
from aistack.report.progress import Progress


def compiled(
    root: LockedRoot, kernel: str, driver: str, places: Places, shared: Sequence[sharing.Source], progress: Progress, log: Path
) -> dict[str, Any]:
    """What compiling came to: `modules`, or the `errors` that stand against them. Both hold for good, so neither is tried twice.

    Raises DiagnosticError (exit 3) where it was not the compiler that refused.
    """
    unpacked = rootfs.make_root(
        places.store,
        fetched(root, places, shared, progress),
        files=debian.module_files(),
        stand_ins=debian.MODULE_STAND_INS,
        log=log,
    )
    progress.say(f"    compiling the modules of driver {driver} for {kernel}")
    ended = modules.compile_modules(places.store, unpacked, script=debian.module_script(), kernel=kernel, log=log)
    errors = texts.errors(ended.log) if ended.exit_code else ()
    if ended.exit_code and not errors:
        raise process.failure(("dkms", "build"), ended.exit_code, ended.log, log=log)
    return {"modules": [asdict(module) for module in ended.modules], "errors": errors, "files": {"log": log.name}}


def files(store: Store, output: Mapping[str, Any], kernel: str, signer: Signing | None, folder: Path) -> Iterator[RenderedFile]:
    """A compilation's modules as files of a base, signed where there is something to sign with; its key lies at its path from `folder`."""
    for name, module in modules.content(store, [LockedFile(**module) for module in output["modules"]]).items():
        content = signing.sign(store, module, signer, folder) if signer else module
        yield RenderedFile(path=f"/usr/lib/modules/{kernel}/updates/{name}", content=content)
    if signer:
        yield RenderedFile(path=texts.CERTIFICATE, content=signing.der(signer.certificate))
