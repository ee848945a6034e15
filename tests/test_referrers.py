"""Documents beside an image in a real registry with TLS and a password, as any client of OCI finds them."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import oci_samples
import pytest
from registry_server import Registry, log_in, trust
from tools_needed import needs

from aistack.diagnostics import DiagnosticError
from aistack.host import image_proxy, oci, rootfs
from aistack.host.publish import publish
from aistack.host.referrers import Document, attach
from aistack.host.store import Store

pytestmark = pytest.mark.system

BILL = Document(media_type="application/spdx+json", title="base.spdx.json", content=b'{"spdxVersion": "SPDX-2.3"}')
RESULT = Document(media_type="application/vnd.in-toto+json", title="verify.intoto.json", content=b'{"_type": "x"}')


def raw(name: str) -> dict[str, Any]:
    said = subprocess.run(image_proxy.skopeo("inspect", "--raw", f"docker://{name}"), check=True, capture_output=True, timeout=120)
    document: dict[str, Any] = json.loads(said.stdout)
    return document


def test_what_is_attached_names_its_image_and_what_others_attached_stays(
    secure: Registry, home: Path, tools_root: Path, tmp_path: Path
) -> None:
    needs("bwrap")
    trust(home, secure)
    log_in(secure)
    store, skopeo = Store(tmp_path / "store"), rootfs.foreign(tools_root, ("skopeo",))
    digest = oci_samples.image(store, [oci_samples.layer([oci_samples.file("usr/x", b"one")])])
    repository = f"{secure.host}/nodes/l4"
    publish(store, digest, f"{repository}:stable")
    (first,) = attach(store, skopeo, digest, repository, [BILL])
    attached = attach(store, skopeo, digest, repository, [BILL, RESULT])
    assert attached[0] == first, "the same document is the same artifact"
    listed = raw(f"{repository}:{digest.replace(':', '-')}")
    assert [one["digest"] for one in listed["manifests"]] == [*attached]
    assert [one["artifactType"] for one in listed["manifests"]] == [BILL.media_type, RESULT.media_type]
    attach(store, skopeo, digest, repository, [RESULT])
    assert [one["digest"] for one in raw(f"{repository}:{digest.replace(':', '-')}")["manifests"]] == [*attached], "the first stays"
    manifest = raw(f"{repository}@{attached[1]}")
    assert manifest["subject"]["digest"] == digest and manifest["subject"]["mediaType"] == oci.MANIFEST
    (layer,) = manifest["layers"]
    assert layer["digest"] == f"sha256:{hashlib.sha256(RESULT.content).hexdigest()}"
    assert secure.blob(layer["digest"]).read_bytes() == RESULT.content
    assert raw(f"{repository}:stable") == raw(f"{repository}@{digest}"), "the image itself is what it was"


def test_a_registry_that_does_not_take_them_is_named(secure: Registry, home: Path, tools_root: Path, tmp_path: Path) -> None:
    needs("bwrap")
    trust(home, secure)
    store = Store(tmp_path / "store")
    digest = oci_samples.image(store, [oci_samples.layer([oci_samples.file("usr/x", b"one")])])
    with pytest.raises(DiagnosticError) as caught:
        attach(store, rootfs.foreign(tools_root, ("skopeo",)), digest, f"{secure.host}/nodes/l4", [BILL])
    assert caught.value.diagnostics[0].rule == "REG002"
