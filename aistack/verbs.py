"""The verbs: each function's docstring is its help, its arguments are its options, its result is the exit code.

To add one, write a function here and name it in `VERBS`. A verb's own modules are imported when it runs, so that each starts quickly.
Errors need no care: `ending.guarded` turns them into diagnostics and exit codes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from aistack import node_verbs
from aistack.commands.ending import Verb
from aistack.commands.options import AsJson, DryRun, FirmwareName, ModelsFrom, Offline, RecipeFile, Reference, WithoutModels
from aistack.diagnostics import ExitCode


def check(
    paths: Annotated[list[Path], typer.Argument(metavar="RECIPE|SNAPSHOT...", readable=False, help="Files; `-` is standard input.")],
    as_json: AsJson = False,
    as_sarif: Annotated[bool, typer.Option("--sarif", help="Print a SARIF log, which code hosts show on the changed lines.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Make the best proved fix in each recipe that has one.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings and unknowns fail too.")] = False,
    locked: Annotated[bool, typer.Option("--locked", help="The lock beside each recipe must be the one that would be made.")] = False,
    licences: Annotated[Path | None, typer.Option("--licences", metavar="FILE", help="Licences that are admitted in the locks.")] = None,
) -> ExitCode:
    """Judge recipes and snapshots: what cannot work, why, and what would mend it."""
    from aistack.commands import check as command

    if as_json and as_sarif:
        raise typer.BadParameter("--json and --sarif are two ways to print the same; choose one")
    if fix and Path("-") in paths:
        raise typer.BadParameter("--fix writes into files; name one instead of `-`")
    output: Literal["text", "json", "sarif"] = "json" if as_json else "sarif" if as_sarif else "text"
    paths = [Path("/dev/stdin") if path == Path("-") else path for path in paths]
    return command.check(paths, output=output, strict=strict, locked=locked, fix=fix, environment=os.environ, licences=licences)


def explain(
    rule: Annotated[str | None, typer.Argument(metavar="RULE", help="A code (NV101) or a name; without it all are listed.")] = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Explain a rule or another code in full, with its source."""
    from aistack.commands import explain as command
    from aistack.host.catalog_files import load_catalog

    return command.explain(rule, catalog=load_catalog(), as_json=as_json, environment=os.environ)


def why(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", readable=False, help="The recipe.")],
    component: Annotated[str, typer.Argument(metavar="COMPONENT", help="kernel, driver, vllm, APP/torch, cuda, …")],
    as_json: AsJson = False,
) -> ExitCode:
    """Tell why a component has its version and not a newer one."""
    from aistack.commands import why as command
    from aistack.commands.judging import judge_source
    from aistack.commands.reading import read_recipe

    source = read_recipe(recipe)
    return command.why(component, judge_source(source.recipe, source.root, os.environ), as_json=as_json)


def list_kind(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="accelerators, branches, kernels, models, frameworks, components, images, faults, os, rules or recipes"
        ),
    ],
    as_json: AsJson = False,
) -> ExitCode:
    """List what the catalog knows."""
    from aistack.commands import list as command
    from aistack.host.catalog_files import example_recipes, load_catalog

    return command.list_kind(kind, catalog=load_catalog(), recipes=example_recipes(), as_json=as_json)


def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="nvidia/l4, Qwen/Qwen3-8B, vllm, debian-13, NV101, …")],
    as_json: AsJson = False,
) -> ExitCode:
    """Show what the catalog knows about one thing, with its sources."""
    from aistack.commands import show as command
    from aistack.host.catalog_files import load_catalog

    return command.show(id, catalog=load_catalog(), as_json=as_json)


