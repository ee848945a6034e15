"""What a registry names, and what comes of it: an image for another architecture is refused, and an index held to by its image."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from node_samples import LOCK, lay
from recorded_node import Bootloader

from aistack.commands import node_update, push
from aistack.compose.lock import encode
from aistack.compose.render.policy import POLICY
from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts.following import SEALED_LABEL
from aistack.host import image_proxy, registry
from aistack.node import admission, update
from aistack.node.deployments import Advance, Fetched, Image, Listed
from aistack.node.update import ARCHITECTURES

REFERENCE, INDEX = "r.example/nodes/l4:stable", f"sha256:{'1' * 64}"


def serve(patch: pytest.MonkeyPatch, arch: str | None, *, index: bool = False) -> str:
    """Let the registry have one image, below an index (INDEX) or not; returns its digest."""
    config = {"config": {"Labels": {SEALED_LABEL: "2026-11-01T00:00:00Z"}}, **({"architecture": arch} if arch else {})}
    manifest = json.dumps({"config": {"digest": "sha256:c"}}).encode()
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    listed = json.dumps({"manifests": [{"digest": digest, "platform": {"os": "linux", "architecture": arch}}]}).encode()

    def inspected(reference: str, name: str, wanted: str, *options: str) -> bytes:
        if options:
            return json.dumps(config).encode()
        return listed if index and wanted in ("", INDEX) else manifest

    patch.setattr(registry, "inspected", inspected)
    return digest


def rule(caught: pytest.ExceptionInfo[DiagnosticError]) -> str:
    return caught.value.diagnostics[0].rule


@pytest.mark.parametrize("index", [False, True])
def test_an_image_for_another_architecture_is_not_offered(monkeypatch: pytest.MonkeyPatch, index: bool) -> None:
    digest = serve(monkeypatch, "amd64", index=index)
    assert registry.labels(REFERENCE, "amd64") == (digest, {SEALED_LABEL: "2026-11-01T00:00:00Z"})
    with pytest.raises(DiagnosticError, match="not built for arm64") as caught:
        registry.labels(REFERENCE, "arm64")
    assert (rule(caught), caught.value.diagnostics[0].why) == ("REG004", ("it is built for: amd64",))


def test_a_config_that_names_no_architecture_is_of_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, None)
    with pytest.raises(DiagnosticError) as caught:
        registry.labels(REFERENCE, "amd64")
    assert rule(caught) == "OCI003"


@pytest.mark.parametrize("index", [False, True])
def test_a_push_takes_no_other_architecture_its_tag_away(monkeypatch: pytest.MonkeyPatch, index: bool) -> None:
    serve(monkeypatch, "amd64", index=index)
    sealed = "2026-11-26T00:00:00Z"
    push.require_later(Path("x.yaml"), replace(LOCK, arch="amd64", sealed=sealed), REFERENCE)
    with pytest.raises(DiagnosticError, match="another architecture than arm64") as caught:
        push.require_later(Path("x.yaml"), replace(LOCK, arch="arm64", sealed=sealed), REFERENCE)
    assert (rule(caught), caught.value.exit_code) == ("PUSH007", ExitCode.NO)
    push.require_later(Path("x.yaml"), replace(LOCK, arch="arm64", sealed=sealed), None)


@pytest.mark.parametrize(
    ("listed", "code"),
    [
        (("amd64",), None),
        (("amd64", "arm64"), "PUSH007"),
        (("amd64", "arm64", "unknown"), "PUSH007"),
        (("amd64", "unknown"), None),
        (("arm64",), "PUSH007"),
        ((), "PUSH008"),
    ],
)
def test_a_push_leaves_an_index_alone_that_has_other_architectures(
    monkeypatch: pytest.MonkeyPatch, listed: tuple[str, ...], code: str | None
) -> None:
    """Attestations are of the architecture `unknown` (https://docs.docker.com/build/metadata/attestations/attestation-storage/)."""
    serve(monkeypatch, "amd64")
    one, below = registry.resolve(REFERENCE, "amd64")[0], registry.inspected
    platforms = [{"os": arch if arch == "unknown" else "linux", "architecture": arch} for arch in listed]
    index = json.dumps({"manifests": [{"digest": one, "platform": platform} for platform in platforms]}).encode()
    monkeypatch.setattr(registry, "inspected", lambda *asked: index if asked[2] == "" else below(*asked))
    with pytest.raises(DiagnosticError) if code else contextlib.nullcontext() as caught:
        push.require_later(Path("x.yaml"), replace(LOCK, arch="amd64", sealed="2026-11-26T00:00:00Z"), REFERENCE)
    assert caught is None or (rule(caught), caught.value.exit_code) == (code, ExitCode.NO)


def test_a_push_over_what_is_no_image_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, None)  # an artifact's config is `{}`
    with pytest.raises(DiagnosticError, match="no image for any node") as caught:
        push.require_later(Path("x.yaml"), LOCK, REFERENCE)
    assert (rule(caught), caught.value.exit_code) == ("PUSH008", ExitCode.NO)
    assert "--allow-downgrade" in caught.value.diagnostics[0].hints[1]


