"""What the kernel's log says of the machine around its accelerators: bus, processors and memory, told by the kernel or by the firmware.

Lines are made by the formats of https://github.com/torvalds/linux, read 2026-11-27: drivers/firmware/efi/cper.c (the firmware's
errors), drivers/pci/pcie/aer.c and dpc.c, mm/memory-failure.c, arch/x86/kernel/cpu/mce/core.c; drivers/edac/mce_amd.c in copies. What
stands before the firmware's errors, and the lines of OOM kills and EDAC, are as logs have them. Older kernels say `Corrected` where newer
ones say `Correctable`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from accelerator_bench import H100, recorded

from aistack.facts.catalog import Catalog
from aistack.facts.kernel_log import events, gathered
from aistack.facts.readings import Reading
from aistack.node import gate
from aistack.node.accelerators import judge
from aistack.node.asking import known_faults
from aistack.node.device_checks import Promise
from aistack.node.results import Outcome, Result

DEVICE, PORT = "0000:00:06.0", "0000:00:01.0"
"""The recorded H100, and the port above it."""


def firmware(severity: str, *lines: str) -> tuple[str, ...]:
    head = ("Hardware error from APEI Generic Hardware Error Source: 1", f"event severity: {severity}", f" Error 0, type: {severity}")
    return tuple(f"{{7}}[Hardware Error]: {line}" for line in (*head, *(f"  {line}" for line in lines)))


MEMORY = (
    "section_type: memory error",
    "physical_address: 0x0000000898b86020",
    "node:0 card:0 module:1 rank:0 bank:513 ",
    "error_type: 3, multi-bit ECC",
)
PCIE = ("section_type: PCIe error", "port_type: 4, root port", f"device_id: {PORT}", "slot: 0", "vendor_id: 0x8086, device_id: 0x352a")

WRONG: dict[str, tuple[tuple[str, ...], str, str]] = {
    "fatal": ((f"pcieport {PORT}: AER: Uncorrectable (Fatal) error message received from {DEVICE}",), DEVICE, "a fatal error of PCI"),
    "fatal, older": (
        (f"pcieport {PORT}: PCIe Bus Error: severity=Uncorrected (Fatal), type=Transaction Layer, (Requester ID)",),
        PORT,
        "a fatal",
    ),
    "not fatal, of an accelerator": (
        (f"pcieport {PORT}: AER: Uncorrectable (Non-Fatal) error message received from {DEVICE}",),
        DEVICE,
        "not fatal",
    ),
    "contained": (
        (f"pcieport {PORT}: DPC: containment event, status:0x1f05 source:0x0000", f"pcieport {PORT}: DPC: ERR_FATAL detected"),
        PORT,
        "cut its link",
    ),
    "contained by itself": ((f"pcieport {PORT}: DPC: unmasked uncorrectable error detected",), PORT, "cut its link"),
    "EDAC": (("EDAC MC0: 1 UE memory read error on CPU_SrcID#0_MC#0_Chan#1_DIMM#0",), "", "machine's memory"),
    "a machine check": (("mce: [Hardware Error]: CPU 3: Machine Check Exception: 5 Bank 7: be00000000800400",), "", "processor or memory"),
    "a machine check of AMD": (("[Hardware Error]: System Fatal error.",), "", "processor or memory"),
    "one that a program met": (("mce: Uncorrected hardware memory error in user-access at 3f00000000",), "", "processor or memory"),
    "a page": (("Memory failure: 0x3f00000: recovery action for dirty LRU page: Recovered",), "", "machine's memory"),
    "the firmware, memory": (firmware("recoverable", *MEMORY), "", "was not corrected"),
    "the firmware, the bus": (firmware("fatal", *PCIE), PORT, "a fatal error of the hardware"),
}
CORRECTED: dict[str, tuple[tuple[str, ...], str]] = {
    "on the bus": ((f"pcieport {PORT}: AER: Correctable error message received from {DEVICE}",), f"1 x aer corrected at {DEVICE}"),
    "on the bus, older": ((f"nvidia {DEVICE}: AER: PCIe Bus Error: severity=Corrected, type=Physical Layer",), "1 x aer corrected"),
    "not fatal, of another": (
        (f"pcieport {PORT}: AER: Uncorrected (Non-Fatal) error received: 0000:99:00.0",),
        "1 x aer non-fatal at 0000:99",
    ),
    "memory": (("EDAC MC0: 1 CE memory read error on CPU_SrcID#0_MC#0_Chan#1_DIMM#0",), "1 x edac ce"),
    "a machine check": (("mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 7: 8c00004000010091",), "1 x mce corrected"),
    "a machine check of AMD": (("[Hardware Error]: Corrected error, no action required.",), "1 x mce corrected"),
    "the firmware": (firmware("corrected", *MEMORY), "1 x firmware corrected"),
    "a program was killed": (("Out of memory: Killed process 4711 (python) total-vm:1kB",), "1 x oom oom"),
}
NOTHING = {
    "an earlier boot's": (
        "BERT: Error records from previous boot:",
        "[Hardware Error]: event severity: fatal",
        "[Hardware Error]:  Error 0, type: fatal",
    ),
    "as the port is set up": (f"pcieport {PORT}: DPC: error containment capabilities: Int Msg #0, RPExt+ SwTrigger+ RP PIO Log 4",),
    "somebody asked for it": (f"pcieport {PORT}: DPC: software trigger detected",),
    "a page that is taken out ahead": ("soft offline: 0x3f00000: migration failed 1, type 17ffffc0000000",),
    "a group of programs at its own limit": (
        "Memory cgroup out of memory: Killed process 4711 (python)",
        "oom-kill:constraint=CONSTRAINT_MEMCG",
    ),
    "the firmware's news": firmware("info", *MEMORY),
    "EDAC begins": ("EDAC MC0: Giving out device to module skx_edac controller Skylake Socket#0 IMC#0",),
}


def judged(catalog: Catalog, *messages: str, times: int = 1) -> list[Result]:
    log = events(f"3,{number},{5_000_000 + number},-;{line}" for number in range(times) for line in messages)
    seen = replace(recorded(), log=Reading(source="/dev/kmsg", value=log))
    results = judge(Promise(vendor="nvidia", product=catalog.accelerators[H100], count=1), seen, known_faults(catalog))
    assert [result.outcome for result in results if result.name == "accelerator-log"] == [Outcome.HEALTHY]
    return [result for result in results if result.name == "machine-log"]


@pytest.mark.parametrize("name", WRONG)
def test_what_was_not_corrected_has_to_be_looked_at(catalog: Catalog, name: str) -> None:
    messages, device, words = WRONG[name]
    (told,) = judged(catalog, *messages)
    assert told.outcome is Outcome.DEGRADED and words in told.message and (told.device or "") == device and told.action


def test_what_the_firmware_says_of_the_place_is_evidence(catalog: Catalog) -> None:
    (told,) = judged(catalog, *firmware("recoverable", *MEMORY))
    expected = (
        "event severity: recoverable; section_type: memory error; node:0 card:0 module:1 rank:0 bank:513; error_type: 3, multi-bit ECC"
    )
    assert dict(told.evidence)["message"] == expected


@pytest.mark.parametrize("name", CORRECTED)
def test_what_was_corrected_is_told_and_not_judged(catalog: Catalog, name: str) -> None:
    messages, words = CORRECTED[name]
    (told,) = judged(catalog, *messages)
    assert told.outcome is Outcome.HEALTHY and words in told.message


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_no_error_of_this_boot_is_none(catalog: Catalog, name: str) -> None:
    assert judged(catalog, *NOTHING[name]) == []


def test_what_is_said_again_and_again_is_said_once(catalog: Catalog) -> None:
    messages = (WRONG["not fatal, of an accelerator"][0][0], CORRECTED["on the bus"][0][0])
    wrong, told = judged(catalog, *messages, times=1000)
    assert dict(wrong.evidence) | {"message": ""} == {"message": "", "seconds": "5", "times": "1000", "last-seconds": "5"}
    assert f"1000 x aer corrected at {DEVICE}" in told.message


def test_the_last_recovery_that_was_asked_for_counts(catalog: Catalog) -> None:
    asks = "NVRM: Xid (PCI:0000:18:00): 154, GPU recovery action changed from 0x0 (None) to 0x{0} ({1} Required)"
    lines = [asks.format(*one) for one in ((1, "GPU Reset"), (2, "Node Reboot"), (1, "GPU Reset"))]
    log = events(f"3,{number},5000000,-;{line}" for number, line in enumerate(lines))
    assert [(event.word, event.times) for event in log] == [("node reboot required", 1), ("gpu reset required", 2)]


def test_parts_of_a_log_are_gathered_as_the_whole() -> None:
    xid, loads = "NVRM: Xid (PCI:0000:18:00): {0}, x", "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  580.159.04"
    said = [
        xid.format(79),
        loads,
        xid.format(48),
        xid.format(79),
        xid.format(79),
        "aistack: 0000:18:00.0 was mended",
        xid.format(31),
        loads,
        xid.format(79),
    ]
    lines = [f"3,{number},{number}000000,-;{line}" for number, line in enumerate(said)]
    whole = events(lines)
    assert [(event.kind, event.code) for event in whole] == [("mended", "mended"), ("xid", "31"), ("mended", "mended"), ("xid", "79")]
    for cut in range(len(lines) + 1):
        assert gathered((*events(lines[:cut]), *events(lines[cut:]))) == whole, cut
    again = events(lines[:5])
    assert [(event.code, event.times, event.seconds, event.last) for event in again if event.kind == "xid"] == [
        ("79", 1, 0.0, None),
        ("48", 1, 2.0, None),
        ("79", 2, 3.0, 4.0),
    ]


STORM = """import resource, sys
from pathlib import Path
from aistack.host.probes.kernel_log import kernel_log
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = kernel_log(Path(sys.argv[1])).value
print(len(found), found[0].times, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
JOURNALCTL = """#!/bin/sh
case "$*" in
*--lines*) echo '{"_SOURCE_MONOTONIC_TIMESTAMP":"0","MESSAGE":"Linux version 6.12"}' ;;
*) yes '{"_SOURCE_MONOTONIC_TIMESTAMP":"5000000","MESSAGE":"x 0000:00:01.0: AER: Correctable error message received from 0000:00:06.0"}' |
   head -n 100000 ;;
esac
"""


def test_a_storm_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> None:
    """100,000 lines, some 10 MiB, from the kernel or the journal; the watch of a node at work reads them every five minutes."""
    line = CORRECTED["on the bus"][0][0]
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kmsg").write_text("".join(f"4,{number},{number}0,-;{line}\n" for number in range(100_000)))
    said = subprocess.run([sys.executable, "-c", STORM, str(tmp_path)], capture_output=True, text=True, check=True)
    assert [int(number) for number in said.stdout.split()[:2]] == [1, 100_000] and int(said.stdout.split()[2]) < 4096, said.stdout
    (tmp_path / "journalctl").write_text(JOURNALCTL)
    (tmp_path / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    script = STORM.replace("kernel_log(Path(sys.argv[1])).value", "_since_boot(Path('/'), iter(['6,9,70000000,-;hello']))")
    said = subprocess.run([sys.executable, "-c", script.replace("import kernel_log", "import _since_boot")], capture_output=True, text=True)
    assert [int(number) for number in said.stdout.split()[:2]] == [1, 100_000] and int(said.stdout.split()[2]) < 4096, said


def test_a_storms_report_is_short(catalog: Catalog) -> None:
    line = CORRECTED["on the bus"][0][0]
    seen = replace(recorded(), log=Reading(source="/dev/kmsg", value=events(f"4,{number},{number}000,-;{line}" for number in range(5000))))
    document = json.loads(json.dumps(gate.document("check", (), seen, host="a", time="2026-11-27T00:00:00Z", uptime_seconds=1.0)))
    assert document["accelerators"]["log"] == [f"{line} (5000 times, until second 5)"]
