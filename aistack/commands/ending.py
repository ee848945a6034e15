"""How a verb ends: every way turned into words for people, a document where JSON was asked for, and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from aistack import __version__
from aistack.diagnostics import DiagnosticError, ExitCode, unable
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
        except DiagnosticError as error:
            exit_code = _tell(error, as_json=as_json)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            exit_code = ExitCode.INTERRUPTED
        except OutputError as error:
            exit_code = output_refused(error)
        except OSError as error:
            exit_code = _tell(_machine_refused(error), as_json=as_json)
        except Exception as error:  # noqa: BLE001 - the one place where a bug becomes a report
            exit_code = _report(error)
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
    """Says that the output cannot be written, unless it was a pipe that nobody reads any more."""
    discard()
    if error.errno != errno.EPIPE:
        print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
    return ExitCode.UNABLE


def _machine_refused(error: OSError) -> DiagnosticError:
    where = f"`{error.filename}`: " if error.filename else ""
    hints = {
        errno.ENOSPC: ("free space, or set AISTACK_STORE to a folder on a larger disk", "`aistack store prune` removes what nothing uses"),
        errno.EDQUOT: ("set AISTACK_STORE to a folder where there is room",),
        errno.EACCES: ("run as the user who owns it, or set AISTACK_STORE to a folder that this user may write",),
        errno.EROFS: ("set AISTACK_STORE to a folder that can be written",),
    }.get(error.errno or 0, ())
    return unable("HOST004", "machine-refused", f"{where}{error.strerror or error}", hints=hints)


def _report(error: Exception) -> ExitCode:
    import platform
    import shlex
    import traceback

    rule = "-" * 72
    print(f"error: aistack has a bug: {type(error).__name__}: {error}", file=sys.stderr)
    print("Please report it, with everything between the lines.", file=sys.stderr)
    print(rule, file=sys.stderr)
    print(f"aistack {__version__}, Python {platform.python_version()}, {platform.platform()}", file=sys.stderr)
    print(f"command: aistack {shlex.join(sys.argv[1:])}", file=sys.stderr)
    print("".join(traceback.format_exception(error)).rstrip(), file=sys.stderr)
    print(rule, file=sys.stderr)
    return ExitCode.BUG
