"""A recipe's `sources`: which archives serve which root, and locking from signed archives on loopback, plain, flat and broken ones."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from debian_archive import DebianArchive, serving
from test_judge import read_text
from tools_needed import needs

from aistack.commands.reading import with_keys
from aistack.compose.distros import debian as debian_text
from aistack.compose.lock import decode
from aistack.compose.recipe import SourceWish
from aistack.compose.sources import archives, indexes, is_module_sources, module_sources
from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts.pins import Archive
from aistack.facts.systems import Os
from aistack.host import apt, apt_sources, foreign, rootfs
from aistack.host.catalog_files import load_catalog
from aistack.host.store import Store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
WEB = (ROOT / "recipes/web-appliance.yaml").read_text()
URI = "https://packages.example/debian"


def named(sources: str, root: str = "base", os: str = "debian-13") -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Name, components and packages of the archives that serve a root."""
    recipe, _ = read_text(WEB + "sources:\n" + sources)
    system: Os = load_catalog().systems[os]
    found = archives(recipe.os, recipe.sources, root, system, system.suites)
    return [(archive.name, archive.components, archive.packages) for archive in found]


OWN = [(suite, ("main",), ()) for suite in ("trixie", "trixie-updates", "trixie-security")]


def test_a_suite_of_the_oss_own_comes_beside_the_others_and_its_packages_into_the_base() -> None:
    text = "- {kind: apt, suites: [trixie-backports], packages: [podman]}\n"
    assert named(text) == [*OWN, ("trixie-backports", ("main",), ("podman",))]
    assert named(text, "tools") == named(text, "app-web") == [*OWN, ("trixie-backports", ("main",), ())]
    assert named(text, "app-web", "debian-14") == [("forky", ("main",), ())]
    assert named("- {kind: apt, suites: [trixie], components: [contrib]}\n") == [("trixie", ("main", "contrib"), ()), *OWN[1:]]


def test_sources_of_modules_go_where_they_are_compiled_and_nothing_else_does() -> None:
    text = f"- {{kind: apt, uri: '{URI}', suites: [trixie], signed-by: a.asc, packages: [tool, habanalabs-dkms=1.2]}}\n"
    assert named(text) == [*OWN, (f"{URI} trixie", ("main",), ("tool",))]
    assert named(text, "modules") == [*OWN, (f"{URI} trixie", ("main",), ("habanalabs-dkms=1.2",))]
    recipe, _ = read_text(WEB + "sources:\n" + text)
    system = load_catalog().systems["debian-13"]
    for one in ("tool", "x-dkms"):  # the other root gets nothing from there but what no other archive has
        source = [dataclasses.replace(wish, packages=(one,)) for wish in recipe.sources]
        assert all(archives(recipe.os, source, root, system, system.suites)[-1].apart for root in ("base", "modules"))
    assert not archives(recipe.os, [dataclasses.replace(wish, packages=()) for wish in recipe.sources], "base", system, system.suites)[
        -1
    ].apart
    assert module_sources(recipe.sources, ("zfs-dkms", "zfsutils-linux"), "debian-13", recipe.os) == ("zfs-dkms", "habanalabs-dkms")
    packages = [package for system in load_catalog().systems.values() for driver in system.drivers for package in driver.modules]
    assert packages and all(map(is_module_sources, packages))


def test_an_address_takes_the_place_of_the_mirror() -> None:
    some = f"- {{kind: apt, uri: '{URI}/', suites: [trixie, trixie-updates]}}\n"
    assert [name for name, _, _ in named(some)] == [f"{URI} trixie", f"{URI} trixie-updates", "trixie-security"]
    whole = f"- {{kind: apt, uri: '{URI}', signed-by: ours.asc}}\n"
    assert [name for name, _, _ in named(whole, "tools")] == [f"{URI} trixie", f"{URI} trixie-updates", f"{URI} trixie-security"]
    other = f"- {{kind: apt, uri: '{URI}', os: debian-14}}\n"
    assert named(other) == OWN and named(other, "app-web", "debian-14") == [(f"{URI} forky", ("main",), ())]


def test_a_further_archive_serves_the_base_or_the_apps_that_it_names() -> None:
    base = f"- {{kind: apt, uri: '{URI}', suites: [trixie], signed-by: a.asc, packages: [tool]}}\n"
    assert named(base) == [*OWN, (f"{URI} trixie", ("main",), ("tool",))]
    assert named(base, "tools") == named(base, "app-web") == OWN
    app = f"- {{kind: apt, uri: '{URI}', suites: [./], signed-by: a.asc, packages: [tool=1], apps: [web]}}\n"
    again = f"- {{kind: apt, uri: '{URI}', suites: [trixie], signed-by: a.asc, components: [contrib], packages: [other]}}\n"
    assert named(base + again) == [*OWN, (f"{URI} trixie", ("main", "contrib"), ("tool", "other"))]
    assert named(app) == OWN and named(app, "app-web") == [*OWN, (f"{URI} ./", (), ("tool=1",))]


