"""Is every file of the OS still what its checksum says? Looked at once a week, beside other work; the answer is kept for the first gate.

On Debian 13 nothing else would notice: OSTree is built without composefs, so a file is not checked when it is read. A look keeps no update
waiting; what an update or a cleaning removes meanwhile looks like damage, so damage is believed only by a look that nothing ran beside.
"""

from __future__ import annotations

import sys
from pathlib import Path

from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.host import durable
from aistack.host.probes.reading import inside, read
from aistack.host.process import failure, run
from aistack.node.results import Outcome, Result

DAMAGED = "/var/lib/aistack/damaged"
"""What the last look found, a line each; there only while something is damaged."""
HOURS = 12


def main(root: Path = Path("/")) -> int:
    """Let OSTree read all that it keeps; exit code 0 sound, 1 damaged, 3 could not look: then the unit looks again an hour later."""
    from aistack.node import update  # the first gate needs none of it

    try:
        if found := _damage(root):
            with update.alone(root, print):
                found = _damage(root)
    except DiagnosticError as error:
        print("; ".join(line for one in error.diagnostics for line in (one.message, *one.why)), file=sys.stderr)
        return ExitCode.UNABLE
    if not found:
        inside(root, DAMAGED).unlink(missing_ok=True)
        return ExitCode.OK
    durable.write(inside(root, DAMAGED), "".join(f"{line}\n" for line in found))
    return ExitCode.NO


def _damage(root: Path) -> list[str]:
    """What OSTree finds damaged, a line each; raises DiagnosticError (exit 3) where it could not look."""
    argv = ["ostree", "fsck", f"--repo={inside(root, '/ostree/repo')}", "--all", "--quiet"]
    looked = run(argv, check=False, timeout=HOURS * 3600)
    said = looked.stdout + looked.stderr
    print(said.strip(), file=sys.stderr)
    found = [line for line in said.splitlines() if "orrupt" in line or "issing" in line]
    if looked.returncode != 0 and not found:
        raise failure(argv, looked.returncode, said)
    return found if looked.returncode != 0 else []


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
