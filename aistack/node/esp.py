"""After a confirmation: the image's shim and GRUB onto the EFI system partition, where they differ and none of them is older."""

from __future__ import annotations

import sys
from pathlib import Path

from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.host import esp
from aistack.host.process import run

MOUNTED = Path("/run/aistack/esp")
OPTIONS = "rw,nosuid,nodev,noexec,umask=0077"


def main(image: Path = Path(esp.IMAGE)) -> int:
    """Mount the partition where only this unit sees it, and refresh it; exit code 0, or 3 where it could not."""
    try:
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


if __name__ == "__main__":
    sys.exit(main())
