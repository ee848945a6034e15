"""What only a vendor's archive has: a fabric manager is named, judged, locked, laid into a layer; Gaudi's driver is told to be missing."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from debian_archive import DebianArchive
from test_judge import ROOT, errors, found, judged
from test_sources import aistack
from tools_needed import needs

from aistack.compose import grouping, render
from aistack.compose.distros import debian as debian_text
from aistack.compose.lock import decode
from aistack.diagnostics import DiagnosticError, ExitCode, Severity
from aistack.facts.catalog import Catalog
from aistack.facts.pins import Archive
from aistack.host import apt, debian, layers
from aistack.host.store import Store

H100 = (ROOT / "recipes/h100x8-training.yaml").read_text()
NAME, UNIT = "nvidia-fabricmanager-550", "usr/lib/systemd/system/nvidia-fabricmanager.service"
KERNEL = "linux-image-6.12.117+deb13-amd64"
SERVICE = """\
[Unit]
Description=fabric manager

[Service]
ExecStart=/usr/bin/nv-fabricmanager

[Install]
WantedBy=multi-user.target
"""


def vendors(packages: str, uri: str = "https://packages.example/nvidia", suite: str = "./") -> str:
    return f"sources:\n  - {{kind: apt, uri: '{uri}', suites: [{suite}], signed-by: vendor.asc, packages: [{packages}]}}\n"


def test_the_recipe_without_it_composes_and_is_told_the_setting(catalog: Catalog) -> None:
    judgement = judged(H100, catalog)
    told = found(judgement, "FB107")
    assert errors(judgement) == [] and told.severity is Severity.WARNING and judgement.stack is not None
    assert f"packages: [{NAME}=550.163.01-1]" in told.hints[0] and "signed-by" in told.hints[0]
    assert not [one for one in judged(H100.replace("count: 8", "count: 4"), catalog).diagnostics if one.rule == "FB107"]


@pytest.mark.parametrize(
    ("packages", "severity"),
    [
        (NAME, None),
        (f"{NAME}=550.163.01-1", None),
        (f"{NAME}=550.90.07-1", Severity.ERROR),
        ("nvidia-fabricmanager-535", Severity.ERROR),
        ("nvidia-fabricmanager=580.65.06-1", Severity.ERROR),
        ("libnvidia-nscq-550", Severity.WARNING),
    ],
)
def test_its_version_is_the_drivers(packages: str, severity: Severity | None, catalog: Catalog) -> None:
    told = [one.severity for one in judged(H100 + vendors(packages), catalog).diagnostics if one.rule == "FB107"]
    assert told == ([severity] if severity else [])


@pytest.mark.parametrize(("product", "said"), [("intel/gaudi2", "habanalabs/gaudi2"), ("intel/gaudi3", "habanalabs-dkms")])
def test_gaudi_is_refused_with_what_is_missing_and_the_setting(product: str, said: str, catalog: Catalog) -> None:
    text = re.sub(r"driver: .*\n", "", H100).replace("nvidia/h100-sxm-80gb", product)
    refused = judged(text, catalog)
    told = found(refused, "DV101")
    assert errors(refused) == ["DV101"] and said in told.why[0] and "sources: [{kind: apt" in told.hints[0]
    named = judged(text + vendors("habanalabs-modules"), catalog)
    assert found(named, "DV101").severity is Severity.UNKNOWN and errors(named) == []
    assert named.stack is not None and named.stack.driver is None


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, catalog: Catalog) -> Iterator[tuple[str, DebianArchive]]:
    """An archive that plays Debian: every package that the recipe asks for. Its address, and the archive."""
    needs("apt-get", "dpkg-deb", "gpg")
    archive = DebianArchive(tmp_path_factory.mktemp("debian"))
    stack = judged(H100, catalog).stack
    assert stack is not None and stack.driver is not None
    archive.add("floor", "1.0", fields="Essential: yes\n")
    asked = {*debian_text.BASE, *debian_text.tools_packages("amd64"), *stack.driver.packages, *stack.driver.modules, *stack.packages}
    for name in sorted({*asked, KERNEL.replace("image", "headers")}):
        archive.add(name, "1.0")
    archive.add(KERNEL, "6.12.117-1")
    archive.add("linux-image-amd64", "6.12.117-1", fields=f"Depends: {KERNEL}\n")
    for suite in ("trixie", "trixie-updates", "trixie-security"):
        archive.publish(suite=suite, fields="Components: main contrib non-free non-free-firmware\n")
    with archive.served() as uri:
        yield uri, archive


@pytest.fixture
def vendor(tmp_path: Path) -> DebianArchive:
    """A vendor's archive with a fabric manager of the driver's version, and a newer one."""
    needs("apt-get", "dpkg-deb", "gpg")
    archive = DebianArchive(tmp_path / "vendor")
    archive.folder.mkdir()
    older = archive.add(NAME, "550.163.01-1", files={UNIT: SERVICE, "usr/bin/nv-fabricmanager": "#!/bin/sh\n"})
    archive.packages["older"] = older
    kept = older.read_bytes()
    archive.add(NAME, "550.200.05-1")
    older.write_bytes(kept)
    return archive


def locked(folder: Path, mirror: tuple[str, DebianArchive], vendor: DebianArchive, package: str, uri: str, suite: str) -> tuple[int, str]:
    """Locks the recipe with Debian's and the vendor's archive; the exit code, and what was said."""
    (folder / "debian.gpg").write_bytes(mirror[1].keyring.read_bytes())
    (folder / "vendor.asc").write_text(vendor.key)
    own = f"  - {{kind: apt, uri: '{mirror[0]}', signed-by: debian.gpg}}\n"
    (folder / "h100.yaml").write_text(H100 + vendors(package, uri, suite) + own)
    done = aistack("lock", "h100.yaml", folder=folder)
    return done.returncode, done.stderr


@pytest.mark.system
@pytest.mark.parametrize("suite", ["vendor", "./"])
def test_it_is_locked_like_the_rest_and_a_changed_one_is_refused(
    mirror: tuple[str, DebianArchive], vendor: DebianArchive, tmp_path: Path, suite: str
) -> None:
    vendor.publish(suite=suite)
    with vendor.served() as uri:
        code, said = locked(tmp_path, mirror, vendor, f"{NAME}=550.163.01-1", uri, suite)
        assert code == 0 and "FB107" not in said, said
        lock = decode((tmp_path / "h100.lock.json").read_bytes())
        base = lock.root("base")
        (manager,) = (package for package in base.packages if package.name == NAME)
        assert (manager.version, manager.origin) == ("550.163.01-1", f"{uri} ./" if suite == "./" else f"{uri} vendor/main")
        assert {"rdma-core", "perftest"} <= {package.name for package in base.packages}
        assert [group for group, names in base.layers if NAME in names]
        deb = vendor.folder / "pool" / f"{NAME}_550.163.01-1_amd64.deb"
        whole = deb.read_bytes()
        deb.write_bytes(whole[:-1] + b"!")
        only = dataclasses.replace(base, packages=(manager,))
        with pytest.raises(DiagnosticError) as caught:
            apt.fetch(Store(tmp_path / "other"), only, environment={})
        told = caught.value.diagnostics[0]
        assert NAME in told.message and caught.value.exit_code == ExitCode.UNABLE, told
        deb.write_bytes(whole)
        apt.fetch(Store(tmp_path / "other"), only, environment={})
    assert Store(tmp_path / "other").has(manager.sha256)


@pytest.mark.system
def test_one_that_is_not_the_drivers_is_found_when_it_is_locked(
    mirror: tuple[str, DebianArchive], vendor: DebianArchive, tmp_path: Path
) -> None:
    vendor.publish(suite="./")
    with vendor.served() as uri:
        code, said = locked(tmp_path, mirror, vendor, NAME, uri, "./")
    assert code == ExitCode.NO and f"error[FB107]: {NAME} 550.200.05-1" in said and "driver 550.163.01" in said, said
    assert not (tmp_path / "h100.lock.json").exists()


@pytest.mark.system
def test_it_lies_in_the_layer_that_the_lock_names_and_starts_by_the_presets(vendor: DebianArchive, tmp_path: Path) -> None:
    """Beside systemd of the machine's own mirror, installed for real."""
    store = Store(tmp_path / "store")
    vendor.publish(suite="./")
    with vendor.served() as uri:
        theirs = Archive(uri=uri, suite="./", components=(), signed_by=vendor.key, packages=(f"{NAME}=550.163.01-1",))
        archives = [*(Archive(suite=suite) for suite in ("trixie", "trixie-updates", "trixie-security")), theirs]
        root = apt.resolve(store, archives, ["systemd"], "amd64", "debian-13", environment=os.environ)
        apt.fetch(store, root, environment=os.environ)
    root = dataclasses.replace(root, layers=grouping.group(root.packages))
    held = {}
    for layer in debian.build_layers(store, root, files=render.render_node(), script="systemctl preset-all --quiet"):
        blob = store.blob(layer.digest.removeprefix("sha256:"))
        data = subprocess.run(["zstd", "-dqc", str(blob)], capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(data)) as files:
            held[dict(layer.annotations)[layers.GROUP]] = set(files.getnames())
    (home,) = (group for group, names in root.layers if NAME in names)
    assert [group for group, names in held.items() if UNIT in names] == [home]
    assert "etc/systemd/system/multi-user.target.wants/nvidia-fabricmanager.service" in held["database"]
