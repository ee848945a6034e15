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
from aistack.diagnostics import DiagnosticError, refuse
from aistack.facts.files import RenderedFile
from aistack.facts.pins import LockedFile, LockedRoot, Signing
from aistack.facts.version import Scheme, newest_first
from aistack.host import modules, process, rootfs, sharing, signing, uses
from aistack.host.store import Store
from aistack.report.progress import Progress


def compiled(
    root: LockedRoot, kernel: str, places: Places, shared: Sequence[sharing.Source], progress: Progress, log: Path
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
    progress.say(f"    compiling the modules of {texts.named(root)} for {kernel}")
    try:
        ended = modules.compile_modules(places.store, unpacked, script=debian.module_script(), kernel=kernel, log=log)
    finally:
        rootfs.remove_root(unpacked)
    errors = texts.errors(ended.log) if ended.exit_code else ()
    if ended.exit_code and not errors:
        raise process.failure(("dkms", "build"), ended.exit_code, ended.log, log=log)
    made = [asdict(module) for module in ended.modules]
    told = {"kernel": kernel, "os": root.os, "sources": texts.versions(root)}
    return {**told, "modules": made, "errors": errors, "files": {"log": log.name}}


def was_tried(store: Store, kernel: str, packages: Sequence[str]) -> bool:
    """Whether modules were compiled here for a kernel from packages of those names, whatever their versions."""
    return any(document["kernel"] == kernel and set(document["sources"]) == set(packages) for document in _compilations(store))


def _compilations(store: Store) -> Iterator[Mapping[str, Any]]:
    for file in (store.path / "outputs").glob("*/output.json"):
        document = uses.read_output(store, file.parent.name)
        if "sources" in document:
            yield document


def require(store: Store, step: str, output: Mapping[str, Any]) -> None:
    """Raises DiagnosticError (exit 1) where errors stand against a compilation, the output of that step."""
    if output.get("errors"):
        raise refused(store, step, output)


def refused(store: Store, step: str, output: Mapping[str, Any]) -> DiagnosticError:
    """The refusal (exit 1) for a compilation, the output of that step, against which errors stand; with all that was tried here.

    That is what was tried of the same versions, be it another flavour of the driver's, and for the same OS.
    """
    tried = [
        texts.Tried(kernel=one["kernel"], sources=_named(one), compiles=not one["errors"])
        for one in _compilations(store)
        if {*one["sources"].values()} == {*output["sources"].values()} and one.get("os") == output.get("os")
    ]
    order = newest_first({one.kernel for one in tried}, Scheme.KERNEL)
    tried.sort(key=lambda one: (order.index(one.kernel), one.sources))
    log = store.path / "outputs" / step / output["files"]["log"]
    return refuse(texts.do_not_compile(_named(output), output["kernel"], output["errors"], str(log), tried))


def _named(output: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in output["sources"].items())


def files(store: Store, output: Mapping[str, Any], kernel: str, signer: Signing | None, folder: Path) -> Iterator[RenderedFile]:
    """A compilation's modules as files of a base, signed where there is something to sign with; its key lies at its path from `folder`."""
    for name, module in modules.content(store, [LockedFile(**module) for module in output["modules"]]).items():
        content = signing.sign(store, module, signer, folder) if signer else module
        yield RenderedFile(path=f"/usr/lib/modules/{kernel}/updates/{name}", content=content)
    if signer:
        yield RenderedFile(path=texts.CERTIFICATE, content=signing.der(signer.certificate))
