"""A locked root moved as little as can be, with the real apt: against a small archive on disk, and against this machine's mirror."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from debian_archive import DebianArchive
from tools_needed import needs

from aistack.compose.distros import debian as debian_text
from aistack.diagnostics import DiagnosticError
from aistack.facts.pins import Archive, LockedRoot
from aistack.host import apt, apt_upgrade
from aistack.host.catalog_files import load_catalog
from aistack.host.store import Store

pytestmark = pytest.mark.slow

WANTED = ("kernel", "tool")


@pytest.fixture
def debian(tmp_path: Path) -> DebianArchive:
    """A kernel by the way of a metapackage, as Debian has it, and a tool with a library."""
    needs("apt-get", "dpkg-deb", "gpg")
    archive = DebianArchive(tmp_path / "archive")
    archive.folder.mkdir()
    archive.add("floor", "1.0", fields="Essential: yes\n")
    archive.add("kernel", "6.1", fields="Depends: kernel-6.1\n")
    archive.add("kernel-6.1", "6.1-1")
    archive.add("library", "2.0", fields="Depends: part\n")
    archive.add("part", "1.0")
    archive.add("tool", "3.0", fields="Depends: library (>= 2)\n")
    archive.publish()
    return archive


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def locked(debian: DebianArchive, store: Store) -> LockedRoot:
    return apt.resolve(store, [debian.archive()], WANTED, "amd64", "debian-13", environment={})


def upgrade(debian: DebianArchive, store: Store, root: LockedRoot, *names: str, wanted: tuple[str, ...] = WANTED) -> dict[str, str]:
    fresh = apt.isolated(store, [debian.archive()], "amd64", environment={})
    (fresh.folder / "updated").unlink()
    found = apt_upgrade.upgrade(store, [debian.archive()], root, wanted, names, environment={})
    assert found.wanted == wanted
    assert [package.name for package in found.packages] == sorted(package.name for package in found.packages)
    return {package.name: package.version for package in found.packages}


def newer(debian: DebianArchive) -> None:
    """Everything has a newer version, and the archive keeps no older one."""
    del debian.packages["kernel-6.1"]
    debian.add("kernel", "6.2", fields="Depends: kernel-6.2\n")
    debian.add("kernel-6.2", "6.2-1")
    debian.add("library", "2.1")
    debian.add("part", "1.1")
    debian.add("tool", "3.1", fields="Depends: library (>= 2.1)\n")
    debian.add("floor", "1.1", fields="Essential: yes\n")
    debian.publish()


def test_a_package_that_an_archive_has_by_now_is_found(debian: DebianArchive, store: Store) -> None:
    with debian.served() as uri:
        archives = [dataclasses.replace(debian.archive(), uri=uri)]
        root = apt.resolve(store, archives, WANTED, "amd64", "debian-13", environment={})
        debian.mend("more")
        found = apt_upgrade.upgrade(store, archives, root, [*WANTED, "more"], (), environment={})
    assert {package.name: package.version for package in found.packages}["more"] == "1.0"


def test_only_what_is_named_moves_and_the_older_kernel_goes(debian: DebianArchive, store: Store) -> None:
    root = locked(debian, store)
    apt.fetch(store, root, environment={})
    newer(debian)
    before = {package.name: package.version for package in root.packages}
    moved = upgrade(debian, store, root, "kernel")
    assert moved == {name: version for name, version in before.items() if name != "kernel-6.1"} | {"kernel": "6.2", "kernel-6.2": "6.2-1"}


def test_what_a_package_needs_newer_moves_with_it_and_what_nothing_needs_goes(debian: DebianArchive, store: Store) -> None:
    root = locked(debian, store)
    apt.fetch(store, root, environment={})
    newer(debian)
    moved = upgrade(debian, store, root, "tool")
    assert moved == {"floor": "1.0", "kernel": "6.1", "kernel-6.1": "6.1-1", "library": "2.1", "tool": "3.1"}


def test_a_wish_that_grew_or_shrank_moves_nothing_else(debian: DebianArchive, store: Store) -> None:
    root = locked(debian, store)
    apt.fetch(store, root, environment={})
    newer(debian)
    debian.add("extra", "1.0")
    debian.publish()
    before = {package.name: package.version for package in root.packages}
    assert upgrade(debian, store, root, wanted=("extra", *WANTED)) == before | {"extra": "1.0"}
    assert upgrade(debian, store, root, wanted=("kernel",)) == {"floor": "1.0", "kernel": "6.1", "kernel-6.1": "6.1-1"}


def test_what_the_mirror_forgot_and_the_store_lacks_is_named_and_mended(debian: DebianArchive, store: Store) -> None:
    root = locked(debian, store)
    newer(debian)
    with pytest.raises(DiagnosticError) as caught:
        upgrade(debian, store, root, "kernel", "kernel-6.1", "floor", "tool")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.message == "the archive no longer has `library` 2.0, nor 1 other locked packages, and the store does not hold it"
    assert diagnostic.why == ("`library` 2.0: now 2.1", "`part` 1.0: now 1.1")
    assert diagnostic.hints[0] == "aistack lock RECIPE --upgrade library --upgrade part"
    everything = [package.name for package in root.packages]
    assert upgrade(debian, store, root, *everything) == {
        "floor": "1.1",
        "kernel": "6.2",
        "kernel-6.2": "6.2-1",
        "library": "2.1",
        "tool": "3.1",
    }


def test_a_newer_package_that_cannot_be_had_is_told_in_apts_words(debian: DebianArchive, store: Store) -> None:
    root = locked(debian, store)
    debian.add("tool", "3.1", fields="Depends: library (>= 9)\n")
    debian.publish()
    apt.fetch(store, dataclasses.replace(root, packages=root.packages[:-1]), environment={})
    with pytest.raises(DiagnosticError) as caught:
        upgrade(debian, store, root, "tool")
    assert caught.value.diagnostics[0].name == "packages-conflict"


@pytest.mark.system
def test_a_base_of_the_point_release_upgraded_whole_is_the_base_of_today(tmp_path: Path) -> None:
    """With the real mirror: moving every package gives what resolving afresh gives; moving the kernel alone gives that and nothing else."""
    store, environment = Store(tmp_path), os.environ
    wanted = (*debian_text.base_packages(load_catalog().systems["debian-13"]), "linux-image-cloud-amd64")
    older, today = ([Archive(suite=suite) for suite in suites] for suites in (SUITES[:1], SUITES))
    root = apt.resolve(store, older, wanted, "amd64", "debian-13", environment=environment)
    fresh = apt.resolve(store, today, wanted, "amd64", "debian-13", environment=environment)
    whole = apt_upgrade.upgrade(store, today, root, wanted, [package.name for package in root.packages], environment=environment)
    assert whole == fresh
    kernel = apt_upgrade.upgrade(store, today, root, wanted, ["linux-image-cloud-amd64"], environment=environment)
    moved = {package.name for package in set(kernel.packages) ^ set(root.packages)}
    assert all(name.startswith("linux-image-") for name in moved), moved
    assert {package for package in kernel.packages if package.name.startswith("linux-image-")} <= set(fresh.packages)


SUITES = ("trixie", "trixie-updates", "trixie-security")
