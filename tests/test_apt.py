"""Packages: sources from a machine's own configuration, resolving and fetching with the real apt from an archive on disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from debian_archive import DebianArchive
from tools_needed import needs

from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts.pins import Archive
from aistack.host import apt, apt_sources
from aistack.host.store import Store

pytestmark = pytest.mark.slow

DEB822 = """\
# the main archive
Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main
Enabled: no
"""

ONE_LINE = """\
deb http://mirror.example/debian bookworm main contrib # the main archive
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://security.example/debian-security bookworm-security main
# deb http://off.example/debian sid main
"""

THIRD_PARTY = """\
Types: deb
URIs: https://vendor.example/linux/debian
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/vendor.gpg
"""

UBUNTU = """\
Types: deb
URIs: http://archive.example/ubuntu/
Suites: noble noble-updates
Components: main universe
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""


def own(*suites: str) -> list[Archive]:
    """Suites of this machine's own mirror."""
    return [Archive(suite=suite) for suite in suites]


def machine(folder: Path, files: dict[str, str], *, keyring: bool = True) -> Path:
    """A root folder with that apt configuration."""
    for name, text in files.items():
        target = folder / "etc/apt" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    if keyring:
        (folder / "usr/share/keyrings").mkdir(parents=True)
        (folder / "usr/share/keyrings/debian-archive-keyring.gpg").touch()
    return folder


@pytest.mark.parametrize("files", [{"sources.list.d/debian.sources": DEB822}, {"sources.list": ONE_LINE}])
def test_suites_are_put_in_the_place_of_the_machines_own(tmp_path: Path, files: dict[str, str]) -> None:
    root = machine(tmp_path, files)
    found = apt_sources.locate(own("trixie", "trixie-updates", "trixie-security"), environment={}, root=root)
    assert [(archive.uri, archive.suite, archive.components) for archive in found] == [
        ("http://mirror.example/debian", "trixie", ("main",)),
        ("http://mirror.example/debian", "trixie-updates", ("main",)),
        ("http://security.example/debian-security", "trixie-security", ("main",)),
    ]
    assert all(archive.signed_by.endswith("/usr/share/keyrings/debian-archive-keyring.gpg") for archive in found)


def test_a_vendors_archive_for_the_same_suite_is_not_debians(tmp_path: Path) -> None:
    root = machine(tmp_path, {"sources.list.d/a.sources": THIRD_PARTY, "sources.list.d/debian.sources": DEB822})
    (found,) = apt_sources.locate(own("forky"), environment={}, root=root)
    assert found.uri == "http://mirror.example/debian"
    only = machine(tmp_path / "only", {"sources.list.d/a.sources": THIRD_PARTY})
    with pytest.raises(DiagnosticError):
        apt_sources.locate(own("forky"), environment={}, root=only)


def test_the_release_file_decides_where_it_is_known(tmp_path: Path) -> None:
    line = "deb http://cache.example/some/mirror bookworm main\n"
    root = machine(tmp_path, {"sources.list": line}, keyring=False)
    with pytest.raises(DiagnosticError):
        apt_sources.locate(own("trixie"), environment={}, root=root)
    lists = root / "var/lib/apt/lists"
    lists.mkdir(parents=True)
    release = lists / "cache.example_some_mirror_dists_bookworm_InRelease"
    release.write_text("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nLabel: Debian\n")
    (found,) = apt_sources.locate(own("trixie"), environment={}, root=root)
    assert found.uri == "http://cache.example/some/mirror"
    release.write_text("Origin: Somebody Else\n")
    with pytest.raises(DiagnosticError):
        apt_sources.locate(own("trixie"), environment={}, root=root)


def test_a_list_of_mirrors_is_read(tmp_path: Path) -> None:
    text = "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: bookworm\nComponents: main\n"
    files = {"sources.list.d/debian.sources": text, "mirrors/debian.list": "# ours\nhttps://mirror.example/debian/ priority:1\n"}
    (found,) = apt_sources.locate(own("trixie"), environment={}, root=machine(tmp_path, files))
    assert found.uri == "https://mirror.example/debian"


def test_the_environments_proxy_reaches_apt_and_nobody_else_reads_it(tmp_path: Path) -> None:
    needs("apt-config")
    environment = {"https_proxy": "http://user:secret@proxy.example:3128", "no_proxy": "localhost,.inside.example"}
    found = apt.isolated(Store(tmp_path), [], "amd64", environment=environment)
    said = subprocess.run(["apt-config", "dump"], env=found.environment, capture_output=True, text=True, check=True).stdout
    assert 'Acquire::https::Proxy "http://user:secret@proxy.example:3128";' in said
    assert 'Acquire::https::Proxy::inside.example "DIRECT";' in said
    assert "Post-Invoke" not in said
    assert found.config.stat().st_mode & 0o077 == 0