def test_indexes_are_asked_in_their_order_by_the_apps_that_they_are_for() -> None:
    sources = [SourceWish(kind="pip", uri="https://a.example"), SourceWish(kind="pip", uri="https://b.example", apps=("chat",))]
    assert indexes(sources, "chat") == ("https://a.example", "https://b.example")
    assert indexes(sources, "other") == ("https://a.example",)


def aistack(*arguments: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AISTACK_STORE": str(folder / "store"), **more}
    argv = [sys.executable, "-m", "aistack", *arguments]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (None, "No such file or directory"),
        (b"nothing like a key", "it holds no public key"),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----", "it holds a private key"),
    ],
)
def test_a_key_that_cannot_be_read_is_told_where_it_is_named(tmp_path: Path, key: bytes | None, said: str) -> None:
    if key is not None:
        (tmp_path / "a.asc").write_bytes(key)
    (tmp_path / "web.yaml").write_text(WEB + f"sources:\n  - {{kind: apt, uri: '{URI}', suites: [./], signed-by: a.asc}}\n")
    for verb in ("check", "lock"):
        done = aistack(verb, "web.yaml", folder=tmp_path)
        told = done.stdout + done.stderr
        assert done.returncode == ExitCode.NO and "error[REC009]" in told and said in told and " --> web.yaml:13:" in told, told


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> DebianArchive:
    """An archive that plays Debian: every package that a web appliance asks for, one of them newer in a suite that is not automatic."""
    needs("apt-get", "dpkg-deb", "gpg")
    folder = tmp_path_factory.mktemp("debian")
    archive = DebianArchive(folder)
    archive.add("floor", "1.0", fields="Essential: yes\n")
    for name in sorted({*debian_text.BASE, *debian_text.tools_packages("amd64"), "caddy"}):
        archive.add(name, "1:2.6.2-1" if name == "caddy" else "1.0")
    archive.add("linux-image-6.12.117-cloud-amd64", "6.12.117-1")
    archive.add("linux-image-cloud-amd64", "6.12.117-1", fields="Depends: linux-image-6.12.117-cloud-amd64\n")
    for suite in ("trixie", "trixie-updates", "trixie-security"):
        archive.publish(suite=suite)
    older = archive.packages["podman"]
    kept = older.read_bytes()
    archive.add("podman", "2.0")
    older.write_bytes(kept)  # its suite still offers it
    archive.publish(suite="trixie-backports", fields="NotAutomatic: yes\nButAutomaticUpgrades: yes\n")
    return archive


@pytest.fixture
def vendor(tmp_path: Path) -> DebianArchive:
    """A vendor's archive: a tool with what it needs, and two packages of Debian's in newer versions."""
    needs("apt-get", "dpkg-deb", "gpg")
    archive = DebianArchive(tmp_path / "vendor")
    archive.folder.mkdir()
    archive.add("tool", "1.10", fields="Depends: tool-data\n")
    archive.add("tool-data", "1.0")
    archive.add("floor", "9.0", fields="Essential: yes\n")
    archive.add("podman", "99.0")
    return archive


@pytest.fixture
def mirror(debian: DebianArchive, tmp_path: Path) -> Iterator[str]:
    """The lines under `sources` that put that archive in the place of Debian's mirror."""
    (tmp_path / "debian.gpg").write_bytes(debian.keyring.read_bytes())
    with debian.served() as uri:
        yield f"sources:\n  - {{kind: apt, uri: '{uri}', signed-by: debian.gpg}}\n"


