"""What the kernel's log says of accelerators: read from the kernel and the journal, judged by the catalog's classes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from accelerator_bench import H100, L4, RECORDED, Bench, recorded

from aistack.facts.catalog import Catalog
from aistack.facts.device_readings import Device
from aistack.facts.kernel_log import events
from aistack.facts.readings import Reading
from aistack.host.probes import kernel_log
from aistack.node.accelerators import judge
from aistack.node.asking import known_faults
from aistack.node.device_checks import Promise
from aistack.node.results import Outcome, verdict

XID = "6,{number},{micros},-;NVRM: Xid (PCI:0000:18:00): {code}, pid=1234, name=python3, a message\n"


@pytest.mark.parametrize(
    ("code", "outcome", "cause"),
    [
        (13, "healthy", None),
        (31, "healthy", None),
        (43, "healthy", None),
        (62, "unhealthy", "unknown"),
        (79, "unhealthy", "unknown"),
        (48, "unhealthy", "hardware"),
        (999, "degraded", None),
        (119, "unhealthy", "unknown"),
    ],
)
def test_fault_codes_count_as_the_catalog_classifies_them(bench: Bench, code: int, outcome: str, cause: str | None) -> None:
    log = "".join(XID.format(number=number, micros=5_000_000 + number, code=code) for number in (1, 2))
    told = [result for result in bench.judge(H100, bench.look(H100, kmsg=log)) if result.name == "accelerator-log"]
    assert [(str(result.outcome), result.cause and str(result.cause)) for result in told] == [(outcome, cause)]
    assert f"Xid {code}" in told[0].message
    assert told[0].device == (None if outcome == "healthy" else "0000:18:00.0")


@pytest.mark.parametrize("name", list(RECORDED))
def test_real_faults_of_programs_are_none_of_the_device(bench: Bench, name: str) -> None:
    """A program wrote to an address that is none, another trapped; with the first the driver writes the board's serial number."""
    lines = (re.fullmatch(r"\[ *(\d+)\.(\d+)\] (.*)", line) for line in RECORDED[name]["dmesg"])
    kmsg = "".join(f"6,{number},{line[1]}{line[2]},-;{line[3]}\n" for number, line in enumerate(lines) if line is not None)
    seen = bench.look(H100, kmsg=kmsg)
    (told,) = (result for result in bench.judge(H100, seen) if result.name == "accelerator-log")
    assert (told.outcome, told.message) == (Outcome.HEALTHY, "nothing since boot that would be the device's fault: Xid 31, Xid 43")
    assert "Serial Number" in kmsg and "1650000000000" not in str(seen) and "GPU-0" not in str(seen)


