"""Every kernel × every NVIDIA driver package that Debian's archives offer: what the rules predict, and what compiling really comes to.

    python tests/module_table.py [--kernels REGEX] [--drivers REGEX] [--minutes N] [--to NAME]

Each pair is compiled with the tools of the kernel's release (`module_fields`). The most telling come first: drivers of the same release,
the newest and the oldest kernel of each series. What NAME.json tells already is kept, so a run that was ended goes on where it stopped. The
prediction is asked anew each time. NAME.md is for readers; what somebody wrote under its last heading stays.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from module_fields import Fields, Headers

from aistack.commands import judging
from aistack.compose.judge_snapshot import judge_snapshot
from aistack.compose.kernels import upstream
from aistack.compose.rules import rules
from aistack.diagnostics import DiagnosticError, Severity
from aistack.facts.catalog import Catalog
from aistack.facts.decode import decode
from aistack.facts.document import parse, places
from aistack.facts.pins import Archive, LockedPackage
from aistack.facts.snapshot import Snapshot
from aistack.facts.version import Scheme, newest_first
from aistack.facts.version import upstream as release_of
from aistack.host import apt, durable
from aistack.host.catalog_files import load_catalog
from aistack.host.store import Store, default_path

SUITES = {
    "debian-11": ("bullseye", "bullseye-security"),
    "debian-12": ("bookworm", "bookworm-updates", "bookworm-security", "bookworm-backports"),
    "debian-13": ("trixie", "trixie-updates", "trixie-security", "trixie-backports"),
    "debian-14": ("forky", "sid", "experimental"),
}
HEADERS = r"linux-headers-\d[0-9A-Za-z.+~]*(?:-\d+|-0\.deb\d+\.\d+)?(?:-cloud|-rt)?-amd64"
DRIVERS = r"nvidia-(?:[a-z0-9]+-)*kernel-dkms"
META = 100_000
"""A package of headers is larger than this many bytes; one that only needs another is smaller."""
TOPIC = "driver-kernel-build"
NOTES = "\n## What it shows\n"
"""The heading of the table under which somebody wrote; it stays, with what follows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A package that an archive offers: of headers, or of a driver's sources."""

    os: str
    suite: str
    locked: LockedPackage

    @property
    def package(self) -> str:
        """Its name."""
        return self.locked.name

    @property
    def version(self) -> str:
        """As Debian numbers it."""
        return self.locked.version

    @property
    def kernel(self) -> str:
        """Of headers, the kernel's version string."""
        return self.package.removeprefix("linux-headers-")

    @property
    def series(self) -> tuple[str, str, str]:
        """Of headers, what their kernel has in common with its elder and younger siblings."""
        flavor = re.search(r"-(cloud|rt)-", self.kernel)
        return self.os, ".".join(upstream(self.version).split(".")[:2]), flavor[1] if flavor else "generic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A kernel and a driver package; `place` orders kernels within their series: the newest, the oldest, then what lies between."""

    kernel: Offer
    driver: Offer
    place: int

    @property
    def name(self) -> str:
        """What tells it from all others."""
        return f"{self.kernel.kernel} {self.driver.package} {self.driver.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A pair that was tried: `said` are the rules that speak (`NV201 error`), `truth` is `compiles`, `refused` or `not tried`.

    `why` is the first thing that the compiler said was wrong, or why there was nothing to compile in.
    """

    kernel: str
    suite: str
    driver: str
    version: str
    said: tuple[str, ...]
    truth: str
    why: str

    @property
    def name(self) -> str:
        """That of its pair."""
        return f"{self.kernel} {self.driver} {self.version}"

    @property
    def predicted(self) -> str:
        """The gravest that was said: `error`, `warning` or `nothing`."""
        return next((grade for grade in ("error", "warning") if any(one.endswith(grade) for one in self.said)), "nothing")

    @property
    def wrong(self) -> bool:
        """Whether the rules were sure and mistaken."""
        return (self.predicted, self.truth) in (("nothing", "refused"), ("error", "compiles"))


def archive(suite: str) -> Archive:
    """The suite with all components that hold a driver's packages."""
    components = ("main", "contrib", "non-free", *(() if suite.startswith("bullseye") else ("non-free-firmware",)))
    return Archive(suite=suite, components=components)


