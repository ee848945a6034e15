"""Python wheels: resolved by uv for another Python and platform, pinned by sha256, fetched into the store.

The indexes are this machine's own: uv's configuration where it has one, else pip's, handed to uv in the environment, because an index's
address may hold a password and a command line is public.
"""

from __future__ import annotations

import netrc
import os
import re
import sys
import tempfile
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from aistack.diagnostics import DiagnosticError, unable
from aistack.facts.pins import LockedWheel
from aistack.host import process, python_parts
from aistack.host.store import Store
from aistack.values import dataclass

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
MANYLINUX = (17, 28, *range(31, 41))
"""The minor versions of glibc 2 for which uv has a platform."""

SECONDS = 180.0
UV_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A wheel that an index has; size in bytes, None where the index does not say."""

    filename: str
    url: str
    sha256: str
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A wheel and where the index says it can be had."""

    wheel: LockedWheel
    url: str


def find(
    requirements: Sequence[str],
    *,
    python: str,
    arch: str,
    glibc: str = "2.28",
    prefer: Sequence[LockedWheel] = (),
    environment: Mapping[str, str] = os.environ,
    only: bool = False,
    named: Sequence[str] = (),
) -> tuple[Found, ...]:
    """Resolve requirements (`vllm==0.19.1`) and all they need for Python `python` (`3.13`) on `arch`; wheels only, sorted by name.

    `glibc` is that of the root in which they will run. Versions of `prefer` are taken where they fit. With `only`, what the requirements
    need is left out. The indexes `named` are asked in their order, before this machine's own. Raises DiagnosticError (exit 3) when uv, an
    index or a wheel for that platform is missing.
    """
    target, settings = _target(python, arch, glibc), asking(environment, named)
    try:
        resolved = _resolve(requirements, target, settings, only, prefer)
    except DiagnosticError:
        if not prefer:
            raise
        # Of several indexes uv asks the first that has a preferred version, though it may have it for another Python: then it keeps none.
        resolved = _resolve(requirements, target, settings, only)
    served = _served(resolved, target, settings) if named else {}
    found = []
    for name, version, offered in resolved:
        if not offered:
            raise unable("WHL002", "no-wheel", f"`{name}` {version} has no wheel for Python {python} on {arch}")
        best = _best(offered, python)
        size = best.size if best.size is not None else size_of(best.url, settings)
        index = next((index for index in named if index.rstrip("/") == served.get(name)), "")
        wheel = LockedWheel(name=name, version=version, filename=best.filename, sha256=best.sha256, size=size, index=index)
        found.append(Found(wheel=wheel, url=best.url))
    return tuple(sorted(found, key=lambda one: one.wheel.name))


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
    urls: dict[str, str] = {}
    for index in sorted({wheel.index for wheel in missing}):
        wanted = [f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}" for wheel in missing if wheel.index == index]
        target, settings = _target(python, arch, f"2.{MANYLINUX[-1]}"), asking(environment, (index,) if index else ())
        urls |= {one.sha256: one.url for _, _, offered in _resolve(wanted, target, settings, True) for one in offered}
    arrived, total = 0, sum(wheel.size for wheel in missing)
    for wheel in missing:
        if wheel.sha256 not in urls:
            raise unable(
                "WHL004", "wheel-gone", f"no index offers `{wheel.filename}` with the locked sha256",
                why=(f"sha256: {wheel.sha256}",), hints=("aistack lock RECIPE",),
            )  # fmt: skip
        download(store, urls[wheel.sha256], wheel.filename, wheel.sha256, settings)
        arrived += wheel.size
        if advance:
            advance(f"fetching {len(missing)} wheels", arrived, total)


def members(path: Path, wanted: Callable[[str], bool]) -> tuple[str, ...]:
    """The names of a wheel's files that are wanted; names that would leave a folder are refused."""
    with zipfile.ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
    for name in names:
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise unable("WHL005", "wheel-unsafe", f"`{path.name}` holds the path `{name}`")
    return tuple(name for name in names if wanted(name))


def _resolve(
    requirements: Sequence[str], target: Sequence[str], settings: Mapping[str, str], only: bool, prefer: Sequence[LockedWheel] = ()
) -> list[tuple[str, str, list[Offered]]]:
    """What was chosen, by name and version, with every wheel of that release that fits the platform, in uv's order."""
    argv = [*_compile(target), "--format=pylock.toml", "--generate-hashes", *(["--no-deps"] if only else []), "-"]
    with tempfile.TemporaryDirectory(prefix="aistack-wheels-") as folder:
        answer = Path(folder) / "pylock.toml"
        if prefer:  # uv keeps the versions that its output file names already
            entries = (f'\n[[packages]]\nname = "{wheel.name}"\nversion = "{wheel.version}"\n' for wheel in prefer)
            answer.write_text('lock-version = "1.0"\ncreated-by = "aistack"\n' + "".join(entries))
        argv += ["--output-file", str(answer)]
        done = process.run(argv, input="\n".join(requirements) + "\n", env=settings, check=False, timeout=900)
        resolved = tomllib.loads(answer.read_text()) if done.returncode == 0 else {}
    if done.returncode != 0:
        said = tuple(line.strip() for line in done.stderr.splitlines() if line.strip())
        raise unable(
            "WHL001", "wheels-unresolved", f"no set of wheels fits {', '.join(one.split(' ')[0] for one in requirements)}",
            why=tuple(_without_secrets(line) for line in said[-12:]),
            hints=("the indexes are those of the recipe's `sources`, then of uv's or pip's own configuration: see `pip config list`",),
        )  # fmt: skip
    packages = resolved.get("packages", [])
    return [(package["name"], package["version"], [_offered(one) for one in package.get("wheels", [])]) for package in packages]


