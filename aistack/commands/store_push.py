"""`aistack store push`: writes what a recipe's lock needs, and what was built of it, as one artifact that other machines take from."""

from __future__ import annotations

import json
from pathlib import Path

from aistack.commands.build import planned, use_of
from aistack.commands.opening import Options, opened
from aistack.diagnostics import Diagnostic, ExitCode, Severity, refuse
from aistack.host import artifact, uses
from aistack.host.sharing import UNSHARED

SCHEMA = "aistack/store-push/v1"


def push(recipe: Path, reference: str, *, dry_run: bool, as_json: bool) -> ExitCode:
    """Pushes and says what; steps that were not built are left out, and so are roots and disks, which nobody takes."""
    found = opened(recipe, Options())
    store, locked = found.places.store, found.locked()
    use = use_of(locked, planned(locked), recipe=recipe)
    with store.in_use(lambda: found.progress.say("another aistack is cleaning the store; waiting")):
        made = {step: document for step in use.steps if (document := uses.read_output(store, step))}
        outputs = {step: document for step, document in made.items() if not any(kind in document for kind in UNSHARED)}
        needed = uses.needs(store, use)
        files = [sha256 for sha256 in needed if store.has(sha256)]
        if not files:
            message, hints = f"nothing of {recipe}'s lock is in {store.path}", (f"aistack build {recipe}",)
            raise refuse(Diagnostic(rule="STO003", name="nothing-to-push", severity=Severity.ERROR, message=message, hints=hints))
        size = sum(store.blob(sha256).stat().st_size for sha256 in files)
        digest = None if dry_run else artifact.push(store, reference, files, outputs)
    if as_json:
        counts = {"files": len(files), "lacking": len(needed) - len(files), "bytes": size, "steps": len(outputs)}
        print(json.dumps({"schema": SCHEMA, "reference": reference, "digest": digest, "lock": use.lock, **counts}, indent=2))
    else:
        done = f"{reference}: {digest}" if digest else f"would push to {reference}"
        print(f"{done}, {len(files)} of {len(needed)} files ({size / 1e6:.1f} MB), {len(outputs)} built steps")
    return ExitCode.OK