def test_an_ubuntu_machine_is_told_which_setting_to_make(tmp_path: Path) -> None:
    root = machine(tmp_path, {"sources.list.d/ubuntu.sources": UBUNTU})
    with pytest.raises(DiagnosticError) as caught:
        apt_sources.locate(own("trixie-security"), environment={}, root=root)
    assert caught.value.exit_code is ExitCode.UNABLE
    (diagnostic,) = caught.value.diagnostics
    assert "noble" in " ".join(diagnostic.why)
    assert "AISTACK_APT_DEBIAN_SECURITY" in " ".join(diagnostic.hints)
    environment = {"AISTACK_APT_DEBIAN": "http://mirror.example/debian/", "AISTACK_APT_DEBIAN_SECURITY": "http://security.example/s"}
    found = apt_sources.locate(own("trixie", "trixie-security"), environment=environment, root=root)
    assert [archive.uri for archive in found] == ["http://mirror.example/debian", "http://security.example/s"]


def test_a_rendered_archive_is_read_back_as_it_was() -> None:
    key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----"
    archive = Archive(uri="http://mirror.example/debian", suite="trixie", components=("main", "contrib"), signed_by=key)
    (again,) = apt_sources.parse(apt_sources.stanza(archive), one_line=False)
    assert (again.uri, again.suite, again.components) == (archive.uri, archive.suite, archive.components)
    assert again.signed_by.replace("\n.\n", "\n\n").strip() == key


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("E: The repository 'http://m.example trixie InRelease' is not signed.", "package-lists-not-trusted"),
        ("E: Release file for http://m.example/InRelease is expired (invalid since 3d 1h).", "package-lists-not-trusted"),
        ("E: Failed to fetch http://m.example/InRelease  Could not resolve 'm.example'", "package-lists-unreachable"),
    ],
)
def test_apts_words_become_a_diagnostic(said: str, name: str) -> None:
    anywhere = apt.Apt(folder=Path(), config=Path(), archives=(), located=(), arch="amd64")
    error = apt.update_failed(said, anywhere)
    assert error.exit_code is ExitCode.UNABLE
    assert error.diagnostics[0].name == name
    assert error.diagnostics[0].why == (said,)


@pytest.fixture
def debian(tmp_path: Path) -> Iterator[DebianArchive]:
    needs("apt-get", "dpkg-deb", "gpg")
    archive = DebianArchive(tmp_path / "archive")
    archive.folder.mkdir()
    archive.add("floor", "1.0", fields="Essential: yes\n")
    archive.add("library", "2.0-1")
    archive.add("extra", "1.0")
    archive.add("tool", "1:3.0", fields="Depends: library (>= 2)\nRecommends: extra\n")
    archive.publish()
    yield archive


