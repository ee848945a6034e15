"""Bytes that are pinned: packages, wheels and files by sha256 and size, and where they come from. Values only."""

from __future__ import annotations

from aistack.values import dataclass

UNREAD = "NOASSERTION"
"""What SPDX calls a licence that nobody has read (SPDX 2.3, clause 7.13)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One suite of one archive of packages.

    `uri` is empty where it is the build host's own mirror, whose address is nobody else's business. The `suite` of a flat archive ends
    with a slash, and it has no components. `signed_by` is an armoured key or a keyring's path, as sources.list(5) has it; empty: the
    OS's own keyring. `packages` (`NAME` or `NAME=VERSION`) are taken from here, whatever others offer; with `apart` nothing
    else is, but for what those need and what no other archive has.
    """

    uri: str = ""
    suite: str
    components: tuple[str, ...] = ("main",)
    signed_by: str = ""
    packages: tuple[str, ...] = ()
    apart: bool = False

    @property
    def name(self) -> str:
        """`SUITE`, or `URI SUITE` where it has an address of its own."""
        return f"{self.uri} {self.suite}".strip()

    @property
    def origins(self) -> tuple[str, ...]:
        """What packages from here have as their origin."""
        return tuple(f"{self.name}/{component}" for component in self.components) or (self.name,)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPackage:
    """One Debian package; `filename` is the path below the archive's root, size in bytes.

    `origin` is the archive's name, and `/COMPONENT` unless it is flat: `trixie/main`, `https://packages.example/debian trixie/main`.

    `source` is the source package's name and version (`openssl 3.5.4-1`): what is built from one source changes together.
    `licence` is an SPDX expression, NOASSERTION where nobody has read it.
    """

    name: str
    version: str
    arch: str
    sha256: str
    size: int
    origin: str
    filename: str
    source: str
    licence: str = UNREAD


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedRoot:
    """A closed set of packages that is unpacked together: `base`, `tools`, an app's root, a converter's root.

    `archives` are all that its packages may be fetched from again. `wanted` are the packages that were asked for; the others came with
    them. `layers` are the groups of a root that becomes an image: (group, names of its packages), both sorted; empty for other roots.
    """

    arch: str
    os: str
    packages: tuple[LockedPackage, ...]
    wanted: tuple[str, ...] = ()
    archives: tuple[Archive, ...] = ()
    layers: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWheel:
    """One Python wheel, as the index served it; size in bytes; `licence` as a package's.

    `index` is the address of the recipe's index that it came from; empty: the build host's own.
    """

    name: str
    version: str
    filename: str
    sha256: str
    size: int
    index: str = ""
    licence: str = UNREAD


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedFile:
    """One file of a model; `path` is relative to the model's folder, size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedBlob:
    """One part of an image, as its registry serves it; size in bytes."""

    sha256: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedImage:
    """An image that somebody else built, for one architecture; `reference` is as the recipe has it.

    `manifest` is that architecture's own, `config` and `layers` (lowest first) are what it names. `entrypoint` and `command` are what it
    would start by itself. `licence` as a package's.
    """

    reference: str
    manifest: LockedBlob
    config: LockedBlob
    layers: tuple[LockedBlob, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    licence: str = UNREAD

    @property
    def digest(self) -> str:
        """The image's digest, that of its manifest (`sha256:…`)."""
        return f"sha256:{self.manifest.sha256}"

    def parts(self) -> dict[str, LockedBlob]:
        """Every blob by what it is, in words; images may have one layer twice."""
        layers = {f"layer {number} of {len(self.layers)}": layer for number, layer in enumerate(self.layers, start=1)}
        return {"manifest": self.manifest, "config": self.config, **layers}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """What compiled modules are signed with: `key` is a file's path from the lock's folder, or a PKCS#11 URI; `certificate` is PEM."""

    key: str
    certificate: str