def locked(tmp_path: Path, text: str) -> dict[str, dict[str, tuple[str, str]]]:
    """The roots of the recipe's lock, made now: name → (version, origin)."""
    (tmp_path / "web.yaml").write_text(text)
    done = aistack("lock", "web.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "web.lock.json").read_text())
    return {name: {one["name"]: (one["version"], one["origin"]) for one in root["packages"]} for name, root in document["roots"]}


@pytest.mark.system
@pytest.mark.parametrize("suite", ["trixie", "./"])
def test_a_whole_recipe_is_locked_from_named_archives_and_fetched_by_its_lock_alone(
    vendor: DebianArchive, mirror: str, tmp_path: Path, suite: str
) -> None:
    vendor.publish(suite=suite)
    with vendor.served() as uri:
        key = "".join(f"\n      {line}" for line in vendor.key.splitlines())
        source = f"  - kind: apt\n    uri: {uri}\n    suites: [{suite}]\n    packages: [tool]\n    signed-by: |{key}\n"
        roots = locked(tmp_path, WEB + mirror + source)
        flat = suite == "./"
        assert roots["base"]["tool"] == ("1.10", f"{uri} ./" if flat else f"{uri} trixie/main")
        assert roots["base"]["tool-data"][1] == roots["base"]["tool"][1]
        assert (roots["base"]["floor"][0], roots["base"]["podman"][0]) == ("1.0", "1.0")
        assert not {"tool", "tool-data"} & {*roots["tools"], *roots["app-web"]}
        lock = decode((tmp_path / "web.lock.json").read_bytes())
        (tmp_path / "web.yaml").unlink()
        base = lock.root("base")
        root = dataclasses.replace(base, packages=tuple(package for package in base.packages if package.name.startswith("tool")))
        apt.fetch(Store(tmp_path / "store"), root, environment={})
    assert all(Store(tmp_path / "store").has(package.sha256) for package in root.packages)


@pytest.mark.system
def test_what_is_named_comes_from_its_suite_and_nothing_else_does(debian: DebianArchive, mirror: str, tmp_path: Path) -> None:
    uri = mirror.partition("'")[2].partition("'")[0]
    backports = f"  - {{kind: apt, uri: '{uri}', suites: [trixie-backports]"
    (tmp_path / "debian.asc").write_text(debian.key)
    plain = locked(tmp_path, WEB + mirror + backports + ", signed-by: debian.asc}\n")
    assert plain["base"]["podman"] == ("1.0", f"{uri} trixie/main")
    taken = locked(tmp_path, WEB + mirror + backports + ", signed-by: debian.asc, packages: [podman]}\n")
    assert taken["base"]["podman"] == ("2.0", f"{uri} trixie-backports/main")
    assert {key: value for key, value in taken["base"].items() if key != "podman"} == {
        key: value for key, value in plain["base"].items() if key != "podman"
    }
    (tmp_path / "web.yaml").write_text(WEB + mirror + backports + ", signed-by: debian.asc, packages: [podman=3.0, pod]}\n")
    done = aistack("lock", "web.yaml", folder=tmp_path)
    assert done.returncode == ExitCode.UNABLE
    assert f"error[PKG005]: `podman=3.0` is not in `{uri} trixie-backports`" in done.stderr and "there in 2.0" in done.stderr
    assert "web.yaml:14:" in done.stderr


class Stopping(BaseHTTPRequestHandler):
    """Promises more than it sends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"Origin: ")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.mark.system
@pytest.mark.parametrize(
    ("broken", "rule", "said"),
    [
        ("wrong key", "PKG003", "the key that `signed-by:` names must be the one that signs"),
        ("no key", "PKG003", "an archive that is not the OS's own needs its key"),
        ("unsigned", "PKG003", "have no valid signature"),
        ("expired", "PKG003", "are out of date"),
        ("no such suite", "PKG004", "the folder that holds `dists/SUITE`"),
        ("stopped", "PKG004", "could not be fetched"),
    ],
)
def test_what_is_wrong_with_an_archive_is_told_where_the_recipe_names_it(
    debian: DebianArchive, vendor: DebianArchive, mirror: str, tmp_path: Path, broken: str, rule: str, said: str
) -> None:
    fields = "Valid-Until: Sun, 02 Nov 2025 00:00:00 UTC\n" if broken == "expired" else ""
    vendor.publish(suite="other" if broken == "no such suite" else "vendor", sign=broken != "unsigned", fields=fields)
    (tmp_path / "vendor.asc").write_text(debian.key if broken == "wrong key" else vendor.key)
    # A machine whose apt has no settings of its own: some do not look at dates.
    (tmp_path / "apt.conf").write_text('Dir::Etc::main "/none"; Dir::Etc::parts "/none"; Acquire::Retries "0";\n')
    with serving(Stopping) if broken == "stopped" else vendor.served() as uri:
        signed = "" if broken == "no key" else ", signed-by: vendor.asc"
        (tmp_path / "web.yaml").write_text(WEB + mirror + f"  - {{kind: apt, uri: '{uri}', suites: [vendor]{signed}, packages: [tool]}}\n")
        done = aistack("lock", "web.yaml", folder=tmp_path, APT_CONFIG=str(tmp_path / "apt.conf"))
    assert done.returncode == ExitCode.UNABLE
    told = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert len(told) == 1 and told[0].startswith(f"error[{rule}]: the package lists of `{uri} vendor` "), done.stderr
    assert said in done.stderr and " --> web.yaml:14:" in done.stderr, done.stderr
    assert not (tmp_path / "web.lock.json").exists()


def test_an_architecture_that_cannot_be_run_here_is_told() -> None:
    needs("dpkg")
    foreign.require_runnable(subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip())
    with pytest.raises(DiagnosticError) as caught:
        foreign.require_runnable("s390x-of-no-emulator")
    assert (caught.value.diagnostics[0].rule, caught.value.exit_code) == ("HOST023", ExitCode.UNABLE)
    assert "arch-test" in caught.value.diagnostics[0].hints[0]


def test_keys_are_read_armoured_or_not(vendor: DebianArchive, tmp_path: Path) -> None:
    vendor.publish()
    (tmp_path / "a.gpg").write_bytes(vendor.keyring.read_bytes())
    (tmp_path / "a.asc").write_text(vendor.key)
    for name in ("a.gpg", "a.asc"):
        recipe, root = read_text(WEB + f"sources: [{{kind: apt, uri: '{URI}', suites: [./], signed-by: {name}}}]\n")
        (source,) = with_keys(recipe, root, tmp_path).sources
        assert source.signed_by is not None
        shown = subprocess.run(["gpg", "--show-keys"], input=source.signed_by, capture_output=True, text=True, check=True).stdout
        assert "archive@example.org" in shown


def test_a_private_key_gets_into_no_lock() -> None:
    public, private = (
        f"-----BEGIN PGP {kind} KEY BLOCK-----\n\nAAAA\n-----END PGP {kind} KEY BLOCK-----\n" for kind in ("PUBLIC", "PRIVATE")
    )
    recipe, root = read_text(WEB + f"sources: [{{kind: apt, uri: '{URI}', suites: [./], signed-by: ours.asc}}]\n")

    def read(text: str, named: str = "ours.asc") -> str | None:
        (folder / "ours.asc").write_text(text)
        source = dataclasses.replace(recipe.sources[0], signed_by=named)
        return with_keys(dataclasses.replace(recipe, sources=(source,)), root, folder).sources[0].signed_by

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assert read(f"who: somebody\n{public}a note\n{public}") == public * 2
        for text in (public + private, private):
            for named in ("ours.asc", text):
                with pytest.raises(DiagnosticError) as caught:
                    read(text, named if "PUBLIC" in named else "ours.asc")
                assert caught.value.diagnostics[0].rule == "REC009" and "private key" in caught.value.diagnostics[0].message


@pytest.mark.system
def test_this_machines_own_mirror_gives_a_kernel_of_another_suite(tmp_path: Path) -> None:
    text = WEB + "sources: [{kind: apt, suites: [trixie-backports], packages: [linux-image-cloud-amd64]}]\n"
    base = locked(tmp_path, text)["base"]
    assert base["linux-image-cloud-amd64"][1] == "trixie-backports/main"
    assert "~bpo13" in base["linux-image-cloud-amd64"][0] and "~bpo" not in base["podman"][0]
    mirrors = {archive.uri for archive in apt_sources.locate([Archive(suite="trixie")], environment=os.environ)}
    assert not any(uri in (tmp_path / "web.lock.json").read_text() for uri in mirrors)


@pytest.mark.system
def test_a_foreign_architecture_is_locked_and_where_it_can_be_run_unpacked(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(WEB.replace("amd64", "arm64"))
    assert aistack("check", "web.yaml", folder=tmp_path).returncode == 0
    done = aistack("lock", "web.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lock = decode((tmp_path / "web.lock.json").read_bytes())
    for name, root in lock.roots:
        assert {package.arch for package in root.packages} <= {"arm64", "all"}, name
    assert lock.component("kernel").endswith("-cloud-arm64")
    assert "grub-efi-arm64-signed" in {package.name for package in lock.root("tools").packages}
    store = Store(tmp_path / "store")
    try:
        foreign.require_runnable("arm64")
    except DiagnosticError:
        built = aistack("build", "web.yaml", "--only", "app-image", folder=tmp_path)
        assert built.returncode == ExitCode.UNABLE and "error[HOST023]" in built.stderr
        return
    small = apt.resolve(store, [Archive(suite="trixie")], [], "arm64", "debian-13", environment=os.environ)
    apt.fetch(store, small, environment=os.environ)
    unpacked = rootfs.make_root(store, small)
    assert rootfs.enter(unpacked, ["uname", "-m"]).stdout.strip() == "aarch64"
    rootfs.remove_root(unpacked)
    shutil.rmtree(store.path)