def test_a_root_is_resolved_and_fetched_by_digest(debian: DebianArchive, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    archives = [debian.archive()]
    root = apt.resolve(store, archives, ["tool"], "amd64", "debian-13", environment={})
    assert [(package.name, package.version, package.origin) for package in root.packages] == [
        ("floor", "1.0", f"{debian.uri} trixie/main"),
        ("library", "2.0-1", f"{debian.uri} trixie/main"),
        ("tool", "1:3.0", f"{debian.uri} trixie/main"),
    ]
    arrived: list[int] = []
    apt.fetch(store, root, environment={}, advance=arrived.append)
    assert sum(arrived) == sum(package.size for package in root.packages)
    assert all(store.has(package.sha256) for package in root.packages)
    assert apt.missing(store, root) == ()
    shutil.rmtree(debian.folder / "pool")
    apt.fetch(store, root, environment={})  # everything is there: nothing is asked for


def test_an_unknown_package_is_named(debian: DebianArchive, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(DiagnosticError) as caught:
        apt.resolve(store, [debian.archive()], ["tol"], "amd64", "debian-13", environment={})
    assert caught.value.diagnostics[0].message == f"`tol` is not in {debian.uri} trixie"
    with pytest.raises(DiagnosticError) as caught:
        apt.resolve(store, [debian.archive()], ["tool=9"], "amd64", "debian-13", environment={})
    assert caught.value.diagnostics[0].message == f"`tool` 9 is not in {debian.uri} trixie"
    assert caught.value.diagnostics[0].hints == ("tool is there in 1:3.0",)


def test_an_archive_that_was_mended_is_asked_again_where_its_older_lists_give_no_answer(debian: DebianArchive, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")

    def resolved(*wanted: str) -> set[str]:
        return {package.name for package in apt.resolve(store, archives, wanted, "amd64", "debian-13", environment={}).packages}

    with debian.served() as uri:
        archives = [replace(debian.archive(), uri=uri)]
        lists = apt.isolated(store, archives, "amd64", environment={})
        assert apt.update(lists) is True
        debian.mend("vendor")
        assert "tool" in resolved("tool")
        assert apt.versions(store, archives, ["vendor"], "amd64", environment={}) == {}  # nobody asked again
        assert "vendor" in resolved("vendor")
        assert apt.update(lists) is False


def test_an_archive_that_is_gone_by_then_leaves_what_its_lists_said(debian: DebianArchive, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with debian.served() as uri:
        archives = [replace(debian.archive(), uri=uri)]
        apt.resolve(store, archives, ["tool"], "amd64", "debian-13", environment={})
        shutil.rmtree(debian.folder / "dists")
        with pytest.raises(DiagnosticError) as caught:
            apt.resolve(store, archives, ["vendor"], "amd64", "debian-13", environment={})
    assert caught.value.diagnostics[0].message == f"`vendor` is not in {uri} trixie"


def test_packages_that_cannot_be_together_are_told_in_apts_words(debian: DebianArchive, tmp_path: Path) -> None:
    debian.add("rival", "1.0", fields="Conflicts: library\n")
    debian.publish()
    with pytest.raises(DiagnosticError) as caught:
        apt.resolve(Store(tmp_path / "store"), [debian.archive()], ["tool", "rival"], "amd64", "debian-13", environment={})
    assert caught.value.diagnostics[0].name == "packages-conflict"
    assert "rival" in " ".join(caught.value.diagnostics[0].why)


def test_a_package_that_the_mirror_replaced_is_told_with_its_successor(debian: DebianArchive, tmp_path: Path) -> None:
    store, archives = Store(tmp_path / "store"), [debian.archive()]
    root = apt.resolve(store, archives, ["tool"], "amd64", "debian-13", environment={})
    debian.add("library", "2.0-2")
    debian.publish()
    with pytest.raises(DiagnosticError) as caught:
        apt.fetch(store, root, environment={})
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.message == "the archive no longer has `library` 2.0-1"
    assert diagnostic.why[0] == f"now in {debian.uri} trixie/main: 2.0-2"
    assert "aistack lock RECIPE --upgrade library" in diagnostic.hints


@pytest.mark.slow  # apt tries a silent mirror again
def test_a_package_that_a_mirror_lists_and_lacks_is_no_matter_of_the_network(debian: DebianArchive, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with debian.served() as uri:
        archives = [replace(debian.archive(), uri=uri)]
        root = apt.resolve(store, archives, ["tool"], "amd64", "debian-13", environment={})
        debian.packages["library"].unlink()
        with pytest.raises(DiagnosticError) as lacking:
            apt.fetch(store, root, environment={})
    with pytest.raises(DiagnosticError) as silent:
        apt.fetch(store, root, environment={})
    for caught, hint in ((lacking, "use another mirror"), (silent, "check the network")):
        (diagnostic,) = caught.value.diagnostics
        assert diagnostic.rule == "PKG011" and "could not be fetched" in diagnostic.message and hint in diagnostic.hints[0], diagnostic


def test_changed_bytes_never_reach_the_store(debian: DebianArchive, tmp_path: Path) -> None:
    store, archives = Store(tmp_path / "store"), [debian.archive()]
    root = apt.resolve(store, archives, ["tool"], "amd64", "debian-13", environment={})
    deb = debian.packages["library"]
    deb.write_bytes(deb.read_bytes()[:-1] + b"!")
    with pytest.raises(DiagnosticError):
        apt.fetch(store, root, environment={})
    assert "library" in {package.name for package in apt.missing(store, root)}


def test_an_unsigned_archive_is_refused(debian: DebianArchive, tmp_path: Path) -> None:
    debian.publish(sign=False)
    with pytest.raises(DiagnosticError) as caught:
        apt.resolve(Store(tmp_path / "store"), [debian.archive()], ["tool"], "amd64", "debian-13", environment={})
    assert caught.value.diagnostics[0].name == "package-lists-not-trusted"


@pytest.mark.system
def test_this_machines_own_mirror_resolves_a_suite(tmp_path: Path) -> None:
    archives = own("trixie", "trixie-updates", "trixie-security")
    root = apt.resolve(Store(tmp_path), archives, ["zstd"], "amd64", "debian-13", environment=os.environ)
    names = {package.name for package in root.packages}
    assert {"zstd", "libzstd1", "libc6", "dpkg"} <= names
    assert "apt" not in names
    assert [package.name for package in root.packages] == sorted(names)
