"""A locked root moved as little as can be: apt itself, told that the locked packages are installed, says what a wish changes.

What the mirror has forgotten stays as long as the store holds it; what neither has must move, and is named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from aistack.diagnostics import unable
from aistack.facts.pins import LockedPackage, LockedRoot
from aistack.host import apt, deb, process
from aistack.host.apt import Apt
from aistack.host.apt_sources import Archive
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

    Every other package stays, unless one that moves needs it newer; what nothing needs any more goes. Raises DiagnosticError
    (exit 3) where there is no answer.
    """
    isolated = apt.isolated(store, archives, root.arch, environment=environment)
    apt.update(isolated)
    texts = _texts(store, isolated, root)
    _require_known(root, texts, names, isolated)
    there = [package for package in root.packages if package.sha256 in texts]
    asked = _asked(there, wanted, names, isolated)
    with store.scratch() as folder:
        status, states = folder / "status", folder / "extended_states"
        status.write_text("".join(_installed(texts[package.sha256]) for package in there))
        states.write_text("".join(_automatic(package) for package in there if package.name not in wanted))
        argv = ["apt-get", "install", "--simulate", "--auto-remove", "--fix-broken", "-q", *_settings(status, states), *asked]
        done = process.run(argv, check=False, env=isolated.environment, timeout=300)
    if done.returncode != 0:
        raise apt.resolve_failed(done.stdout + done.stderr, isolated, asked)
    gone = {line.split()[1].partition(":")[0] for line in done.stdout.splitlines() if line.startswith("Remv ")}
    packages = {package.name: package for package in there if package.name not in gone}
    packages |= {package.name: package for package in apt.chosen(isolated, done.stdout)}
    return LockedRoot(arch=root.arch, os=root.os, packages=tuple(packages[name] for name in sorted(packages)), wanted=tuple(wanted))


def _asked(there: Sequence[LockedPackage], wanted: Sequence[str], names: Collection[str], isolated: Apt) -> list[str]:
    """What apt is asked for: what is wanted and moves or is not there yet, and of what came with it only what can be had newer.

    What is asked for by name is never removed as unneeded, an older kernel's package for one.
    """
    locked = {package.name: package.version for package in there}
    newer = {name for name, version, _ in apt.described(isolated, set(names)) if version != locked.get(name, version)}
    return ["?essential ?not(?installed)", *sorted({name for name in wanted if name in names or name not in locked} | newer)]


def _texts(store: Store, isolated: Apt, root: LockedRoot) -> dict[str, str]:
    """The control text of each locked package, by its sha256: from the package lists, else from the package in the store."""
    locked = {package.sha256 for package in root.packages}
    found: dict[str, str] = {}
    for block, _ in apt.stanzas(isolated, {package.name for package in root.packages}):
        (fields,) = deb.stanzas(block)
        if fields["sha256"] in locked:
            found[fields["sha256"]] = block
    found |= {sha256: deb.control(store.blob(sha256)) for sha256 in locked - found.keys() if store.has(sha256)}
    return found


def _require_known(root: LockedRoot, texts: Mapping[str, str], names: Collection[str], isolated: Apt) -> None:
    gone = [package for package in root.packages if package.sha256 not in texts and package.name not in names]
    if not gone:
        return
    offered = apt.described(isolated, {package.name for package in gone})
    now = {package.name: package.version for package in offered.values()}
    raise unable(
        "PKG012",
        "package-gone",
        f"the mirror no longer has `{gone[0].name}` {gone[0].version}"
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
