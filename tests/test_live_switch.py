"""Apps replaced on a running node in QEMU: by good ones, bad ones, ones that its base cannot run, and by a switch that is killed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import node_machine
import pytest
from node_machine import Node
from node_series import ALL, Series, answers, decided, last_word, status

from aistack.compose.lock import Lock, LockedApp, encode, identity
from aistack.compose.render.system import LOCK_PATH, QUADLETS, render_system
from aistack.facts.files import RenderedFile
from aistack.facts.pins import LockedWheel
from aistack.host.qemu import Firmware

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not ALL, reason="minutes on an emulated machine: `make endurance` (AISTACK_TEST_UNDO=1)"),
]


def image(made: Series, name: str, lock: Lock) -> str:
    """Pushes a system image that differs from the booted one in its lock and its app's quadlet; returns its digest."""
    bound = {f"localhost/aistack/app-{app.name}": made.app for app in lock.apps}
    files: dict[str, bytes | str] = {
        file.path: file.content for file in render_system(lock, bound) if isinstance(file, RenderedFile) and file.path.startswith(QUADLETS)
    }
    return made.push(name, {**files, LOCK_PATH: encode(lock)}, {"io.aistack.lock": identity(lock)})


def update(node: Node, made: Series, name: str, *, check: bool = True) -> str:
    return node.ssh(
        f"aistack node update --apply --to {node_machine.HOST}:{made.registry.port}/nodes/web:{name}", check=check, seconds=1200
    )


def released(lock: Lock, release: str) -> Lock:
    """The lock with another release of its app, as far as the app's environment tells."""
    (app,) = lock.apps
    return replace(lock, apps=(replace(app, environment=(*app.environment, ("RELEASE", release))),))


def runs(node: Node, release: str) -> bool:
    """Whether the app's own program has that release's environment."""
    return f"RELEASE={release}" in node.ssh("tr '\\0' '\\n' < /proc/$(pgrep -o caddy)/environ")


def test_apps_are_replaced_without_a_reboot(series: Series, tmp_path: Path) -> None:
    (app,) = series.lock.apps
    two, three = image(series, "two", released(series.lock, "two")), image(series, "three", released(series.lock, "three"))
    broken = image(series, "broken", replace(series.lock, apps=(replace(app, command=("/bin/false",)),)))
    image(series, "refused", replace(series.lock, components=(*series.lock.components, ("driver", "470.57.02")), apps=(of_torch(app),)))
    with series.up(Firmware.UEFI, tmp_path) as node:
        before, started = status(node), node.now
        print(update(node, series, "two"))
        print(f"replaced in {node.now - started:.0f} s")
        now = status(node)
        assert (now["booted"], now["live"], now["confirmed"], now["staged"]) == (before["booted"], two, before["booted"], two)
        assert now["last_update"]["outcome"] == "live"
        assert runs(node, "two") and answers(node)
        assert json.loads(node.ssh("aistack node check --json --apps"))["outcome"] in ("healthy", "degraded")

        said = update(node, series, "broken", check=False)
        assert "undone" in said, said
        now = status(node)
        assert (now["booted"], now["live"], now["staged"]) == (before["booted"], two, two), "what is in force starts next"
        assert broken in now["quarantined"]
        assert runs(node, "two") and answers(node)

        said = update(node, series, "refused", check=False)
        assert "app `web`: driver 470.57.02 is too old for CUDA" in said, said
        assert runs(node, "two") and status(node)["staged"] == two

        node.ssh(f"setsid aistack node update --apply --to {series.reference('three')} > /dev/null 2>&1 < /dev/null &")
        node.ssh("until [ -e /run/aistack/switching ]; do sleep 0.1; done; pkill -9 -f 'node[ ]update'", seconds=1200)
        node.ssh("aistack node update", check=False, seconds=1200)
        assert not node.ssh("ls /run/aistack/switching", check=False).startswith("/run")
        now = status(node)
        assert (now["live"], now["staged"]) == (two, three)
        assert runs(node, "two") and answers(node)
        assert not node.resets, "nothing of all this restarted the machine"
        node.ssh("systemctl --no-block reboot")
        node.until(lambda: node.resets or None, "a restart")
        assert decided(node.until(lambda: last_word(node), "word of the second gate")) == "confirm"
        now = status(node)
        assert (now["booted"], now["live"], now["confirmed"]) == (three, None, three)
        assert runs(node, "three") and answers(node)


def of_torch(app: LockedApp) -> LockedApp:
    """An app that CUDA 12.8 comes with."""
    wheel = LockedWheel(name="torch", version="2.10.0+cu128", filename="torch.whl", sha256="0" * 64, size=1)
    return replace(app, wheels=(wheel,))
