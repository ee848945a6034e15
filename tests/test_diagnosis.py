"""NVIDIA's own diagnosis: documents of DCGM 3 and 4, through a program that prints them as dcgmi does.

The first is shortened from what NVIDIA has of a real run with eight devices (DCGM 3.1, github.com/NVIDIA/DCGM, nvvs/src/tests, "Deserialize
real output"): tests that are null stand in it, and a line before it. The second has DCGM 4's form (testing/python3/dcgm_diag_schema.json of
the same) and the failure that DCGM 4 reports where persistence is off. Read 2026-11-26; no DCGM was at hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from accelerator_bench import H100, L4, Bench
from accelerator_profiles import MACHINES

from aistack.facts.dcgm import diagnosed
from aistack.facts.readings import PciDevice
from aistack.host.probes.dcgm import diagnosis
from aistack.node import asking
from aistack.node.device_checks import Promise
from aistack.node.diagnosis import judge_diagnosis
from aistack.node.results import Outcome, Result

ALL = "0,1,2,3,4,5,6,7"
DCGM_3 = "WARNING: THIS SHOULD NOT HAPPEN\n" + json.dumps(
    {
        "DCGM GPU Diagnostic": {
            "test_categories": [
                {
                    "category": "Deployment",
                    "tests": [
                        {"name": "NVML Library", "results": [{"gpu_ids": ALL, "status": "PASS"}]},
                        None,
                        {"name": "Page Retirement/Row Remap", "results": [{"gpu_ids": ALL, "status": "PASS"}]},
                    ],
                },
                {"category": "Custom", "tests": [{"name": "software", "results": [{"gpu_ids": 0, "status": "PASS"}]}]},
            ],
            "version": "3.1.0",
        }
    }
)
ADDRESSES = MACHINES[H100].addresses()


def dcgm_4(*results: tuple[int, str, int | None, str]) -> str:
    """A document with one test, `memory`: the device, its status, the severity and the sentence of a warning."""
    told = [
        {
            "entity_group": "GPU",
            "entity_group_id": 1,
            "entity_id": device,
            "status": status,
            **({"warnings": [{"error_category": 8, "error_id": 29, "error_severity": severity, "warning": said}]} if said else {}),
        }
        for device, status, severity, said in results
    ]
    tests = [{"name": "memory", "results": told, "test_summary": {"status": "Fail"}}]
    return json.dumps(
        {"DCGM Diagnostic": {"test_categories": [{"category": "Integration", "tests": tests}]}, "metadata": {"version": "4.2.3"}}
    )


def installed(folder: Path, patch: pytest.MonkeyPatch, said: str, code: int = 0) -> None:
    """A program `dcgmi` that prints a document and ends as DCGM's does."""
    (folder / "document").write_text(said)
    program = folder / "dcgmi"
    program.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\ncat {folder}/document\nexit {code}\n')
    program.chmod(0o755)
    patch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def judged(folder: Path, patch: pytest.MonkeyPatch, said: str, code: int = 0) -> list[Result]:
    installed(folder, patch, said, code)
    seen = diagnosis(2)
    assert seen is not None and (folder / "asked").read_text() == "diag --run 2 --json\n"
    return list(judge_diagnosis(seen, ADDRESSES))


def test_a_real_document_of_a_healthy_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = judged(tmp_path, monkeypatch, DCGM_3)
    assert found.outcome is Outcome.HEALTHY and found.message == "DCGM's tests passed: NVML Library, Page Retirement/Row Remap, software"
    assert len(diagnosed(DCGM_3)) == 17


OUTCOMES = {
    "broken": ((3, "Fail", 2, "A DBE occurred."), "unhealthy"),
    "wants a reset": ((3, "Fail", 6, "Reset it."), "unhealthy"),
    "a setting": ((3, "Fail", 5, "Persistence mode for GPU 3 is disabled."), "degraded"),
    "to be watched": ((3, "Fail", 1, "A correctable error occurred."), "degraded"),
    "no severity": ((3, "Fail", None, "Something."), "unhealthy"),
    "only a warning": ((3, "Warn", None, "Slow."), "degraded"),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_each_failure_counts_as_dcgm_rates_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    result, outcome = OUTCOMES[name]
    bad, well = judged(tmp_path, monkeypatch, dcgm_4((0, "Pass", None, ""), result, (1, "Skip", None, "")), code=226)
    assert (str(bad.outcome), bad.device) == (outcome, ADDRESSES[3]) and result[3] in bad.message
    assert well.outcome is Outcome.HEALTHY and well.message == "DCGM's tests passed: memory"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Error: unable to establish a connection to the specified host: localhost", "unable to establish a connection"),
        (json.dumps({"DCGM Diagnostic": {"runtime_error": "a run is already going on"}}), "already going on"),
        ('{"DCGM Diagnostic": {"test_cat', "test_cat"),
        ("", "said nothing"),
        (dcgm_4((0, "Skip", None, "")), "DCGM ran no test"),
    ],
)
def test_no_document_is_never_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, words: str) -> None:
    (found,) = judged(tmp_path, monkeypatch, said, code=1)
    assert found.outcome is Outcome.UNKNOWN and words in found.message