@pytest.mark.parametrize("policy", [False, True])
def test_a_look_asks_the_policy_that_a_download_is_held_to(policy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, asked = lay(tmp_path), list[tuple[str, Path | None]]()
    digest = serve(monkeypatch, ARCHITECTURES[os.uname().machine])
    if policy:
        (root / POLICY.lstrip("/")).write_text("{}")

    @contextlib.contextmanager
    def opened(name: str, policy: Path | None = None) -> Iterator[None]:
        asked.append((name, policy))
        raise image_proxy.ProxyError("Source image rejected: A signature was required, but no signature exists")
        yield

    monkeypatch.setattr(image_proxy, "opened", opened)
    with pytest.raises(DiagnosticError) as caught:
        node_update.update(node_update.Extent(check=True), root=root, deployments=Staging(order=[]), allow_downgrade=True)
    assert rule(caught) == "REG009"
    assert asked == [(f"docker://{REFERENCE.rpartition(':')[0]}@{digest}", root / POLICY.lstrip("/") if policy else None)]


def test_a_lock_of_another_architecture_is_not_admitted_whatever_its_config_says(tmp_path: Path) -> None:
    root, lock = lay(tmp_path), replace(LOCK, apps=(), models=())
    admission.require_admitted(root, encode(lock))
    with pytest.raises(DiagnosticError, match="for arm64, and this machine is amd64") as caught:
        admission.require_admitted(root, encode(replace(lock, arch="arm64")))
    assert (rule(caught), caught.value.exit_code) == ("UPD012", ExitCode.NO)
    (root / "proc/sys/kernel/arch").unlink()
    admission.require_admitted(root, encode(replace(lock, arch="arm64")))  # what nobody can tell refuses nothing


@dataclass(slots=True)
class Staging(Bootloader):
    """An engine that lists what it staged."""

    has: tuple[Listed, ...] = (Listed(digest="b", reference=REFERENCE, booted=True, default=True),)

    def listed(self) -> tuple[Listed, ...]:
        return self.has

    def download(self, image: Image, advance: Advance) -> Fetched:
        return Fetched(layers=1, new_layers=1, bound=0, new_bound=0, bytes=None)

    def stage(self, image: Image, keep: Collection[str]) -> None:
        self.has = (Listed(digest=image.digest, reference=image.reference, staged=True), *self.has)

    def try_staged(self) -> None:
        self.told.append("try staged")


@pytest.mark.parametrize("index", [False, True])
def test_who_names_an_index_by_its_digest_holds_the_node_to_its_image(
    index: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, engine = lay(tmp_path), Staging(order=[])
    digest = serve(monkeypatch, ARCHITECTURES[os.uname().machine], index=index)
    to = f"{REFERENCE}@{INDEX if index else digest}"
    for _ in ("available", "staged"):
        node_update.update(node_update.Extent(), to=to, root=root, deployments=engine, allow_downgrade=True)
        assert f"held to this image, which was named by its digest, until `aistack node update --to {REFERENCE}`" in capsys.readouterr().out
        assert update.followed(root, engine.listed()) == f"{REFERENCE}@{digest}"
