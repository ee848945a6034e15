"""Signed by a key or refused, as on a node: a registry with TLS and a password, Debian 13's skopeo, the files that an image carries."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import oci_samples
import pytest
from registry_server import Registry, log_in, trust
from tools_needed import needs

import aistack
from aistack.compose.render.policy import SIGNATURES, render_policy
from aistack.diagnostics import DiagnosticError
from aistack.facts.files import RenderedFile
from aistack.host import image_proxy, process, rootfs
from aistack.host.publish import Signer, publish
from aistack.host.store import Store

pytestmark = pytest.mark.system

WORD = "a word, and another"
INSIDE = """
import contextlib, os, sys
from pathlib import Path
sys.path.insert(0, "/mnt")
from aistack.host import image_proxy, layout_server, registry
carried = layout_server.serving(Path("/srv"), sys.argv[1]) if os.listdir("/srv") else contextlib.nullcontext()
try:
    with carried, image_proxy.opened(f"docker://{sys.argv[1]}"):
        print("opened")
except image_proxy.ProxyError as error:
    (found,) = registry.refused(sys.argv[1], str(error)).diagnostics
    print(found.rule, *found.why, *found.hints)
"""


@dataclass(frozen=True)
class Place:
    """A registry, a store to push from, a node's settings, and two keys of which the node knows the first."""

    registry: Registry
    store: Store
    tools: Path
    folder: Path

    def signer(self, key: str = "release", word: str = WORD) -> Signer:
        return Signer(
            skopeo=rootfs.foreign(self.tools, ("skopeo",)), key=self.folder / f"{key}.private", passphrase=word, attachments=SIGNATURES
        )

    def image(self, content: bytes) -> str:
        layer, media_type = oci_samples.layer([oci_samples.file("usr/x", content)])
        return oci_samples.image(self.store, [(layer, media_type)])

    def signed(self, content: bytes, repository: str = "nodes/l4") -> str:
        """Pushes a new image as REPOSITORY:stable, signed by the node's key; its digest."""
        digest = self.image(content)
        publish(self.store, digest, f"{self.registry.host}/{repository}:stable", signers=[self.signer()])
        return digest

    def signature(self, digest: str, repository: str = "nodes/l4") -> str:
        """Where the signature of an image lies."""
        return f"docker://{self.registry.host}/{repository}:{digest.replace(':', '-')}.sig"

    def copy(self, source: str, target: str) -> None:
        subprocess.run(
            image_proxy.skopeo("copy", "--quiet", "--preserve-digests", source, target), check=True, capture_output=True, timeout=120
        )

    def opened(self, name: str, layout: Path | None = None) -> str:
        """What a node says that is to fetch an image of the registry, or of a layout that was carried to it."""
        binds = {"/mnt": Path(aistack.__file__).parent.parent, "/etc/containers": self.folder / "node", "/etc/hosts": Path("/etc/hosts")}
        binds |= {"/srv": layout} if layout else {}
        entering = rootfs.entering(
            self.tools,
            ["python3", "-c", INSIDE, f"{self.registry.host}/{name}"],
            binds=[rootfs.Bind(source=source, target=target) for target, source in binds.items()],
            environment={"PYTHONDONTWRITEBYTECODE": "1", "REGISTRY_AUTH_FILE": "/etc/containers/auth.json"},
        )
        return process.run([word for word in entering if word != "--unshare-net"], timeout=120).stdout


