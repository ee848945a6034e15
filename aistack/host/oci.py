"""OCI images: configs, manifests and layouts, written as canonical JSON into the store; an image is its manifest's digest.

Formats: https://github.com/opencontainers/image-spec (manifest.md, config.md, image-layout.md).
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aistack.diagnostics import DiagnosticError, unable
from aistack.host.layers import DOCKER_TAR, DOCKER_TAR_GZIP, GROUP, TAR, TAR_GZIP, TAR_ZSTD, Layer
from aistack.host.store import Store
from aistack.values import dataclass

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
REFERENCE = "org.opencontainers.image.ref.name"
CREATED = "1970-01-01T00:00:00Z"
LARGEST_JSON = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a container of the image starts; `ports` are as OCI spells them (`8000/tcp`)."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    user: str = ""
    folder: str = ""
    ports: tuple[str, ...] = ()
    stop_signal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image in the store; `digest` is its manifest's, `size` the manifest's bytes, layers lowest first, `history` their commands."""

    digest: str
    size: int
    arch: str
    layers: tuple[Layer, ...]
    settings: Settings
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    history: tuple[str, ...]

    def label(self, name: str) -> str | None:
        """A label's value, or None."""
        return dict(self.labels).get(name)

    @property
    def total(self) -> int:
        """Bytes of all layers as kept and sent."""
        return sum(layer.size for layer in self.layers)


def write_image(
    store: Store,
    layers: Sequence[Layer],
    *,
    arch: str,
    settings: Settings | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> str:
    """Write config and manifest of an image; returns the manifest's digest. `arch` is as Go and Debian spell it (`amd64`)."""
    settings = settings or Settings()
    config: dict[str, Any] = {}
    if settings.entrypoint:
        config["Entrypoint"] = list(settings.entrypoint)
    if settings.command:
        config["Cmd"] = list(settings.command)
    if settings.environment:
        config["Env"] = [f"{name}={value}" for name, value in settings.environment]
    if settings.user:
        config["User"] = settings.user
    if settings.folder:
        config["WorkingDir"] = settings.folder
    if settings.ports:
        config["ExposedPorts"] = {port: {} for port in settings.ports}
    if settings.stop_signal:
        config["StopSignal"] = settings.stop_signal
    if labels:
        config["Labels"] = dict(labels)
    document = {
        "architecture": arch,
        "os": "linux",
        "created": CREATED,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": CREATED, "created_by": dict(layer.annotations).get(REFERENCE, "aistack")} for layer in layers],
    }
    config_digest, config_size = _keep(store, document)
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config_digest, "size": config_size},
        "layers": [_descriptor(layer) for layer in layers],
    }
    if annotations:
        manifest["annotations"] = dict(annotations)
    return _keep(store, manifest)[0]


def write_artifact(store: Store, document: object, document_type: str, files: Sequence[str], file_type: str) -> str:
    """Write the manifest of something that is no image: a document as its config, files of the store (sha256, hex) as its layers.

    Returns the manifest's digest.
    """
    config_digest, config_size = _keep(store, document)
    layers = [{"mediaType": file_type, "digest": f"sha256:{file}", "size": store.blob(file).stat().st_size} for file in files]
    config = {"mediaType": document_type, "digest": config_digest, "size": config_size}
    return _keep(store, {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers})[0]


def read_image(store: Store, digest: str, *, whole: bool = True) -> Image:
    """The image of that manifest digest; everything that it names must be in the store, its layers only where it is wanted `whole`."""
    manifest, size = _load(store, digest)
    try:
        config, _ = _load(store, manifest["config"]["digest"])
        diff_ids = config["rootfs"]["diff_ids"]
        descriptors = manifest["layers"]
        inner = config.get("config") or {}
        layers = tuple(
            Layer(
                digest=descriptor["digest"],
                diff_id=diff_id,
                size=descriptor["size"],
                media_type=descriptor["mediaType"],
                annotations=tuple(sorted(descriptor.get("annotations", {}).items())),
            )
            for descriptor, diff_id in zip(descriptors, diff_ids, strict=True)
        )
        settings = Settings(
            entrypoint=tuple(inner.get("Entrypoint") or ()),
            command=tuple(inner.get("Cmd") or ()),
            environment=tuple((name, value) for name, _, value in (pair.partition("=") for pair in inner.get("Env") or ())),
            user=inner.get("User") or "",
            folder=inner.get("WorkingDir") or "",
            ports=tuple(sorted(inner.get("ExposedPorts") or ())),
            stop_signal=inner.get("StopSignal") or "",
        )
        arch = str(config["architecture"])
        labels = tuple(sorted((inner.get("Labels") or {}).items()))
        history = tuple(str(one.get("created_by") or "") for one in config.get("history") or ())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise not_an_image(digest, f"{type(error).__name__}: {error}") from error
    for layer in layers:
        if layer.media_type not in (TAR, TAR_ZSTD, TAR_GZIP, DOCKER_TAR, DOCKER_TAR_GZIP):
            raise not_an_image(digest, f"a layer has the media type `{layer.media_type}`")
        blob = store.blob(_hex(layer.digest))
        if whole and (not blob.is_file() or blob.stat().st_size != layer.size):
            why = (f"named by the image {digest}",)
            raise unable("OCI004", "blob-missing", f"the layer {layer.digest} is not in the store whole", why=why, hints=("build again",))
    return Image(
        digest=digest,
        size=size,
        arch=arch,
        layers=layers,
        settings=settings,
        labels=labels,
        annotations=tuple(sorted(manifest.get("annotations", {}).items())),
        history=history,
    )


