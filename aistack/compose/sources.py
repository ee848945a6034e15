"""From a recipe's `sources` to the archives of a root and the indexes of an app. No mirror is known here: an address may be empty."""

from __future__ import annotations

from collections.abc import Sequence

from aistack.compose.recipe import Recipe, SourceWish
from aistack.facts.pins import Archive
from aistack.facts.systems import Kernel, Os, Suite

BASE, MODULES = NODES = ("base", "modules")
"""The roots of the node's system: what boots, and what compiles its modules."""


def is_module_sources(package: str) -> bool:
    """Whether a package (`NAME` or `NAME=VERSION`) holds the sources of modules: Debian's packages of them are called `NAME-dkms`."""
    return package.partition("=")[0].endswith("-dkms")


def module_sources(sources: Sequence[SourceWish], packages: Sequence[str], os: str, recipe_os: str) -> tuple[str, ...]:
    """The packages, by name, whose modules a recipe has compiled beside the driver's: of its own `packages`, and of its sources'."""
    taken = (one for source in sources if _serves(source, MODULES, os, recipe_os) for one in source.packages)
    return tuple(dict.fromkeys(one.partition("=")[0] for one in (*packages, *taken) if is_module_sources(one)))


def app_root(app: str) -> str:
    """The name of an app's root."""
    return f"app-{app}"


def archives(recipe_os: str, sources: Sequence[SourceWish], root: str, os: Os, suites: Sequence[Suite]) -> tuple[Archive, ...]:
    """The archives of the root of that name: the OS's suites, as the sources change them, then what the sources add.

    A source of the OS's own takes the place of the suites that it names, or comes beside them.
    """
    found = {suite.name: Archive(suite=suite.name, components=suite.components) for suite in suites}
    for source in sources:
        if not _serves(source, root, os.id, recipe_os):
            continue
        uri = (source.uri or "").rstrip("/")
        packages = tuple(one for one in source.packages if source.apps or _goes_into(root, one))
        for suite in source.suites or tuple(suite.name for suite in suites):
            key = f"{uri} {suite}" if source.further else suite
            before = found.get(key, Archive(suite=suite, components=()))
            components = tuple(dict.fromkeys((*before.components, *source.components)))
            found[key] = Archive(
                uri=uri or before.uri,
                suite=suite,
                components=() if suite.endswith("/") else components or ("main",),
                signed_by=source.signed_by or before.signed_by,
                packages=tuple(dict.fromkeys((*before.packages, *packages))),
                apart=source.further and (before.apart or key not in found) and bool(source.packages),
            )
    return tuple(found.values())


def _goes_into(root: str, package: str) -> bool:
    """What compiles modules is thrown away, and what boots holds no sources of any."""
    return root == (MODULES if is_module_sources(package) else BASE)


def _serves(source: SourceWish, root: str, os: str, recipe_os: str) -> bool:
    """Apps that are named; else the OS's own archives serve every root of the OS, a further one the node's system only."""
    if source.kind != "apt":
        return False
    if source.apps:
        return root in map(app_root, source.apps)
    return (source.os or recipe_os) == os and (root in NODES or not source.further)


def indexes(sources: Sequence[SourceWish], app: str) -> tuple[str, ...]:
    """The addresses of the indexes that an app asks before the build host's own, in the recipe's order."""
    return tuple(source.uri for source in sources if source.kind == "pip" and source.uri and (not source.apps or app in source.apps))


def kernels(recipe: Recipe, os: Os) -> tuple[Kernel, ...]:
    """The kernels to choose from: those of the OS's own suites, or of the suites from which the recipe takes the kernel's package."""
    own = {suite.name for suite in os.suites}
    found = []
    for kernel in os.kernels:
        names = {package.replace("{arch}", recipe.arch) for package in kernel.packages}
        taken = {
            suite
            for source in recipe.sources
            if source.kind == "apt" and not source.apps and names & {package.partition("=")[0] for package in source.packages}
            for suite in source.suites
        }
        if kernel.suite in (own if not taken or taken & own else taken):
            found.append(kernel)
    return tuple(found)