def offers(store: Store, pattern: str) -> list[Offer]:
    """The packages of that name in any suite, each version once."""
    found: dict[tuple[str, str], Offer] = {}
    for os_id, suites in SUITES.items():
        for found_in, package in apt.matching(store, [*map(archive, suites)], pattern, "amd64", environment=os.environ):
            if package.name.startswith("nvidia") or package.size > META:
                offer = Offer(os=os_id, suite=found_in.suite, locked=package)
                found.setdefault((package.name, package.version), offer)
    return list(found.values())


def pairs(kernels: Sequence[Offer], drivers: Sequence[Offer]) -> Iterator[Pair]:
    """Every kernel with every driver."""
    for series in {one.series for one in kernels}:
        members = [one for one in kernels if one.series == series]
        newest, *older = newest_first({one.version for one in members}, Scheme.DEBIAN)
        order = (newest, *older[-1:], *older[:-1])
        yield from (Pair(kernel=one, driver=driver, place=order.index(one.version)) for one in members for driver in drivers)


def telling(pair: Pair) -> tuple[int, str, str]:
    """What pairs are sorted by, the most telling first; those of one root stay together."""
    flavor = ("generic", "rt", "cloud").index(pair.kernel.series[2])
    foreign = pair.kernel.os != pair.driver.os
    return 4 * foreign + 2 * min(pair.place, 2) + flavor, pair.kernel.version, pair.name


def predicted(pair: Pair, catalog: Catalog, about: Mapping[str, tuple[str, ...]], today: str) -> tuple[str, ...]:
    """What `aistack check` says of a machine with that kernel and driver, as far as it is about compiling."""
    flavor = "open" if "open" in pair.driver.package else "proprietary"
    text = (
        "schema: aistack/snapshot/v1\n"
        f"platform: {{os: {pair.kernel.os}, arch: x86_64, kernel: '{pair.kernel.kernel}'}}\n"
        f"driver: {{version: '{release_of(pair.driver.version)}', module: {{flavor: {flavor}, install: dkms}}}}\n"
    )
    root, problems = parse(text, pair.name)
    assert root is not None, problems
    snapshot, more = decode(Snapshot, root)
    assert snapshot is not None, more
    said = judge_snapshot(snapshot, catalog, places(root), today)
    graded = [found for found in said if found.severity in (Severity.ERROR, Severity.WARNING) and TOPIC in about[found.rule]]
    return tuple(f"{found.rule} {found.severity}" for found in graded)


def tried(pair: Pair, siblings: Sequence[str], said: tuple[str, ...], fields: Fields) -> Row:
    """What compiling comes to."""
    kernel, driver = pair.kernel, pair.driver
    row = Row(kernel=kernel.kernel, suite=kernel.suite, driver=driver.package, version=driver.version, said=said, truth="compiles", why="")
    try:
        root = Headers(kernels=tuple(siblings), os=kernel.os, archives=tuple(map(archive, SUITES[kernel.os])))
        errors = fields.compile(kernel.kernel, root, driver.locked, archive(driver.suite))
    except DiagnosticError as error:
        return replace(row, truth="not tried", why=error.diagnostics[0].message)
    return replace(row, truth="refused", why=errors[0]) if errors else row


def read(file: Path) -> dict[str, Row]:
    """What an earlier run compiled, by the pairs' names."""
    if not file.exists():
        return {}
    rows = [Row(**{**row, "said": tuple(row["said"])}) for row in json.loads(file.read_text())]
    return {row.name: row for row in rows if row.truth != "not tried"}


