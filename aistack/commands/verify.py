"""`aistack verify`: a recipe's built images held against its lock, or any image held to what an image should be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from aistack.commands import build as building
from aistack.commands import making, verifying, writing
from aistack.commands.lock import lock_path
from aistack.commands.opening import Options, opened, progress_on_stderr
from aistack.compose import image_snapshot
from aistack.compose import verify as checks
from aistack.compose.findings import Outcome
from aistack.compose.lock import Lock
from aistack.diagnostics import Diagnostic, ExitCode, Severity, refuse, unable
from aistack.host import oci, skopeo
from aistack.host.catalog_files import load_catalog
from aistack.host.store import Store, default_path

SCHEMA = "aistack/verify/v1"

Judged = tuple[verifying.Findings, Mapping[str, str], Lock | None, str]
"""The findings, the digests of the images that they are about (by name, the bootable one first), the lock that these were built from, and
whether the first is a bootable one."""


def verify(subject: str, *, statement: Path | None, without_models: bool, as_json: bool) -> ExitCode:
    """Prints every check of a recipe's images, or of the image that is named; exit 1 when one condemns it.

    The `statement` is a file into which the result goes as an in-toto statement too. `without_models`: a recipe's base and apps alone.
    """
    image = _image(subject)
    if statement is not None:
        recipe = Path(subject)
        locks = (lock_path(recipe, with_models=whole) for whole in (True, False))
        writing.require_other(statement, skopeo.files(image) if image else (recipe, *locks))
    held, images, lock, kind = _of_image(image) if image else _of_recipe(Path(subject), without_models=without_models)
    if statement is not None:
        writing.write(statement, verifying.statement(images, held, lock).encode())
    system = next(iter(images.values()))
    bad = any(finding.condemns(strict=lock is not None) for findings in held.values() for finding in findings)
    if as_json:
        document = {"schema": SCHEMA, "ok": not bad, "image": system, "kind": kind, "findings": verifying.documents(held)}
        print(json.dumps(document, indent=2))
        return ExitCode.NO if bad else ExitCode.OK
    if lock is None:
        print(f"{image}: {system}")
        if kind != "bootable":
            print("no bootable container: no label containers.bootc, nothing of bootc or OSTree; what only those hold to was not asked")
    for name, findings in held.items():
        for finding in findings:
            warning = finding.outcome is Outcome.NO and not finding.condemns(strict=lock is not None)
            print(f"{'warning' if warning else finding.outcome:<8} {name}: {finding.name}: {finding.message}")
            if finding.accepted:
                print(f"{'':<8} accepted: {finding.accepted}")
    return ExitCode.NO if bad else ExitCode.OK


def snapshot(subject: str, *, without_models: bool = False, as_json: bool) -> ExitCode:
    """Prints an image as a snapshot that `aistack check` judges, in YAML or in JSON.

    Of a recipe it is the system image, or the base (`without_models`).
    """
    if (name := _image(subject)) is not None:
        with _brought(name) as (store, digest):
            image, filesystem = oci.read_image(store, digest), verifying.read(store, digest)
    else:
        _, _, digest, store = _built(Path(subject), without_models=without_models)
        image, filesystem = oci.read_image(store, digest), verifying.read(store, digest)
    document = image_snapshot.snapshot(
        filesystem,
        load_catalog(),
        checks.carried(filesystem),
        bootable=checks.is_bootable(filesystem, dict(image.labels)),
        arch=image.arch,
        environment=dict(image.settings.environment),
        reference=subject.removeprefix("docker://") if subject.startswith("docker://") else "",
    )
    if len(names := [tree.version for tree in image_snapshot.kernels(filesystem)]) > 1 and "platform" in document:
        progress_on_stderr().say(f"there are several kernels: {', '.join(names)}; the snapshot is of the first, which is the newest")
    print(json.dumps(document, indent=2) if as_json else yaml.safe_dump(document, sort_keys=False).rstrip())
    return ExitCode.OK


def _image(subject: str) -> str | None:
    """The image that is meant, as skopeo names it; None for a recipe. Raises DiagnosticError (exit 3) for what is neither."""
    name = skopeo.named(subject)
    if name is None and not Path(subject).is_file() and Path(subject).suffix not in (".yaml", ".yml"):
        message = f"`{subject}` is no recipe, and no image that lies here"
        hints = (f"in a registry: `docker://{subject}`", f"in podman's storage: `containers-storage:{subject}`")
        raise unable("VER004", "nothing-to-verify", message, hints=hints if not Path(subject).exists() else ("name a recipe, or an image",))
    return name


def _of_recipe(recipe: Path, *, without_models: bool) -> Judged:
    locked, built, image, store = _built(recipe, without_models=without_models)
    images = built.images()
    apps = {f"app-{app.name}": images[f"app-image {app.name}"] for app in locked.apps}
    sbom = built.find("sbom")
    documents = store.path / "outputs" / sbom[0].id if sbom else None
    if without_models:
        return verifying.verify_parts(store, locked, image, apps, documents), {"base": image, **apps}, locked, "bootable"
    found = verifying.verify(store, locked, image, apps, making.bound(locked, images), documents)
    return found, {"image": image}, locked, "bootable"


def _of_image(name: str) -> Judged:
    with _brought(name) as (store, digest):
        bootable, findings = verifying.judge(store, digest)
    return {"image": findings}, {"image": digest}, None, "bootable" if bootable else "container"


def _built(recipe: Path, *, without_models: bool = False) -> tuple[Lock, building.Built, str, Store]:
    """A recipe's lock, what was built of it, its system image (`without_models`: its base) and the store that holds them."""
    found = opened(recipe, Options(without_models=without_models))
    locked, store = found.locked(), found.places.store
    built = building.find(locked, store)
    images = built.images()
    image = images.get(f"base-image {locked.os}" if without_models else f"system-image {locked.name}")
    lacking = [app.name for app in locked.apps if f"app-image {app.name}" not in images]
    if image is None or lacking:
        what = "system image" if image is None and not without_models else "base" if image is None else f"image of the app `{lacking[0]}`"
        message, hints = f"{recipe} has no built {what}", (f"aistack build {recipe}{' --without-models' if without_models else ''}",)
        raise refuse(Diagnostic(rule="VER002", name="not-built", severity=Severity.ERROR, message=message, hints=hints))
    return locked, built, image, store


@contextmanager
def _brought(name: str) -> Iterator[tuple[Store, str]]:
    """The store with an image in it, and the image's digest; nobody cleans the store meanwhile."""
    store, say = Store(default_path(os.environ)), progress_on_stderr().say
    with store.in_use(lambda: say("another aistack is cleaning the store; waiting")):
        say(f"bringing {name} into the store")
        yield store, skopeo.bring(store, name)
