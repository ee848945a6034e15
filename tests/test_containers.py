"""Containers' settings, certificates and specifications of CDI: what podman would refuse is told, and what it takes is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from images_read import STATUS, Files
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


PODMAN, POLICY, SHARED = "/usr/bin/podman", f"{CONTAINERS}/policy.json", "/usr/share/containers/policy.json"
ANY = b'{"default": [{"type": "insecureAcceptAnything"}]}'


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({PODMAN: b"#!/bin/false\n"}, f"{POLICY} is not there, and without a policy podman takes no image"),
        ({"/usr/local/bin/podman": b"#!/bin/false\n", POLICY: "policy.none"}, f"{POLICY} leads to no file"),
        ({PODMAN: b"#!/bin/false\n", SHARED: b"{}"}, f"{SHARED} has no default"),
    ],
)
def test_podman_without_a_policy_is_named(files: Files, said: str, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, files)["container-settings"]
    assert (finding.outcome, said in finding.message) == (Outcome.NO, True), finding.message


@pytest.mark.parametrize(
    "files",
    [
        {POLICY: ANY, SHARED: b"{"},
        {SHARED: ANY},
        {POLICY: SHARED, SHARED: ANY},
        {"/var/roothome/.config/containers/policy.json": ANY},
    ],
)
def test_podman_with_a_policy_is_good(files: Files, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, {PODMAN: b"#!/bin/false\n", **files})["container-settings"]
    assert (finding.outcome, finding.message) == (Outcome.YES, finding.message)


DEBIAN, FEDORA = "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"
BUNDLE = b"# one\n-----BEGIN CERTIFICATE-----\nMIID" + b"A" * 300 + b"==\n-----END CERTIFICATE-----\n"
WITH_PACKAGE: Files = {
    "/usr/lib/sysimage/dpkg/status": STATUS + b"Package: ca-certificates\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n"
}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({DEBIAN: b""}, f"{DEBIAN} holds no certificate"),
        ({DEBIAN: b"\0" * 200_000}, f"{DEBIAN} holds no certificate"),
        ({DEBIAN: BUNDLE[:100]}, f"{DEBIAN} holds no certificate"),
        ({FEDORA: b"# none\n"}, f"{FEDORA} holds no certificate"),
        (WITH_PACKAGE, f"{DEBIAN} is not there, which ca-certificates makes"),
    ],
)
def test_a_bundle_without_a_certificate_is_named(files: Files, said: str, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, files)["certificates"]
    assert (finding.outcome, finding.message, finding.fatal) == (Outcome.NO, said, False)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {**WITH_PACKAGE, DEBIAN: BUNDLE},
        {FEDORA: BUNDLE.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"), "/etc/pki/tls/certs/ca-bundle.crt": FEDORA},
        {"/etc/ssl/ca-bundle.pem": "/var/lib/ca-certificates/ca-bundle.pem", "/etc/ssl/certs/own.pem": b""},
    ],
)
def test_certificates_where_they_are_or_are_none_are_good(files: Files, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, files)["certificates"]
    assert (finding.outcome, finding.message) == (Outcome.YES, finding.message)