def document(rows: Sequence[Row], everything: Sequence[Pair], today: str) -> str:
    """The table for readers, without what somebody wrote under it."""
    known = [row for row in rows if row.truth != "not tried"]
    counts = Counter((row.predicted, row.truth) for row in known)
    names = {row.name for row in known}
    said = ("nothing", "warning", "error")
    kinds: dict[str, Callable[[Pair], bool]] = {
        "generic": lambda pair: pair.kernel.series[2] == "generic",
        "real-time": lambda pair: pair.kernel.series[2] == "rt",
        "cloud": lambda pair: pair.kernel.series[2] == "cloud",
        "kernel and driver of one release": lambda pair: pair.kernel.os == pair.driver.os,
        "the same, the newest kernel of its series": lambda pair: pair.kernel.os == pair.driver.os and pair.place == 0,
        "the newest kernel of each series, any driver": lambda pair: pair.place == 0,
    }
    lines = [
        f"# Kernels and NVIDIA's drivers, predicted and compiled, {today}",
        "",
        f"`python tests/module_table.py`: {len({one.kernel for one in everything})} kernels and "
        f"{len({(one.driver.package, one.driver.version) for one in everything})} driver packages that Debian's archives offer for amd64, "
        f"{len(everything)} pairs; {len(known)} were really compiled, or refused by the package itself, the most telling first. "
        "The prediction is what `aistack check` says of a machine with that kernel, driver and flavour of modules.",
        "",
        "| pairs | there are | tried |",
        "| --- | ---: | ---: |",
        *(
            f"| {kind} | {sum(map(among, everything))} | {sum(among(pair) and pair.name in names for pair in everything)} |"
            for kind, among in kinds.items()
        ),
        "",
        "| `check` says | it compiles | it is refused |",
        "| --- | ---: | ---: |",
        *(f"| {grade} | {counts[grade, 'compiles']} | {counts[grade, 'refused']} |" for grade in said),
        "",
        f"Sure and right: {counts['nothing', 'compiles'] + counts['error', 'refused']}; sure and wrong: {sum(row.wrong for row in known)}.",
        *(f"- {row.kernel}, {row.driver} {row.version}: said {row.predicted}, {row.truth} {row.why}" for row in known if row.wrong),
        "",
        "| driver package | version | kernels | `check` says | truth |",
        "| --- | --- | --- | --- | --- |",
        *_lines(rows),
    ]
    return "\n".join(lines) + "\n"


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    """A line for all kernels of which the same is true."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        truth = f"{row.truth}: `{row.why.replace('|', '/')}`" if row.why else row.truth
        alike.setdefault((row.driver, row.version, ", ".join(row.said) or "nothing", truth), []).append(row.kernel)
    for (driver, version, said, truth), kernels in sorted(alike.items()):
        yield f"| {driver} | {version} | {', '.join(newest_first(kernels, Scheme.KERNEL))} | {said} | {truth} |"


def main() -> None:
    """Compile what is not known yet, and write both files after each pair."""
    today = judging.today(os.environ)
    parser = argparse.ArgumentParser()
    parser.add_argument("--kernels", default="", help="only those whose version string matches")
    parser.add_argument("--drivers", default="", help="only those whose `PACKAGE VERSION` matches")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after that time")
    parser.add_argument("--to", type=Path, default=Path(f"docs/evidence/modules-{today}"))
    given = parser.parse_args()
    until = time.monotonic() + given.minutes * 60
    store, catalog = Store(default_path(os.environ)), load_catalog(os.environ)
    about = {rule.code: rule.topics for rule in rules(catalog)}
    everything = [*pairs(offers(store, HEADERS), offers(store, DRIVERS))]
    earlier = read(given.to.with_suffix(".json"))
    chosen = [
        pair
        for pair in everything
        if pair.name in earlier
        or (re.search(given.kernels, pair.kernel.kernel) and re.search(given.drivers, f"{pair.driver.package} {pair.driver.version}"))
    ]
    said = {pair.name: predicted(pair, catalog, about, today) for pair in chosen}
    order = sorted(chosen, key=telling)
    rows = {name: replace(row, said=said[name]) for name, row in earlier.items() if name in said}
    siblings: dict[tuple[str, str], dict[str, None]] = {}
    for pair in everything:
        siblings.setdefault((pair.kernel.os, pair.kernel.version), {})[pair.kernel.kernel] = None
    table = given.to.with_suffix(".md")
    notes = table.read_text().partition(NOTES)[1:] if table.exists() else ()

    def write() -> None:
        found = [rows[pair.name] for pair in order if pair.name in rows]
        durable.write(given.to.with_suffix(".json"), json.dumps([asdict(row) for row in found], indent=1) + "\n")
        durable.write(table, document(found, everything, today) + "".join(notes))

    write()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the roots are removed
    fields = Fields(store)
    try:
        for pair in order:
            if pair.name not in rows and time.monotonic() < until:
                together = siblings[pair.kernel.os, pair.kernel.version]
                rows[pair.name] = row = tried(pair, [*together], said[pair.name], fields)
                print(f"{time.strftime('%H:%M:%S')} {pair.name}: {row.predicted}, {row.truth} {row.why}", file=sys.stderr)
                write()
    finally:
        fields.close()


if __name__ == "__main__":
    main()
