"""`aistack facts refresh`: what the catalog says of releases, read again where it stands: in wheels, and in an OS's package lists.

It writes the catalog's own files in a checkout, for a person to review as a change; a check never reads anything from a network. Each file
is written as soon as it was read, and what was read before something stopped the reading too: the next run goes on from there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from aistack.commands import fixing
from aistack.commands.refresh_wheels import refresh_wheels
from aistack.compose import refresh as texts
from aistack.compose.refresh import Read
from aistack.diagnostics import DiagnosticError, ExitCode, in_order, unable
from aistack.facts import catalog_text, fatbin
from aistack.facts.catalog import Catalog, Component, Framework
from aistack.facts.document import parse
from aistack.facts.pins import Archive
from aistack.facts.systems import Os
from aistack.facts.version import Scheme, VersionFormatError, key, newest_first
from aistack.host import apt, catalog_files, wheel_index
from aistack.host.store import Store, default_path

Where = tuple[str | int, ...]


def refresh(ids: Sequence[str], *, root: Path, dry_run: bool, everything: bool, environment: Mapping[str, str], today: str) -> ExitCode:
    """Reads what `ids` name (everything that can be read where there is none) and writes what changed; prints each changed line.

    `root` is the checkout whose catalog is refreshed. Releases that it has are read again only with `everything`. What cannot be read is
    told at the end, as one DiagnosticError.
    """
    if not catalog_files.is_checkout(root):
        hints = ("clone the repository, and install from the clone: `pip install -e .`",)
        raise unable("FCT001", "no-checkout", "facts are written into a checkout of aistack, and this is an installed package", hints=hints)
    catalog = catalog_of(root)
    refresh_wheels(ids, catalog, root=root, dry_run=dry_run, environment=environment, today=today)
    if ids and not (ids := _read_inside(ids, catalog)):
        return ExitCode.OK
    problems: list[DiagnosticError] = []
    for owner in list(_wanted(ids, catalog)):
        file = root / (f"recipes/os/{owner.id}.yaml" if isinstance(owner, Os) else f"recipes/frameworks/{owner.id}.yaml")
        try:
            _refresh(owner, file, catalog, root=root, dry_run=dry_run, everything=everything, environment=environment, today=today)
        except DiagnosticError as error:
            problems.append(error)
    if not dry_run:
        catalog_of(root)  # what was written must be a catalog
    if problems:
        raise DiagnosticError(tuple(one for error in problems for one in error.diagnostics), problems[0].exit_code)
    return ExitCode.OK


def _read_inside(ids: Sequence[str], catalog: Catalog) -> tuple[str, ...]:
    """Those of the ids of which more is read than their wheels' names; one that is not known stays, to be told."""
    owners: Mapping[str, Component | Framework] = {**catalog.components, **catalog.frameworks}
    return tuple(name for name in ids if name not in catalog.wheels or ((owner := owners.get(name)) is not None and owner.project))


def catalog_of(root: Path) -> Catalog:
    """The catalog of a checkout; raises DiagnosticError with every problem in it."""
    return catalog_text.load(catalog_files.compile_catalog(root))


def _refresh(
    owner: Component | Framework | Os,
    file: Path,
    catalog: Catalog,
    *,
    root: Path,
    dry_run: bool,
    everything: bool,
    environment: Mapping[str, str],
    today: str,
) -> None:
    """Reads one file's facts and enters them, those too that were read before an error."""
    before = file.read_text(encoding="utf-8")
    node, problems = parse(before, str(file))
    if node is None or problems:
        raise DiagnosticError(in_order(problems))
    read: list[Read] = []
    after = before
    try:
        if isinstance(owner, Os):
            after = texts.updated(before, node, _offered(owner, environment), today)
        else:
            for one in _read(owner, catalog, environment, everything=everything):
                read.append(one)
    finally:
        if not isinstance(owner, Os):
            after = texts.entered(before, node, owner, read, today)
        have = set(before.split("\n"))
        added = [line for line in after.split("\n") if line not in have]
        print(f"{file.relative_to(root)}: {f'{len(added)} lines changed' if added else 'nothing new'}", flush=True)
        for line in added:
            print(f"  {line.strip()}")
        if added and not dry_run:
            fixing.write(file, before, after)


