"""What has to be stopped and started when the apps and models of a system image replace those of another. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from aistack.compose.lock import Lock, LockedApp
from aistack.compose.render.system import BOUND_IMAGES, LOCK_PATH, QUADLETS, model_image
from aistack.values import dataclass

LAYER = (LOCK_PATH, QUADLETS, BOUND_IMAGES)
"""What of a system image is its own, and no base's: where nothing else differs, no reboot is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A system image's lock, its quadlets (file name to text), and the images that it binds (name to manifest digest)."""

    lock: Lock
    quadlets: Mapping[str, str]
    images: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """Names of apps and ids of models: apps to stop with the old image's units, models to unmount, apps to start with the new one's."""

    stop: tuple[str, ...]
    unmount: tuple[str, ...]
    start: tuple[str, ...]


def is_live(paths: tuple[str, ...]) -> bool:
    """Whether a system image that differs from the running one in these paths may replace it without a reboot."""
    return all(any(path == own or path.startswith(f"{own}/") for own in LAYER) for path in paths)


def switch(old: Side, new: Side) -> Switch:
    """The steps from `old` to `new`; an app that stays as it is is not touched."""
    models = {model.id for model in old.lock.models if _model(old, model.id) != _model(new, model.id)}
    before, after = _apps(old), _apps(new)
    stays = {
        name
        for name in before.keys() & after.keys()
        if _container(old, name) == _container(new, name) and not models & {*before[name].models}
    }
    return Switch(
        stop=tuple(sorted(before.keys() - stays)),
        unmount=tuple(sorted(models)),
        start=tuple(sorted(after.keys() - stays)),
    )


def _apps(side: Side) -> dict[str, LockedApp]:
    return {app.name: app for app in side.lock.apps}


def _container(side: Side, app: str) -> str | None:
    return side.quadlets.get(f"app-{app}.container")


def _model(side: Side, id: str) -> str | None:
    return side.images.get(model_image(id))
