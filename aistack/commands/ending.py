"""How a verb ends: whatever happens becomes a diagnostic for people and an exit code; a bug becomes a report to paste."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer

from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.report.output import OutputError, discard

Verb = Callable[..., ExitCode]


def guarded(function: Verb) -> Callable[..., NoReturn]:
    """The verb with every way in which it can end turned into an exit code; nothing else prints a traceback."""
    import functools

    @functools.wraps(function)
    def run(**arguments: Any) -> NoReturn:
        as_json = bool(arguments.get("as_json"))
        try:
            exit_code = function(**arguments)
            sys.stdout.flush()
        except typer.BadParameter:
            raise  # a wrong command line, which typer tells
        except DiagnosticError as error:
            exit_code = _tell(error, as_json=as_json)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            exit_code = ExitCode.INTERRUPTED
        except OutputError as error:
            exit_code = output_refused(error)
        except OSError as error:
            from aistack.report import trouble

            exit_code = _tell(trouble.refused(error), as_json=as_json)
        except Exception as error:  # noqa: BLE001 - the one place where a bug becomes a report
            from aistack.report import trouble

            exit_code = trouble.bug(error)
        raise SystemExit(int(exit_code))

    return run


def _tell(error: DiagnosticError, *, as_json: bool = False) -> ExitCode:
    """The diagnostics for people on stderr and, where JSON was asked for, as the document of `check --json` on stdout."""
    from aistack.commands.reading import text_for_snippet
    from aistack.report import terminal
    from aistack.report.text import colour_wanted

    colour = colour_wanted(sys.stderr, os.environ)
    sys.stderr.write(terminal.render(error.diagnostics, text_for_snippet, colour=colour).removesuffix("\n"))
    if as_json:
        from aistack.report import json

        try:
            sys.stdout.write(json.render(error.diagnostics, ok=False))
            sys.stdout.flush()
        except OutputError as refusal:
            return output_refused(refusal)
    return error.exit_code


def output_refused(error: OutputError) -> ExitCode:
    """What it means that standard output cannot be written, told on standard error where anybody still listens."""
    discard()
    if error.errno != errno.EPIPE:  # who closed a pipe has read enough
        print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
    return ExitCode.UNABLE
