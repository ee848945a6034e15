"""After a confirmation: the image's shim and GRUB onto the EFI system partition, where they differ and none of them is older."""

from __future__ import annotations

import sys
from pathlib import Path

from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts import efi
from aistack.host import esp
from aistack.host.probes.deployment import booted
from aistack.host.probes.reading import inside
from aistack.host.process import run
from aistack.node import state

MOUNTED = Path("/run/aistack/esp")
OPTIONS = "rw,nosuid,nodev,noexec,umask=0077"


def main(root: Path = Path("/")) -> int:
    """Mount the partition where only this unit sees it, and refresh it; exit code 0, or 3 where it could not.

    Nothing is done for a system that is not the confirmed one: what a person started that was undone passes the gates, too.
    """
    image = inside(root, efi.IMAGE)
    try:
        if not is_confirmed(root):
            print("this is not known to be the confirmed system; the EFI system partition stays as it is")
            return ExitCode.OK
        MOUNTED.mkdir(exist_ok=True)
        run(["mount", "-t", "vfat", "-o", OPTIONS, str(esp.partition(Path("/boot"))), str(MOUNTED)], timeout=120)
        if esp.is_older(image, MOUNTED):
            print("the EFI system partition has newer programs than this system; they stay")
            return ExitCode.OK
        changed = esp.refresh(image, MOUNTED)
        print(f"the EFI system partition: {', '.join(changed) if changed else 'nothing'} was exchanged")
    except DiagnosticError as error:
        for diagnostic in error.diagnostics:
            print("; ".join((diagnostic.message, *diagnostic.why, *diagnostic.hints)), file=sys.stderr)
        return ExitCode.UNABLE
    return ExitCode.OK


def is_confirmed(root: Path) -> bool:
    """Whether the system that runs is the one that the node goes back to."""
    runs = booted(root).value
    return runs is not None and runs.manifest == state.load(inside(root, state.PATH)).confirmed


if __name__ == "__main__":
    sys.exit(main())
