"""`aistack verify`: a recipe's built images held against its lock, or any image held to what an image should be."""

from __future__ import annotations

import json
import os
from pathlib import Path

from aistack.commands import build as building
from aistack.commands import making, verifying
from aistack.commands.opening import Options, opened, progress_on_stderr
from aistack.compose.findings import Outcome
from aistack.diagnostics import Diagnostic, ExitCode, Severity, refuse
from aistack.host import skopeo
from aistack.host.store import Store, default_path

SCHEMA = "aistack/verify/v1"


def verify(subject: str, *, as_json: bool) -> ExitCode:
    """Prints every check of a recipe's images, or of the image that is named; exit 1 when one condemns it."""
    if skopeo.names_image(subject):
        return _image(subject, as_json=as_json)
    recipe = Path(subject)
    found = opened(recipe, Options())
    locked, store = found.locked(), found.places.store
    built = building.find(locked, store)
    images = built.images()
    system = images.get(f"system-image {locked.name}")
    if system is None:
        message, hints = f"{recipe} has no built system image", (f"aistack build {recipe}",)
        raise refuse(Diagnostic(rule="VER002", name="not-built", severity=Severity.ERROR, message=message, hints=hints))
    apps = {f"app-{app.name}": images[f"app-image {app.name}"] for app in locked.apps}
    sbom = built.find("sbom")
    documents = store.path / "outputs" / sbom[0].id if sbom else None
    held = verifying.verify(store, locked, system, apps, making.bound(locked, images), documents)
    return _show(held, system, "bootable", strict=True, as_json=as_json)


def _image(name: str, *, as_json: bool) -> ExitCode:
    store = Store(default_path(os.environ))
    say = progress_on_stderr().say
    with store.in_use(lambda: say("another aistack is cleaning the store; waiting")):
        say(f"bringing {name} into the store")
        digest = skopeo.bring(store, name)
        bootable, findings = verifying.judge(store, digest)
    kind = "bootable" if bootable else "container"
    if not as_json:
        print(f"{name}: {digest}")
        if not bootable:
            print("no bootable image: it has no kernel and no label containers.bootc, so what only those hold to was not asked")
    return _show({"image": findings}, digest, kind, strict=False, as_json=as_json)


def _show(held: verifying.Findings, image: str, kind: str, *, strict: bool, as_json: bool) -> ExitCode:
    bad = any(finding.condemns(strict=strict) for findings in held.values() for finding in findings)
    if as_json:
        document = {"schema": SCHEMA, "ok": not bad, "image": image, "kind": kind, "findings": verifying.documents(held)}
        print(json.dumps(document, indent=2))
    else:
        for name, findings in held.items():
            for finding in findings:
                warning = finding.outcome is Outcome.NO and not finding.condemns(strict=strict)
                print(f"{'warning' if warning else finding.outcome:<8} {name}: {finding.name}: {finding.message}")
                if finding.accepted:
                    print(f"{'':<8} accepted: {finding.accepted}")
    return ExitCode.NO if bad else ExitCode.OK
