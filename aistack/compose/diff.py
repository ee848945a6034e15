"""What changed from one lock to another, and which layers a node that has the one must fetch to have the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from aistack.compose import modules
from aistack.compose.lock import Lock, LockedModel
from aistack.compose.sources import is_module_sources
from aistack.facts.pins import LockedImage, LockedRoot
from aistack.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One part that differs: `part` is `base`, `modules`, `app NAME`, `model ID` or `node`; `old` and `new` are versions, None where it is
    not there.

    `size` counts the bytes that are new, compressed as their source serves them; 0 for what is gone or is only a setting.
    """

    part: str
    name: str
    old: str | None
    new: str | None
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayer:
    """A layer of an image: its `group` (`kernel`, a source package, `initramfs`), digest and size as sent, in bytes."""

    image: str
    group: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`fetched` are the layers of the newer images that the older ones lack, `total` the bytes of all the newer ones.

    Both are None where the images of one side are not built.
    """

    changes: tuple[Change, ...]
    fetched: tuple[ImageLayer, ...] | None
    total: int | None

    @property
    def changed_bytes(self) -> int:
        """The compressed size of everything that changed."""
        return sum(change.size for change in self.changes)

    def fetched_bytes(self, *, without: str | None = None) -> int:
        """Bytes to fetch, `without` the layers of one group."""
        return sum(layer.size for layer in self.fetched or () if layer.group != without)


def diff(old: Lock, new: Lock, old_layers: Sequence[ImageLayer] | None, new_layers: Sequence[ImageLayer] | None) -> Difference:
    """The difference; layers are those of everything that a node has: the system image, apps and models."""
    changed = changes(old, new)
    if old_layers is None or new_layers is None:
        return Difference(changes=changed, fetched=None, total=None)
    there = {layer.digest for layer in old_layers}
    new_by_digest = {layer.digest: layer for layer in reversed(new_layers)}
    fetched = sorted((layer for layer in new_by_digest.values() if layer.digest not in there), key=lambda one: (-one.size, one.digest))
    return Difference(changes=changed, fetched=tuple(fetched), total=sum(layer.size for layer in new_by_digest.values()))


def changes(old: Lock, new: Lock) -> tuple[Change, ...]:
    """Everything that differs, the base first."""
    return tuple(sorted(_changes(old, new), key=lambda change: (change.part != "base", change.part, -change.size, change.name)))


def _changes(old: Lock, new: Lock) -> Iterator[Change]:
    yield from _packages("base", _root(old, "base"), _root(new, "base"))
    yield from _parts(modules.ROOT, *(_sources(_root(lock, modules.ROOT)) for lock in (old, new)))
    before, after = ({app.name: app for app in lock.apps} for lock in (old, new))
    for name in sorted({*before, *after}):
        part = f"app {name}"
        was, now = before.get(name), after.get(name)
        yield from _packages(part, _root(old, was.root) if was else None, _root(new, now.root) if now else None)
        yield from _parts(
            part,
            {wheel.name: (wheel.version, wheel.sha256, wheel.size) for wheel in (was.wheels if was else ())},
            {wheel.name: (wheel.version, wheel.sha256, wheel.size) for wheel in (now.wheels if now else ())},
        )
        yield from _image(part, was.image if was else None, now.image if now else None)
        for field in ("command", "environment", "port", "health", "models"):
            one, other = (getattr(app, field, None) for app in (was, now))
            if one != other:
                yield Change(part=part, name=field, old=_said(one), new=_said(other))
    models = [{model.id: model for model in lock.models} for lock in (old, new)]
    for name in sorted({*models[0], *models[1]}):
        yield from _parts(f"model {name}", _files(models[0].get(name)), _files(models[1].get(name)))
    settings = [dict(lock.node) | {"memory-mib": str(lock.memory_mib)} for lock in (old, new)]
    for name in sorted({*settings[0], *settings[1]}):
        one, other = (side.get(name) for side in settings)
        if one != other:
            yield Change(part="node", name=name, old=one, new=other)


def _sources(root: LockedRoot | None) -> Mapping[str, tuple[str, str, int]]:
    """The packages whose modules are compiled, of which no node fetches a byte; what compiles them is no part of it."""
    return {one.name: (one.version, one.sha256, 0) for one in (root.packages if root else ()) if is_module_sources(one.name)}


def _files(model: LockedModel | None) -> Mapping[str, tuple[str, str, int]]:
    return {file.path: (file.sha256[:12], file.sha256, file.size) for file in (model.files if model else ())}


def _image(part: str, old: LockedImage | None, new: LockedImage | None) -> Iterator[Change]:
    there, wanted = ({blob.sha256: blob.size for blob in image.parts().values()} if image else {} for image in (old, new))
    if old != new:
        size = sum(size for sha256, size in wanted.items() if sha256 not in there)
        one, other = (f"{image.reference} at {image.digest[:19]}" if image else None for image in (old, new))
        yield Change(part=part, name="image", old=one, new=other, size=size)


def _root(lock: Lock, name: str | None) -> LockedRoot | None:
    return dict(lock.roots).get(name) if name else None


def _packages(part: str, old: LockedRoot | None, new: LockedRoot | None) -> Iterator[Change]:
    sides = [{one.name: (one.version, one.sha256, one.size) for one in (root.packages if root else ())} for root in (old, new)]
    yield from _parts(part, sides[0], sides[1])


def _parts(part: str, old: Mapping[str, tuple[str, str, int]], new: Mapping[str, tuple[str, str, int]]) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        was, now = old.get(name), new.get(name)
        if (was and was[1]) != (now and now[1]):
            yield Change(part=part, name=name, old=was and was[0], new=now and now[0], size=now[2] if now else 0)


def _said(value: object) -> str | None:
    if value is None:
        return None
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