def _compile(target: Sequence[str]) -> list[str]:
    return [_uv(), "pip", "compile", "--quiet", "--no-header", "--only-binary=:all:", *target]


def _target(python: str, arch: str, glibc: str) -> list[str]:
    minor = max(known for known in MANYLINUX if known <= max(int(glibc.split(".")[1]), MANYLINUX[0]))
    return [f"--python={sys.executable}", f"--python-version={python}", f"--python-platform={MACHINES[arch]}-manylinux_2_{minor}"]


def asking(environment: Mapping[str, str], named: Sequence[str]) -> dict[str, str]:
    """The environment that tells uv which indexes to ask."""
    settings = {**environment, **indexes(environment), "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
    if named:
        # The first index that has a fitting version serves it: a variant is preferred to a newer plain release elsewhere, and what a
        # variants' index carries too old, as it may its dependencies, comes from the next.
        settings |= {"UV_INDEX": " ".join((*named, settings.get("UV_INDEX", ""))), "UV_INDEX_STRATEGY": "unsafe-first-match"}
    return settings


def _served(resolved: Sequence[tuple[str, str, list[Offered]]], target: Sequence[str], settings: Mapping[str, str]) -> dict[str, str]:
    """The index that served each package: uv says it in a list of requirements, not in pylock's form."""
    exact = "".join(f"{name}=={version}\n" for name, version, _ in resolved)
    argv = [*_compile(target), "--no-deps", "--no-annotate", "--emit-index-annotation", "-"]
    said = process.run(argv, input=exact, env=settings, timeout=900).stdout
    return {name: index.rstrip("/") for name, index in re.findall(r"^([\w.-]+)==.*\n +# from (\S+)$", said, re.MULTILINE)}


def _offered(wheel: Mapping[str, Any]) -> Offered:
    url, size = str(wheel.get("url") or Path(wheel["path"]).resolve().as_uri()), wheel.get("size")
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    return Offered(filename=name, url=url, sha256=wheel["hashes"]["sha256"], size=int(size) if size is not None else None)


def _best(offered: Sequence[Offered], python: str) -> Offered:
    """The wheel that is compiled for just this Python, else the first, which is the one that uv would install."""
    exact = f"-cp{python.replace('.', '')}-"
    return next((one for one in offered if exact in one.filename), offered[0])


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
    found: dict[str, dict[str, list[str]]] = {section: {} for section in ("global", "download", "install", ":env:")}
    for line in done.stdout.splitlines() if done is not None and done.returncode == 0 else ():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in found:
            found[section][key] = value.strip("'\"").replace("\\n", " ").split()
    return {key: words for section in found.values() for key, words in section.items()}  # the later section counts, as with pip


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else process.find("uv")
    if found is None:
        raise unable("HOST001", "tool-missing", "`uv` is not installed", hints=(python_parts.mend(),))
    return found


def opener_for(url: str, settings: Mapping[str, str]) -> tuple[urllib.request.OpenerDirector, str]:
    """What opens an address, and the address without its password: that comes from the address, the configured index or ~/.netrc."""
    parts = urlsplit(url)
    credentials = (unquote(parts.username or ""), unquote(parts.password or "")) if parts.username else None
    for name in UV_INDEXES:
        for index in settings.get(name, "").replace(",", " ").split():
            other = urlsplit(index.partition("=")[2] if re.match(r"\w+=", index) else index)
            if credentials is None and other.username and other.hostname == parts.hostname and other.scheme == parts.scheme:
                credentials = (unquote(other.username), unquote(other.password or ""))
    if credentials is None and parts.hostname:
        try:
            entry = netrc.netrc(settings.get("NETRC")).authenticators(parts.hostname)
            credentials = (entry[0], entry[2] or "") if entry else None
        except (OSError, netrc.NetrcParseError):
            credentials = None
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    manager = urllib.request.HTTPPasswordMgrWithPriorAuth()
    if credentials:
        manager.add_password(None, bare, *credentials, is_authenticated=True)
    return urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager)), bare


def size_of(url: str, settings: Mapping[str, str]) -> int:
    """The size in bytes of a file at an address, by asking for its head; raises DiagnosticError (exit 3)."""
    if url.startswith("file:"):
        return Path(unquote(urlsplit(url).path)).stat().st_size
    opener, bare = opener_for(url, settings)
    try:
        with opener.open(urllib.request.Request(bare, method="HEAD"), timeout=SECONDS) as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, TypeError, ValueError) as error:
        raise unreachable(bare, error) from error


def download(store: Store, url: str, filename: str, sha256: str, settings: Mapping[str, str]) -> None:
    """Bring one file into the store, checked by its sha256; raises DiagnosticError (exit 3)."""
    opener, bare = opener_for(url, settings)
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
