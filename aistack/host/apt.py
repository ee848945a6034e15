"""Debian packages: which ones a wish needs, resolved by apt itself in isolation, and fetching them into the store by digest.

The host's packages, lists and hooks are never touched or run; its proxies, timeouts and credentials are honoured.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aistack.diagnostics import DiagnosticError, unable
from aistack.facts.pins import LockedPackage, LockedRoot
from aistack.host import deb, process
from aistack.host.apt_sources import Archive
from aistack.host.store import Store, digest

FRESH_SECONDS = 3600
BATCH = 24
HELPERS = (Path("/usr/lib/apt/apt-helper"), Path("/usr/libexec/apt/apt-helper"))
# What of the host's configuration reaches the isolated apt: how to connect and what to trust, never hooks or preferences.
INHERITED = re.compile(
    r"^Acquire::(http|https|ftp|socks5h|Retries|ForceIPv4|ForceIPv6|Check-Valid-Until|Check-Date|Max-ValidTime|Min-ValidTime|By-Hash|PDiffs)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Apt:
    """An isolated apt: `folder` holds its whole state, `config` its configuration file."""

    folder: Path
    config: Path
    archives: tuple[Archive, ...]
    arch: str

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of its programs."""
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "APT_CONFIG": str(self.config),
            "DEBIAN_FRONTEND": "noninteractive",
        }


