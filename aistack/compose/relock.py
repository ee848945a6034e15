"""What of an older lock still holds for a stack, what a user asked to move, and whether a lock is the one that would be made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aistack.compose import modules, seal, sources
from aistack.compose.lock import Lock, encode
from aistack.compose.stack import Stack, StackApp
from aistack.facts.pins import LockedRoot
from aistack.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """What may move: packages by root, wheels by app, models by id, images by app; `unknown` are names that mean nothing in this lock."""

    packages: Mapping[str, frozenset[str]]
    wheels: Mapping[str, frozenset[str]]
    models: frozenset[str]
    images: frozenset[str]
    unknown: tuple[str, ...]


def moves(stack: Stack, older: Lock, names: Sequence[str]) -> Moves:
    """What the names mean: `kernel`, `driver`, a root, an app, its framework, a model, a package, a source package or a wheel."""
    packages: dict[str, set[str]] = {}
    wheels: dict[str, set[str]] = {}
    models: set[str] = set()
    images: set[str] = set()
    unknown = []
    for name in names:
        found_packages = dict(_packages(stack, older, name))
        found_wheels = {app.name: set(_wheels(app, older, name)) for app in stack.apps}
        found_models = {model.id for model in older.models if model.id.lower() == name.lower()}
        found_images = {app.name for app in older.apps if app.image and name in (app.name, app.framework, app.image.reference)}
        if not (found_models or found_images or any(found_packages.values()) or any(found_wheels.values())):
            unknown.append(name)
        for root, members in found_packages.items():
            packages.setdefault(root, set()).update(members)
        for app, members in found_wheels.items():
            wheels.setdefault(app, set()).update(members)
        models |= found_models
        images |= found_images
    return Moves(
        packages={root: frozenset(members) for root, members in packages.items()},
        wheels={app: frozenset(members) for app, members in wheels.items()},
        models=frozenset(models),
        images=frozenset(images),
        unknown=tuple(unknown),
    )


def _packages(stack: Stack, older: Lock, name: str) -> Iterator[tuple[str, set[str]]]:
    """The packages that a name means, by root."""
    if name == "kernel":
        yield "base", _filled(stack, stack.kernel.packages)
        return
    if name == "driver" and stack.driver:
        yield "base", _filled(stack, stack.driver.packages)
        yield modules.ROOT, _filled(stack, stack.driver.modules)
        return
    apps = {sources.app_root(app.name): _filled(stack, app.packages) for app in stack.apps if app.os and name in (app.name, app.framework)}
    for root, locked in older.roots:
        members = {one.name for one in locked.packages if name in (one.name, one.source.partition(" ")[0], root)}
        yield root, members | apps.get(root, set())


def _filled(stack: Stack, packages: Sequence[str]) -> set[str]:
    return {package.replace("{arch}", stack.arch) for package in packages}


def _wheels(app: StackApp, older: Lock, name: str) -> Iterator[str]:
    locked = next((one.wheels for one in older.apps if one.name == app.name), ())
    for wheel in locked:
        if name in (app.name, app.framework) or wheel.name == name:
            yield wheel.name


def known_names(stack: Stack, older: Lock) -> list[str]:
    """What `moves` understands, for "did you mean"."""
    packages = [text for _, root in older.roots for one in root.packages for text in (one.name, one.source.partition(" ")[0])]
    parts = ["kernel", *(["driver"] if stack.driver else []), *(name for name, _ in older.roots), *(model.id for model in older.models)]
    apps = [text for app in older.apps for text in (app.name, app.framework or "", *(wheel.name for wheel in app.wheels))]
    return list(dict.fromkeys([*parts, *apps, *packages]))


def kept_root(older: Lock | None, wish: seal.RootWish) -> LockedRoot | None:
    """The root of an older lock that a wish can begin from: of the same name, OS and architecture."""
    found = dict(older.roots).get(wish.name) if older else None
    return found if found and (found.os, found.arch) == (wish.os.id, wish.arch) else None


def differences(stack: Stack, lock: Lock) -> tuple[str, ...]:
    """Where a lock is not what would be made of the stack now, its pins kept, each place in words; empty when it is."""
    base = dict(lock.roots).get("base")
    wishes = (*seal.roots(stack), *(seal.roots_for(stack, seal.kernel_version_string(base)) if base else ()))
    lacking = [f"no root `{wish.name}` for what the recipe asks" for wish in wishes if kept_root(lock, wish) is None]
    lacking += [f"no model {model.id}" for model in stack.models if model.id not in {one.id for one in lock.models}]
    if lacking:
        return tuple(lacking)
    pins = seal.pins_of(lock)
    roots = {wish.name: replace(pins.roots[wish.name], wanted=wish.packages, archives=wish.archives) for wish in wishes}
    models = {model.id: pins.models[model.id] for model in stack.models}
    again, _ = seal.seal(stack, seal.Pins(roots=roots, models=models, wheels=pins.wheels, images=pins.images), older=lock)
    found = dict(_paths(json.loads(encode(lock)), json.loads(encode(replace(again, sealed=lock.sealed))), ""))
    found.pop("seal", None)
    facts = found.pop("wish", None)
    if facts and not found:
        return ("the facts that it was resolved from have changed",)
    return tuple(f"`{where}`: {what}" for where, what in found.items())


def _paths(is_: Any, would_be: Any, where: str) -> Iterator[tuple[str, str]]:
    """Where two JSON values differ, and how; lists are compared by the names of their members where these have names."""
    one, other = _named(is_), _named(would_be)
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from _paths(one.get(key), other.get(key), f"{where}.{key}".lstrip("."))
    elif _words(is_) and _words(would_be) and set(is_) != set(would_be):
        less, more = ([item for item in these if item not in those] for these, those in ((would_be, is_), (is_, would_be)))
        said = [f"lacks {_short(less)}"] * bool(less) + [f"has {_short(more)} too much"] * bool(more)
        yield where, " and ".join(said)
    elif is_ != would_be:
        yield where, f"is {_short(is_)}, would be {_short(would_be)}"


def _words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _named(value: Any) -> Any:
    if not isinstance(value, list) or not value:
        return value
    if all(isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) for item in value):
        return dict(value)
    names = [item.get("id") or item.get("name") if isinstance(item, dict) else None for item in value]
    return dict(zip(names, value, strict=True)) if all(names) else value


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}…"
