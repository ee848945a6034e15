"""Python wheels: resolved by uv for another Python and platform, pinned by sha256, fetched into the store.

The indexes are this machine's own: uv's configuration where it has one, else pip's, handed to uv in the environment, because an index's
address may hold a password and a command line is public.
"""

from __future__ import annotations

import netrc
import os
import re
import sys
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from aistack.diagnostics import DiagnosticError, unable
from aistack.facts.pins import LockedWheel
from aistack.host import process, python_parts
from aistack.host.store import Store

PLATFORMS = {"amd64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
"""uv's platform for an architecture: glibc 2.28 is older than that of any OS in the catalog."""

SECONDS = 180.0
UV_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A wheel and where the index says it can be had."""

    wheel: LockedWheel
    url: str


def lock(
    requirements: Sequence[str], *, python: str, arch: str, environment: Mapping[str, str] = os.environ, only: bool = False
) -> tuple[LockedWheel, ...]:
    """Resolve requirements (`vllm==0.19.1`) and all they need for Python `python` (`3.13`) on `arch`; wheels only, sorted by name.

    With `only`, what they need is left out. Raises DiagnosticError (exit 3) when uv, an index or a wheel for that platform is missing.
    """
    return tuple(found.wheel for found in find(requirements, python=python, arch=arch, environment=environment, only=only))


def find(
    requirements: Sequence[str], *, python: str, arch: str, environment: Mapping[str, str] = os.environ, only: bool = False
) -> tuple[Found, ...]:
    """What `lock` gives, each with its address."""
    return tuple(sorted(_resolve(requirements, python, arch, environment, only), key=lambda found: found.wheel.name))


def fetch(
    store: Store,
    wheels: Sequence[LockedWheel],
    *,
    python: str,
    arch: str,
    environment: Mapping[str, str] = os.environ,
    offline: bool = False,
    advance: Callable[[str, int, int | None], None] | None = None,
) -> None:
    """Bring the wheels that the store lacks into it, each checked by its sha256. Raises DiagnosticError (exit 3)."""
    missing = [wheel for wheel in wheels if not store.has(wheel.sha256)]
    if not missing:
        return
    if offline:
        raise unable(
            "WHL003", "wheel-not-fetched", f"{len(missing)} locked wheels are not in the store, `{missing[0].filename}` first",
            hints=("build once without `--offline`",),
        )  # fmt: skip
    wanted = [f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}" for wheel in missing]
    urls = {found.wheel.sha256: found.url for found in _resolve(wanted, python, arch, environment, True)}
    arrived, total = 0, sum(wheel.size for wheel in missing)
    for wheel in missing:
        if wheel.sha256 not in urls:
            raise unable(
                "WHL004", "wheel-gone", f"no index offers `{wheel.filename}` with the locked sha256",
                why=(f"sha256: {wheel.sha256}",), hints=("aistack lock RECIPE",),
            )  # fmt: skip
        download(store, urls[wheel.sha256], wheel.filename, wheel.sha256, environment)
        arrived += wheel.size
        if advance:
            advance(f"fetching {len(missing)} wheels", arrived, total)


def install_files(store: Store, wheels: Sequence[LockedWheel], folder: Path, *, environment: Mapping[str, str] = os.environ) -> None:
    """Install the wheels, from the store and without any index, into `folder` as a site-packages directory, nothing compiled."""
    with store.scratch() as scratch:
        names = []
        for wheel in wheels:
            link = scratch / wheel.filename
            link.symlink_to(store.blob(wheel.sha256).resolve())
            names.append(str(link))
        argv = [
            _uv(), "pip", "install", "--quiet", "--no-config", "--offline", "--no-deps", "--no-index", "--link-mode=copy", "--no-cache",
            f"--target={folder}", *_target(wheels), *names,
        ]  # fmt: skip
        process.run(argv, env={**environment, "UV_PYTHON_DOWNLOADS": "never"}, timeout=1800)
        (folder / ".lock").unlink(missing_ok=True)


def _target(wheels: Sequence[LockedWheel]) -> list[str]:
    # A wheel for another Python is refused by default; which Python the wheels are for is in the compiled ones' names.
    versions = {match[1] for wheel in wheels if (match := re.search(r"-cp3(\d+)-(?!abi3)", wheel.filename))}
    platform = "aarch64" if any("aarch64" in wheel.filename for wheel in wheels) else "x86_64"
    return [f"--python-platform={platform}-manylinux_2_28", *([f"--python-version=3.{versions.pop()}"] if len(versions) == 1 else [])]


def members(path: Path, wanted: Callable[[str], bool]) -> tuple[str, ...]:
    """The names of a wheel's files that are wanted; names that would leave a folder are refused."""
    with zipfile.ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
    for name in names:
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise unable("WHL005", "wheel-unsafe", f"`{path.name}` holds the path `{name}`")
    return tuple(name for name in names if wanted(name))


def _resolve(requirements: Sequence[str], python: str, arch: str, environment: Mapping[str, str], only: bool) -> list[Found]:
    settings = {**environment, **indexes(environment), "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
    argv = [
        _uv(), "pip", "compile", "--quiet", "--no-header", "--format=pylock.toml", "--generate-hashes", "--only-binary=:all:",
        f"--python={sys.executable}",
        f"--python-version={python}", f"--python-platform={PLATFORMS[arch]}", *(["--no-deps"] if only else []), "-",
    ]  # fmt: skip
    done = process.run(argv, input="\n".join(requirements) + "\n", env=settings, check=False, timeout=900)
    if done.returncode != 0:
        said = tuple(line.strip() for line in done.stderr.splitlines() if line.strip())
        raise unable(
            "WHL001", "wheels-unresolved", f"no set of wheels fits {', '.join(one.split(' ')[0] for one in requirements)}",
            why=tuple(_without_secrets(line) for line in said[-12:]),
            hints=("the indexes are those of uv's or pip's own configuration: see `pip config list`",),
        )  # fmt: skip
    found = []
    for package in tomllib.loads(done.stdout).get("packages", []):
        offered = package.get("wheels", [])
        if not offered:
            raise unable("WHL002", "no-wheel", f"`{package['name']}` {package.get('version')} has no wheel for Python {python} on {arch}")
        # uv lists every wheel of a release that fits the platform; the first is the one that it would install.
        one = offered[0] if len(offered) == 1 else _best(offered, python)
        url = str(one.get("url") or Path(one["path"]).resolve().as_uri())
        size = one.get("size")
        wheel = LockedWheel(
            name=package["name"],
            version=package["version"],
            filename=unquote(urlsplit(url).path.rpartition("/")[2]),
            sha256=one["hashes"]["sha256"],
            size=int(size) if size is not None else _size(url, environment),
        )
        found.append(Found(wheel=wheel, url=url))
    return found


def _best(offered: Sequence[Mapping[str, Any]], python: str) -> Mapping[str, Any]:
    exact = f"-cp{python.replace('.', '')}-"
    return next((one for one in offered if exact in str(one.get("url", one.get("path")))), offered[0])


def indexes(environment: Mapping[str, str]) -> dict[str, str]:
    """What uv has to be told about indexes: nothing where it has its own settings, else what pip's configuration says."""
    if any(environment.get(name) for name in UV_INDEXES):
        return {}
    configured = _pip_configuration(environment)
    told: dict[str, str] = {}
    if main := configured.get("index-url"):
        told["UV_DEFAULT_INDEX"] = main[-1]
    if extra := configured.get("extra-index-url"):
        told["UV_INDEX"] = " ".join(extra)
        told["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip's way: the best version of all indexes
    if links := configured.get("find-links"):
        told["UV_FIND_LINKS"] = ",".join(links)
    if (certificate := configured.get("cert")) and "SSL_CERT_FILE" not in environment:
        told["SSL_CERT_FILE"] = certificate[-1]
    return told


def _pip_configuration(environment: Mapping[str, str]) -> dict[str, list[str]]:
    done = None
    for argv in ([sys.executable, "-m", "pip", "config", "list"], ["pip3", "config", "list"]):
        if argv[0] == "pip3" and process.find("pip3") is None:
            break
        done = process.run(argv, check=False, env=environment, timeout=60)
        if done.returncode == 0:
            break
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines() if done is not None and done.returncode == 0 else ():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in ("global", "install", "download", ":env:"):
            found[key] = value.strip("'\"").replace("\\n", " ").split()
    return found


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else process.find("uv")
    if found is None:
        raise unable("HOST001", "tool-missing", "`uv` is not installed", hints=(python_parts.mend(),))
    return found


def opener_for(url: str, environment: Mapping[str, str]) -> tuple[urllib.request.OpenerDirector, str]:
    """What opens an address, and the address without its password: that comes from the address, the configured index or ~/.netrc."""
    parts = urlsplit(url)
    credentials = (unquote(parts.username or ""), unquote(parts.password or "")) if parts.username else None
    told = {**environment, **indexes(environment)}
    for name in UV_INDEXES:
        for index in told.get(name, "").replace(",", " ").split():
            other = urlsplit(index.partition("=")[2] if re.match(r"\w+=", index) else index)
            if credentials is None and other.username and other.hostname == parts.hostname and other.scheme == parts.scheme:
                credentials = (unquote(other.username), unquote(other.password or ""))
    if credentials is None and parts.hostname:
        try:
            entry = netrc.netrc(environment.get("NETRC")).authenticators(parts.hostname)
            credentials = (entry[0], entry[2] or "") if entry else None
        except (OSError, netrc.NetrcParseError):
            credentials = None
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    manager = urllib.request.HTTPPasswordMgrWithPriorAuth()
    if credentials:
        manager.add_password(None, bare, *credentials, is_authenticated=True)
    return urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager)), bare


def _size(url: str, environment: Mapping[str, str]) -> int:
    if url.startswith("file:"):
        return Path(unquote(urlsplit(url).path)).stat().st_size
    opener, bare = opener_for(url, environment)
    try:
        with opener.open(urllib.request.Request(bare, method="HEAD"), timeout=SECONDS) as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, TypeError, ValueError) as error:
        raise unreachable(bare, error) from error


def download(store: Store, url: str, filename: str, sha256: str, environment: Mapping[str, str]) -> None:
    """Bring one file into the store, checked by its sha256; raises DiagnosticError (exit 3)."""
    opener, bare = opener_for(url, environment)
    try:
        with opener.open(bare, timeout=SECONDS) as answer:
            found, _ = store.add(answer)
    except (OSError, ValueError) as error:
        raise unreachable(bare, error) from error
    if found != sha256:
        store.blob(found).unlink(missing_ok=True)
        raise unable(
            "WHL006", "wheel-digest-wrong", f"`{filename}` is not what was locked", why=(f"wanted {sha256}", f"got {found} from {bare}"),
            hints=("a proxy or mirror changed the file; nothing of it was kept",),
        )  # fmt: skip


def unreachable(url: str, error: Exception) -> DiagnosticError:
    """The error for an index that does not answer as it should."""
    reason = f"{type(error).__name__}: {getattr(error, 'reason', None) or error}"
    hint = "check the network and the proxy settings"
    return unable("WHL007", "wheel-not-reached", f"{url} cannot be read", why=(reason,), hints=(hint,))


def _without_secrets(line: str) -> str:
    return re.sub(r"(\w+://)[^/\s@]+@", r"\1****@", line)
