"""An image for another architecture is refused by whoever pushes it, by the node that is offered it, and once more by its lock."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from node_samples import LOCK, lay

from aistack.commands import push
from aistack.compose.lock import encode
from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts.following import SEALED_LABEL
from aistack.host import registry
from aistack.node import admission

REFERENCE = "r.example/nodes/l4:stable"


def serve(patch: pytest.MonkeyPatch, arch: str | None, *, index: bool = False) -> str:
    """Let the registry have one image, below an index or not; returns its digest."""
    config = {"config": {"Labels": {SEALED_LABEL: "2026-11-01T00:00:00Z"}}, **({"architecture": arch} if arch else {})}
    manifest = json.dumps({"config": {"digest": "sha256:c"}}).encode()
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    listed = json.dumps({"manifests": [{"digest": digest, "platform": {"os": "linux", "architecture": arch}}]}).encode()

    def inspected(reference: str, name: str, wanted: str, *options: str) -> bytes:
        if options:
            return json.dumps(config).encode()
        return listed if index and not wanted else manifest

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


def test_a_lock_of_another_architecture_is_not_admitted_whatever_its_config_says(tmp_path: Path) -> None:
    root, lock = lay(tmp_path), replace(LOCK, apps=(), models=())
    admission.require_admitted(root, encode(lock))
    with pytest.raises(DiagnosticError, match="for arm64, and this machine is amd64") as caught:
        admission.require_admitted(root, encode(replace(lock, arch="arm64")))
    assert (rule(caught), caught.value.exit_code) == ("UPD012", ExitCode.NO)
    (root / "proc/sys/kernel/arch").unlink()
    admission.require_admitted(root, encode(replace(lock, arch="arm64")))  # what nobody can tell refuses nothing
