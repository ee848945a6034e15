"""`node check` by hand has one deadline for everything, and tells what is known when it comes, or SIGTERM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from accelerator_bench import L4, Bench
from amd_machines import write

from aistack.diagnostics import DiagnosticError
from aistack.facts.readings import Reading
from aistack.host import process
from aistack.host.probes import accelerators
from aistack.node.results import Outcome

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
CHECK = """import sys
from pathlib import Path
from aistack.commands.node import node_check
sys.exit(int(node_check(level={level!r}, timeout={timeout}, root=Path({root!r}))))
"""


def started(bench: Bench, *, level: str, timeout: float | None = None) -> subprocess.Popen[str]:
    """A check of a machine with one L4, whose driver is what the bench was told last; what it leaves behind lies in `left`."""
    root, left = bench.folder / "root", bench.folder / "left"
    write(root / "sys/bus/pci/devices/0000:10:00.0", {"vendor": "0x10de", "device": "0x27b8", "class": "0x030200"})
    left.mkdir()
    code = CHECK.format(level=level, timeout=timeout, root=str(root))
    return subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(left)}, stdout=subprocess.PIPE, text=True
    )


def profile(bench: Bench, monkeypatch: pytest.MonkeyPatch, nvml: dict[str, str], cuda: dict[str, str] | None = None) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(accelerators, "SECONDS", {"none": 0.1})
        bench.look(L4, nvml, cuda)


@pytest.mark.slow
def test_a_program_that_hangs_is_told_before_the_deadline(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    profile(bench, monkeypatch, {}, {"0.cuDevicePrimaryCtxRetain": "hang"})
    began = time.monotonic()
    running = started(bench, level="quick", timeout=12)
    said, _ = running.communicate(timeout=60)
    assert time.monotonic() - began < 12 + process.LAST_SECONDS + 3
    assert running.returncode == 3 and "accelerator-compute: 0000:10:00.0: cannot tell whether programs run" in said
    assert "healthy   accelerator-memory" in said, "what the driver had said before"
    assert list((bench.folder / "left").iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 3), (signal.SIGKILL, -9)])
@pytest.mark.slow
def test_who_is_told_to_end_tells_what_is_known_and_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    profile(bench, monkeypatch, {"0.nvmlDeviceGetMemoryInfo": "hang"})
    running = started(bench, level="none")
    asking = 0
    while not asking and running.poll() is None:
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        asking = next((int(child) for child in children if "nvidia" in Path(f"/proc/{child}/cmdline").read_text()), 0)
        time.sleep(0.05)
    time.sleep(1.5)
    running.send_signal(number)
    said, _ = running.communicate(timeout=20)
    assert running.returncode == code
    assert code != 3 or ("healthy   accelerator: " in said and "unknown   accelerator-count: cannot tell " in said)
    assert list((bench.folder / "left").iterdir()) == []
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(asking, 0)
            time.sleep(0.05)


def test_programs_run_only_where_the_driver_answers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerators, "SECONDS", {"quick": 2.0, "none": 2.0})
    monkeypatch.setattr(accelerators, "_computed", lambda *_: pytest.fail("a program was run"))
    seen = bench.look(L4, {"0.nvmlDeviceGetMemoryInfo": "hang"}, level="quick")
    (found,) = (result for result in bench.judge(L4, seen) if result.outcome is Outcome.UNHEALTHY)
    assert found.name == "accelerator-count" and "0000:10:00.0 does not answer" in found.message


def test_what_a_program_does_to_a_device_is_seen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver is asked once more after the programs; here they are what makes it count errors."""

    def damage(*_: object) -> Reading[object]:
        bench.look(L4, {"0.nvmlDeviceGetTotalEccErrors.1.0": "2"})
        return Reading(source="libcuda.so.1", value={"devices": [{"pci.address": "0000:10:00.0"}]})

    monkeypatch.setattr(accelerators, "_computed", damage)
    (device,) = bench.look(L4, level="quick").devices.value or ()
    assert device.get("ecc.uncorrected") == 2


def test_programs_share_one_deadline(tmp_path: Path) -> None:
    began = time.monotonic()
    with process.within(1.0):
        assert 0 < process.left() <= 1.0
        with pytest.raises(DiagnosticError, match="did not end within 1 s"):
            process.run(["sleep", "30"], timeout=20)
        with pytest.raises(DiagnosticError, match="was not started: no time was left"):
            process.run(["true"])
    assert time.monotonic() - began < 1.0 + process.LAST_SECONDS + 1
    process.run(["true"])
    with (
        pytest.raises(DiagnosticError, match="did not end within 1 s"),
        process.stream(["sh", "-c", "echo begun; exec sleep 30"], log=tmp_path / "log", timeout=1.0) as running,
    ):
        assert running.stdout is not None and running.stdout.read() == b"begun\n"
    with process.stream(["echo", "all"], log=tmp_path / "log", timeout=5.0) as running:
        assert running.stdout is not None and running.stdout.read() == b"all\n"
