"""`aistack kernels`: the newest kernel for which every module of a recipe's driver is proved to compile, and what each newer one breaks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from aistack.commands import compiling, judging, pinning, proving
from aistack.commands.opening import progress_on_stderr
from aistack.commands.pinning import Places
from aistack.commands.reading import Source, read_recipe
from aistack.compose import kernels as offers
from aistack.compose import modules, seal
from aistack.compose.distros import debian
from aistack.compose.kernels import Offered
from aistack.compose.recipe import DriverWish, Recipe
from aistack.compose.sources import archives
from aistack.compose.stack import Stack
from aistack.diagnostics import Diagnostic, ExitCode, Severity, refuse
from aistack.facts.catalog import Catalog
from aistack.host import apt
from aistack.host.catalog_files import load_catalog
from aistack.host.store import Store, default_path
from aistack.report.progress import Progress
from aistack.values import dataclass

SCHEMA = "aistack/kernels/v1"


class Verdict(StrEnum):
    """What is known of one kernel."""

    PROVED = "proved"
    FITS = "fits"
    BREAKS = "breaks"
    UNTRIED = "untried"


WORKS = (Verdict.PROVED, Verdict.FITS)
ABOUT_KERNELS = "KR"
"""How the codes of the rules begin that doubt a kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One kernel, newest first: where it is offered, what is known of it, and why.

    `flavor` is that of the modules that were meant, where some have to be compiled; `errors` what rules said where they refused.
    """

    kernel: str
    suite: str
    verdict: Verdict
    why: tuple[str, ...]
    flavor: str | None = None
    errors: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The recipe whose kernels are asked about; without `prove` nothing is compiled, only what was before counts."""

    source: Source
    catalog: Catalog
    places: Places
    progress: Progress
    prove: bool


def kernels(recipe: Path, environment: Mapping[str, str], *, prove: bool, as_json: bool) -> ExitCode:
    """Prints the kernels from the newest down to the first that works; exit 1 when none does, 3 when one that may was not tried."""
    places = Places(store=Store(default_path(environment)), environment=environment, folder=recipe.parent)
    question = Question(
        source=read_recipe(recipe), catalog=load_catalog(environment), places=places, progress=progress_on_stderr(), prove=prove
    )
    tried = list(until_one_works(question))
    if same := _whatever_the_kernel(tried):
        raise refuse(*same)
    works = next((one for one in tried if one.verdict in WORKS), None)
    untried = [one for one in tried if one.verdict is Verdict.UNTRIED]
    if as_json:
        document = {"schema": SCHEMA, "newest": works.kernel if works else None, "kernels": [_document(one) for one in tried]}
        print(json.dumps(document, indent=2))
    else:
        _show(tried, works, untried, recipe)
    return ExitCode.OK if works else ExitCode.UNABLE if untried else ExitCode.NO


def _document(one: Tried) -> dict[str, Any]:
    return {"kernel": one.kernel, "suite": one.suite, "verdict": one.verdict, "why": one.why, "flavor": one.flavor}


def _show(tried: Sequence[Tried], works: Tried | None, untried: Sequence[Tried], recipe: Path) -> None:
    widths = [max((len(getattr(one, name)) for one in tried), default=0) for name in ("kernel", "suite", "verdict")]
    for one in tried:
        row = "  ".join(text.ljust(width) for text, width in zip((one.kernel, one.suite, one.verdict), widths, strict=True))
        print(f"{row}  {one.why[0] if one.why else ''}".rstrip())
        for line in one.why[1:]:
            print(" " * (sum(widths) + 6) + line)
    print(f"newest kernel that works: {works.kernel}" if works else "no kernel that is offered is known to work")
    if untried:
        print(f"{len(untried)} that may work were not tried: `aistack kernels {recipe} --prove` compiles for them, minutes each")


def until_one_works(question: Question) -> Iterator[Tried]:
    """The kernels that the recipe's OS offers in its flavour, newest first, down to the first for which all is known to be well."""
    for one in _offered(question):
        tried = _verdict(question, one)
        yield tried
        if tried.verdict in WORKS:
            return


def _whatever_the_kernel(tried: Sequence[Tried]) -> tuple[Diagnostic, ...]:
    """The errors of rules that are the same for every kernel: the recipe's own. Of a lone kernel that cannot be told."""
    if len(tried) < 2:
        return ()
    common = set.intersection(*({(found.rule, found.message) for found in one.errors} for one in tried))
    return tuple(found for found in tried[0].errors if (found.rule, found.message) in common)