def matrix(
    accelerator: Annotated[str | None, typer.Argument(metavar="ACCELERATOR", help="nvidia/l4, or nvidia/h100 for all of them")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every accelerator of the catalog.")] = False,
    count: Annotated[int, typer.Option("--count", min=1, max=1024, help="How many of them share each model.")] = 1,
    context: Annotated[int | None, typer.Option("--context", metavar="TOKENS", min=1, help="The longest request.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE.html", dir_okay=False, help="Write a page.")] = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Say which models run on an accelerator with which releases, and what speaks against the others."""
    from aistack.commands import matrix as command
    from aistack.commands.judging import today
    from aistack.compose.grid import Question
    from aistack.host.catalog_files import load_catalog

    if (accelerator is None) is not everything:
        raise typer.BadParameter("name one accelerator, or use `--all`", param_hint="ACCELERATOR")
    question = Question(count=count, context=context)
    return command.show(accelerator, question, catalog=load_catalog(), today=today(os.environ), as_json=as_json, output=output)


def fit(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Qwen/Qwen3-8B, …")],
    accelerator: Annotated[str | None, typer.Argument(metavar="ACCELERATOR", help="Only this one, with the arithmetic.")] = None,
    kind: Annotated[
        Literal["data-centre", "workstation", "consumer", "embedded"] | None, typer.Option("--kind", help="Only accelerators of this kind.")
    ] = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Say which accelerators hold a model, how many it takes, and how long requests may be."""
    from aistack.commands import fit as command
    from aistack.commands.judging import today
    from aistack.host.catalog_files import load_catalog

    return command.fit(model, accelerator, catalog=load_catalog(), today=today(os.environ), as_json=as_json, kind=kind)


def schema(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="recipe, accelerator, model, framework, os, licences, lock, check, …")],
) -> ExitCode:
    """Print the JSON Schema of a kind of file, for editors."""
    from aistack.commands import schema as command

    return command.schema(kind)


def facts_refresh(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="torch, vllm, …; everything that can be read.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Read known releases again too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would change, and write nothing.")] = False,
) -> ExitCode:
    """Read releases from indexes and wheels into a checkout's catalog, for review."""
    from aistack.commands import refresh as command
    from aistack.commands.judging import today
    from aistack.host.catalog_files import package

    root, day = package().parent, today(os.environ)
    return command.refresh(ids or (), root=root, dry_run=dry_run, everything=everything, environment=os.environ, today=day)


def report_fleet(
    files: Annotated[
        list[Path], typer.Argument(metavar="REPORT...", readable=False, help="Files that `node check --json` or a gate wrote.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.html", dir_okay=False, help="The page to write.")],
) -> ExitCode:
    """Write one page of what many nodes, or one, said of themselves: sick devices first, who is slow beside its equals."""
    import datetime

    from aistack.commands import fleet as command
    from aistack.host.catalog_files import load_catalog

    return command.report(files, output, catalog=load_catalog(), now=datetime.datetime.now(tz=datetime.UTC))


