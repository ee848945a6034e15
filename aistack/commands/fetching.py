"""A root's packages in the store: those that another store has are taken from there, the rest is fetched."""

from __future__ import annotations

from collections.abc import Sequence

from aistack.commands.pinning import Places
from aistack.diagnostics import unable
from aistack.facts.pins import LockedRoot
from aistack.host import apt, foreign, sharing
from aistack.report.progress import Progress


def fetched(root: LockedRoot, places: Places, shared: Sequence[sharing.Source], progress: Progress) -> LockedRoot:
    """The root, with all of its packages in the store, on a machine that can unpack it."""
    foreign.require_runnable(root.arch)
    store = places.store
    sharing.take(store, (package.sha256 for package in root.packages), shared)
    missing = apt.missing(store, root)
    if missing and places.offline:
        raise unable(
            "PKG006",
            "package-not-fetched",
            f"{len(missing)} locked packages are not in the store, `{missing[0].name}` {missing[0].version} first",
            hints=("build once without `--offline`",),
        )
    total, arrived = sum(package.size for package in missing), 0

    def advance(size: int) -> None:
        nonlocal arrived
        arrived += size
        progress.advance(f"fetching {len(missing)} packages", arrived, total)

    if missing:
        apt.fetch(store, root, environment=places.environment, advance=advance)
    return root
