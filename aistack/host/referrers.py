"""Documents about an image, attached to it in its registry: bills of materials, what checks and boots found.

Each is an artifact of its own that names the image as its subject, and a list of them has a tag that follows from the image's digest, for
the registries that do not answer who refers to an image:
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from aistack.diagnostics import DiagnosticError
from aistack.host import image_proxy, oci, registry
from aistack.host.store import Store
from aistack.values import dataclass

EMPTY = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document: its media type, the name of its file, and its bytes."""

    media_type: str
    title: str
    content: bytes


def attach(store: Store, skopeo: Sequence[str], digest: str, repository: str, documents: Sequence[Document]) -> tuple[str, ...]:
    """Attach documents to the image of the store that HOST/REPOSITORY has already; returns the digests of their manifests.

    Attached twice they are there once; what others attached stays. `skopeo` is the program of one that leaves lists as they are (1.18
    does, 1.9 does not). Raises DiagnosticError (exit 3) where the registry does not take them.
    """
    subject = {"mediaType": oci.MANIFEST, "digest": digest, "size": store.blob(digest.removeprefix("sha256:")).stat().st_size}
    listed = [_written(store, subject, document) for document in documents]
    tag = f"{repository}:{digest.replace(':', '-')}"
    with store.scratch() as scratch:
        for one in listed:
            source = oci.layout(store, {"document": one["digest"]}, scratch / "layout")
            _copy(skopeo, f"oci:{source}:document", f"{repository}@{one['digest']}")
        ours = {one["digest"] for one in listed}
        others = [one for one in _attached(tag) if one["digest"] not in ours]
        index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [*others, *listed]}
        written, _ = store.add(io.BytesIO(json.dumps(index).encode()))
        source = oci.layout(store, {"list": f"sha256:{written}"}, scratch / "layout")
        _copy(skopeo, f"oci:{source}:list", tag, "--multi-arch=index-only")
    return tuple(str(one["digest"]) for one in listed)


def _written(store: Store, subject: dict[str, Any], document: Document) -> dict[str, Any]:
    """A document's manifest in the store, as the entry of a list."""
    blob, size = store.add(io.BytesIO(document.content))
    empty, _ = store.add(io.BytesIO(b"{}"))
    annotations = {TITLE: document.title}
    manifest = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST,
        "artifactType": document.media_type,
        "config": {"mediaType": EMPTY, "digest": f"sha256:{empty}", "size": 2},
        "layers": [{"mediaType": document.media_type, "digest": f"sha256:{blob}", "size": size, "annotations": annotations}],
        "subject": subject,
        "annotations": annotations,
    }
    written, size = store.add(io.BytesIO(json.dumps(manifest, sort_keys=True).encode()))
    entry = {"mediaType": oci.MANIFEST, "digest": f"sha256:{written}", "size": size}
    return {**entry, "artifactType": document.media_type, "annotations": annotations}


def _attached(tag: str) -> list[dict[str, Any]]:
    """What the list at a tag names; nothing where there is none yet."""
    try:
        return list(json.loads(registry.inspected(tag, tag, "")).get("manifests", []))
    except DiagnosticError as error:
        if error.diagnostics[0].rule != "REG003":
            raise
        return []


def _copy(skopeo: Sequence[str], source: str, target: str, *options: str) -> None:
    argv = image_proxy.skopeo(
        "copy", "--quiet", "--preserve-digests", "--retry-times=3", *options, source, f"docker://{target}", program=skopeo
    )
    registry.ask(target, argv, taking=True)
