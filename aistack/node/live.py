"""A system image whose apps and models alone are new, in force without a reboot: its own layer is laid over that of the booted one.

The new deployment is staged as any other, so the next boot starts it, on trial. Until then a copy of its lock, quadlets and list of bound
images is mounted over those of the booted system: whatever reads them (gates, podman's generator, `node status`) sees the new ones, and a
reboot at any moment leaves nothing of it. Why not systemd's soft-reboot: docs/updates.md.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from aistack.compose.lock import LockFormatError, decode
from aistack.compose.render.system import LOCK_PATH, MOUNTED_MODELS, QUADLETS, START_SECONDS, app_unit
from aistack.diagnostics import DiagnosticError, unable
from aistack.facts.readings import Deployment
from aistack.host import durable
from aistack.host.probes.deployment import LIVE
from aistack.host.probes.images import promised_images
from aistack.host.probes.reading import inside
from aistack.host.process import run
from aistack.node.agent import RETRY_SECONDS
from aistack.node.decide import MOST_ATTEMPTS
from aistack.node.deployments import Difference
from aistack.node.first_gate import look
from aistack.node.live_plan import LAYER, Side, Switch, is_live, switch
from aistack.node.models import mount_models
from aistack.node.results import Cause, Outcome, Result, verdict
from aistack.node.second_gate import ANSWER_SECONDS, second_gate
from aistack.values import dataclass

LAYERS = "/run/aistack/layers"
"""One folder for each layer that is or was in force, under its commit's checksum: paths as in the image, and `deployment.json`."""
UNFINISHED = "/run/aistack/switching"
"""The checksum whose layer was in force before a switch that has not ended; empty: the booted system's own."""
ATTEMPTED = "/var/lib/aistack/switching"
"""The checksum whose layer is being put in force: still there where the machine went down meanwhile, or nobody could tell how it went."""
GOOD = (Outcome.HEALTHY, Outcome.DEGRADED)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """How it went: `results` of both gates with the new image in force; where they are bad, `back` are those of the former one after it."""

    results: tuple[Result, ...]
    back: tuple[Result, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the new apps are in force."""
        return verdict(self.results).outcome in GOOD

    @property
    def judged(self) -> bool:
        """Whether the gates could tell."""
        return verdict(self.results).outcome is not Outcome.UNKNOWN


def in_force(root: Path) -> Deployment | None:
    """The deployment whose layer lies over the booted system's; None where none does.

    Raises DiagnosticError (exit 3) where nobody can tell which one it is.
    """
    live = inside(root, LIVE)
    try:
        return Deployment(**json.loads(live.read_bytes())) if live.exists() else None
    except (ValueError, TypeError, RecursionError) as error:
        message, hints = f"`{live}` does not say whose apps are in force", ("aistack node rollback", "a reboot ends it, too")
        raise unable("NODE007", "own-layer-unreadable", message, why=(repr(error),), hints=hints) from error


def needs_reboot(root: Path, difference: Difference) -> tuple[str, ...] | None:
    """What of the staged deployment only a reboot can bring: paths, kernel arguments; None where its layer is in force already.

    What was tried without one, and took the machine down or told nobody how it went, needs one too: those starts are counted.
    """
    if _in_force(root) == difference.deployment.commit:
        return None
    elsewhere = tuple(path for path in difference.paths if not is_live((path,)))
    absent = tuple(path for path in LAYER if not (inside(root, path).exists() and inside(root, f"{difference.tree}{path}").exists()))
    attempted = inside(root, ATTEMPTED)
    tried = attempted.exists() and attempted.read_text() == difference.deployment.commit
    again = ("a try without one, which did not end well",) if tried else ()
    return (*elsewhere, *absent, *difference.arguments, *again)


def go(root: Path, new: Difference, say: Say) -> Switched:
    """Put the apps and models of the staged deployment in force; where they fail a gate, go back to the former ones.

    Raises DiagnosticError where a mount or systemd refuses on the way back as well.
    """
    finish_interrupted(root, say)
    before, name = _in_force(root), new.deployment.commit
    _keep(root, new)
    old_side, new_side = _side(root), _side(_layer(root, name))
    durable.write(inside(root, ATTEMPTED), name)
    durable.write(inside(root, UNFINISHED), before)
    try:
        say("the new apps and models replace those that run")
        results = _change(root, name, switch(old_side, new_side), new_side)
    except (DiagnosticError, OSError) as error:
        said = _words(error) if isinstance(error, DiagnosticError) else str(error)
        results = (Result(name="live", outcome=Outcome.UNHEALTHY, cause=Cause.SOFTWARE, message=said),)
    switched = Switched(results=results)
    if not switched.ok:
        say("they do not pass; the former ones are started again")
        switched = Switched(results=results, back=_change(root, before, switch(new_side, old_side), old_side, back=True))
    if switched.judged:
        inside(root, ATTEMPTED).unlink()
    inside(root, UNFINISHED).unlink()
    return switched


def leave(root: Path, say: Say) -> None:
    """Go back from what was put in force to the booted system's own apps and models; nothing happens where nothing was."""
    finish_interrupted(root, say)
    if not inside(root, LIVE).exists():
        return
    say("the booted system's own apps are started again")
    now = _side(root)
    inside(root, UNFINISHED).write_text("")
    _lay(root, "")
    own = _side(root)
    _change(root, "", switch(now, own), own, back=True)
    inside(root, UNFINISHED).unlink()


def finish_interrupted(root: Path, say: Say) -> None:
    """Go back from a switch that was killed on its way; nothing happens where there was none."""
    mark = inside(root, UNFINISHED)
    if not mark.exists():
        return
    say("an earlier switch was interrupted; the apps before it are started again")
    before = mark.read_text()
    _lay(root, before)  # first of all: half laid, the layer cannot even be read
    old = _side(root)
    # Any app may have been stopped, any model be the other image's; only what is here decides.
    apps = tuple(app.name for app in old.lock.apps)
    mounted = inside(root, MOUNTED_MODELS)
    models = tuple(str(path.relative_to(mounted)) for path in mounted.glob("*/*") if path.is_mount())
    _change(root, before, Switch(stop=apps, unmount=models, start=apps), old, back=True)
    inside(root, ATTEMPTED).unlink(missing_ok=True)  # the machine is still up
    mark.unlink()


def _change(root: Path, layer: str, steps: Switch, to: Side, *, back: bool = False) -> tuple[Result, ...]:
    """Take the steps, with that layer (empty: the booted system's own) in force, and look at what came of it.

    On the way `back` the apps are started whatever the machine is like: they ran on it before.
    """
    if steps.stop:
        run(["systemctl", "stop", *map(app_unit, steps.stop)], check=False, timeout=600)  # one that never came to be is stopped
    for model in steps.unmount:
        target = inside(root, f"{MOUNTED_MODELS}/{model}")
        if target.is_mount():
            run(["umount", "--lazy", str(target)], timeout=120)
    _lay(root, layer)
    run(["systemctl", "daemon-reload"], timeout=300)
    mount_models(root)
    first = _sure(lambda: look(root, "quick").results)
    if verdict(first).outcome not in GOOD and not back:
        return first
    if steps.start:
        run(["systemctl", "reset-failed", *map(app_unit, steps.start)], check=False, timeout=60)
        # Waited for, since what is asked too early counts as not running; what does not start the second gate tells.
        run(["systemctl", "start", *map(app_unit, steps.start)], check=False, timeout=2 * START_SECONDS)
    return _sure(lambda: (*first, *second_gate(to.lock, seconds=ANSWER_SECONDS)))


def _sure(gate: Callable[[], tuple[Result, ...]]) -> tuple[Result, ...]:
    """A gate's results; one that cannot tell is asked again, as at a start."""
    for _ in range(MOST_ATTEMPTS - 1):
        if verdict(results := gate()).outcome is not Outcome.UNKNOWN:
            return results
        time.sleep(RETRY_SECONDS)
    return gate()


def _keep(root: Path, new: Difference) -> None:
    """Copy a deployment's own layer: its tree may go while the layer is in force, when a newer image is staged."""
    layer = _layer(root, new.deployment.commit)
    shutil.rmtree(layer, ignore_errors=True)
    for path in LAYER:
        source, target = inside(root, f"{new.tree}{path}"), inside(layer, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target)
    (layer / "deployment.json").write_text(json.dumps(asdict(new.deployment)) + "\n")


def _lay(root: Path, layer: str) -> None:
    """Show that layer over the booted system's own; empty: take away what was laid over it."""
    for path in LAYER:
        target = inside(root, path)
        while _is_mounted(target):
            run(["umount", "--lazy", str(target)], timeout=120)
        if layer:
            run(["mount", "-o", "bind,ro", str(inside(_layer(root, layer), path)), str(target)], timeout=120)
    live = inside(root, LIVE)
    if layer:
        durable.write(live, (_layer(root, layer) / "deployment.json").read_text())
    else:
        live.unlink(missing_ok=True)


def _layer(root: Path, name: str) -> Path:
    return inside(root, f"{LAYERS}/{name}")


def _in_force(root: Path) -> str:
    """The checksum of the deployment whose layer lies over the booted system's; empty where none does."""
    found = in_force(root)
    return found.commit if found else ""


def _is_mounted(target: Path) -> bool:
    """Whether something is mounted right there; a single file may be a mount, too."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == str(target) for line in lines)


def _side(root: Path) -> Side:
    """What the layer below a root says."""
    promised = promised_images(root)
    if promised.value is None:
        raise unable("NODE004", "bound-images-unreadable", f"cannot read the bound images: {promised.error}", why=(promised.source,))
    folder = inside(root, QUADLETS)
    try:
        lock = decode(inside(root, LOCK_PATH).read_bytes())
        quadlets = {file.name: file.read_text() for file in folder.iterdir()} if folder.is_dir() else {}
    except (OSError, LockFormatError) as error:
        message = f"the layer of {root} cannot be read"
        raise unable("NODE007", "own-layer-unreadable", message, why=(str(error),), hints=("ostree fsck",)) from error
    return Side(lock=lock, quadlets=quadlets, images={image.name: image.digest for image in promised.value})


def _words(error: DiagnosticError) -> str:
    return "; ".join(line for one in error.diagnostics for line in (one.message, *one.why))
