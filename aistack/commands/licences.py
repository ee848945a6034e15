"""Reading the licences of what a lock names: of packages that ship, from their copyright files; of wheels, from their METADATA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from aistack.facts import dep5, wheel_metadata
from aistack.facts.pins import UNREAD, LockedPackage, LockedRoot, LockedWheel
from aistack.host import apt, copyright_files, sharing, wheels
from aistack.host import wheel_metadata as metadata
from aistack.host.store import Store
from aistack.report.progress import Progress


def of_packages(root: LockedRoot, store: Store, environment: Mapping[str, str], progress: Progress) -> LockedRoot:
    """The root with its packages' licences; those of which nothing is remembered are fetched, as the build will need them anyway."""
    unread = tuple(package for package in root.packages if copyright_files.remembered(store, package.sha256) is None)
    if unread:
        progress.say(f"reading the licences of {len(unread)} packages")
        digests = [package.sha256 for package in unread]
        store.damaged(digests)
        sharing.take(store, digests, sharing.others(environment, progress.say))
        apt.fetch(store, replace(root, packages=unread), environment=environment)
    texts = copyright_files.read(store, root.packages)
    packages = tuple(replace(package, licence=_licence(package, texts[package.name])) for package in root.packages)
    _tell(progress, [package.licence for package in packages], "packages")
    return replace(root, packages=packages)


def of_wheels(found: Sequence[wheels.Found], store: Store, environment: Mapping[str, str], progress: Progress) -> tuple[LockedWheel, ...]:
    """The wheels with their licences; none is fetched for that where its index serves METADATA, or parts of files."""
    texts = metadata.read(store, found, environment)
    locked = tuple(
        replace(one.wheel, licence=wheel_metadata.expression(text or "", one.wheel.name)) for one, text in zip(found, texts, strict=True)
    )
    _tell(progress, [wheel.licence for wheel in locked], "wheels")
    return locked


def _licence(package: LockedPackage, text: str | None) -> str:
    return dep5.expression(text or "", package.source.partition(" ")[0])


def _tell(progress: Progress, licences: Sequence[str], what: str) -> None:
    declared = sum(licence != UNREAD for licence in licences)
    progress.say(f"    {declared} of {len(licences)} {what} declare their licence in a form that programs read")