def lock(
    recipe: RecipeFile,
    anew: Annotated[bool, typer.Option("--anew", help="Pin everything again, though the lock still fits.")] = False,
    upgrade: Annotated[
        list[str] | None,
        typer.Option("--upgrade", metavar="NAME", help="Move this alone: kernel, driver, an app, a model, a package, a wheel."),
    ] = None,
    reseal: Annotated[bool, typer.Option("--reseal", help="Date it now, its pins kept: nodes take it in the place of later ones.")] = False,
    models_from: ModelsFrom = None,
    without_models: Annotated[
        bool, typer.Option("--without-models", help="The lock that `build --without-models` makes: a file of its own.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Pin every byte that a recipe needs, in NAME.lock.json beside it."""
    from aistack.commands import build_verbs as command
    from aistack.commands.opening import Options

    if anew and upgrade:
        raise typer.BadParameter("`--anew` pins everything again; name what shall move, or use it alone", param_hint="--upgrade")
    if reseal and (anew or upgrade):
        raise typer.BadParameter(
            "it dates a lock whose pins stay; what `--anew` or `--upgrade` moves is dated by that", param_hint="--reseal"
        )
    options = Options(models_from=models_from, without_models=without_models)
    return command.lock(recipe, options, anew=anew, upgrade=upgrade or (), reseal=reseal, dry_run=dry_run, as_json=as_json)


def plan(recipe: RecipeFile, without_models: WithoutModels = False, as_json: AsJson = False) -> ExitCode:
    """Show the steps from a lock to a disk, and which of them are done."""
    from aistack.commands import build_verbs as command
    from aistack.commands.opening import Options

    return command.plan(recipe, Options(without_models=without_models), as_json=as_json)


def kernels(
    recipe: RecipeFile,
    prove: Annotated[bool, typer.Option("--prove", help="Compile for kernels that nobody has compiled for here, minutes each.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Find the newest kernel that every module of the driver compiles for, and what each newer one breaks."""
    from aistack.commands import kernels as command

    return command.kernels(recipe, os.environ, prove=prove, as_json=as_json)


def build(
    recipe: RecipeFile,
    only: Annotated[
        str | None, typer.Option("--only", metavar="KIND", help="One kind of step, like `app-image`, and what it needs.")
    ] = None,
    load: Annotated[bool, typer.Option("--load", help="Put the images into this user's podman too.")] = False,
    offline: Offline = False,
    models_from: ModelsFrom = None,
    without_models: WithoutModels = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Build the images and the disk of a recipe; what is there already is not built again."""
    from aistack.commands import build_verbs as command
    from aistack.commands.opening import Options

    options = Options(offline=offline, models_from=models_from, without_models=without_models)
    if dry_run:
        return command.dry_run(recipe, options, as_json=as_json)
    return command.build(recipe, options, only=only, load=load, as_json=as_json)


def verify(
    subject: Annotated[
        str, typer.Argument(metavar="RECIPE|IMAGE", help="A recipe; a layout or an archive; else as skopeo names it: docker://…")
    ],
    statement: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write the result as an in-toto statement too.")
    ] = None,
    snapshot: Annotated[bool, typer.Option("--snapshot", help="Print the image as a snapshot for `check` instead.")] = False,
    without_models: Annotated[bool, typer.Option("--without-models", help="Hold what is built without weights: base and apps.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Hold images against their lock, and to what any image should be, without running them."""
    from aistack.commands import verify as command

    if snapshot and statement:
        raise typer.BadParameter("--snapshot checks nothing that --statement could tell")
    if snapshot:
        return command.snapshot(subject, without_models=without_models, as_json=as_json)
    return command.verify(subject, statement=statement, without_models=without_models, as_json=as_json)


def sbom(
    source: Annotated[Path, typer.Argument(metavar="RECIPE|LOCK", readable=False, help="A lock, or the recipe beside it.")],
    format: Annotated[Literal["spdx", "cyclonedx"] | None, typer.Option("--format", help="Only SPDX 2.3, or only CycloneDX 1.6.")] = None,
    folder: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", file_okay=False, help="Where to write.")] = Path(),
    as_json: AsJson = False,
) -> ExitCode:
    """Write bills of materials of the images from the lock, without building."""
    from aistack.commands import sbom as command

    return command.write(source, format=format, folder=folder, as_json=as_json)


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", readable=False, help="A lock, or the recipe beside it.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", readable=False, help="The other one.")],
    as_json: AsJson = False,
) -> ExitCode:
    """Tell what changed between two locks, and what a node must fetch."""
    from aistack.commands import diff as command
    from aistack.host.store import Store, default_path

    return command.compare(old, new, Store(default_path(os.environ)), as_json=as_json)


def boot(recipe: RecipeFile, firmware: FirmwareName = "uefi", as_json: AsJson = False) -> ExitCode:
    """Boot the built disk in QEMU, through both gates, and ask its apps."""
    from aistack.commands import up as command

    return command.boot(recipe, firmware=firmware, as_json=as_json)


def up(
    recipe: RecipeFile,
    firmware: FirmwareName = "uefi",
    again: Annotated[bool, typer.Option("--again", help="Boot though this disk has booted before.")] = False,
    offline: Offline = False,
    models_from: ModelsFrom = None,
    without_models: WithoutModels = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> ExitCode:
    """All of it: check, lock, build, verify, disk, boot, ask."""
    from aistack.commands import build_verbs, opening
    from aistack.commands import up as command

    options = opening.Options(offline=offline, models_from=models_from, without_models=without_models)
    if dry_run:
        return build_verbs.dry_run(recipe, options, as_json=as_json)
    return command.up(recipe, options, firmware=firmware, again=again, as_json=as_json)


def doctor(
    missing_packages: Annotated[bool, typer.Option("--missing-packages", help="Print only the packages to install, on one line.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Say what this machine lacks, each with the line that mends it."""
    from aistack.commands import doctor as command
    from aistack.host.store import Store, default_path

    store = Store(default_path(os.environ))
    return command.doctor(as_json=as_json, missing_packages=missing_packages, store=store, environment=os.environ)


def store_show(as_json: AsJson = False) -> ExitCode:
    """Say where the store lies and how much it holds."""
    from aistack.commands import store as command
    from aistack.host.store import Store, default_path

    return command.show(Store(default_path(os.environ)), as_json=as_json)


def store_prune(
    older_than: Annotated[float, typer.Option("--older-than", metavar="DAYS", min=0, help="What counts as in use.")] = 30,
    everything: Annotated[bool, typer.Option("--all", help="Remove what is in use, too.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Remove what no lock needs that was built in the last 30 days."""
    from aistack.commands import store as command
    from aistack.host.store import Store, default_path

    store = Store(default_path(os.environ))
    return command.prune(store, days=older_than, everything=everything, dry_run=dry_run, as_json=as_json)


def store_check(
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is damaged; the next build fetches or makes it again.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Read every file of the store and name those that are damaged."""
    from aistack.commands import store as command
    from aistack.host.store import Store, default_path

    return command.check(Store(default_path(os.environ)), remove=remove, as_json=as_json)


def store_push(
    recipe: RecipeFile,
    to: Reference,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Push what a recipe's lock needs, for other machines to take from."""
    from aistack.commands import store_push as command

    return command.push(recipe, to, dry_run=dry_run, as_json=as_json)


def push(
    recipe: RecipeFile,
    to: Annotated[str, typer.Option("--to", metavar="HOST/REPOSITORY:TAG", help="Where nodes fetch it from.")],
    sign_by: Annotated[
        list[Path] | None,
        typer.Option("--sign-by", metavar="KEY", exists=True, dir_okay=False, help="Sign it with this private sigstore key, or several."),
    ] = None,
    passphrase: Annotated[
        list[Path] | None,
        typer.Option(
            "--passphrase-file",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A passphrase for each key, in order; without, asked for.",
        ),
    ] = None,
    allow_downgrade: Annotated[
        bool, typer.Option("--allow-downgrade", help="Also in the place of a later image, which nodes refuse.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Push a recipe's built images to a registry, the system image last."""
    from aistack.commands import push as command

    keys, words = sign_by or [], passphrase or []
    if words and len(words) != len(keys):
        raise typer.BadParameter("as many as `--sign-by` names keys, in the same order", param_hint="--passphrase-file")
    return command.push(recipe, to, keys=keys, passphrases=words, allow_downgrade=allow_downgrade, dry_run=dry_run, as_json=as_json)


VERBS: Mapping[str, Mapping[str, Verb]] = {
    "aistack": {
        "check": check,
        "explain": explain,
        "why": why,
        "list": list_kind,
        "show": show,
        "matrix": matrix,
        "fit": fit,
        "schema": schema,
        "lock": lock,
        "plan": plan,
        "kernels": kernels,
        "build": build,
        "verify": verify,
        "sbom": sbom,
        "diff": diff,
        "boot": boot,
        "up": up,
        "push": push,
        "doctor": doctor,
    },
    "facts": {"refresh": facts_refresh},
    "store": {"show": store_show, "check": store_check, "prune": store_prune, "push": store_push},
    "report": {"fleet": report_fleet},
    "node": node_verbs.VERBS,
}
"""The verbs of the program and of each group of verbs, in the order in which help lists them."""

GROUPS: Mapping[str, str] = {
    "facts": "Read again what the catalog says; for those who maintain it.",
    "store": "See, clean and share what was fetched and built.",
    "report": "Write pages for people.",
    "node": "See and judge the machine that this runs on.",
}
"""Verbs that have verbs of their own (under their name in `VERBS`), with their help."""
