"""A system image whose apps and models alone are new, in force without a reboot: its own layer is laid over that of the booted one.

The new deployment is staged as any other, so the next boot starts it, on trial. Until then its lock, quadlets and list of bound images are
mounted over those of the booted system: whatever reads them (gates, podman's generator, `node status`) sees the new ones, and a reboot at
any moment leaves nothing of it. Why not systemd's soft-reboot: docs/updates.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aistack.compose.lock import LockFormatError, decode
from aistack.compose.render.system import LOCK_PATH, MOUNTED_MODELS, QUADLETS, app_unit
from aistack.diagnostics import DiagnosticError, unable
from aistack.host import sysroot
from aistack.host.probes.deployment import LIVE
from aistack.host.probes.images import promised_images
from aistack.host.probes.reading import inside
from aistack.host.process import run
from aistack.node.first_gate import look
from aistack.node.live_plan import LAYER, Side, Switch, is_live, switch
from aistack.node.models import mount_models
from aistack.node.results import Cause, Outcome, Result, verdict
from aistack.node.second_gate import ANSWER_SECONDS, second_gate
from aistack.values import dataclass

UNFINISHED = "/run/aistack/switching"
DEPLOYMENTS = f"/ostree/deploy/{sysroot.STATEROOT}/deploy"
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


def needs_reboot(root: Path) -> tuple[str, ...] | None:
    """What of the staged deployment only a reboot can bring: changed paths, kernel arguments; None where nothing is staged."""
    with sysroot.opened(root) as opened:
        listed = sysroot.deployments(opened)
    booted = next((one for one in listed if one.booted), None)
    staged = next((one for one in listed if one.staged), None)
    if booted is None or staged is None:
        return None
    said = run(["ostree", f"--repo={inside(root, '/ostree/repo')}", "diff", booted.checksum, staged.checksum], timeout=600).stdout
    paths = tuple(line.split(maxsplit=1)[1] for line in said.splitlines() if line)
    elsewhere = tuple(path for path in paths if not is_live((path,)))
    absent = tuple(path for path in LAYER if not inside(root, path).exists())
    arguments = sorted(set(_arguments(booted)) ^ set(_arguments(staged)))
    return (*elsewhere, *absent, *arguments)


def go(root: Path, say: Say) -> Switched:
    """Put the staged deployment's apps and models in force; where they do not pass both gates, the former ones are started again.

    Raises DiagnosticError where nothing is staged, or a mount or systemd refuses; then too the former ones are back, as far as they can be.
    """
    finish_interrupted(root, say)
    with sysroot.opened(root) as opened:
        staged = next((one for one in sysroot.deployments(opened) if one.staged), None)
    if staged is None:
        raise unable("NODE020", "nothing-staged", "no system image is staged on this node", hints=("aistack node update",))
    before, new = _in_force(root), inside(root, f"{DEPLOYMENTS}/{staged.name}")
    inside(root, UNFINISHED).write_text(f"{before or ''}\n")
    old_side, new_side = _side(root), _side(new)
    try:
        say("the new apps and models replace those that run")
        results = _change(root, new, switch(old_side, new_side), new_side)
    except DiagnosticError as error:
        results = (Result(name="live", outcome=Outcome.UNHEALTHY, cause=Cause.SOFTWARE, message=_words(error)),)
    switched = Switched(results=results)
    if not switched.ok:
        say("they do not pass; the former ones are started again")
        switched = Switched(results=results, back=_change(root, before, switch(new_side, old_side), old_side))
    inside(root, UNFINISHED).unlink()
    return switched


def finish_interrupted(root: Path, say: Say) -> None:
    """Go back from a switch that was killed on its way; nothing happens where there was none."""
    mark = inside(root, UNFINISHED)
    if not mark.exists():
        return
    say("an earlier switch was interrupted; the apps before it are started again")
    before = Path(text) if (text := mark.read_text().strip()) else None
    now = _side(root)
    _lay(root, before)
    old = _side(root)
    _change(root, before, switch(now, old), old)
    mark.unlink()


def _change(root: Path, tree: Path | None, steps: Switch, to: Side) -> tuple[Result, ...]:
    """Take the steps, with the layer of `tree` (None: the booted one's own) in force, and look at what came of it."""
    if steps.stop:
        run(["systemctl", "stop", *map(app_unit, steps.stop)], timeout=600)
    for model in steps.unmount:
        target = inside(root, f"{MOUNTED_MODELS}/{model}")
        if target.is_mount():
            run(["umount", str(target)], timeout=120)
    _lay(root, tree)
    run(["systemctl", "daemon-reload"], timeout=300)
    mount_models(root)
    first = look(root, "quick").results
    if verdict(first).outcome not in GOOD:
        return first
    if steps.start:
        run(["systemctl", "reset-failed", *map(app_unit, steps.start)], check=False, timeout=60)
        run(["systemctl", "start", "--no-block", *map(app_unit, steps.start)], timeout=60)
    return (*first, *second_gate(to.lock, seconds=ANSWER_SECONDS))


def _lay(root: Path, tree: Path | None) -> None:
    """Show the layer of a deployment's tree over the booted one's; None takes away what was laid over it."""
    for path in LAYER:
        target = inside(root, path)
        while _is_mounted(target):
            run(["umount", str(target)], timeout=120)
        if tree is not None:
            run(["mount", "-o", "bind,ro", str(inside(tree, path)), str(target)], timeout=120)
    link = inside(root, LIVE)
    link.unlink(missing_ok=True)
    if tree is not None:
        link.symlink_to(tree)


def _is_mounted(target: Path) -> bool:
    """Whether something is mounted right there; a single file may be a mount, too."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == str(target) for line in lines)


def _in_force(root: Path) -> Path | None:
    link = inside(root, LIVE)
    return link.readlink() if link.is_symlink() else None


def _side(root: Path) -> Side:
    """What a tree's own layer says."""
    promised = promised_images(root)
    if promised.value is None:
        raise unable("NODE004", "bound-images-unreadable", f"cannot read the bound images: {promised.error}", why=(promised.source,))
    folder = inside(root, QUADLETS)
    try:
        lock = decode(inside(root, LOCK_PATH).read_bytes())
        quadlets = {file.name: file.read_text() for file in folder.iterdir()} if folder.is_dir() else {}
    except (OSError, LockFormatError) as error:
        message = f"the layer of {root} cannot be read"
        raise unable("NODE021", "layer-unreadable", message, why=(str(error),), hints=("ostree fsck",)) from error
    return Side(lock=lock, quadlets=quadlets, images={image.name: image.digest for image in promised.value})


def _arguments(deployment: sysroot.Deployment) -> tuple[str, ...]:
    return tuple(argument for argument in deployment.kernel_arguments if not argument.startswith("ostree="))


def _words(error: DiagnosticError) -> str:
    return "; ".join(line for one in error.diagnostics for line in (one.message, *one.why))
