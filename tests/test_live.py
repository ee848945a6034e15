"""What a system image whose apps and models alone are new does to a running node: which apps stop, which start, which stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import node_samples
import pytest

from aistack.compose.lock import Lock
from aistack.compose.render.system import app_image, model_image, render_system
from aistack.facts.files import RenderedFile
from aistack.node.live_plan import Side, Switch, is_live, switch

LOCK = node_samples.LOCK
(APP,) = LOCK.apps
(MODEL,) = LOCK.models
OTHER = replace(APP, name="second", models=(), port=8001)
DIGESTS = node_samples.digests(LOCK) | {app_image("second"): "sha256:" + "5" * 64}


def side(lock: Lock = LOCK, images: Mapping[str, str] = DIGESTS) -> Side:
    files = [file for file in render_system(lock, images) if isinstance(file, RenderedFile) and file.path.endswith(".container")]
    return Side(lock=lock, quadlets={file.path.rpartition("/")[2]: file.content.decode() for file in files}, images=images)


NEW_MODEL = DIGESTS | {model_image(MODEL.id): "sha256:" + "6" * 64}
NEW_APP = DIGESTS | {app_image(APP.name): "sha256:" + "7" * 64}
BOTH = replace(LOCK, apps=(APP, OTHER))


@pytest.mark.parametrize(
    ("old", "new", "steps"),
    [
        (side(), side(), Switch(stop=(), unmount=(), start=())),
        (side(), side(images=NEW_APP), Switch(stop=(APP.name,), unmount=(), start=(APP.name,))),
        (side(BOTH), side(BOTH, NEW_APP), Switch(stop=(APP.name,), unmount=(), start=(APP.name,))),
        (side(BOTH), side(BOTH, NEW_MODEL), Switch(stop=(APP.name,), unmount=(MODEL.id,), start=(APP.name,))),
        (side(), side(BOTH), Switch(stop=(), unmount=(), start=("second",))),
        (side(BOTH), side(), Switch(stop=("second",), unmount=(), start=())),
        (
            side(BOTH),
            side(replace(LOCK, apps=(OTHER,), models=()), {name: digest for name, digest in DIGESTS.items() if "model" not in name}),
            Switch(stop=(APP.name,), unmount=(MODEL.id,), start=()),
        ),
        (
            side(),
            side(replace(LOCK, apps=(replace(APP, command=(*APP.command, "--more")),))),
            Switch(stop=(APP.name,), unmount=(), start=(APP.name,)),
        ),
    ],
    ids=["same", "app", "one-of-two", "model", "added", "removed", "model-gone", "arguments"],
)
def test_only_what_changed_is_touched(old: Side, new: Side, steps: Switch) -> None:
    assert switch(old, new) == steps


@pytest.mark.parametrize(("old", "new"), [(side(BOTH), side(images=NEW_MODEL)), (side(), side(BOTH, NEW_APP))])
def test_the_way_back_starts_what_the_way_there_stopped(old: Side, new: Side) -> None:
    there, back = switch(old, new), switch(new, old)
    assert (back.start, back.stop, back.unmount) == (there.stop, there.start, there.unmount)


@pytest.mark.parametrize(
    ("paths", "live"),
    [
        ((), True),
        (("/usr/lib/aistack/lock.json", "/usr/share/containers/systemd/app-chat.container"), True),
        (("/usr/lib/aistack/lock.json", "/usr/lib/aistack/python/aistack/cli.pyc"), False),
        (("/usr/share/containers/systemd-other/x",), False),
        (("/usr/etc/localtime",), False),
    ],
)
def test_what_is_of_the_base_needs_a_reboot(paths: tuple[str, ...], live: bool) -> None:
    assert is_live(paths) is live
