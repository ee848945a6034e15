"""Whoever checks and cannot ask for want of something of the machine's own (room, processes, files) blames no driver and no device."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from accelerator_bench import H100, L4, Bench
from accelerator_profiles import LIBRARY_MISMATCH

from aistack.diagnostics import DiagnosticError
from aistack.facts.device_readings import UNASKED
from aistack.host import process
from aistack.host.probes.apart import ask
from aistack.node.results import Outcome, Result


def refuse(*_: Any, **__: Any) -> Any:
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def bad(results: tuple[Result, ...]) -> dict[str, str]:
    return {result.name: str(result.outcome) for result in results if result.outcome is not Outcome.HEALTHY}


def test_no_file_system_is_needed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TemporaryFile", "NamedTemporaryFile", "mkdtemp", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    seen = bench.look(H100)
    assert len(seen.devices.value or ()) == 8 and bad(bench.judge(H100, seen)) == {}


@pytest.mark.parametrize(("module", "name"), [(subprocess, "Popen"), (os, "memfd_create")])
def test_who_cannot_start_what_asks_could_not_tell(bench: Bench, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    monkeypatch.setattr(module, name, refuse)
    seen = bench.look(L4, {"nvmlInitWithFlags": LIBRARY_MISMATCH})
    assert str(seen.devices.error).startswith(UNASKED)
    (found,) = (result for result in bench.judge(L4, seen) if result.outcome is not Outcome.HEALTHY)
    assert (found.name, found.outcome) == ("accelerator-driver", Outcome.UNKNOWN) and os.strerror(errno.EAGAIN) in found.message


def test_a_program_that_cannot_be_started_is_no_fault_of_its_device(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    started = subprocess.Popen

    def only_the_driver(argv: list[str], **options: Any) -> Any:
        return refuse() if "aistack.host.probes.cuda" in argv else started(argv, **options)

    monkeypatch.setattr(subprocess, "Popen", only_the_driver)
    assert bad(bench.judge(L4, bench.look(L4, level="quick"))) == {"accelerator-compute": "unknown"}


def test_a_driver_that_fails_is_still_the_drivers_fault(bench: Bench) -> None:
    assert bad(bench.judge(L4, bench.look(L4, {"nvmlInitWithFlags": LIBRARY_MISMATCH})))["accelerator-driver"] == "unhealthy"


def test_a_probe_is_given_all_of_a_device_whatever_its_surroundings_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of MPS it is told where the server is, and not what somebody leaves to their own programs."""
    (tmp_path / "surroundings.py").write_text("import json, os; print(json.dumps({'seen': sorted(os.environ)}))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = {"CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"}
    limits = {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "CUDA_MPS_CLIENT_PRIORITY", "CUDA_VISIBLE_DEVICES"}
    for name in found | limits:
        monkeypatch.setenv(name, "1")
    said = ask("surroundings", [], source="a probe", timeout=60, environment={})
    assert said.value is not None
    assert {name for name in said.value["seen"] if name.startswith("CUDA_")} == found


def test_a_file_in_memory_is_no_full_disk() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with process.talk() as log, pytest.raises(DiagnosticError) as caught:
        process.run(["sh", "-c", "echo words; exit 3"], log=log)
    (told,) = caught.value.diagnostics
    assert told.why[-1] == "words" and told.hints == ()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