def _wanted(ids: Sequence[str], catalog: Catalog) -> Iterator[Component | Framework | Os]:
    readable: dict[str, Component | Framework | Os] = {owner.id: owner for owner in _owners(catalog) if owner.project}
    readable |= catalog.systems
    for name in ids or sorted(readable):
        if name not in readable:
            hints = (f"known: {', '.join(sorted(readable))}",)
            raise unable("FCT002", "nothing-to-read", f"`{name}` is nothing that is read from an index or from package lists", hints=hints)
        yield readable[name]


def _owners(catalog: Catalog) -> list[Component | Framework]:
    return [*catalog.components.values(), *catalog.frameworks.values()]


def _offered(os: Os, environment: Mapping[str, str]) -> dict[Where, str]:
    """What the OS's suites offer of its kernels, drivers, Python and C library, the newest of each, by the path in its file."""
    suite = os.suites[0].name
    wanted: list[tuple[Where, str, tuple[str, ...], str]] = [
        (("python",), suite, ("main",), "python3"),
        (("glibc",), suite, ("main",), "libc6"),
    ]
    wanted += [(("kernels", number, "version"), one.suite, ("main",), one.packages[0]) for number, one in enumerate(os.kernels)]
    wanted += [(("drivers", number, "version"), one.suite, one.components, one.packages[0]) for number, one in enumerate(os.drivers)]
    store, arch, found = Store(default_path(environment)), os.architectures[0], dict[Where, str]()
    for suite in dict.fromkeys(suite for _, suite, _, _ in wanted):
        print(f"reading {os.id} {suite}", file=sys.stderr, flush=True)
        components = dict.fromkeys(name for _, own, names, _ in wanted if own == suite for name in names)
        names = {path: name.replace("{arch}", arch) for path, own, _, name in wanted if own == suite}
        archive = Archive(suite=suite, components=tuple(components), signed_by=os.keyring)
        offered = apt.versions(store, [archive], sorted(set(names.values())), arch, environment=environment)
        for path, name in names.items():
            if versions := newest_first(offered.get(name, ()), Scheme.DEBIAN):
                found[path] = versions[0].partition(":")[2] or versions[0]
    return found


def _read(owner: Component | Framework, catalog: Catalog, environment: Mapping[str, str], *, everything: bool) -> Iterator[Read]:
    """What the index and the wheels say of the project's releases that are not older than the oldest known one."""
    assert owner.project is not None
    project = Requirement(owner.project)
    have = {release.version: release for release in owner.releases}
    chosen = frozenset(name for release in owner.releases for name in release.needs)
    oldest = min((key(version, owner.versions) for version in have), default=None)
    for listed in wheel_index.releases(project.name, environment):
        try:
            rank = key(listed.version, owner.versions)
        except VersionFormatError:
            continue
        before = have.get(listed.version)
        if (oldest is not None and rank < oldest) or (before is not None and not everything):
            continue
        if not listed.is_wheel:
            needs = {"python": texts.range_of(SpecifierSet(listed.requires_python))} if listed.requires_python else {}
            yield Read(version=listed.version, date=listed.date, needs=needs)
            continue
        print(f"reading {owner.id} {listed.version}", file=sys.stderr, flush=True)
        architectures = None
        with wheel_index.opened(listed, environment) as wheel:
            said = wheel_index.metadata(wheel)
            needs, pins, brings = texts.read_metadata(said, listed.filename, _packages(catalog, owner), chosen, project.extras)
            if owner.binary:
                found = fatbin.architectures(wheel_index.member(wheel, partial(fnmatchcase, pat=owner.binary)))
                architectures = found or None
        yield Read(version=listed.version, date=listed.date, needs=needs, pins=pins, brings=brings, architectures=architectures)


def _packages(catalog: Catalog, but: Component | Framework) -> dict[str, str]:
    """The catalog's components and frameworks by the names of their packages."""
    return {
        canonicalize_name(name): owner.id
        for owner in _owners(catalog)
        if owner.id != but.id
        for name in (owner.id, *owner.aliases, *([Requirement(owner.project).name] if owner.project else []))
    }
