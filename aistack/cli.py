"""The command line: arguments in, exit code out. The verbs themselves are in `verbs.py`."""

from __future__ import annotations

import signal
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from aistack import __version__
from aistack.commands.ending import guarded, output_refused
from aistack.diagnostics import ExitCode
from aistack.report.output import OutputError, prepare
from aistack.verbs import GROUPS, VERBS


class VerbGroup(TyperGroup):
    """A group that builds only the verb that was asked for: help and the table of names cost nothing more."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the table's order."""
        return [*VERBS[str(self.name)], *(GROUPS if self.name == "aistack" else ())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb of that name, or None."""
        if self.name == "aistack" and cmd_name in GROUPS:
            return _group(cmd_name, GROUPS[cmd_name])
        function = VERBS[str(self.name)].get(cmd_name)
        if function is None:
            return None
        verb = _typer()
        verb.command(cmd_name)(guarded(function))
        return typer.main.get_command(verb)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that the arguments name; a misspelt one ends with exit 2 and the one that was probably meant."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from aistack.facts.decode import closest

            guess = closest(args[0], self.list_commands(ctx))
            ctx.fail(f"there is no verb `{args[0]}`" + (f"; did you mean `{guess}`?" if guess else ""))
        return super().resolve_command(ctx, args)


def _typer(**extra: Any) -> typer.Typer:
    return typer.Typer(
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=extra.pop("add_completion", False),
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        **extra,
    )


def _version(wanted: bool) -> None:
    if wanted:
        print(f"aistack {__version__}")
        raise typer.Exit()


def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Compose bootable AI node images: checked, locked, built, verified, updated with rollback."""


def _group(name: str, help: str | None = None) -> Any:
    group = _typer(name=name, help=help or _root.__doc__, cls=VerbGroup, no_args_is_help=True, add_completion=name == "aistack")
    group.callback()(_root if name == "aistack" else lambda: None)
    return typer.main.get_command(group)


def main() -> NoReturn:
    """The program; always ends the process."""
    prepare()
    # A service manager's way to end a program is taken as a person's: what was begun is put away, and its processes end too.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _group("aistack").main(prog_name="aistack")
    except KeyboardInterrupt:
        raise SystemExit(int(ExitCode.INTERRUPTED)) from None
    except OutputError as error:  # help and the version are printed outside of any verb
        raise SystemExit(int(output_refused(error))) from None
    raise SystemExit(int(ExitCode.OK))


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
