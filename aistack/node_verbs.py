"""The verbs of `aistack node`, written as those of verbs.py are."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from aistack.commands.ending import Verb
from aistack.commands.options import AsJson, DryRun
from aistack.diagnostics import ExitCode


# Not `Literal`: the typer of Debian 13, which a node has, does not know it yet.
class Level(StrEnum):
    """How deep a check looks."""

    NONE = "none"
    QUICK = "quick"
    STANDARD = "standard"
    THOROUGH = "thorough"


class Task(StrEnum):
    """What a service of the node runs."""

    CHECK = "check"
    CONFIRM = "confirm"
    CLEAN = "clean"
    WATCH = "watch"
    STATUS = "status"


def check(
    as_json: AsJson = False,
    level: Annotated[
        Level,
        typer.Option("--level", help="No program on any accelerator; or one, and of its memory nothing, a tenth, nine tenths."),
    ] = Level.QUICK,
    apps: Annotated[bool, typer.Option("--apps", help="Ask the apps too.")] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=1, help="After that, tell what is known; SIGTERM does the same.")
    ] = None,
) -> ExitCode:
    """Judge this machine and its accelerators now, by what its lock promises; changes nothing."""
    from aistack.commands import node as command

    return command.node_check(as_json=as_json, level=level.value, apps=apps, timeout=timeout)


def snapshot() -> ExitCode:
    """Print what this machine has as a snapshot, which `check` judges."""
    from aistack.commands.node_snapshot import node_snapshot as command

    return command()


def status(as_json: AsJson = False) -> ExitCode:
    """Say which system is booted, and what the gates found."""
    from aistack.commands import node as command

    return command.node_status(as_json=as_json)


def update(
    check: Annotated[bool, typer.Option("--check", help="Only say whether there is another image.")] = False,
    download: Annotated[bool, typer.Option("--download", help="Fetch all of it, and stage nothing.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Reboot into it at once.")] = False,
    in_window: Annotated[bool, typer.Option("--in-window", help="Reboot into what is staged if the node's window is open.")] = False,
    layout: Annotated[Path | None, typer.Option("--from", metavar="FILE", exists=True, help="An OCI layout, a folder or tar.")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="REFERENCE", help="Follow HOST/REPOSITORY:TAG from now on.")] = None,
    allow_downgrade: Annotated[bool, typer.Option("--allow-downgrade", help="Take an older image too.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Fetch and stage what the node follows; the next orderly reboot starts it, on trial."""
    from aistack.commands import node_update as command

    if sum((check, download, apply, in_window)) > 1:
        raise typer.BadParameter("choose one of `--check`, `--download`, `--apply` and `--in-window`")
    extent = command.Extent(check=check, download=download, apply=apply, in_window=in_window)
    return command.update(extent, layout=layout, to=to, allow_downgrade=allow_downgrade, as_json=as_json)


def rollback(
    apply: Annotated[bool, typer.Option("--apply", help="Reboot into it at once.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Make the earlier deployment the one that starts next; the one that runs is not taken again by itself."""
    from aistack.commands import node_update as command

    return command.rollback(apply=apply, dry_run=dry_run, as_json=as_json)


def agent(task: Annotated[Task, typer.Argument(help="Which gate to run, or the cleaning after them.")]) -> ExitCode:
    """Run one task of a boot: what the node's own services call."""
    from aistack.node import agent as command

    return ExitCode(command.main([task.value]))


VERBS: Mapping[str, Verb] = {
    "snapshot": snapshot,
    "check": check,
    "status": status,
    "update": update,
    "rollback": rollback,
    "agent": agent,
}