@pytest.mark.parametrize("status", ["Error", "", "Aborted"])
def test_a_word_that_nobody_knows_is_never_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    found = judged(tmp_path, monkeypatch, dcgm_4((0, "Pass", None, ""), (3, status, None, "no memory is left")))
    assert [(str(one.outcome), one.device) for one in found] == [("unknown", ADDRESSES[3]), ("healthy", None)]
    assert f"but to `{status.lower()}`: no memory is left" in found[0].message
    assert [str(one.outcome) for one in judged(tmp_path, monkeypatch, dcgm_4((3, status, None, "")))] == ["unknown"]


DEVICES: dict[str, tuple[dict[str, Any], str | None]] = {
    "text": ({"entity_id": "3"}, ADDRESSES[3]),
    "negative": ({"entity_id": -1}, None),
    "beyond": ({"entity_id": 8}, None),
    "missing": ({}, None),
    "null": ({"entity_id": None}, None),
    "endless": ({"entity_id": "1" * 5000}, None),
    "no numbers": ({"gpu_ids": "a"}, None),
    "spaces": ({"gpu_ids": " 3"}, ADDRESSES[3]),
}


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize(
    "told", [{}, {"warnings": "words"}, {"warnings": [{}]}, {"warnings": [{"warning": "words", "error_severity": [1]}]}]
)
def test_a_failure_is_told_whatever_it_says_of_its_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, told: dict[str, Any]
) -> None:
    tests = [{"name": "memory", "results": [{"status": "Fail", **DEVICES[name][0], **told}]}]
    (found,) = judged(tmp_path, monkeypatch, json.dumps({"DCGM Diagnostic": {"test_categories": [{"tests": tests}]}}))
    assert (str(found.outcome), found.device) == ("unhealthy", DEVICES[name][1])
    assert found.message.endswith("`memory`: words" if "words" in str(told) else "`memory`: fail")


UUID, SERIAL = "GPU-11111111-2222-3333-4444-555555555555", "1650012345678"
SENTENCES = {
    f"GPU {UUID} failed": "GPU (UUID) failed",
    f"MIG-{UUID}/1/0 is stuck": "(UUID)/1/0 is stuck",
    f"{UUID.lower()}, Serial Number: {SERIAL}.": "(UUID), Serial Number: (not told).",
    "the serial is 03242A1": "the serial is (not told)",
    f"board {SERIAL} failed": "board (serial number) failed",
    "Persistence mode for GPU 3 is disabled, 80 of 81559 MiB; serial port; 1650012345678.5 ns": None,
}


@pytest.mark.parametrize("said", SENTENCES)
def test_no_sentence_tells_one_device_from_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    wanted = SENTENCES[said] or said
    (found,) = judged(tmp_path, monkeypatch, dcgm_4((0, "Fail", 2, said)))
    assert found.message == f"{ADDRESSES[0]}: DCGM's test `memory`: {wanted}"
    for document in (said, json.dumps({"DCGM Diagnostic": {"runtime_error": said}})):
        (found,) = judged(tmp_path, monkeypatch, document)
        assert found.message == f"cannot tell what DCGM finds: {wanted}"


def test_a_diagnosis_that_hangs_is_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch, DCGM_3)
    (tmp_path / "dcgmi").write_text("#!/bin/sh\nsleep 60\n")
    monkeypatch.setattr("aistack.host.probes.dcgm.SECONDS", 0.2)
    seen = diagnosis(1)
    assert seen is not None and "did not end within" in (seen.error or "")


def test_it_is_asked_at_the_products_level_and_only_where_it_disturbs_nobody(
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    seen = bench.look(L4)
    wanted = Promise(vendor="nvidia", product=bench.catalog.accelerators[L4], count=1)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert list(asking._diagnosis(wanted, seen)) == []
    installed(folder, monkeypatch, DCGM_3)
    assert [result.outcome for result in asking._diagnosis(wanted, seen)] == [Outcome.HEALTHY]
    assert (folder / "asked").read_text() == "diag --run 2 --json\n"
    consumer = Promise(vendor="nvidia", product=bench.catalog.accelerators["nvidia/rtx-4090"], count=1)
    assert list(asking._diagnosis(consumer, seen)) and (folder / "asked").read_text() == "diag --run 1 --json\n"
    assert list(asking._diagnosis(wanted, bench.look(L4, {"0.nvmlDeviceGetComputeRunningProcesses": "2"}))) == []
    assert list(asking._diagnosis(wanted, bench.look(L4, {"0.nvmlDeviceGetMigMode": "1 1"}))) == []


@pytest.mark.parametrize(
    ("numbers", "level"),
    [(("2330", "20b2"), 2), (("2330", "1fb1"), 2), (("2230", "1fb1"), 1)],
    ids=["two for data centres", "a display beside one", "none of them"],
)
def test_of_several_products_the_best_supported_says_the_level(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: tuple[str, ...], level: int
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    seen = bench.look(L4)
    bus = tuple(PciDevice(address=f"0000:{n}0:00.0", vendor="10de", device=one, device_class="030200") for n, one in enumerate(numbers))
    installed(folder, monkeypatch, DCGM_3)
    assert list(asking._diagnosis(asking._wanted(bench.catalog, "nvidia", bus, None, seen.driver), seen))
    assert (folder / "asked").read_text() == f"diag --run {level} --json\n"
