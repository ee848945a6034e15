"""A store as an OCI artifact: what one lock needs, in a registry or an OCI layout, written and read by skopeo.

Its layers are files of the store as they are, so a registry keeps each once, whatever artifact and image names it; its config says which
step made what. References are skopeo's: `docker://HOST/NAME:TAG`, `oci:FOLDER:TAG`. Credentials and TLS are skopeo's too (auth.json,
registries.conf).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aistack.diagnostics import DiagnosticError, unable
from aistack.host import image_proxy, oci, process
from aistack.host.store import Store
from aistack.values import dataclass

INDEX = "application/vnd.aistack.store.v1+json"
FILE = "application/vnd.aistack.store.file.v1"
SCHEMA = "aistack/store-artifact/v1"
DAY = 86_400.0


def push(store: Store, reference: str, files: Iterable[str], outputs: Mapping[str, Mapping[str, Any]]) -> str:
    """Write those files (sha256) and outputs (by the steps' ids) as one artifact to `reference`; returns its digest.

    What the other side has already is not sent. Raises DiagnosticError (exit 3), a damaged file named among the reasons.
    """
    manifest = oci.write_artifact(store, {"schema": SCHEMA, "outputs": outputs}, INDEX, sorted(files), FILE)
    with store.scratch() as folder:
        oci.layout(store, {"store": manifest}, folder)
        _skopeo("copy", "--quiet", "--preserve-digests", f"oci:{folder}:store", reference)
    return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """An artifact to take from: `sizes` are its files, sha256 → bytes; `say` is told what is missing or damaged there."""

    reference: str
    sizes: Mapping[str, int]
    outputs: Mapping[str, Mapping[str, Any]]
    say: Callable[[str], None]

    def output(self, step: str) -> Mapping[str, Any]:
        """The document of a step's output, empty where there is none."""
        return self.outputs.get(step, {})

    def bring(self, store: Store, wanted: Iterable[str]) -> None:
        """Fetch those of the wanted files that are there, each held against its digest."""
        left = [sha256 for sha256 in wanted if sha256 in self.sizes]
        while left:
            sha256 = ""
            try:
                with image_proxy.opened(self.reference) as proxy:
                    while left:
                        sha256 = left.pop()
                        with proxy.blob(f"sha256:{sha256}", self.sizes[sha256], lambda size: None) as stream:
                            if store.add(stream, only=sha256)[0] != sha256:
                                raise image_proxy.ProxyError("not what its name says")
            except (image_proxy.ProxyError, DiagnosticError) as error:
                self.say(f"{self.reference}: {sha256}: {error}")
                if not sha256:
                    return


def read(reference: str, say: Callable[[str], None]) -> Artifact:
    """What an artifact holds, nothing of it fetched yet; raises DiagnosticError (exit 3) where there is none."""
    manifest, index = (_skopeo("inspect", *words, "--raw", reference) for words in ((), ("--config",)))
    try:
        document = json.loads(index)
        if document["schema"] != SCHEMA:
            raise ValueError(f"its schema is {document['schema']}, not {SCHEMA}")
        sizes = {layer["digest"].removeprefix("sha256:"): int(layer["size"]) for layer in json.loads(manifest)["layers"]}
        outputs = dict(document["outputs"])
        if strange := [name for name in sizes if not re.fullmatch(r"[0-9a-f]{64}", name)]:
            raise ValueError(f"`{strange[0]}` is no sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = (f"{type(error).__name__}: {error}",)
        raise unable("STO004", "not-a-store-artifact", f"{reference} holds no store of aistack", why=why) from error
    return Artifact(reference=reference, sizes=sizes, outputs=outputs, say=say)


def last_words(error: DiagnosticError) -> str:
    """The reason of a failure in one line: with a tool's, what it said last."""
    return (error.diagnostics[0].message, *error.diagnostics[0].why)[-1]


def _skopeo(*words: str) -> str:
    return process.run(image_proxy.skopeo(*words), timeout=DAY).stdout
