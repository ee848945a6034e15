"""A site's list of admitted licences, and what of a lock it does not admit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Annotated, Literal

from aistack.compose.lock import Lock
from aistack.compose.recipe import Reason, Recipe
from aistack.diagnostics import Diagnostic, Place, Severity
from aistack.facts.decode import Key, Text, decode
from aistack.facts.document import Node, place_of
from aistack.facts.licences import normal, refused
from aistack.facts.pins import UNREAD
from aistack.values import dataclass

SCHEMA = "aistack/licences/v1"

LicenceId = Annotated[str, Text(pattern=r"[A-Za-z0-9.+-]+( WITH [A-Za-z0-9.-]+)?", what="a licence's SPDX id", example="GPL-3.0-or-later")]
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Licences:
    """What a site admits: licences, and by name what it has looked at itself."""

    schema: Annotated[Literal["aistack/licences/v1"], "the kind of this file and its version"]
    allow: Annotated[tuple[LicenceId, ...], "SPDX ids; `LicenseRef-…` for what SPDX does not name"]
    exceptions: Annotated[
        Mapping[str, Reason],
        Key("except"),
        "what is admitted whatever its licence (a package, wheel, model or image), each with the reason",
    ] = field(default_factory=dict)


def read(root: Node) -> tuple[Licences | None, tuple[Diagnostic, ...]]:
    """A list from its document: (list, ()) or (None, every problem); an id that SPDX does not know is one."""
    licences, problems = decode(Licences, root)
    if licences is None:
        return None, problems
    unknown = tuple(
        _finding(
            "LC203",
            "licence-unknown",
            Severity.ERROR,
            f"`{name}` is no licence that SPDX knows",
            place_of(root, ("allow", index)),
            hints=("ids are spelled as in SPDX's list: `GPL-3.0-or-later`, `BSD-3-Clause`",),
        )
        for index, name in enumerate(licences.allow)
        if normal(name) is None
    )
    return (None, unknown) if unknown else (licences, ())


def judge(licences: Licences, file: str, lock: Lock, recipe: Recipe, places: Mapping[Path, Place]) -> tuple[Diagnostic, ...]:
    """Everything in a lock whose licence the list in `file` does not admit; `places` has the place of each value of the recipe."""
    admitted = {normal(name) or name for name in licences.allow}
    said: dict[str, Diagnostic] = {}
    for what, name, licence, path in _parts(lock, recipe):
        if name in licences.exceptions or what in said:
            continue
        except_it = f"look at it, then add `{name}: REASON` under `except:` of {file}"
        place = places.get(path)
        if licence == UNREAD or normal(licence) is None:
            said[what] = _finding(
                "LC202", "licence-unread", Severity.UNKNOWN, f"{what}: its licence is not known", place, hints=(except_it,)
            )
        elif not_admitted := refused(licence, admitted):
            are, them = ("is", "it") if len(not_admitted) == 1 else ("are", "them")
            message = f"{what}: {', '.join(f'`{one}`' for one in not_admitted)} {are} not admitted"
            hints = (f"admit {them} under `allow:` of {file}", except_it)
            said[what] = _finding("LC201", "licence-not-admitted", Severity.ERROR, message, place, (f"its licence: {licence}",), hints)
    return tuple(said.values())


def without_lock(recipe: Node, path: str) -> Diagnostic:
    """What is said of a recipe whose packages nobody knows yet."""
    message = f"no licence was judged: {path} is not the lock of this recipe"
    return _finding("LC204", "licences-not-locked", Severity.UNKNOWN, message, recipe.place, hints=("`aistack lock` reads the licences",))


def _parts(lock: Lock, recipe: Recipe) -> Iterator[tuple[str, str, str, Path]]:
    """(what it is, its name, its licence, where the recipe asks for it) of everything that ships."""
    roots = {"base": ("os",), **{app.root: ("apps", app.name, "framework") for app in lock.apps if app.root}}
    for root, path in roots.items():
        for package in lock.root(root).packages:
            yield f"package {package.name} {package.version}", package.name, package.licence, path
    for app in lock.apps:
        if app.image:
            yield f"image {app.image.reference}", app.image.reference, app.image.licence, ("apps", app.name, "image")
        for wheel in app.wheels:
            yield f"wheel {wheel.name} {wheel.version}", wheel.name, wheel.licence, ("apps", app.name, "framework")
        for index, wished in enumerate(recipe.apps[app.name].models):
            model = next((model for model in lock.models if model.id.lower() == wished.lower()), None)
            if model is not None:
                yield f"model {model.id}", model.id, model.licence, ("apps", app.name, "models", index)


def _finding(
    rule: str, name: str, severity: Severity, message: str, place: Place | None, why: tuple[str, ...] = (), hints: tuple[str, ...] = ()
) -> Diagnostic:
    return Diagnostic(rule=rule, name=name, severity=severity, message=message, place=place, why=why, hints=hints)