def parts(store: Store, digest: str) -> dict[str, str]:
    """The blobs of an image, its manifest's among them: sha256 (hex) → what it is in words; empty where the manifest is not there."""
    try:
        manifest, _ = _load(store, digest)
        named = [(manifest["config"]["digest"], "config")]
        named += [(one["digest"], f"layer {one.get('annotations', {}).get(GROUP, '')}".strip()) for one in manifest["layers"]]
    except (DiagnosticError, KeyError, TypeError):
        return {}
    return {_hex(digest): "manifest", **{_hex(one): what for one, what in named}}


def layout(store: Store, images: Mapping[str, str], folder: Path) -> Path:
    """An OCI layout folder naming images (`{tag: manifest digest}`) of the store; its `blobs` is a link to the store's."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_index(store, images, folder)
    link = folder / "blobs"
    if not link.is_symlink():
        link.symlink_to((store.path / "blobs").resolve())
    return folder


def export_layout(store: Store, images: Mapping[str, str], folder: Path) -> Path:
    """As `layout`, but complete: the images' blobs are linked or copied into the folder, which can then be carried away."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for digest in images.values():
        manifest, _ = _load(store, digest)
        for name in (digest, manifest["config"]["digest"], *(descriptor["digest"] for descriptor in manifest["layers"])):
            target = blobs / _hex(name)
            if target.exists():
                continue
            try:
                target.hardlink_to(store.blob(_hex(name)))
            except OSError:
                shutil.copyfile(store.blob(_hex(name)), target)
    _write_index(store, images, folder)
    return folder


def _write_index(store: Store, images: Mapping[str, str], folder: Path) -> None:
    manifests = []
    for tag, digest in sorted(images.items()):
        manifest, size = _load(store, digest)
        media_type = manifest.get("mediaType", MANIFEST)  # OCI lets it be left out, Docker's format does not
        manifests.append({"mediaType": media_type, "digest": digest, "size": size, "annotations": {REFERENCE: tag}})
    (folder / "oci-layout").write_bytes(_canonical({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_bytes(_canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))


def import_layout(store: Store, folder: Path, tag: str | None = None) -> str:
    """Take an image out of an OCI layout folder into the store, every blob checked against its digest; returns the manifest's digest.

    Without `tag` the layout must hold exactly one image.
    """
    try:
        index = json.loads((folder / "index.json").read_bytes())
        found = [one for one in index["manifests"] if tag is None or one.get("annotations", {}).get(REFERENCE) == tag]
        if len(found) != 1:
            wanted = "exactly one image" if tag is None else f"one image `{tag}`"
            raise not_an_image(str(folder), f"the layout holds {len(found)} where {wanted} was expected")
        digest = str(found[0]["digest"])
        _take(store, folder, digest)
        manifest, _ = _load(store, digest)
        for descriptor in (manifest["config"], *manifest["layers"]):
            _take(store, folder, descriptor["digest"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise not_an_image(str(folder), f"{type(error).__name__}: {error}") from error
    read_image(store, digest)
    return digest


def _take(store: Store, folder: Path, digest: str) -> None:
    if store.has(_hex(digest)):
        return
    with (folder / "blobs" / "sha256" / _hex(digest)).open("rb") as source:
        found, _ = store.add(source, only=_hex(digest))
    if found != _hex(digest):
        raise not_an_image(str(folder), f"the blob {digest} has the digest sha256:{found}")


def _descriptor(layer: Layer) -> dict[str, Any]:
    descriptor: dict[str, Any] = {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}
    if layer.annotations:
        descriptor["annotations"] = dict(layer.annotations)
    return descriptor


def _canonical(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _keep(store: Store, document: object) -> tuple[str, int]:
    hex_digest, size = store.add(io.BytesIO(_canonical(document)))
    return f"sha256:{hex_digest}", size


def _load(store: Store, digest: str) -> tuple[dict[str, Any], int]:
    path = store.blob(_hex(digest))
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise not_an_image(digest, f"{path.stat().st_size} bytes are too many for a manifest or config")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != path.name:
            raise not_an_image(digest, "the store's copy is damaged: it has another digest")
        document = json.loads(data)
    except FileNotFoundError as error:
        raise unable("OCI004", "blob-missing", f"{digest} is not in the store", hints=("build the image again",)) from error
    except (ValueError, RecursionError) as error:
        raise not_an_image(digest, f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise not_an_image(digest, "not a JSON object")
    return document, len(data)


def _hex(digest: str) -> str:
    algorithm, _, hex_digest = digest.partition(":")
    if algorithm != "sha256" or len(hex_digest) != 64 or not set(hex_digest) <= set("0123456789abcdef"):
        raise not_an_image(digest, "only sha256 digests are used")
    return hex_digest


def not_an_image(what: str, reason: str) -> DiagnosticError:
    """The error for something that was named as an image and is none."""
    return unable("OCI003", "not-an-image", f"`{what}` is not an image that can be read", why=(reason,))
