"""Containers' settings and specifications of CDI: what podman would refuse is told, and what it takes is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from images_read import Files
from test_checks import CDI, CONTAINERS, base, judged

from aistack.compose.findings import Outcome
from aistack.facts.filesystem import Filesystem

__all__ = ["base"]

ENGINE = f"{CONTAINERS}/containers.conf"
WHOLE = b'{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [{"name": "0"}]}'

FAULTS: list[tuple[str, Files, str]] = [
    ("cdi-files", {CDI: WHOLE.replace(b"0.5.0", b"99.0")}, f"{CDI} says the version 99.0 (cdiVersion), and is not read"),
    ("cdi-files", {CDI: WHOLE.replace(b"nvidia.com/gpu", b"nope")}, f"{CDI} says the kind nope"),
    ("cdi-files", {CDI: WHOLE.replace(b'{"name": "0"}', b"")}, f"{CDI} names no device"),
    ("cdi-files", {CDI: WHOLE.replace(b'"name": "0"', b"")}, f"{CDI} has a device without a name"),
    ("container-settings", {f"{CONTAINERS}/storage.conf": b"[storage"}, f"{CONTAINERS}/storage.conf is no TOML"),
    ("container-settings", {f"{CONTAINERS}/containers.conf.d/a.conf": b"a = [\n"}, "a.conf is no TOML"),
    ("container-settings", {f"{CONTAINERS}/registries.conf": b"\xff"}, "registries.conf is no TOML"),
    ("container-settings", {ENGINE: b'[engine]\nruntime = "/usr/bin/none"\n'}, f"{ENGINE} has the runtime /usr/bin/none"),
    ("container-settings", {ENGINE: b'[engine]\ncdi_spec_dirs = ["/nowhere"]\n'}, "has CDI looked for in /nowhere alone"),
    ("container-settings", {f"{CONTAINERS}/policy.json": b"{}"}, "policy.json has no default"),
    ("container-settings", {f"{CONTAINERS}/policy.json": b"{"}, "policy.json is no JSON"),
]


@pytest.mark.parametrize(("check", "fault", "said"), FAULTS)
def test_what_podman_refuses_is_named(check: str, fault: Files, said: str, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, fault)[check]
    assert (finding.outcome, said in finding.message) == (Outcome.NO, True), finding.message


@pytest.mark.parametrize(
    "files",
    [
        {CDI: WHOLE.replace(b"0.5.0", b"1.1.0"), "/etc/cdi/old.yaml.bak": b"::: [", "/etc/cdi/README": b"[1"},
        {ENGINE: b'[engine]\nruntime = "crun"\ncdi_spec_dirs = ["/nowhere", "/run/cdi"]\n[containers]\nlog_driver = "journald"\n'},
        {ENGINE: b'[engine]\nruntime = "/usr/bin/dash"\ncdi_spec_dirs = ["/usr/lib"]\n', f"{CONTAINERS}/registries.conf": b""},
        {f"{CONTAINERS}/policy.json": b'{"default": [{"type": "reject"}]}', f"{CONTAINERS}/registries.d/a.yaml": b"docker: {}\n"},
        {f"{CONTAINERS}/own.conf": b"[[", "/usr/share/containers/storage.conf": b'[storage]\ndriver = "overlay"\n'},
    ],
)
def test_what_podman_takes_is_no_fault(files: Files, base: Filesystem, tmp_path: Path) -> None:
    found = judged(base, tmp_path, files)
    assert {found[name].outcome for name in ("cdi-files", "container-settings")} == {Outcome.YES}
