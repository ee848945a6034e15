"""What goes wrong outside of our own diagnostics: the machine refuses, or aistack has a bug."""

from __future__ import annotations

import errno
import sys

from aistack import __version__
from aistack.diagnostics import MAKE_ROOM, DiagnosticError, ExitCode, unable


def refused(error: OSError) -> DiagnosticError:
    """The diagnostic for an operating system that says no."""
    where = f"`{error.filename}`: " if error.filename else ""
    hints = {
        errno.ENOSPC: MAKE_ROOM,
        errno.EDQUOT: ("set AISTACK_STORE to a folder where there is room",),
        errno.EACCES: ("run as the user who owns it, or set AISTACK_STORE to a folder that this user may write",),
        errno.EROFS: ("set AISTACK_STORE to a folder that can be written",),
    }.get(error.errno or 0, ())
    return unable("HOST004", "machine-refused", f"{where}{error.strerror or error}", hints=hints)


def bug(error: Exception) -> ExitCode:
    """Prints what a report of a bug needs, on stderr."""
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
