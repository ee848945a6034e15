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
from pathlib import Path

from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, unable
from aistack.facts.pins import Archive, LockedPackage, LockedRoot
from aistack.facts.version import Scheme, newest_first
from aistack.host import apt_apart, apt_sources, apt_words, deb, process
from aistack.host.store import Store, digest
from aistack.values import dataclass

PRINT = ("apt-get", "install", "--print-uris", "-o", "Acquire::ForceHash=SHA256", "--no-install-recommends", "-q")
"""apt-get that says what it would fetch, and does nothing."""

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
    """An isolated apt: `folder` holds its whole state, `config` its configuration file.

    `lists` below it are as they were fetched; where an archive stands apart (`apt_apart`), apt is shown those in `shown`.
    `located` are the same archives with the addresses and keys that they have on this machine.
    """

    folder: Path
    config: Path
    archives: tuple[Archive, ...]
    located: tuple[Archive, ...]
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
    located = apt_sources.locate(archives, environment=environment)
    text = "\n".join(map(apt_sources.stanza, located))
    store.prepare()
    apart = apt_apart.codenames(archives)
    folder = store.path / "apt" / hashlib.sha256(json.dumps([text, arch, *apart.items()]).encode()).hexdigest()[:24]
    for part in ("etc/preferences.d", "etc/trusted.gpg.d", "lists/partial", "shown/partial", "cache/archives/partial", "log"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # a proxy's address may hold a password
    (folder / "status").touch()
    _replace(folder / "etc/sources.sources", text)
    settings = {
        "Dir": "/",
        "Dir::State": str(folder),
        "Dir::State::lists": str(folder / ("shown" if apart else "lists")),
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
    return Apt(folder=folder, config=config, archives=tuple(archives), located=located, arch=arch)


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


def update(apt: Apt, *, fresh_seconds: float = FRESH_SECONDS) -> bool:
    """Fetch the package lists, signatures checked, unless that was done less than `fresh_seconds` ago; whether they were fetched."""
    stamp = apt.folder / "updated"
    with (apt.folder / "lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)  # another process may be at it: wait, then find the lists fresh
        if stamp.exists() and 0 <= time.time() - stamp.stat().st_mtime < fresh_seconds:
            return False
        stamp.unlink(missing_ok=True)
        lists = apt.folder / "lists"
        argv = ["apt-get", "update", "--error-on=any", "-q", "-o", f"Dir::State::lists={lists}"]
        done = process.run(argv, check=False, env=apt.environment, timeout=900)
        if done.returncode != 0:
            raise update_failed(done.stdout + done.stderr, apt)
        if apart := apt_apart.codenames(apt.archives):
            stems = {target.stem: apart.get(target.archive.name) for target in _targets(apt, lists)}
            apt_apart.show(lists, apt.folder / "shown", stems)
        stamp.touch()
    return True


def of_lists(apt: Apt, ask: Callable[[], LockedRoot]) -> LockedRoot:
    """The answer of the package lists; where older ones give none (DiagnosticError), that of new ones: an archive may have been mended."""
    fetched = update(apt)
    try:
        return ask()
    except DiagnosticError as error:
        if fetched:
            raise
        try:
            update(apt, fresh_seconds=0)
        except DiagnosticError:
            raise error from None
    return ask()


def update_failed(said: str, apt: Apt) -> DiagnosticError:
    """What apt's words mean: a diagnostic for each archive that they are about, by its name."""
    if "No space left" in said:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(apt.folder))
    lines = tuple(line for line in said.splitlines() if line.startswith(("E:", "W:", "Err:")))
    found: list[Diagnostic] = []
    for archive, located in zip(apt.archives, apt.located, strict=True):
        # `URI SUITE InRelease` in most messages, `URI/dists/SUITE/InRelease` in others; a flat archive has no other suite.
        about = re.escape(located.uri) + (r"[/ ]" if archive.suite.endswith("/") else rf"/?(?:dists/| ){re.escape(archive.suite)}[/ ]")
        if own := tuple(line for line in lines if re.search(about, line)):
            found += apt_words.list_problem(own, f"`{archive.name}`", apt_words.key_hint(archive))
    names = ", ".join(archive.name for archive in apt.archives)
    return DiagnosticError(tuple(found) or apt_words.list_problem(lines, names, apt_words.KEYRING_HINT), ExitCode.UNABLE)


def resolve(
    store: Store, archives: Sequence[Archive], wanted: Sequence[str], arch: str, os: str, *, environment: Mapping[str, str]
) -> LockedRoot:
    """What a root of the essential packages and `wanted` (`NAME` or `NAME=VERSION`) consists of, chosen by apt, recommendations left out.

    Sorted by name; raises DiagnosticError (exit 3) with apt's own words where there is no answer.
    """
    apt = isolated(store, archives, arch, environment=environment)

    def ask() -> LockedRoot:
        specs = {re.split("[=/]", spec)[0]: spec for spec in (*wanted, *taken(apt))}
        done = process.run([*PRINT, "?essential", *specs.values()], check=False, env=apt.environment, timeout=300)
        if done.returncode != 0:
            raise resolve_failed(done.stdout + done.stderr, apt, tuple(specs.values()))
        return LockedRoot(arch=arch, os=os, packages=chosen(apt, done.stdout), wanted=tuple(wanted), archives=tuple(archives))

    return of_lists(apt, ask)


def chosen(apt: Apt, said: str) -> tuple[LockedPackage, ...]:
    """The packages that an apt-get called with PRINT would fetch, sorted by name; `said` is its output."""
    named = dict(re.findall(r"^'[^']+' (\S+) \d+ SHA256:(\w+)$", said, re.MULTILINE))
    offered = {package.sha256: package for _, package in reversed([*listed(apt, {name.partition("_")[0] for name in named})])}
    if unlisted := sorted(name for name, sha256 in named.items() if sha256 not in offered):
        raise unable("PKG005", "package-not-found", f"apt chose `{unlisted[0]}`, which no package list describes by its sha256")
    return tuple(sorted((offered[sha256] for sha256 in named.values()), key=lambda package: (package.name, package.version, package.arch)))


def taken(apt: Apt) -> Iterator[str]:
    """How to ask for each package that is taken from one archive: `NAME/CODENAME`, or `NAME=VERSION` of the newest that it has.

    apt follows the first into what the package needs from there, but knows an archive by the names in its Release file alone.
    """
    wanted = {name.partition("=")[0] for archive in apt.archives for name in archive.packages}
    found = list(listed(apt, wanted)) if wanted else []
    codenames = {target.archive.name: target.codename for target in _targets(apt)} if wanted else {}
    for spec in dict.fromkeys(spec for archive in apt.archives for spec in archive.packages):
        name, _, version = spec.partition("=")
        sources = [archive for archive in apt.archives if spec in archive.packages]
        versions = [package.version for archive, package in found if archive in sources and package.name == name]
        if not versions or (version and version not in versions):
            raise unable(
                "PKG005",
                "package-not-found",
                f"`{spec}` is not in {', '.join(f'`{archive.name}`' for archive in sources)}",
                hints=(f"{name} is there in {', '.join(sorted(set(versions)))}",) if versions else ("check the name's spelling",),
            )
        codename = codenames[sources[0].name]
        if codename and not version and len(sources) == 1 and [*codenames.values()].count(codename) == 1:
            yield f"{name}/{codename}"
        else:
            yield f"{name}={version or newest_first(versions, Scheme.DEBIAN)[0]}"


def resolve_failed(said: str, apt: Apt, wanted: Sequence[str]) -> DiagnosticError:
    lines = tuple(line.strip() for line in said.splitlines() if line.startswith(("E:", " ")) and line.strip())[:12]
    suites = ", ".join(archive.name for archive in apt.archives)
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
    named = any(archive.packages for archive in apt.archives)
    hints = ("a package that a source gives may need others from there: name them in its `packages:` too",) if named else ()
    message = f"apt finds no set of packages for {len(wanted)} wanted ones in {suites}"
    return unable("PKG010", "packages-conflict", message, why=lines, hints=hints)


def versions(
    store: Store, archives: Sequence[Archive], names: Sequence[str], arch: str, *, environment: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """The versions of packages that the archives offer, as the lists have them."""
    apt = isolated(store, archives, arch, environment=environment)
    update(apt)
    return _versions(apt, set(names))


def matching(
    store: Store, archives: Sequence[Archive], pattern: str, arch: str, *, environment: Mapping[str, str]
) -> tuple[tuple[Archive, LockedPackage], ...]:
    """The packages whose whole names match a regular expression, each with the archive that lists it, in the order of the archives."""
    apt = isolated(store, archives, arch, environment=environment)
    update(apt)
    lines = re.compile(rf"^Package: ({pattern})$", re.MULTILINE)
    names = {name for target in _targets(apt) for name in lines.findall(target.file.read_text(errors="replace"))}
    return tuple(listed(apt, names))


def _versions(apt: Apt, names: set[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for _, package in listed(apt, names):
        found.setdefault(package.name, set()).add(package.version)
    return {name: tuple(sorted(versions)) for name, versions in sorted(found.items())}


def listed(apt: Apt, names: set[str]) -> Iterator[tuple[Archive, LockedPackage]]:
    """Packages of those names in the fetched lists, each with the archive that lists it, in the order of the archives."""
    for target, block in stanzas(apt, names):
        (fields,) = deb.stanzas(block)
        archive = target.archive
        yield (
            archive,
            LockedPackage(
                name=fields["package"],
                version=fields["version"],
                arch=fields["architecture"],
                sha256=fields.get("sha256", ""),
                size=int(fields["size"]),
                origin=f"{archive.name}/{target.component}" if archive.components else archive.name,
                filename=fields["filename"],
                source=_source(fields),
            ),
        )


def stanzas(apt: Apt, names: set[str]) -> Iterator[tuple[Target, str]]:
    """The stanzas of packages of those names in the fetched lists, as written, each with its list, in the order of the archives."""
    for target in _targets(apt):
        try:
            text = target.file.read_text(errors="replace")
        except OSError as error:
            raise unable("PKG004", "package-lists-unreachable", f"a package list cannot be read: {error}") from error
        for block in text.split("\n\n"):
            head = block[: block.find("\n")] if "\n" in block else block
            if head.removeprefix("Package: ") in names:
                yield target, block


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A package list that was fetched: `codename` is what its Release file calls the archive, `stem` how the names of its files begin."""

    archive: Archive
    file: Path
    component: str
    codename: str
    stem: str


def _targets(apt: Apt, lists: Path | None = None) -> list[Target]:
    """The package lists that apt is shown, or those in another folder, in the order of the archives."""
    places = {(apt_sources.bare(located.uri), located.suite): order for order, located in enumerate(apt.located)}
    form = "$(REPO_URI)|$(RELEASE)|$(FILENAME)|$(COMPONENT)|$(CODENAME)|$(METAKEY)"
    argv = ["apt-get", "indextargets", "--format", form, "Created-By: Packages", *(("-o", f"Dir::State::lists={lists}") if lists else ())]
    found = []
    for line in process.run(argv, env=apt.environment).stdout.splitlines():
        uri, suite, file, component, codename, key = line.split("|", 5)
        order = places[
            apt_sources.bare(uri), suite or "/"
        ]  # apt calls the flat suite `/` nothing, and what a Release file lacks by the question
        codename = "" if codename.startswith("$") else codename
        stem = Path(file).name.removesuffix(key.replace("_", "%5f").replace("/", "_"))
        archive = apt.archives[order]
        found.append((order, Target(archive=archive, file=Path(file), component=component, codename=codename, stem=stem)))
    return [target for _, target in sorted(found, key=lambda pair: pair[0])]


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
    apt = isolated(store, root.archives, root.arch, environment=environment)
    with store.scratch() as folder:
        for start in range(0, len(absent), BATCH):
            batch = absent[start : start + BATCH]
            argv = [str(helper), "-q", "download-file"]
            for package in batch:
                argv += [_address(package, apt), str(folder / package.sha256), f"SHA256:{package.sha256}"]
            done = process.run(argv, check=False, env=apt.environment, timeout=3600)
            for package in batch:
                file = folder / package.sha256
                if not file.is_file() or digest(file) != package.sha256:
                    raise _fetch_failed(package, done.stdout + done.stderr, apt)
                store.adopt(file, package.sha256)
                advance(package.size)


def _address(package: LockedPackage, apt: Apt) -> str:
    for archive, located in zip(apt.archives, apt.located, strict=True):
        if package.origin in archive.origins:
            uri = re.sub(r"^file:", "copy:", located.uri)  # a mirror on a disk: apt would only name its file, not bring it
            return f"{uri}/{package.filename}"
    raise unable(
        "PKG002", "no-package-source", f"the lock names no archive `{package.origin}`, which `{package.name}` {package.version} is from",
        why=(f"archives: {', '.join(archive.name for archive in apt.archives) or 'none'}",),
    )  # fmt: skip


def _fetch_failed(package: LockedPackage, said: str, apt: Apt) -> DiagnosticError:
    lines = tuple(line for line in said.splitlines() if line.startswith(("E:", "Err:", "W:")))[:6]
    try:
        update(apt, fresh_seconds=0)
        offered = [one for _, one in listed(apt, {package.name})]
    except DiagnosticError as error:
        offered = [package]
        lines += tuple(diagnostic.message for diagnostic in error.diagnostics)
    if any(one.sha256 == package.sha256 for one in offered):
        hints = ("check the network and the proxy (`apt-config dump | grep -i proxy`)",)
        if re.search(r"\b(404|410) ", said) or "File not found" in said:
            hints = ("the archive lists this package and lacks its file: use another mirror of it, or wait until this one is whole",)
        return unable("PKG011", "package-unreachable", f"`{package.name}` {package.version} could not be fetched", why=lines, hints=hints)
    now = sorted({one.version for one in offered if one.origin == package.origin})
    return unable(
        "PKG012",
        "package-gone",
        f"the archive no longer has `{package.name}` {package.version}",
        why=(f"now in {package.origin}: {', '.join(now) if now else 'no such package'}", *lines),
        hints=(f"aistack lock RECIPE --upgrade {package.name}", "or name an archive that keeps old packages in the recipe, in `sources:`"),
    )
