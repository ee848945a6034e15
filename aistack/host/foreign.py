"""Building for another architecture: whether this machine can run its programs, itself or by an emulator that the kernel knows."""

from __future__ import annotations

from aistack.diagnostics import unable
from aistack.host import process


def require_runnable(arch: str) -> None:
    """Raises DiagnosticError (exit 3) where programs of that architecture (in Debian's spelling) cannot be run, as building wants."""
    here = process.run(["dpkg", "--print-architecture"]).stdout.strip()
    if arch == here:
        return
    emulated = ("apt-get install arch-test qemu-user-static", f"or build on an {arch} machine; the lock that was made here serves there")
    said = "`arch-test` is not installed"
    if process.find("arch-test"):  # mmdebstrap asks it too
        tried = process.run(["arch-test", arch], check=False)
        if tried.returncode == 0:
            return
        said = (tried.stdout or tried.stderr).strip()
    raise unable(
        "HOST023",
        "foreign-architecture",
        f"this {here} machine cannot run programs for {arch}, which building an {arch} image does",
        why=(said, "an emulator counts where the kernel starts it by itself: binfmt_misc, with the flag F"),
        hints=emulated,
    )
