"""Libraries that programs need, and where a loader finds them: built into it, in its cache, or told by the one that asks."""

from __future__ import annotations

from pathlib import Path

import elf_samples
import pytest
from images_read import Files
from kernel_samples import LIBRARIES, program
from test_checks import base, judged

from aistack.compose.findings import Outcome
from aistack.facts.filesystem import Filesystem

__all__ = ["base"]

FAULTS: list[tuple[Files, str]] = [
    (
        {"/usr/lib/own/bin/tool": program(needed=["liba.so"]), "/usr/lib/other/lib/liba.so": elf_samples.binary()},
        "/usr/lib/own/bin/tool needs liba.so",
    ),
    (
        {"/usr/bin/tool": program(needed=["liba.so"], runpath="/usr/own/$LIBRARY"), "/usr/own/lib/liba.so": elf_samples.binary()},
        "/usr/bin/tool needs liba.so",
    ),
    (
        {
            "/usr/bin/tool": program(needed=["liba.so", "libb.so"], asked={"libb.so": ["B_1"], "liba.so": ["A_1", "A_1.2"]}),
            f"{LIBRARIES}/liba.so": elf_samples.binary(soname="liba.so", offered=["A_1", "A_1.1"]),
            f"{LIBRARIES}/libb.so": elf_samples.binary(offered=["B_0", "B_1"]),
        },
        f"/usr/bin/tool needs A_1.2 of liba.so, which {LIBRARIES}/liba.so does not offer",
    ),
    (
        {"/opt/bin/tool": program(needed=["$ORIGIN/../lib/liba.so.1"]), "/usr/lib/liba.so.1": elf_samples.binary()},
        "/opt/bin/tool needs $ORIGIN/../lib/liba.so.1",
    ),
    ({"/usr/bin/tool": elf_samples.binary(interpreter="/lib/ld-musl.so.1")}, "asks for the loader /lib/ld-musl.so.1"),
    ({"/usr/lib/x86_64-linux-gnu/liba.so.1": elf_samples.binary(needed=["libb.so.2"])}, "liba.so.1 needs libb.so.2"),
    (
        {"/usr/local/lib/own/a.so": elf_samples.binary(needed=["libb.so.2"])},
        "/usr/local/lib/own/a.so needs libb.so.2, which is nowhere",
    ),
    (
        {f"{LIBRARIES}/own/liba.so.1.2": elf_samples.binary(needed=["libb.so.2"]), f"{LIBRARIES}/liba.so.1": "own/liba.so.1.2"},
        f"{LIBRARIES}/own/liba.so.1.2 needs libb.so.2, which is nowhere",
    ),
    (
        {"/usr/bin/tool": program(needed=["liba.so"]), "/usr/lib/x86_64-linux-gnu/liba.so": elf_samples.binary(machine=183)},
        "/usr/bin/tool needs liba.so",
    ),
    (
        {"/usr/bin/tool": program(needed=["liba.so"]), "/usr/lib/own/liba.so": elf_samples.binary()},
        "/usr/bin/tool needs liba.so",
    ),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS)
def test_a_library_that_is_not_found_is_named(fault: Files, said: str, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, fault)["library-needs"]
    assert finding.outcome is Outcome.NO
    assert said in finding.message


def test_a_plugin_whose_library_nobody_installed_may_never_be_asked_for(base: Filesystem, tmp_path: Path) -> None:
    """Debian's iproute2 has `tc/q_atm.so`, and only recommends its libatm."""
    plugin: Files = {f"{LIBRARIES}/tc/q_atm.so": elf_samples.binary(needed=["libatm.so.1"])}
    finding = judged(base, tmp_path, plugin)["library-needs"]
    assert finding.outcome is Outcome.UNKNOWN
    assert f"{LIBRARIES}/tc/q_atm.so needs libatm.so.1, which is nowhere" in finding.message
    told = judged(base, tmp_path, plugin, {"/usr/bin/tool": program(needed=["libgone.so.1"])})["library-needs"]
    assert (told.outcome, "q_atm" in told.message) == (Outcome.NO, False)