def _offered(question: Question) -> tuple[Offered, ...]:
    recipe = question.source.recipe
    os = question.catalog.systems.get(recipe.os)
    kernel = next((one for one in os.kernels if one.flavor == recipe.kernel.flavor), None) if os else None
    if os is None or kernel is None:
        message = f"no archive of `{recipe.os}` is known that offers kernels of the flavour `{recipe.kernel.flavor}`"
        raise refuse(Diagnostic(rule="KRN001", name="no-kernels-offered", severity=Severity.ERROR, message=message))
    named = archives(recipe.os, recipe.sources, "base", os, offers.suites(os, recipe.kernel.flavor))
    images = debian.kernel_images(kernel, recipe.arch)
    headers = images.replace("image", "headers", 1)
    question.progress.say(f"reading which kernels {os.name} offers")
    store, environment = question.places.store, question.places.environment
    found = apt.matching(store, named, f"{images}|{headers}", recipe.arch, environment=environment)
    listed = [(archive.suite, package.name, package.version) for archive, package in found]
    return offers.offered((one for one in listed if one[1].startswith("linux-image-")), (name for _, name, _ in listed))


def _verdict(question: Question, one: Offered) -> Tried:
    """What is known of a kernel: it breaks when it does so with every flavour of modules that the recipe leaves open."""
    recipe, catalog = offers.with_kernel(question.source.recipe, question.catalog, one)
    found = _with_flavor(question, recipe, catalog, one)
    if found.verdict is Verdict.BREAKS and found.flavor is not None and (recipe.driver is None or recipe.driver.flavor is None):
        for flavor in sorted({driver.flavor for driver in catalog.systems[recipe.os].drivers if driver.modules} - {found.flavor}):
            wish = replace(recipe, driver=replace(recipe.driver or DriverWish(), flavor=flavor))
            other = _with_flavor(question, wish, catalog, one)
            if other.verdict is not Verdict.BREAKS:
                return replace(other, why=(f"with `driver: {{flavor: {flavor}}}`: {other.why[0]}", *other.why[1:], *found.why))
            found = replace(found, why=(*found.why, *other.why))
    return found


def _with_flavor(question: Question, recipe: Recipe, catalog: Catalog, one: Offered) -> Tried:
    """What rules say of a kernel; where they allow it, whether the driver's modules compile for it."""
    judged = judging.judge_source(recipe, question.source.root, question.places.environment, catalog, fixes=False)
    if judged.stack is None:
        errors = tuple(found for found in judged.diagnostics if found.severity is Severity.ERROR)
        why = tuple(f"{found.rule}: {found.message}" for found in errors)
        return Tried(kernel=one.kernel, suite=one.suite, verdict=Verdict.BREAKS, why=why, errors=errors)
    found = _compiles(question, judged.stack, one)
    doubts = [
        f"{doubt.rule}: {doubt.message}"
        for doubt in judged.diagnostics
        if doubt.severity is Severity.WARNING and doubt.rule.startswith(ABOUT_KERNELS) and found.verdict is Verdict.UNTRIED
    ]
    return replace(found, why=(*found.why, *doubts))


def _compiles(question: Question, stack: Stack, one: Offered) -> Tried:
    """Whether the modules compile for a kernel, from what was tried before, or by trying."""
    wishes, sources, places = seal.roots_for(stack, one.kernel), modules.sources(stack), question.places
    names, flavor = " ".join(sources), stack.driver.flavor if stack.driver and stack.driver.modules else None
    if not wishes:
        return Tried(kernel=one.kernel, suite=one.suite, verdict=Verdict.FITS, why=("no module has to be compiled for it",))
    output: Mapping[str, Any] | None = None
    if question.prove or compiling.was_tried(places.store, one.kernel, sources):
        root = pinning.pinned_root(wishes[0], None, frozenset(), places, question.progress)
        asked, names = (root, one.kernel, places), modules.named(root)
        output = (proving.prove(*asked, question.progress) if question.prove else proving.known(*asked))[1]
    if output is None:
        verdict, why = Verdict.UNTRIED, [f"nobody has compiled {names} for it here"]
    elif output["errors"]:
        verdict, why = Verdict.BREAKS, [f"{names}: {line}" for line in output["errors"]]
    else:
        verdict, why = Verdict.PROVED, [f"the {len(output['modules'])} modules of {names} compile for it"]
    return Tried(kernel=one.kernel, suite=one.suite, verdict=verdict, why=tuple(why), flavor=flavor)
