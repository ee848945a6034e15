"""A further archive that names packages gives those and what they need from there, with the real apt and archives on loopback."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from debian_archive import DebianArchive
from tools_needed import needs

from aistack.facts.pins import Archive, LockedRoot
from aistack.host import apt, apt_apart, apt_upgrade
from aistack.host.store import Store

pytestmark = pytest.mark.slow

WANTED = ("smi", "shell")
OWN = {"floor": "1.0", "ml": "550", "shell": "5.2", "smi": "550"}
"""What the OS gives of itself."""
THEIRS = {"data": "1.0", "library": "2.0", "tool": "1.0"}
"""What is named of the vendor's, and what that needs."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def debian(tmp_path: Path) -> DebianArchive:
    """The OS's: a program that needs a library of exactly its own version."""
    needs("apt-get", "dpkg-deb", "gpg")
    archive = archive_at(tmp_path / "debian")
    archive.add("floor", "1.0", fields="Essential: yes\n")
    archive.add("ml", "550")
    archive.add("smi", "550", fields="Depends: ml (= 550)\n")
    archive.add("shell", "5.2")
    archive.add("library", "1.0")
    archive.publish()
    return archive


@pytest.fixture
def vendor(tmp_path: Path) -> DebianArchive:
    """A vendor's: newer versions of nearly everything beside the tool that is wanted, its Release file as the OS's has it."""
    archive = archive_at(tmp_path / "vendor")
    archive.add("floor", "9.0", fields="Essential: yes\n")
    archive.add("basis", "9.0", fields="Essential: yes\n")
    archive.add("ml", "580")
    archive.add("shell", "99.0")
    archive.add("data", "1.0")
    archive.add("library", "2.0")
    archive.add("tool", "1.0", fields="Depends: data, library (>= 2)\n")
    return archive


def archive_at(folder: Path) -> DebianArchive:
    folder.mkdir()
    return DebianArchive(folder)


@pytest.fixture
def own(debian: DebianArchive) -> Iterator[Archive]:
    with debian.served() as uri:
        yield dataclasses.replace(debian.archive(), uri=uri)


@pytest.fixture(params=["trixie", "./"])
def further(request: pytest.FixtureRequest, vendor: DebianArchive) -> Iterator[Archive]:
    """The vendor's at the same host, with the same names in its Release file, or flat and with none."""
    suite: str = request.param
    vendor.publish(suite=suite)
    with vendor.served() as uri:
        components = () if suite == "./" else ("main",)
        yield Archive(uri=uri, suite=suite, components=components, signed_by=str(vendor.keyring), packages=("tool",), apart=True)


def versions(root: LockedRoot) -> dict[str, str]:
    return {package.name: package.version for package in root.packages}


def resolved(store: Store, *archives: Archive, wanted: tuple[str, ...] = WANTED) -> LockedRoot:
    return apt.resolve(store, archives, wanted, "amd64", "debian-13", environment={})


def test_what_is_named_comes_with_what_it_needs_and_nothing_else_does(own: Archive, further: Archive, store: Store) -> None:
    root = resolved(store, own, further)
    assert versions(root) == OWN | THEIRS
    assert {package.origin for package in root.packages if package.name in THEIRS} == set(further.origins)
    assert {package.origin for package in root.packages if package.name in OWN} == set(own.origins)
    apt.fetch(store, root, environment={})
    assert apt.missing(store, root) == ()


def test_a_named_version_comes_alone_and_what_it_needs_is_named_too(own: Archive, further: Archive, store: Store) -> None:
    exact = dataclasses.replace(further, packages=("tool=1.0", "library"))
    assert versions(resolved(store, own, exact)) == OWN | THEIRS


def test_an_archive_that_names_nothing_is_as_good_as_any(own: Archive, further: Archive, store: Store) -> None:
    root = resolved(store, own, dataclasses.replace(further, packages=(), apart=False), wanted=("shell", "tool"))
    assert versions(root) == THEIRS | {"basis": "9.0", "floor": "9.0", "shell": "99.0"}