def isolated(store: Store, archives: Sequence[Archive], arch: str, *, environment: Mapping[str, str]) -> Apt:
    """An apt of our own below the store, for these archives and this architecture; nothing is fetched yet."""
    process.require("apt-get", "apt")
    text = "\n".join(archive.render() for archive in archives)
    key = hashlib.sha256(json.dumps([text, arch]).encode()).hexdigest()[:24]
    store.prepare()
    folder = store.path / "apt" / key
    for part in ("etc/preferences.d", "etc/trusted.gpg.d", "lists/partial", "cache/archives/partial", "log"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # a proxy's address may hold a password
    (folder / "status").touch()
    _replace(folder / "etc/sources.sources", text)
    settings = {
        "Dir": "/",
        "Dir::State": str(folder),
        "Dir::State::lists": str(folder / "lists"),
        "Dir::State::status": str(folder / "status"),
        "Dir::State::extended_states": str(folder / "extended_states"),
        "Dir::Cache": str(folder / "cache"),
        "Dir::Log": str(folder / "log"),
        "Dir::Etc": str(folder / "etc"),
        "Dir::Etc::main": "none.conf",
        "Dir::Etc::parts": "none.d",
        "Dir::Etc::sourcelist": str(folder / "etc/sources.sources"),
        "Dir::Etc::sourceparts": "none.d",
        "Dir::Etc::preferences": "none",
        "Dir::Etc::preferencesparts": str(folder / "etc/preferences.d"),
        "Dir::Etc::trusted": "/etc/apt/trusted.gpg",
        "Dir::Etc::trustedparts": "/etc/apt/trusted.gpg.d",
        "Dir::Etc::netrc": "/etc/apt/auth.conf",
        "Dir::Etc::netrcparts": "/etc/apt/auth.conf.d",
        "APT::Architecture": arch,
        "pkgCacheGen::ForceEssential": ",",  # apt counts itself as essential otherwise
        "APT::Install-Recommends": "false",
        "APT::Install-Suggests": "false",
        "APT::Get::Show-Versions": "false",
        "APT::Sandbox::User": "root",
        "APT::Color": "false",
        "Acquire::Languages": "none",
        "Acquire::GzipIndexes": "false",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::Retries": "3",
        "Dpkg::Use-Pty": "false",
    }
    lines = [f"{name} {_quoted(value)};" for name, value in settings.items()]
    lines += [f"APT::Architectures {{ {_quoted(arch)}; }};", *_inherited(environment)]
    config = folder / "apt.conf"
    _replace(config, "\n".join(lines) + "\n")
    return Apt(folder=folder, config=config, archives=tuple(archives), arch=arch)


def _replace(path: Path, text: str) -> None:
    """Write a file that another process may be reading, for its owner's eyes only."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as out:
        out.write(text)
    Path(out.name).replace(path)


def _quoted(value: str) -> str:
    return '"' + value.replace('"', "%22") + '"'


def _inherited(environment: Mapping[str, str]) -> Iterator[str]:
    for line in process.run(["apt-config", "dump"]).stdout.splitlines():
        if INHERITED.match(line):
            yield line
    for scheme in ("http", "https"):
        # The environment's proxy speaks where apt's own configuration is silent, as apt itself has it.
        proxy = environment.get(f"{scheme}_proxy") or environment.get(f"{scheme.upper()}_PROXY")
        if proxy and process.run(["apt-config", "shell", "set", f"Acquire::{scheme}::Proxy"]).stdout.strip() == "":
            yield f"Acquire::{scheme}::Proxy {_quoted(proxy)};"
            for host in (environment.get("no_proxy") or environment.get("NO_PROXY") or "").replace(",", " ").split():
                if re.fullmatch(r"[\w.-]+", host):
                    yield f'Acquire::{scheme}::Proxy::{host.lstrip(".")} "DIRECT";'


def update(apt: Apt, *, fresh_seconds: float = FRESH_SECONDS) -> None:
    """Fetch the package lists, signatures checked, unless that was done less than `fresh_seconds` ago."""
    stamp = apt.folder / "updated"
    with (apt.folder / "lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)  # another process may be at it: wait, then find the lists fresh
        if stamp.exists() and 0 <= time.time() - stamp.stat().st_mtime < fresh_seconds:
            return
        stamp.unlink(missing_ok=True)
        done = process.run(["apt-get", "update", "--error-on=any", "-q"], check=False, env=apt.environment, timeout=900)
        if done.returncode != 0:
            raise update_failed(done.stdout + done.stderr, apt)
        stamp.touch()


def update_failed(said: str, apt: Apt) -> DiagnosticError:
    lines = tuple(line for line in said.splitlines() if line.startswith(("E:", "W:", "Err:")))[:8]
    hints: tuple[str, ...]
    suites = ", ".join(archive.suite for archive in apt.archives)
    if re.search(r"NO_PUBKEY|couldn't be verified|not signed|BADSIG|EXPKEYSIG|no signature", said, re.IGNORECASE):
        hints = ("install a newer debian-archive-keyring on this machine",)
        return unable(
            "PKG003", "package-lists-not-trusted", f"the package lists of {suites} have no valid signature", why=lines, hints=hints
        )
    if "is not valid yet" in said or "expired" in said.lower():
        hints = ("check this machine's clock", "use a mirror that is kept up to date")
        return unable("PKG003", "package-lists-not-trusted", f"the package lists of {suites} are out of date", why=lines, hints=hints)
    if "No space left" in said:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(apt.folder))
    hints = (
        "check the network and the proxy (`apt-config dump | grep -i proxy`)",
        "with a filled store, `aistack build --offline` needs no network",
    )
    return unable("PKG004", "package-lists-unreachable", f"the package lists of {suites} could not be fetched", why=lines, hints=hints)


def resolve(
    store: Store, archives: Sequence[Archive], wanted: Sequence[str], arch: str, os: str, *, environment: Mapping[str, str]
) -> LockedRoot:
    """What a root of the essential packages and `wanted` (`NAME` or `NAME=VERSION`) consists of, chosen by apt, recommendations left out.

    Sorted by name; raises DiagnosticError (exit 3) with apt's own words where there is no answer.
    """
    apt = isolated(store, archives, arch, environment=environment)
    update(apt)
    argv = ["apt-get", "install", "--simulate", "--no-install-recommends", "-q", "?essential", *wanted]
    done = process.run(argv, check=False, env=apt.environment, timeout=300)
    if done.returncode != 0:
        raise resolve_failed(done.stdout + done.stderr, apt, wanted)
    return LockedRoot(arch=arch, os=os, packages=chosen(apt, done.stdout), wanted=tuple(wanted))


def chosen(apt: Apt, said: str) -> tuple[LockedPackage, ...]:
    """The packages that a simulated apt-get would install, sorted by name; `said` is its output."""
    found = {
        (match[1].partition(":")[0], match[2], match[3])
        for match in re.finditer(r"^Inst (\S+) (?:\[\S+\] )?\((\S+) .*\[(\S+)\]\)", said, re.MULTILINE)
    }
    index = described(apt, {name for name, _, _ in found})
    for key in sorted(found - index.keys()):
        raise unable("PKG005", "package-not-found", f"apt chose `{key[0]}` {key[1]} {key[2]}, which no package list describes")
    return tuple(index[key] for key in sorted(found))


def resolve_failed(said: str, apt: Apt, wanted: Sequence[str]) -> DiagnosticError:
    lines = tuple(line.strip() for line in said.splitlines() if line.startswith(("E:", " ")) and line.strip())[:12]
    suites = ", ".join(archive.suite for archive in apt.archives)
    unknown = re.findall(r"Unable to locate package (\S+)|Version '(\S+)' for '(\S+)' was not found", said)
    if unknown:
        names = ", ".join(f"`{name}`" if name else f"`{other}` {version}" for name, version, other in unknown)
        hints = tuple(
            f"{name} is there in {', '.join(versions)}"
            for name, versions in _versions(apt, {other for _, _, other in unknown if other}).items()
        )
        return unable(
            "PKG005", "package-not-found", f"{names} is not in {suites}", why=lines, hints=hints or ("check the name's spelling",)
        )
    return unable("PKG010", "packages-conflict", f"apt finds no set of packages for {len(wanted)} wanted ones in {suites}", why=lines)


def versions(
    store: Store, archives: Sequence[Archive], names: Sequence[str], arch: str, *, environment: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """The versions of packages that the archives offer, as the lists have them."""
    apt = isolated(store, archives, arch, environment=environment)
    update(apt)
    return _versions(apt, set(names))


def _versions(apt: Apt, names: set[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for package in described(apt, names).values():
        found.setdefault(package.name, []).append(package.version)
    return {name: tuple(sorted(set(versions))) for name, versions in sorted(found.items())}


def described(apt: Apt, names: set[str]) -> dict[tuple[str, str, str], LockedPackage]:
    """Packages of those names in the fetched lists, by (name, version, architecture); the archive that is named first wins."""
    found: dict[tuple[str, str, str], LockedPackage] = {}
    for block, origin in stanzas(apt, names):
        (fields,) = deb.stanzas(block)
        package = LockedPackage(
            name=fields["package"],
            version=fields["version"],
            arch=fields["architecture"],
            sha256=fields["sha256"],
            size=int(fields["size"]),
            origin=origin,
            filename=fields["filename"],
            source=_source(fields),
        )
        found.setdefault((package.name, package.version, package.arch), package)
    return found


def stanzas(apt: Apt, names: set[str]) -> Iterator[tuple[str, str]]:
    """The stanzas of packages of those names in the fetched lists, as written, with their origin (`SUITE/COMPONENT`)."""
    argv = ["apt-get", "indextargets", "--format", "$(FILENAME)|$(RELEASE)|$(COMPONENT)", "Created-By: Packages"]
    targets = [line.split("|") for line in process.run(argv, env=apt.environment).stdout.splitlines()]
    order = [archive.suite for archive in apt.archives]
    targets.sort(key=lambda target: order.index(target[1]) if target[1] in order else len(order))
    for filename, suite, component in targets:
        try:
            text = Path(filename).read_text(errors="replace")
        except OSError as error:
            raise unable("PKG004", "package-lists-unreachable", f"a package list cannot be read: {error}") from error
        for block in text.split("\n\n"):
            head = block[: block.find("\n")] if "\n" in block else block
            if head.removeprefix("Package: ") in names:
                yield block, f"{suite}/{component}"


def _source(fields: Mapping[str, str]) -> str:
    """Name and version of the source package: the field `Source` names it where it differs (deb-control(5))."""
    name, _, version = fields.get("source", fields["package"]).partition(" ")
    return f"{name} {version.strip('()') or fields['version']}"


def missing(store: Store, root: LockedRoot) -> tuple[LockedPackage, ...]:
    """The packages of a root that the store does not hold."""
    return tuple(package for package in root.packages if not store.has(package.sha256))


def fetch(
    store: Store,
    root: LockedRoot,
    archives: Sequence[Archive],
    *,
    environment: Mapping[str, str],
    advance: Callable[[int], None] = lambda size: None,
) -> None:
    """Bring every missing package of `root` into the store, each checked against its sha256; `advance` is told of bytes that arrived."""
    absent = missing(store, root)
    if not absent:
        return
    helper = next((path for path in HELPERS if path.exists()), None)
    if helper is None:
        raise unable("HOST001", "tool-missing", "`apt-helper` is not installed", hints=("apt-get install apt",))
    apt = isolated(store, archives, root.arch, environment=environment)
    with _batches(store) as folder:
        for start in range(0, len(absent), BATCH):
            batch = absent[start : start + BATCH]
            argv = [str(helper), "-q", "download-file"]
            for package in batch:
                argv += [_address(package, archives), str(folder / package.sha256), f"SHA256:{package.sha256}"]
            done = process.run(argv, check=False, env=apt.environment, timeout=3600)
            for package in batch:
                file = folder / package.sha256
                if not file.is_file() or digest(file) != package.sha256:
                    raise _fetch_failed(package, done.stdout + done.stderr, apt)
                store.adopt(file, package.sha256)
                advance(package.size)


@contextmanager
def _batches(store: Store) -> Iterator[Path]:
    with store.scratch() as folder:
        yield folder


def _address(package: LockedPackage, archives: Sequence[Archive]) -> str:
    suite, _, _ = package.origin.rpartition("/")
    archive = next((archive for archive in archives if archive.suite == suite), None)
    if archive is None:
        raise unable(
            "PKG002", "no-package-source", f"no package source for `{suite}`, from which `{package.name}` {package.version} is locked",
            why=(f"sources: {', '.join(archive.suite for archive in archives) or 'none'}",),
        )  # fmt: skip
    uri = re.sub(r"^file:", "copy:", archive.uri)  # a mirror on a disk: apt would only name its file, not bring it
    return f"{uri}/{package.filename}"


def _fetch_failed(package: LockedPackage, said: str, apt: Apt) -> DiagnosticError:
    lines = tuple(line for line in said.splitlines() if line.startswith(("E:", "Err:", "W:")))[:6]
    try:
        update(apt, fresh_seconds=0)
        offered = described(apt, {package.name})
    except DiagnosticError as error:
        offered = {(package.name, package.version, package.arch): package}
        lines += tuple(diagnostic.message for diagnostic in error.diagnostics)
    if (package.name, package.version, package.arch) in offered:
        hints = ("check the network and the proxy (`apt-config dump | grep -i proxy`)",)
        return unable("PKG011", "package-unreachable", f"`{package.name}` {package.version} could not be fetched", why=lines, hints=hints)
    now = sorted({version for _, version, _ in offered})
    return unable(
        "PKG012",
        "package-gone",
        f"the mirror no longer has `{package.name}` {package.version}",
        why=(f"now in {package.origin}: {', '.join(now) if now else 'no such package'}", *lines),
        hints=(f"aistack lock RECIPE --upgrade {package.name}", "or name an archive that keeps old packages in the recipe, in `sources:`"),
    )