@pytest.fixture
def place(secure: Registry, home: Path, tools_root: Path, tmp_path: Path) -> Place:
    needs("bwrap")
    trust(home, secure)
    log_in(secure)
    (tmp_path / "word").write_text(f"{WORD}\n")
    for key in ("release", "other"):
        argv = ["skopeo", "generate-sigstore-key", "--output-prefix", f"/mnt/{key}", "--passphrase-file", "/mnt/word"]
        rootfs.enter(tools_root, argv, binds=[rootfs.Bind(source=tmp_path, target="/mnt", writable=True)])
    node = tmp_path / "node"
    for file in render_policy((tmp_path / "release.pub").read_text()):
        if isinstance(file, RenderedFile):  # the tools root has no /usr/lib/aistack
            path = node / file.path.removeprefix("/usr/lib/aistack/").removeprefix("/etc/containers/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content.replace(b"/usr/lib/aistack", b"/etc/containers"))
    shutil.copytree(home / ".config/containers/certs.d", node / "certs.d")
    shutil.copy(home / "auth.json", node)
    return Place(registry=secure, store=Store(tmp_path / "store"), tools=tools_root, folder=tmp_path)


def test_what_the_key_signed_is_taken_by_tag_and_by_digest(place: Place) -> None:
    digest = place.signed(b"one")
    assert place.opened("nodes/l4:stable") == "opened\n"
    assert place.opened(f"nodes/l4@{digest}") == "opened\n"
    place.copy(f"docker://{place.registry.host}/nodes/l4@{digest}", f"docker://{place.registry.host}/nodes/l4:next")
    assert place.opened("nodes/l4:next") == "opened\n"


def test_what_nobody_signed_and_what_another_key_signed_is_refused(place: Place) -> None:
    name = f"{place.registry.host}/nodes/l4:stable"
    publish(place.store, place.image(b"unsigned"), name)
    said = place.opened("nodes/l4:stable")
    assert said.startswith("REG009 ") and "no signature exists" in said and "--sign-by KEY" in said
    publish(place.store, place.image(b"theirs"), name, signers=[place.signer("other")])
    assert place.opened("nodes/l4:stable").startswith("REG009 ")
    both = [place.signer("other"), place.signer()]
    publish(place.store, place.image(b"while the key is changed"), name, signers=both)
    assert place.opened("nodes/l4:stable") == "opened\n"


def test_a_signature_is_for_one_image_in_one_repository(place: Place) -> None:
    signed, bare = place.signed(b"one"), place.image(b"two")
    publish(place.store, bare, f"{place.registry.host}/nodes/l4:stable")
    place.copy(place.signature(signed), place.signature(bare))
    assert place.opened(f"nodes/l4@{signed}") == "opened\n"
    assert place.opened("nodes/l4:stable").startswith("REG009 ")
    publish(place.store, signed, f"{place.registry.host}/nodes/h100:stable")
    place.copy(place.signature(signed), place.signature(signed, "nodes/h100"))
    assert place.opened("nodes/h100:stable").startswith("REG009 ")


def test_a_signature_that_is_gone_or_changed_is_refused(place: Place, tmp_path: Path) -> None:
    digest = place.signed(b"one")
    name = quote(place.signature(digest).rpartition(":")[2])
    tag = place.registry.folder / f"data/docker/registry/v2/repositories/nodes/l4/_manifests/tags/{name}"
    tag.rename(tmp_path / "away")
    said = place.opened("nodes/l4:stable")
    assert said.startswith("REG009 ") and "no signature exists" in said
    (tmp_path / "away").rename(tag)
    assert place.opened("nodes/l4:stable") == "opened\n"
    place.copy(place.signature(digest), f"dir:{tmp_path}/signature")
    manifest = json.loads((tmp_path / "signature/manifest.json").read_bytes())
    (layer,) = manifest["layers"]
    ((key, text),) = layer["annotations"].items()
    bits = bytearray(base64.b64decode(text))
    bits[-1] ^= 1
    layer["annotations"][key] = base64.b64encode(bits).decode()
    (tmp_path / "signature/manifest.json").write_text(json.dumps(manifest))
    place.copy(f"dir:{tmp_path}/signature", place.signature(digest))
    assert place.opened("nodes/l4:stable").startswith("REG009 ")
    place.signed(b"one")  # the good signature beside the bad one
    assert place.opened("nodes/l4:stable") == "opened\n"
    listed = subprocess.run(image_proxy.skopeo("inspect", "--raw", place.signature(digest)), check=True, capture_output=True, timeout=120)
    for one in json.loads(listed.stdout)["layers"]:
        payload = place.registry.blob(one["digest"])
        payload.write_bytes(payload.read_bytes()[:-1] + b" ")
    assert place.opened("nodes/l4:stable").startswith("REG006 ")


def test_a_layout_that_is_carried_to_the_node_is_held_to_the_key_too(place: Place, tmp_path: Path) -> None:
    digest, layout = place.signed(b"one"), tmp_path / "carried"
    place.copy(f"docker://{place.registry.host}/nodes/l4:stable", f"oci:{layout}:stable")
    said = place.opened("nodes/l4:stable", layout)
    assert said.startswith("REG009 ") and "no signature exists" in said
    signature = place.signature(digest)
    place.copy(signature, f"oci:{layout}:{signature.rpartition(':')[2]}")
    assert place.opened("nodes/l4:stable", layout) == "opened\n"
    assert place.opened("nodes/h100:stable", layout).startswith("REG009 ")


def test_a_key_that_does_not_sign_leaves_no_tag(place: Place, tmp_path: Path) -> None:
    digest, name = place.image(b"one"), f"{place.registry.host}/nodes/l4:stable"
    (tmp_path / "public.private").write_text((tmp_path / "release.pub").read_text())
    for signer in (place.signer(word="wrong"), place.signer("public"), place.signer("absent")):
        with pytest.raises(DiagnosticError) as caught:
            publish(place.store, digest, name, signers=[signer])
        (diagnostic,) = caught.value.diagnostics
        assert diagnostic.rule == "PUSH003" and WORD not in str(diagnostic)
    assert place.opened("nodes/l4:stable").startswith("REG003 ")
