"""The wheels of a project by the names of its files on an index, and how they come into a catalog file's own text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from aistack.facts.version import Scheme, key
from aistack.facts.wheel_tags import Span, Wheel

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
"""The processors that are looked at, by their names in tags."""
LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
"""The C library behind names of platforms that do not say it."""


def spans(names: Iterable[str]) -> tuple[Span, ...]:
    """The lines of a project's files, the newest first; candidates count only where a project has nothing else."""
    by_version: dict[str, list[str]] = {}
    final: set[str] = set()
    for name in names:
        version = _version(name)
        if version is not None:
            by_version.setdefault(version, []).append(name)
            final |= {version} if re.fullmatch(r"\d+(\.\d+)*(\.post\d+)?", version) else set()
    found: list[Span] = []
    for version in sorted(final or by_version, key=lambda text: key(text, Scheme.PEP440)):
        span = _span(version, by_version[version])
        if not found or (found[-1].amd64, found[-1].arm64, found[-1].sources) != (span.amd64, span.arm64, span.sources):
            found.append(span)
    return tuple(reversed(found))


def newest(names: Sequence[str]) -> str:
    """The newest of the releases to which these files belong."""
    versions = [version for name in names if (version := _version(name)) is not None]
    return max(versions, key=lambda text: key(text, Scheme.PEP440))


def _version(name: str) -> str | None:
    try:
        version = parse_wheel_filename(name)[1] if name.endswith(".whl") else parse_sdist_filename(name)[1]
    except (InvalidWheelFilename, InvalidSdistFilename, ValueError):
        return None
    return None if version.local else str(version)


def _span(version: str, names: Sequence[str]) -> Span:
    wheels = [tag for name in names if name.endswith(".whl") for tag in parse_wheel_filename(name)[3]]
    machines = {
        arch: [tag for tag in wheels if tag.platform == "any" or tag.platform.endswith(f"_{named}")] for named, arch in MACHINES.items()
    }
    own: dict[str, Wheel | None] = {}
    for arch, tags in machines.items():
        usable = [tag for tag in tags if tag.platform == "any" or ("linux" in tag.platform and not tag.platform.startswith("musllinux"))]
        floors = [_floor(tag.platform) for tag in usable]
        glibc = None if not floors or None in floors else min(floor for floor in floors if floor is not None)
        pythons = tuple(dict.fromkeys(_pythons((tag.interpreter, tag.abi) for tag in usable)))
        own[arch] = Wheel(glibc=f"{glibc[0]}.{glibc[1]}" if glibc else None, pythons=pythons) if usable else None
    return Span(since=version, amd64=own["amd64"], arm64=own["arm64"], sources=any(not name.endswith(".whl") for name in names))


def _floor(platform: str) -> tuple[int, int] | None:
    """The glibc of a platform's name, None where it names none."""
    found = re.match(r"manylinux_(\d+)_(\d+)_", platform)
    return (int(found[1]), int(found[2])) if found else LEGACY.get(platform.partition("_")[0])


def _pythons(tags: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The Pythons of tags in rising order, `3.8+` for a stable interface; nothing where one of them is for any Python."""
    exact: set[int] = set()
    stable: set[int] = set()
    for interpreter, abi in tags:
        found = re.fullmatch(r"cp3(\d+)", interpreter)
        if found is None and interpreter in ("py3", "py2.py3"):
            return
        if found is not None and not abi.endswith("t"):
            (stable if abi in ("abi3", "none") else exact).add(int(found[1]))
    least = min(stable, default=None)
    yield from (f"3.{minor}" for minor in sorted(exact) if least is None or minor < least)
    if least is not None:
        yield f"3.{least}+"


def entered(text: str, names: Sequence[str], today: str) -> str:
    """The file's text with the lines of these files; `checked` becomes `today` where anything is new. What is above them stays."""
    head = text.partition("\nreleases:\n")[0]
    lines = "".join(f"  - {_flow(span)}\n" for span in spans(names))
    after = re.sub(r"(?m)^newest: .*$", f'newest: "{newest(names)}"', head, count=1) + f"\nreleases:\n{lines}"
    return text if after == text else re.sub(r"(?m)^checked: .*$", f"checked: {today}", after, count=1)


def _flow(span: Span) -> str:
    parts = [f'since: "{span.since}"']
    for arch, wheel in (("amd64", span.amd64), ("arm64", span.arm64)):
        if wheel is not None:
            own = [f'glibc: "{wheel.glibc}"'] if wheel.glibc else []
            own += ["pythons: [" + ", ".join(f'"{python}"' for python in wheel.pythons) + "]"] if wheel.pythons else []
            parts.append(f"{arch}: {{{', '.join(own)}}}")
    parts += ["sources: true"] if span.sources else []
    return "{" + ", ".join(parts) + "}"
