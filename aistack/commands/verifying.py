"""Judging images: reads them back from the store and hands what they hold to the checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from aistack import __version__
from aistack.compose import credentials, image_snapshot
from aistack.compose import statement as statements
from aistack.compose import verify as checks
from aistack.compose.checks import code
from aistack.compose.checks.expected import Signed
from aistack.compose.checks.tree import settled
from aistack.compose.findings import Finding
from aistack.compose.lock import Lock, identity
from aistack.compose.sbom import complete
from aistack.diagnostics import Diagnostic, Severity, refuse, unable
from aistack.facts.filesystem import Filesystem
from aistack.host import inspect, oci, python_parts, signing
from aistack.host.catalog_files import load_catalog
from aistack.host.store import Store

Findings = Mapping[str, Sequence[Finding]]
"""What the checks found, by the image that they looked at."""

Known = dict[tuple[str, ...], Filesystem]
"""File systems that were read, by the digests of their layers: what is built upon them is not read again."""


def verify(
    store: Store,
    lock: Lock,
    system: str,
    apps: Mapping[str, str],
    bound: Mapping[str, str],
    documents: Path | None = None,
    known: Known | None = None,
) -> Findings:
    """Checks a system image and its apps' images (`app-NAME` → manifest digest); `bound` names every image that the lock promises.

    `documents` is the folder with the bills of materials, None where they were not made.
    """
    promised = {name.rsplit("/", 1)[-1]: digest for name, digest in bound.items()}
    filesystem = read(store, system, known)
    found: dict[str, Sequence[Finding]] = {
        "system": (
            *checks.verify_system(filesystem, lock, promised, signed(filesystem, lock)),
            complete.check(filesystem, sbom_of(documents, "base")),
            settings(store, system),
        )
    }
    return found | verify_apps(store, lock, apps, documents)


def verify_parts(store: Store, lock: Lock, base: str, apps: Mapping[str, str], documents: Path | None = None) -> Findings:
    """As `verify`, of what is built without models: the base's and the apps' images, which no system image binds yet."""
    filesystem = read(store, base)
    found = checks.verify_base(filesystem, lock, signed(filesystem, lock))
    return {
        "base": (*found, complete.check(filesystem, sbom_of(documents, "base")), settings(store, base)),
        **verify_apps(store, lock, apps, documents),
    }


def verify_apps(store: Store, lock: Lock, apps: Mapping[str, str], documents: Path | None) -> dict[str, Sequence[Finding]]:
    """Checks the image of each of a lock's apps."""
    found: dict[str, Sequence[Finding]] = {}
    catalog = load_catalog() if lock.apps else None
    for app in lock.apps:
        name = f"app-{app.name}"
        files = read(store, apps[name])
        of_code = code.wanted(catalog, lock.accelerator, app) if catalog else None
        if app.image:
            path = dict(oci.read_image(store, apps[name]).settings.environment).get("PATH", "/usr/local/bin:/usr/bin:/bin")
            found[name] = checks.verify_upstream(files, app, apps[name], path, of_code)
        else:
            own = checks.verify_app(files, lock, app, of_code)
            found[name] = (*own, complete.check(files, sbom_of(documents, name)), settings(store, apps[name]))
    return found


def sbom_of(folder: Path | None, image: str) -> Mapping[str, str]:
    """The bills of materials of one image that a step left in its folder: texts by file name."""
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(folder.glob(f"{image}.*.json"))} if folder else {}


def judge(store: Store, digest: str) -> tuple[bool, Sequence[Finding]]:
    """Whether any image in the store is a bootable one, and what the checks found; with the lock that it carries, if it carries one."""
    filesystem, labels = read(store, digest), dict(oci.read_image(store, digest).labels)
    bootable, found = judged(filesystem, labels)
    return bootable, (*found, settings(store, digest))


def settings(store: Store, digest: str) -> Finding:
    """The check of what the configuration of an image in the store says."""
    image = oci.read_image(store, digest)
    return credentials.settings(image.settings.environment, image.history)


def judged(filesystem: Filesystem, labels: Mapping[str, str]) -> tuple[bool, Sequence[Finding]]:
    """As `judge`, of a file system that was read (`host.inspect.filesystem`) and the labels of its image.

    What carries a lock says that we built it, so no `no` is a warning there.
    """
    bootable, lock = checks.is_bootable(filesystem, labels), checks.carried(filesystem)
    expected = checks.expected_by(lock, signed(filesystem, lock))
    carried, found = checks.verify_carried(filesystem, labels), checks.verify_image(filesystem, bootable=bootable, expected=expected)
    return bootable, (*carried, *(replace(finding, fatal=True) if carried else finding for finding in found))


def signed(filesystem: Filesystem, lock: Lock | None) -> Signed:
    """The modules that did not come with the kernel and are signed with the key of a lock's certificate, or why that cannot be told."""
    if lock is None or lock.signing is None:
        return frozenset()
    others = (module for module in settled(filesystem, filesystem.modules).values() if not module.in_tree)
    try:
        return signing.signed_with(lock.signing.certificate, others)
    except ValueError as error:
        return f"what the key of the lock's certificate signed cannot be told: {error}"


def wanted(path: str) -> bool:
    """The files whose contents some check reads."""
    return checks.wanted(path) or complete.wanted(path) or image_snapshot.wanted(path)


def require(found: Findings) -> None:
    """Raises DiagnosticError (exit 1) with every check that failed; what we build is held to warnings as well."""
    failed = [
        Diagnostic(
            rule="VER001",
            name="image-not-right",
            severity=Severity.ERROR,
            message=f"{image}: `{finding.name}`: {finding.message}",
            why=("read back from the built image, without running it",),
        )
        for image, findings in found.items()
        for finding in findings
        if finding.condemns(strict=True)
    ]
    if failed:
        raise refuse(*failed)


def statement(images: Mapping[str, str], found: Findings, lock: Lock | None) -> str:
    """The findings as an in-toto statement on images; those on what was built from a lock are held to warnings as well."""
    return statements.statement(images, found, version=__version__, lock=identity(lock) if lock else None, strict=lock is not None)


def documents(found: Findings) -> dict[str, Any]:
    """The findings as JSON."""
    return {image: [asdict(finding) for finding in findings] for image, findings in found.items()}


def read(store: Store, digest: str, known: Known | None = None) -> Filesystem:
    """The file system of an image in the store, read back from its layers; what is `known` grows by it."""
    python_parts.require()
    image = oci.read_image(store, digest)
    digests = tuple(layer.digest.removeprefix("sha256:") for layer in image.layers)
    lower = max((below for below in known or () if digests[: len(below)] == below), key=len, default=())
    upper = digests[len(lower) :]
    if damaged := store.damaged(upper):
        why = ("the disk, or somebody, changed it; it was removed from the store",)
        raise unable("VER003", "layer-damaged", f"the layer {damaged[0]} in the store is not what it was", why=why, hints=("build again",))
    with store.scratch() as folder:
        found = inspect.filesystem([store.blob(layer) for layer in upper], wanted, folder, known[lower] if known and lower else None)
    if known is not None:
        known[digests] = found
    return replace(found, environment=dict(image.settings.environment), arch=image.arch)
