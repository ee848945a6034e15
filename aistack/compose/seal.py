"""From a stack to a lock: what has to be pinned, and how the pins are put together. Who pins is not known here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from aistack.compose import grouping, modules
from aistack.compose.distros import debian
from aistack.compose.lock import Lock, LockedAccelerator, LockedApp, LockedConversion, LockedModel
from aistack.compose.rules.vendor import FABRIC_MANAGER
from aistack.compose.sources import app_root, archives, is_module_sources
from aistack.compose.stack import Stack, StackApp, complete
from aistack.diagnostics import Diagnostic, Severity, refuse
from aistack.facts.pins import Archive, LockedFile, LockedImage, LockedRoot, LockedWheel
from aistack.facts.systems import Os, Suite
from aistack.facts.version import agree, upstream
from aistack.values import dataclass

FORMAT = 8
"""Raised when the same stack would now be locked differently, so that older locks are made anew."""

_KERNEL_PACKAGE = re.compile(r"linux-image-(\d.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RootWish:
    """Packages (names) to resolve together for an OS, and what the archives' own `packages` add."""

    name: str
    os: Os
    archives: tuple[Archive, ...]
    packages: tuple[str, ...]
    arch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPins:
    """A model's files at one revision, from the hub or from another place that carries the same bytes."""

    revision: str
    files: tuple[LockedFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """Everything that was pinned, by the names of the wishes; models by id, wheels and images by app."""

    roots: Mapping[str, LockedRoot]
    models: Mapping[str, ModelPins]
    wheels: Mapping[str, Sequence[LockedWheel]]
    images: Mapping[str, LockedImage] = field(default_factory=dict)


def ships(name: str) -> bool:
    """Whether the root of that name becomes an image; the others, tools and converters, are thrown away."""
    return name == "base" or name.startswith("app-")


def converter_root(app: StackApp) -> str | None:
    """The name of the root that converts an app's models, None where nothing has to be converted."""
    return f"converter-{app.conversion.format}" if app.conversion else None


def roots(stack: Stack) -> tuple[RootWish, ...]:
    """The roots to resolve: the base, the tools that shape disks, one for each app and each conversion."""
    base_packages = (
        *debian.base_packages(stack.os),
        *stack.kernel.packages,
        *(stack.driver.packages if stack.driver else ()),
        *(package for package in stack.packages if not is_module_sources(package)),
    )
    wishes = [
        _root(stack, "base", stack.os, base_packages, _suites(stack)),
        _root(stack, "tools", stack.os, debian.tools_packages(stack.arch)),
    ]
    for app in stack.apps:
        if app.os is not None:
            wishes.append(_root(stack, app_root(app.name), app.os, (*debian.app_packages(app.os), *app.packages)))
        name = converter_root(app)
        if app.conversion and app.conversion_os and name and not any(wish.name == name for wish in wishes):
            wishes.append(_root(stack, name, app.conversion_os, app.conversion.packages))
    return tuple(wishes)


def roots_for(stack: Stack, kernel: str) -> tuple[RootWish, ...]:
    """The roots that can only be resolved once the kernel's version string is known: the one that compiles modules for it."""
    wanted = modules.packages(stack, kernel)
    return (_root(stack, modules.ROOT, stack.os, wanted, _suites(stack)),) if wanted else ()


def _root(stack: Stack, name: str, os: Os, packages: Sequence[str], suites: tuple[Suite, ...] | None = None) -> RootWish:
    named = archives(stack.os.id, stack.sources, name, os, suites or os.suites)
    filled = tuple(package.replace("{arch}", stack.arch) for package in packages)
    return RootWish(name=name, os=os, archives=named, packages=filled, arch=stack.arch)


def wish(stack: Stack) -> str:
    """The identity (`sha256:…`) of all in a stack that shapes its lock; where facts are written and why they were chosen does not count."""
    document = _facts([FORMAT, *roots(stack), *roots_for(stack, ""), *(getattr(stack, name) for name in _SHAPING)])
    return "sha256:" + hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


_SHAPING = ("name", "arch", "accelerator", "accelerator_count", "driver", "kernel", "apps", "models", "node", "memory_mib", "signing")


def _facts(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _facts(getattr(value, field.name)) for field in dataclasses.fields(value) if field.name != "place"}
    if isinstance(value, Mapping):
        return {str(key): _facts(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_facts(item) for item in value]
    return value


def seal(stack: Stack, pins: Pins, older: Lock | None = None) -> tuple[Lock, tuple[Diagnostic, ...]]:
    """The lock of a stack, and what the pins told that the catalog did not know. Packages stay in the layers of the `older` lock."""
    base = pins.roots["base"]
    kernel = kernel_version_string(base)
    _require_no_sources(base)
    diagnostics = [*_kernel_series(stack, kernel), *_fabric_manager(stack, base)]
    components = {"os": stack.os.id, "kernel": kernel}
    if stack.driver:
        components["driver"] = stack.driver.version
    apps = []
    for app in stack.apps:
        apps.append(_app(app, pins, older))
        if apps[-1].version != app.version:
            diagnostics.append(_moved(app, apps[-1].version))
        if not apps[-1].command:
            diagnostics.append(_nothing_to_start(app))
    lock = Lock(
        name=stack.name,
        arch=stack.arch,
        os=stack.os.id,
        components=tuple(sorted(components.items())),
        accelerator=_accelerator(stack),
        roots=tuple((name, _grouped(name, root, older, pins)) for name, root in sorted(pins.roots.items())),
        apps=tuple(apps),
        models=tuple(_model(stack, name, pins.models[name]) for name in sorted(pins.models)),
        node=stack.node,
        memory_mib=stack.memory_mib,
        wish=wish(stack),
        compressor=COMPRESSOR,
        signing=stack.signing,
    )
    return lock, tuple(diagnostics)


COMPRESSOR = ("zstd", "-q", "-c", "-9", "-T2", "--no-check")
"""Two threads, whatever the machine has: one thread and several give different bytes, two and more give the same (zstd(1), `-T#`)."""


def _accelerator(stack: Stack) -> LockedAccelerator | None:
    accelerator = stack.accelerator
    if accelerator is None:
        return None
    known = () if "pci-ids" in accelerator.recalled else accelerator.pci_ids
    return LockedAccelerator(product=accelerator.id, count=stack.accelerator_count, pci_ids=known, firmware=accelerator.firmware)


def _grouped(name: str, root: LockedRoot, older: Lock | None, pins: Pins) -> LockedRoot:
    """The root with its packages' layers, where it becomes an image; `older` is a lock whose assignment is kept."""
    if not ships(name):
        return root
    before = next((known.layers for other, known in older.roots if other == name), ()) if older else ()
    most = grouping.MOST_BESIDE_WHEELS if pins.wheels.get(name.removeprefix("app-")) else grouping.MOST_OWN_GROUPS
    return dataclasses.replace(root, layers=grouping.group(root.packages, before, most=most))


def pins_of(lock: Lock) -> Pins:
    """What a lock pins, as it was before it was sealed."""
    return Pins(
        roots=dict(lock.roots),
        models={model.id: ModelPins(revision=model.revision, files=model.files) for model in lock.models},
        wheels={app.name: app.wheels for app in lock.apps},
        images={app.name: app.image for app in lock.apps if app.image},
    )


def kernel_version_string(base: LockedRoot) -> str:
    """The version string of the one kernel in a base (`6.12.107+deb13-cloud-amd64`); DiagnosticError (exit 1) when there is not one."""
    found = [match[1] for package in base.packages if (match := _KERNEL_PACKAGE.fullmatch(package.name))]
    if len(found) != 1:
        message = f"a base holds one kernel, this one would hold {len(found)}"
        why = tuple(f"linux-image-{version}" for version in found)
        hints = ("pin everything again: `aistack lock RECIPE --anew`",)
        raise refuse(Diagnostic(rule="LOCK009", name="one-kernel", severity=Severity.ERROR, message=message, why=why, hints=hints))
    return found[0]


def _require_no_sources(base: LockedRoot) -> None:
    """Raises DiagnosticError (exit 1) where a package of the base needs one that compiles modules when it is installed."""
    compiling = [package for package in base.packages if is_module_sources(package.name) or package.name == "dkms"]
    if compiling:
        raise refuse(
            Diagnostic(
                rule="LOCK011",
                name="sources-in-base",
                severity=Severity.ERROR,
                message=f"the base would hold what compiles modules on a node: {', '.join(f'`{one.name}`' for one in compiling)}",
                why=("modules are compiled for exactly the image's kernel while it is built, and an image holds no compiler",),
                hints=("name packages that do not need it: those of a driver's user space one by one, and the sources as `NAME-dkms`",),
            )
        )


def _suites(stack: Stack) -> tuple[Suite, ...]:
    extra = tuple(stack.driver.components) if stack.driver else ()
    return tuple(Suite(name=suite.name, components=tuple(dict.fromkeys((*suite.components, *extra)))) for suite in stack.os.suites)


def _app(app: StackApp, pins: Pins, older: Lock | None) -> LockedApp:
    image = pins.images.get(app.name)
    root, wheels = pins.roots[app_root(app.name)] if app.os else None, pins.wheels.get(app.name, ())
    before = next((known.wheel_layers for known in older.apps if known.name == app.name), ()) if older else ()
    command = complete(app)
    if app.inherits and image is not None:
        command = (*image.entrypoint, *(command or image.command)) if image.entrypoint or not command else ()
    return LockedApp(
        name=app.name,
        framework=app.framework,
        version=_upstream(root, app.packages[0]) or app.version if root and not app.wheels else app.version,
        root=app_root(app.name) if root else None,
        python=app.wheels.python if app.wheels else None,
        wheels=tuple(wheels),
        models=tuple(model.id for model in app.models),
        command=command,
        environment=app.environment,
        port=app.port,
        health=app.health,
        cpu_features=app.cpu_features,
        requirements=app.wheels.requirements if app.wheels else (),
        indexes=app.wheels.indexes if app.wheels else (),
        wheel_layers=grouping.group_wheels(wheels, before),
        image=image,
    )


def _model(stack: Stack, id: str, pinned: ModelPins) -> LockedModel:
    model = next(model for model in stack.models if model.id == id)
    app = next(app for app in stack.apps if any(used.id == id for used in app.models))
    conversion = None
    if app.conversion and (name := converter_root(app)):
        conversion = LockedConversion(root=name, format=app.conversion.format, argv=app.conversion.argv)
    return LockedModel(
        id=model.id,
        revision=pinned.revision,
        licence=model.licence,
        sources=("hub", *model.sources),
        files=pinned.files,
        conversion=conversion,
    )


def _upstream(root: LockedRoot, name: str) -> str | None:
    package = next((package for package in root.packages if package.name == name), None)
    if package is None:
        return None
    without_epoch = package.version.split(":", 1)[-1]
    without_revision = without_epoch.rsplit("-", 1)[0]
    return re.split(r"[+~]", without_revision)[0]


def _kernel_series(stack: Stack, kernel: str) -> tuple[Diagnostic, ...]:
    series = tuple(stack.kernel.version.split(".")[:2])
    if tuple(re.split(r"[.+-]", kernel)[:2]) == series:
        return ()
    message = f"the archive's kernel is {kernel}, the catalog chose {'.'.join(series)}"
    why = ("the package lists have moved on since the catalog was checked, so the verdict on this stack does not hold for this kernel",)
    hints = (f'pin `kernel: {{version: "{".".join(series)}.*"}}` and name a source that still serves it, or update aistack\'s catalog',)
    return (Diagnostic(rule="LOCK001", name="kernel-moved", severity=Severity.ERROR, message=message, why=why, hints=hints),)


def _fabric_manager(stack: Stack, base: LockedRoot) -> Iterator[Diagnostic]:
    """Which version an archive gives is known only now; rule FB107 says why it must be the driver's."""
    driver = stack.driver.version if stack.driver else None
    for package in base.packages:
        if driver and FABRIC_MANAGER.fullmatch(package.name) and agree(upstream(package.version), driver) is False:
            yield Diagnostic(
                rule="FB107",
                name="fabric-manager-unnamed",
                severity=Severity.ERROR,
                message=f"{package.name} {package.version} of {package.origin} does not work with driver {driver}",
                hints=(f"name the version in `sources`, like `packages: [{package.name}={driver}-1]`",),
            )


def _nothing_to_start(app: StackApp) -> Diagnostic:
    said = "takes no arguments: it has no entrypoint" if app.command else "names nothing to start"
    return Diagnostic(
        rule="LOCK010",
        name="image-without-command",
        severity=Severity.ERROR,
        message=f"app `{app.name}`: {app.image} {said}",
        hints=("write the whole `command:` of the app",),
    )


def _moved(app: StackApp, version: str | None) -> Diagnostic:
    message = f"app `{app.name}`: the archive has {app.framework} {version}, the catalog knows {app.version}"
    return Diagnostic(
        rule="LOCK002",
        name="release-unknown",
        severity=Severity.WARNING,
        message=message,
        why=("the lock holds what the archive serves; rules were checked for the release that the catalog knows",),
    )