NVLINK, SWITCH, ASKS = (
    "NVRM: Xid (PCI:0000:18:00): {}, {} XC0 i0 Link 13 (0x0409a0c2 0x00000008 0x00000001 0x00000000 0x00100000 0x00000004)",
    "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): {}, {}, Link 44 LTSSM Fault Up",
    "NVRM: Xid (PCI:0000:18:00): 154, GPU recovery action changed from {} to {}",
)
NONE, REBOOT = "0x0 (None)", "0x2 (Node Reboot Required)"
LINES: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "not fatal on a link": ((NVLINK.format(145, "RLW_RXPIPE Nonfatal"),), "accelerator-log", "degraded", "calls it not fatal"),
    "fatal on a link": ((NVLINK.format(149, "NETIR_LINK_EVT Fatal"),), "accelerator-log", "unhealthy", "Xid 149, NVLink"),
    "first not, then fatal": (
        (NVLINK.format(149, "NETIR_LINK_EVT Nonfatal"), NVLINK.format(149, "NETIR_LINK_EVT Fatal")),
        "accelerator-log",
        "unhealthy",
        "Xid 149, NVLink",
    ),
    "not fatal in a switch": ((SWITCH.format(12028, "Non-fatal"),), "accelerator-log", "degraded", "calls it not fatal"),
    "fatal and unknown": ((SWITCH.format(99999, "Fatal"),), "accelerator-log", "degraded", "SXid 99999, which is not in the catalog"),
    "not fatal and unknown": ((SWITCH.format(99999, "Non-fatal"),), "accelerator-log", "healthy", "SXid 99999"),
    "lost device asks for a reboot": ((ASKS.format(NONE, REBOOT),), "accelerator-log", "unhealthy", "node reboot required"),
    "lost device asked for one": ((ASKS.format(NONE, REBOOT), ASKS.format(REBOOT, NONE)), "accelerator-log", "healthy", "since boot"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_counts_as_much_as_its_own_words_say(catalog: Catalog, name: str) -> None:
    lines, check, outcome, words = LINES[name]
    log = events(f"3,{number},5000000,-;{line}" for number, line in enumerate(lines))
    lost = Device(values={"device": Reading(source="nvmlDeviceGetHandleByIndex", error="GpuIsLost: GPU is lost")})
    seen = replace(recorded(), devices=Reading(source="NVML", value=(lost,)), log=Reading(source="/dev/kmsg", value=log))
    results = judge(Promise(vendor="nvidia", product=catalog.accelerators[H100], count=1), seen, known_faults(catalog))
    told = [result for result in results if result.name == check]
    assert max((str(result.outcome) for result in told), key=["healthy", "degraded", "unhealthy"].index) == outcome
    assert any(words in result.message for result in told)


def test_a_device_that_answers_tells_its_recovery_itself(catalog: Catalog) -> None:
    log = events([f"3,1,5000000,-;{ASKS.format(NONE, REBOOT).replace('18:00', '00:06')}"])
    seen = replace(recorded(), log=Reading(source="/dev/kmsg", value=log))
    (device,) = seen.devices.value or ()
    assert log[0].address == device.address and device.get("recovery") == "none"
    results = judge(Promise(vendor="nvidia", product=catalog.accelerators[H100], count=1), seen, known_faults(catalog))
    assert verdict(results).outcome is Outcome.HEALTHY


MENDED = {
    "the driver was loaded again": ("NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build", False),
    "it asks for nothing any more": (
        "NVRM: Xid (PCI:0000:18:00): 154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)",
        False,
    ),
    "a person says so": ("aistack: 0000:18:00.0 was mended", False),
    "another device": ("aistack: 0000:20:00.0 was mended", True),
    "a line that quotes it": ('audit: type=1400 comm="x" name="aistack: 0000:18:00.0 was mended"', True),
    "more than that": ("aistack: 0000:18:00.0 was mended, somebody wrote", True),
    "a line that quotes the driver": ("systemd[1]: x.service: NVRM: loading NVIDIA UNIX x86_64 Kernel Module  580.159.04", True),
    "it asks for a reboot": (
        "NVRM: Xid (PCI:0000:18:00): 154, GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)",
        True,
    ),
}


@pytest.mark.parametrize("name", MENDED)
@pytest.mark.parametrize("again", [False, True])
def test_what_was_mended_counts_no_more(name: str, *, again: bool, catalog: Catalog) -> None:
    message, lasts = MENDED[name]
    fault = XID.format(number=3, micros=5_000_000, code=119)
    log = fault + f"4,4,6000000,-;{message}\n" + (fault if again else "")
    seen = replace(recorded(), log=Reading(source="/dev/kmsg", value=events(log.splitlines())))
    results = judge(Promise(vendor="nvidia"), seen, known_faults(catalog))
    assert any("Xid 119" in result.message for result in results if result.outcome is Outcome.UNHEALTHY) is (lasts or again)


LOADED = "4,4,6000000,-;NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build\n"
NVRM = "NVRM: Xid (PCI:0000:18:00): {}, pid=1, a message"


@pytest.mark.parametrize(
    ("message", "lasts"),
    [
        (NVRM.format(79), False),
        (NVRM.format(119), False),
        (NVRM.format(48), True),
        (NVRM.format(64), True),
        (SWITCH.format(20034, "Fatal"), False),
        (SWITCH.format(12022, "Fatal"), True),
        ("amdgpu 0000:18:00.0: amdgpu: GPU reset(2) failed", True),
        ("pcieport 0000:17:00.0: AER: Uncorrectable (Fatal) error message received from 0000:18:00.0", True),
        ("EDAC MC0: 1 UE memory read error on CPU_SrcID#0_MC#0_Chan#1_DIMM#0", True),
    ],
)
def test_a_driver_that_is_loaded_anew_mends_its_own_faults_alone(message: str, *, lasts: bool, catalog: Catalog) -> None:
    def faults(after: str) -> bool:
        log = Reading(source="/dev/kmsg", value=events(f"3,3,5000000,-;{message}\n{after}".splitlines()))
        results = judge(Promise(vendor="nvidia"), replace(recorded(), log=log), known_faults(catalog))
        return verdict(results).outcome is not Outcome.HEALTHY

    assert faults("") and faults(LOADED) is lasts
    assert not message.startswith("pcieport") or not faults("4,5,7000000,-;aistack: 0000:18:00.0 was mended\n")


@pytest.mark.parametrize("told", ["10000:18:00", "00010000:18:00.0", "10000:18:00.0"])
def test_a_domain_may_have_more_than_four_digits(told: str, catalog: Catalog) -> None:
    """As behind Intel's VMD; NVIDIA's driver may write eight."""
    lines = [f"3,1,5000000,-;{ASKS.format(NONE, REBOOT).replace('0000:18:00', told)}"]
    (event,) = events(lines)
    assert event.address == "10000:18:00.0"
    known = Device(values={"pci.address": Reading(source="NVML", value="10000:18:00.0"), "recovery": Reading(source="NVML", value="none")})
    seen = replace(recorded(), devices=Reading(source="NVML", value=(known,)), log=Reading(source="/dev/kmsg", value=(event,)))
    results = judge(Promise(vendor="nvidia"), seen, known_faults(catalog))
    assert not [result for result in results if result.name == "accelerator-log" and result.outcome is Outcome.UNHEALTHY]
    (mended, other) = events([*lines, "4,2,6000000,-;aistack: 10000:18:00.0 was mended", "4,3,7000000,-;aistack: 0000:18:00.0 was mended"])
    assert {mended.kind, other.kind} == {"mended"}


def test_a_log_without_its_start_is_told(bench: Bench) -> None:
    (told,) = [found for found in bench.judge(L4, bench.look(L4, kmsg="6,900,70000000,-;hello\n")) if found.name == "accelerator-log"]
    assert told.message == "no fault since second 70, where what is left of the kernel's log begins"


JOURNAL = """\
#!/bin/sh
case "$BROKEN$*" in
unread*) echo 'Failed to open files: Permission denied' >&2; exit 1 ;;
half*--grep*) echo 'Failed to iterate through journal: Bad message' >&2; exit 1 ;;
lost*--lines*) exit 0 ;;
esac
echo '{"_SOURCE_MONOTONIC_TIMESTAMP":"0","MESSAGE":"Linux version 6.12"}'
echo '{"_SOURCE_MONOTONIC_TIMESTAMP":"5000000","MESSAGE":"NVRM: Xid (PCI:0000:18:00): 119, pid=1, name=x, Timeout"}'
echo '{"_SOURCE_MONOTONIC_TIMESTAMP":"70000001","MESSAGE":"NVRM: Xid (PCI:0000:18:00): 13, pid=1, which is in the kernel"}'
echo '{"_SOURCE_MONOTONIC_TIMESTAMP":"6000000","MESSAGE":[78,255]}'
"""


@pytest.mark.parametrize(
    ("broken", "first", "outcome", "words"),
    [
        ("", ("xid", "119"), "unhealthy", "Xid 119"),
        ("lost", ("gap", "lost"), "healthy", "since second 70, where what is left of the kernel's log begins"),
        ("unread", ("gap", "unread"), "unknown", "cannot tell what the kernel said before second 70"),
        ("half", ("gap", "unread"), "unknown", "Failed to iterate through journal: Bad message"),
    ],
)
def test_what_the_kernel_overwrote_is_asked_of_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: Catalog, broken: str, first: tuple[str, str], outcome: str, words: str
) -> None:
    """A journal that cannot be read is never one that has nothing to tell."""
    (tmp_path / "journalctl").write_text(JOURNAL)
    (tmp_path / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("BROKEN", broken)
    kept = "6,900,70000000,-;hello\n" + XID.format(number=901, micros=70000001, code=13)
    found = kernel_log._since_boot(Path("/"), iter(kept.splitlines()))
    assert [(event.kind, event.code) for event in found] == [first, ("xid", "13")]
    seen = replace(recorded(), log=Reading(source="/dev/kmsg", value=found))
    (told,) = (result for result in judge(Promise(vendor="nvidia"), seen, known_faults(catalog)) if result.name == "accelerator-log")
    assert str(told.outcome) == outcome and words in told.message


def test_a_fault_of_a_switch_is_told(bench: Bench) -> None:
    log = "3,7,5000000,-;nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 20034, Fatal, Link 44 LTSSM Fault Up\n"
    (told,) = [result for result in bench.judge(H100, bench.look(H100, kmsg=log)) if result.name == "accelerator-log"]
    assert told.outcome is Outcome.UNHEALTHY and told.message.startswith("0000:c1:00.0: SXid 20034, ")
