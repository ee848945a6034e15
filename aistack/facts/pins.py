"""Bytes that are pinned: packages, wheels and files by sha256 and size. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPackage:
    """One Debian package; `origin` is `SUITE/COMPONENT`, `filename` the path below the archive's root, size in bytes."""

    name: str
    version: str
    arch: str
    sha256: str
    size: int
    origin: str
    filename: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedRoot:
    """A closed set of packages that is unpacked together: `base`, `tools`, an app's root, a converter's root."""

    arch: str
    os: str
    packages: tuple[LockedPackage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWheel:
    """One Python wheel, as the index served it; size in bytes."""

    name: str
    version: str
    filename: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedFile:
    """One file of a model; `path` is relative to the model's folder, size in bytes."""

    path: str
    sha256: str
    size: int
