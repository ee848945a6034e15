"""Is every file of the OS still what its checksum says? Looked at once a week, beside other work; the answer is kept for the first gate.

On Debian 13 nothing else would notice: OSTree is built without composefs, so a file is not checked when it is read.
"""

from __future__ import annotations

import sys
from pathlib import Path

from aistack.diagnostics import ExitCode
from aistack.host import durable
from aistack.host.probes.reading import inside, read
from aistack.host.process import run
from aistack.node.results import Outcome, Result

DAMAGED = "/var/lib/aistack/damaged"
"""What the last look found, a line each; there only while something is damaged."""
HOURS = 12


def main(root: Path = Path("/")) -> int:
    """Let OSTree read all that it keeps; exit code 0 sound, 1 damaged, 3 could not look."""
    argv = ["ostree", "fsck", f"--repo={inside(root, '/ostree/repo')}", "--all", "--quiet"]
    looked = run(argv, check=False, timeout=HOURS * 3600)
    found = [line for line in (looked.stdout + looked.stderr).splitlines() if line.strip()]
    print("\n".join(found), file=sys.stderr)
    if looked.returncode == 0:
        inside(root, DAMAGED).unlink(missing_ok=True)
        return ExitCode.OK
    damaged = [line for line in found if "orrupt" in line or "issing" in line]
    if not damaged:
        return ExitCode.UNABLE
    durable.write(inside(root, DAMAGED), "".join(f"{line}\n" for line in damaged))
    return ExitCode.NO


def judge(root: Path) -> tuple[Result, ...]:
    """A result where the last look found damage: no reason to go back, since deployments share their files."""
    if not inside(root, DAMAGED).exists():
        return ()
    found = read(DAMAGED, lambda: inside(root, DAMAGED).read_text().splitlines()).value or [f"{DAMAGED} cannot be read"]
    return (
        Result(
            name="repository",
            outcome=Outcome.DEGRADED,
            message=f"files of the OS are not what their checksums say: {found[0]}",
            evidence=(("found", str(len(found))),),
            action="install this node again, and look at its disk: journalctl -u aistack-fsck",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