def test_two_archives_that_name_packages_are_told_apart(own: Archive, further: Archive, store: Store, tmp_path: Path) -> None:
    third = archive_at(tmp_path / "third")
    third.add("tool", "3.0")
    third.add("data", "3.0")
    third.add("probe", "1.0", fields="Depends: data\n")
    third.publish(suite=further.suite)
    with ExitStack() as stack:
        other = dataclasses.replace(further, uri=stack.enter_context(third.served()), signed_by=str(third.keyring), packages=("probe",))
        found = versions(resolved(store, own, further, other))
    assert found.items() >= (OWN | {"tool": "1.0", "library": "2.0", "probe": "1.0"}).items()


def test_an_upgrade_keeps_to_it(own: Archive, further: Archive, store: Store, vendor: DebianArchive) -> None:
    root = resolved(store, own, further)
    apt.fetch(store, root, environment={})
    vendor.add("tool", "2.0", fields="Depends: data (>= 2)\n")
    vendor.add("data", "2.0")
    vendor.mend("more", suite=further.suite)
    wanted = (*WANTED, "tool")

    def moved(*names: str) -> dict[str, str]:
        (apt.isolated(store, [own, further], "amd64", environment={}).folder / "updated").unlink(missing_ok=True)
        return versions(apt_upgrade.upgrade(store, [own, further], root, wanted, names, environment={}))

    assert moved() == moved("shell", "floor", "ml") == OWN | THEIRS
    assert moved("tool") == OWN | {"tool": "2.0", "data": "2.0"}
    assert moved("tool", "data", *OWN) == OWN | {"tool": "2.0", "data": "2.0"}


def test_lists_that_are_fetched_again_are_shown_again(own: Archive, further: Archive, store: Store, vendor: DebianArchive) -> None:
    apart = apt.isolated(store, [own, further], "amd64", environment={})
    apt.update(apart)
    (apart.folder / "shown/gone").touch()
    vendor.mend("late", suite=further.suite)
    apt.update(apart, fresh_seconds=0)
    assert "late" in apt.versions(store, [own, further], ["late"], "amd64", environment={})
    shown, fetched = (
        {file.name for file in folder.iterdir() if file.is_file()} for folder in (apart.folder / "shown", apart.folder / "lists")
    )
    assert shown == fetched - {"lock"}


def test_a_flat_archive_at_an_address_above_the_oss_own_changes_nothing_of_it(tmp_path: Path) -> None:
    """The names of its lists begin with what the OS's begin with."""
    fetched, shown = tmp_path / "fetched", tmp_path / "shown"
    texts = {"host_m_debian_Packages": "Package: a\nEssential: yes\n", "host_m_Packages": "Package: b\nEssential: yes\n"}
    for folder in (fetched, shown):
        folder.mkdir()
    for name, text in texts.items():
        (fetched / name).write_text(text)
    apt_apart.show(fetched, shown, {"host_m_": "apart-1", "host_m_debian_": None})
    assert {file.name: file.read_text() for file in shown.iterdir()} == texts | {"host_m_Packages": "Package: b\n"}


def test_which_archives_stand_apart() -> None:
    first = Archive(uri="https://a.example", suite="trixie", signed_by="a.gpg", packages=("x",), apart=True)
    updates, other = (dataclasses.replace(first, suite=suite, packages=("y",)) for suite in ("trixie-updates", "forky"))
    backports, plain = Archive(suite="trixie-backports", packages=("z",)), Archive(uri="https://b.example", suite="./", signed_by="b.gpg")
    assert apt_apart.codenames([first, updates, backports, plain]) == {}
    names = dataclasses.replace(plain, apart=True)
    assert [*apt_apart.codenames([first, updates, names, other])] == [names.name, other.name]
    assert len({*apt_apart.codenames([first, updates, names, other]).values()}) == 2
    assert apt_apart.codenames([]) == {}
