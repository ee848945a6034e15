"""What is in each image, as a lock knows it, before any format: the image itself, its parts, and what it was converted from."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING

from aistack.compose.lock import Lock, LockedModel, identity
from aistack.facts.licences import normal
from aistack.facts.pins import UNREAD, LockedPackage, LockedWheel
from aistack.values import dataclass

if TYPE_CHECKING:
    from packageurl import PackageURL

CREATED = "2020-01-01T00:00:00+00:00"
"""The documents' time: a lock has none, and the images are made as of that day too."""

DEBIAN = "Debian"


class Kind(StrEnum):
    """What a part is."""

    OS = "os"
    APP = "app"
    MODEL = "model"
    LIBRARY = "library"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing: `purl` is its package URL where it has one, `file` the name of its file, size in bytes, `licence` an SPDX expression."""

    kind: Kind
    name: str
    version: str
    licence: str = UNREAD
    purl: PackageURL | None = None
    supplier: str | None = None
    source: PackageURL | None = None
    file: str | None = None
    sha256: str | None = None
    size: int | None = None

    @property
    def ref(self) -> str:
        """What a document calls it."""
        return self.purl.to_string() if self.purl else f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """An image (`base`, `app-chat`, `model-org--name`) of a lock: what it is, and what it holds.

    Of a converted model the lock knows the files that it was made from, not those that it became: then `origin` is the published model,
    `parts` are its files, and `conversion` says in words what was done.
    """

    image: str
    lock: str
    subject: Part
    parts: tuple[Part, ...]
    origin: Part | None = None
    conversion: str | None = None

    @property
    def serial(self) -> uuid.UUID:
        """The document's own number: the same for the same image of the same lock."""
        return uuid.uuid5(uuid.NAMESPACE_URL, f"{self.lock}/{self.image}")


def inventories(lock: Lock) -> Iterator[Inventory]:
    """Every image of a lock that is made from packages, wheels or weights; of an image that others built only they know what is in it."""
    name = identity(lock)
    base = lock.root("base")
    packages = tuple(_package(package, base.os) for package in base.packages)
    yield Inventory(image="base", lock=name, subject=Part(kind=Kind.OS, name=base.os, version=lock.component("kernel")), parts=packages)
    for app in lock.apps:
        if app.root is None or app.framework is None or app.version is None:
            continue
        root = lock.root(app.root)
        parts = (*(_package(package, root.os) for package in root.packages), *map(_wheel, app.wheels))
        subject = Part(kind=Kind.APP, name=app.framework, version=app.version)
        yield Inventory(image=f"app-{app.name}", lock=name, subject=subject, parts=parts)
    for model in lock.models:
        yield _model(model, name)


def _package(package: LockedPackage, os: str) -> Part:
    from packageurl import PackageURL

    family = os.partition("-")[0]
    source, _, version = package.source.partition(" ")
    return Part(
        kind=Kind.LIBRARY,
        name=package.name,
        version=package.version,
        licence=package.licence,
        purl=PackageURL("deb", family, package.name, package.version, {"arch": package.arch, "distro": os}),
        supplier=DEBIAN if family == "debian" else None,
        source=PackageURL("deb", family, source, version, {"arch": "source", "distro": os}),
        file=package.filename.rpartition("/")[2],
        sha256=package.sha256,
        size=package.size,
    )


def _wheel(wheel: LockedWheel) -> Part:
    from packageurl import PackageURL

    return Part(
        kind=Kind.LIBRARY,
        name=wheel.name,
        version=wheel.version,
        licence=wheel.licence,
        purl=PackageURL("pypi", None, wheel.name, wheel.version, {"file_name": wheel.filename}),
        file=wheel.filename,
        sha256=wheel.sha256,
        size=wheel.size,
    )


def _model(model: LockedModel, lock: str) -> Inventory:
    from packageurl import PackageURL

    owner, _, name = model.id.partition("/")
    commit = model.revision if re.fullmatch(r"[0-9a-f]{40}", model.revision) else None

    def purl(path: str | None = None) -> PackageURL:
        return PackageURL("huggingface", owner, name, commit, None, path)

    licence = normal(model.licence) or UNREAD
    published = Part(kind=Kind.MODEL, name=model.id, version=model.revision, licence=licence, purl=purl(), supplier=owner)
    files = tuple(
        Part(
            kind=Kind.FILE,
            name=file.path,
            version=model.revision,
            licence=licence,
            purl=purl(file.path),
            supplier=owner,
            file=file.path,
            sha256=file.sha256,
            size=file.size,
        )
        for file in model.files
    )
    image = f"model-{model.id.replace('/', '--').lower()}"
    if model.conversion is None:
        return Inventory(image=image, lock=lock, subject=published, parts=files)
    subject = Part(
        kind=Kind.MODEL, name=f"{model.id} as {model.conversion.format}", version=model.revision, licence=licence, supplier=owner
    )
    done = f"converted to {model.conversion.format} in the root `{model.conversion.root}` of the lock by: {' '.join(model.conversion.argv)}"
    return Inventory(image=image, lock=lock, subject=subject, parts=files, origin=published, conversion=done)
