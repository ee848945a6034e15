"""A locked root moved as little as can be: apt itself, told that the locked packages are installed, says what a wish changes.

What the mirror has forgotten stays as long as the store holds it; what neither has must move, and is named.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from aistack.diagnostics import unable
from aistack.facts.pins import Archive, LockedPackage, LockedRoot
from aistack.host import apt, deb, process
from aistack.host.apt import Apt
from aistack.host.store import Store


def upgrade(
    store: Store,
    archives: Sequence[Archive],
    root: LockedRoot,
    wanted: Sequence[str],
    names: Collection[str],
    *,
    environment: Mapping[str, str],
) -> LockedRoot:
    """The root with the packages `names` as new as the archives have them, and with what `wanted` (`NAME`) asks for.

    Every other package stays, unless one that moves needs it newer; what nothing needs any more goes, and what is from an archive that
    is no longer named is chosen again. Raises DiagnosticError (exit 3) where there is no answer.
    """
    origins = {origin for archive in archives for origin in archive.origins}
    root = replace(root, packages=tuple(package for package in root.packages if package.origin in origins))
    isolated = apt.isolated(store, archives, root.arch, environment=environment)
    return apt.of_lists(isolated, lambda: _moved(store, isolated, root, wanted, names))


def _moved(store: Store, isolated: Apt, root: LockedRoot, wanted: Sequence[str], names: Collection[str]) -> LockedRoot:
    texts = _texts(store, isolated, root)
    _require_known(root, texts, names, isolated)
    there = [package for package in root.packages if package.sha256 in texts]
    asked = _asked(root, there, wanted, names, isolated)
    with store.scratch() as folder:
        status, states = folder / "status", folder / "extended_states"
        status.write_text("".join(_installed(texts[package.sha256]) for package in there))
        states.write_text("".join(_automatic(package) for package in there if package.name not in wanted))
        argv = [*apt.PRINT, "--auto-remove", "--fix-broken", *_settings(status, states), *asked]
        done = process.run(argv, check=False, env=isolated.environment, timeout=300)
    if done.returncode != 0:
        raise apt.resolve_failed(done.stdout + done.stderr, isolated, asked)
    told = re.search(r"^The following packages will be REMOVED:\n((?: .*\n)+)", done.stdout, re.MULTILINE)
    gone = set(told[1].split()) if told else set()
    packages = {package.name: package for package in there if package.name not in gone}
    packages |= {package.name: package for package in apt.chosen(isolated, done.stdout)}
    chosen = tuple(packages[name] for name in sorted(packages))
    return LockedRoot(arch=root.arch, os=root.os, packages=chosen, wanted=tuple(wanted), archives=isolated.archives)


def _asked(
    root: LockedRoot, there: Sequence[LockedPackage], wanted: Sequence[str], names: Collection[str], isolated: Apt
) -> tuple[str, ...]:
    """What apt is asked for: what is wanted and moves or is not there yet, and of what came with it only what can be had newer.

    What is asked for by name is never removed as unneeded, an older kernel's package for one. What the recipe takes from one archive is
    asked for there, when it moves or was not taken from there before.
    """
    locked = {package.name: package.version for package in there}
    newer = {one.name for _, one in apt.listed(isolated, set(names)) if one.version != locked.get(one.name, one.version)}
    asked = {name: name for name in {name for name in wanted if name in names or name not in locked} | newer}
    before = {spec for archive in root.archives for spec in archive.packages}
    changed = {spec.partition("=")[0] for archive in isolated.archives for spec in archive.packages if spec not in before}
    for spec in apt.taken(isolated):
        name = re.split("[=/]", spec)[0]
        if name in changed or name in asked or name not in locked:
            asked[name] = spec
    return ("?essential ?not(?installed)", *(asked[name] for name in sorted(asked)))


def _texts(store: Store, isolated: Apt, root: LockedRoot) -> dict[str, str]:
    """The control text of each locked package, by its sha256: from the package lists, else from the package in the store."""
    locked = {package.sha256 for package in root.packages}
    found: dict[str, str] = {}
    for _, block in apt.stanzas(isolated, {package.name for package in root.packages}):
        (fields,) = deb.stanzas(block)
        if fields["sha256"] in locked:
            found[fields["sha256"]] = block
    found |= {sha256: deb.control(store.blob(sha256)) for sha256 in locked - found.keys() if store.has(sha256)}
    return found


def _require_known(root: LockedRoot, texts: Mapping[str, str], names: Collection[str], isolated: Apt) -> None:
    gone = [package for package in root.packages if package.sha256 not in texts and package.name not in names]
    if not gone:
        return
    now = {one.name: one.version for _, one in apt.listed(isolated, {package.name for package in gone})}
    raise unable(
        "PKG012",
        "package-gone",
        f"the archive no longer has `{gone[0].name}` {gone[0].version}"
        + (f", nor {len(gone) - 1} other locked packages" if len(gone) > 1 else "")
        + ", and the store does not hold it",
        why=tuple(f"`{package.name}` {package.version}: now {now.get(package.name, 'no such package')}" for package in gone[:8]),
        hints=(
            "aistack lock RECIPE " + " ".join(f"--upgrade {package.name}" for package in gone),
            "or name a store that holds it in AISTACK_STORE_FROM, or an archive that keeps old packages in the recipe, in `sources:`",
        ),
    )


def _settings(status: Path, states: Path) -> Iterator[str]:
    settings = {
        "Dir::State::status": str(status),
        "Dir::State::extended_states": str(states),
        "Dir::Cache::pkgcache": "",  # the cache is for the empty status that everyone else begins with
        "APT::AutoRemove::RecommendsImportant": "false",
        "APT::AutoRemove::SuggestsImportant": "false",
    }
    for name, value in settings.items():
        yield from ("-o", f"{name}={value}")


def _installed(text: str) -> str:
    return f"{text.strip()}\nStatus: install ok installed\n\n"


def _automatic(package: LockedPackage) -> str:
    return f"Package: {package.name}\nArchitecture: {package.arch}\nAuto-Installed: 1\n\n"
