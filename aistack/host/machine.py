"""A boot in QEMU from power on to the agreed end: the guest's report is heard, and every other way to end is told apart.

The guest speaks JSON lines (`aistack/boot-report/v1`) over a virtio-serial port; the host answers `finish`; QEMU then ends with 123.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Any

from aistack.host import console, process, qemu
from aistack.host.qemu import Accelerator, Hardware
from aistack.host.qmp import Qmp, QmpClosedError, connect
from aistack.values import dataclass

SCHEMA = "aistack/boot-report/v1"
CREDENTIAL = "aistack.report"
TURN_SECONDS = 0.25
PROGRESS_SECONDS = 5.0
AFTER_PANIC_SECONDS = 3.0
IDLE_SECONDS = 3.0
BUSY_SHARE = 0.6
GOOD = ("healthy", "degraded")


class End(StrEnum):
    """How a boot ended; only `FINISHED` is success."""

    FINISHED = "finished"
    PANIC = "panic"
    NO_BOOT = "nothing-to-boot"
    EMERGENCY = "emergency-shell"
    HANG = "hang"
    RESET_LOOP = "reset-loop"
    SILENT = "silent-guest"
    FAILED_GATE = "failed-gate"
    FAILED_UNIT = "failed-unit"
    EARLY_EXIT = "early-exit"
    QEMU = "qemu-failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long each part may take, in seconds; `for_accelerator` gives sensible ones.

    `report`: until the guest's first report. `still`: without any sign of progress (console, report, disk). `gates`: until both gates
    have spoken. `finish`: from `finish` to the end of the machine. `resets`: how often the guest may restart itself.
    """

    report: float
    still: float
    gates: float
    finish: float
    resets: int = 0

    @classmethod
    def for_accelerator(cls, accelerator: Accelerator, *, resets: int = 0) -> Limits:
        """Translated code runs some ten times slower, and the machine that translates is often busy."""
        if accelerator is Accelerator.KVM:
            return cls(report=120, still=90, gates=900, finish=120, resets=resets)
        return cls(report=900, still=420, gates=2400, finish=600, resets=resets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Something that was reached, `seconds` after power on; `uptime` is the guest kernel's clock where the guest said so."""

    name: str
    seconds: float
    uptime: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What the host may use while the gates have passed and the machine waits: `ports` maps the guest's TCP ports to this host's."""

    ports: Mapping[int, int]
    console: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """A boot that is over: how it ended, in one sentence, with the lines that matter and everything that was reported."""

    end: End
    message: str
    lines: tuple[str, ...]
    phases: tuple[Phase, ...]
    reports: tuple[dict[str, Any], ...]
    resets: int
    accelerator: Accelerator
    exit_code: int | None
    seconds: float
    console: Path

    @property
    def ok(self) -> bool:
        """Whether the guest reported healthy gates, was told to finish, and ended as agreed."""
        return self.end is End.FINISHED

    def report(self, phase: str) -> dict[str, Any] | None:
        """The last report of that phase (`check`, `confirm`), or None."""
        return next((report for report in reversed(self.reports) if report.get("phase") == phase), None)


class _Ended(Exception):  # noqa: N818  # not an error: the way out of the loop
    def __init__(self, end: End, message: str, lines: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.end, self.message, self.lines = end, message, lines


@dataclass(slots=True)
class _State:
    """Everything that is known while a machine runs."""

    start: float
    console: Path
    process: subprocess.Popen[bytes]
    qmp: Qmp
    channel: socket.socket
    limits: Limits
    agreed: int
    progress: Callable[[str], None]
    phases: list[Phase] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    heard: bytes = b""
    resets: int = 0
    shutdown: str = ""
    text: str = ""
    console_bytes: int = 0
    disk_work: int = 0
    progressed: float = 0.0
    looked: float = 0.0
    finishing: float | None = None

    @property
    def now(self) -> float:
        return time.monotonic() - self.start

    def reach(self, name: str, uptime: float | None = None) -> None:
        self.phases.append(Phase(name=name, seconds=round(self.now, 1), uptime=uptime))
        self.progressed = self.now
        self.progress(f"{name} after {self.now:.0f} s")

    def has_reached(self, name: str) -> bool:
        return any(phase.name == name for phase in self.phases)


def boot(
    hardware: Hardware,
    logs: Path,
    *,
    on_gates_passed: Callable[[Running], None] = lambda _: None,
    limits: Limits | None = None,
    accelerator: Accelerator | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Boot:
    """Boot the machine and see it through; LOGS receives console.log, qemu.log and reports.jsonl.

    `on_gates_passed` is called once, when both gates have reported healthy; what it raises ends the machine and is passed on, unless
    the machine itself had died. Whatever happens, QEMU is gone afterwards and the disk is as it was.
    Where nobody chose the accelerator and KVM fails at the guest's code, the boot is tried once more with TCG.
    """
    logs.mkdir(parents=True, exist_ok=True)
    if CREDENTIAL not in dict(hardware.credentials):
        report = (CREDENTIAL, qemu.REPORT_PORT.encode())
        hardware = dataclasses.replace(hardware, credentials=(report, *hardware.credentials))
    chosen = accelerator or qemu.find_accelerator()[0]
    result = _boot(hardware, logs, on_gates_passed, limits or Limits.for_accelerator(chosen), chosen, progress)
    if result.end is End.QEMU and accelerator is None and chosen is Accelerator.KVM:
        progress("KVM failed; once more with TCG")
        result = _boot(hardware, logs, on_gates_passed, limits or Limits.for_accelerator(Accelerator.TCG), Accelerator.TCG, progress)
    return result


def _boot(
    hardware: Hardware,
    logs: Path,
    on_gates_passed: Callable[[Running], None],
    limits: Limits,
    accelerator: Accelerator,
    progress: Callable[[str], None],
) -> Boot:
    console_log, talk = logs / "console.log", logs / "qemu.log"
    console_log.write_bytes(b"")
    start = time.monotonic()
    state: _State | None = None
    ended = _Ended(End.QEMU, "QEMU did not start")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aistack-")))
        qemu.make_overlay(hardware, folder)
        argv = qemu.command(hardware, accelerator, folder, console_log.resolve())
        running = stack.enter_context(process.background(argv, log=talk))
        try:
            channel = stack.enter_context(connect(folder / "report", alive=lambda: running.poll() is None))
            qmp = stack.enter_context(Qmp(connect(folder / "qmp", alive=lambda: running.poll() is None)))
            channel.setblocking(False)
            qmp.execute("qmp_capabilities")
            state = _State(
                start=start, console=console_log, process=running, qmp=qmp, channel=channel, limits=limits,
                agreed=hardware.exit_code, progress=progress,
            )  # fmt: skip
            ports = qemu.forwarded(str(qmp.execute("human-monitor-command", {"command-line": "info usernet"})))
            qmp.execute("cont")
            _watch(state, on_gates_passed, Running(ports=ports, console=console_log))
        except _Ended as reached:
            ended = reached
        except QmpClosedError:
            ended = _judge_exit(state, running, talk)
    exit_code = running.returncode
    text = console.clean(console_log.read_bytes())
    if not ended.lines and ended.end is not End.FINISHED:
        ended.lines = console.lines_that_matter(text)
    reports = tuple(state.reports) if state else ()
    (logs / "reports.jsonl").write_text("".join(json.dumps(report, ensure_ascii=False) + "\n" for report in reports))
    return Boot(
        end=ended.end,
        message=ended.message,
        lines=ended.lines,
        phases=tuple(state.phases) if state else (),
        reports=reports,
        resets=state.resets if state else 0,
        accelerator=accelerator,
        exit_code=exit_code if ended.end in (End.FINISHED, End.EARLY_EXIT, End.QEMU) else None,
        seconds=round(time.monotonic() - start, 1),
        console=console_log,
    )


def _watch(state: _State, on_gates_passed: Callable[[Running], None], running: Running) -> None:
    """Listen until something ends the boot (raises _Ended, or QmpClosedError when QEMU is gone)."""
    while True:
        _listen(state)
        _read_console(state)
        _take_events(state)
        if state.finishing is None and state.has_reached("confirm"):
            _judge_gates(state)
            answered = False
            try:
                on_gates_passed(running)
                answered = True
            finally:
                if not answered:
                    # Whose fault? A machine that died meanwhile explains a failed request; otherwise the request itself failed.
                    _read_console(state)
                    _take_events(state)
            _tell_to_finish(state)
        _judge_time(state)
        time.sleep(TURN_SECONDS)


def _listen(state: _State) -> None:
    try:
        data = state.channel.recv(1 << 16)
    except BlockingIOError:
        return
    except OSError as error:
        raise QmpClosedError(str(error)) from error
    if not data:
        raise QmpClosedError("the report channel was closed")
    *lines, state.heard = (state.heard + data).split(b"\n")
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            continue  # a port that another program opened, or a line cut by a restart
        if not isinstance(document, dict) or document.get("schema") != SCHEMA or not isinstance(document.get("phase"), str):
            continue
        state.reports.append(document)
        uptime = document.get("uptime_seconds")
        unit = f" {document.get('unit')}" if document["phase"] == "failed-unit" else ""
        state.reach(document["phase"] + unit, float(uptime) if isinstance(uptime, int | float) else None)


def _read_console(state: _State) -> None:
    size = state.console.stat().st_size
    if size == state.console_bytes:
        return
    state.console_bytes, state.progressed = size, state.now
    state.text = console.clean(state.console.read_bytes())
    for name, pattern in (("bootloader", console.BOOTLOADER), ("kernel", console.KERNEL)):
        if not state.has_reached(name) and pattern.search(state.text):
            state.reach(name)
    if (why := console.panic(state.text)) is not None:
        time.sleep(AFTER_PANIC_SECONDS)  # the stack trace comes after the first line
        text = console.clean(state.console.read_bytes())
        raise _Ended(End.PANIC, f"the guest's kernel panicked: {why}", console.panic_lines(text))
    if not state.has_reached("kernel") and console.NOTHING_TO_BOOT.search(state.text):
        raise _Ended(End.NO_BOOT, "the firmware found nothing to boot on the disk")
    if console.EMERGENCY.search(state.text):
        raise _Ended(End.EMERGENCY, "the guest gave up booting and opened its emergency shell")


def _take_events(state: _State) -> None:
    for event in state.qmp.take_events():
        name, data = event["event"], event.get("data") or {}
        if name == "RESET" and data.get("guest"):
            state.resets += 1
            state.reach("reset")
            if state.resets > state.limits.resets:
                often = "restarted itself" if state.resets == 1 else f"restarted itself {state.resets} times"
                raise _Ended(End.RESET_LOOP, f"the guest {often}; {state.limits.resets} restarts were expected")
        elif name == "GUEST_PANICKED":
            _read_console(state)
            time.sleep(AFTER_PANIC_SECONDS)
            _read_console(state)
            raise _Ended(End.PANIC, "the guest's kernel panicked and said so to the virtual machine only")
        elif name == "WATCHDOG" and state.limits.resets == 0:
            raise _Ended(End.HANG, f"the guest hung until its watchdog fired, after {state.now:.0f} s")
        elif name == "SHUTDOWN":
            state.shutdown = str(data.get("reason", ""))
        elif name == "STOP" and (status := state.qmp.execute("query-status")) and status.get("status") == "internal-error":
            raise _Ended(End.QEMU, "QEMU's accelerator failed at the guest's code")


def _judge_gates(state: _State) -> None:
    reports = {report["phase"]: report for report in state.reports}
    for phase in ("check", "confirm"):
        report = reports.get(phase)
        if report is not None and report.get("outcome") not in GOOD:
            bad = tuple(
                f"{item.get('outcome')} {item.get('name')}: {item.get('message')}"
                for item in report.get("results", ())
                if item.get("outcome") not in GOOD
            )
            units = tuple(f"failed unit: {one.get('unit')}" for one in state.reports if one["phase"] == "failed-unit")
            raise _Ended(End.FAILED_GATE, f"the gate `{phase}` says {report.get('outcome')}", (*bad, *units))
    failed = [report for report in state.reports if report["phase"] == "failed-unit"]
    if failed:
        names = ", ".join(str(report.get("unit")) for report in failed)
        lines = tuple(f"{report.get('unit')}: {line}" for report in failed for line in report.get("lines", ()))
        raise _Ended(End.FAILED_UNIT, f"units failed though the gates passed: {names}", lines)


def _tell_to_finish(state: _State) -> None:
    state.channel.setblocking(True)
    try:
        state.channel.sendall(b"finish\n")
    except OSError as error:
        raise QmpClosedError(str(error)) from error
    state.channel.setblocking(False)
    state.finishing = state.progressed = state.now
    state.progress("told to finish")


def _judge_time(state: _State) -> None:
    now, limits = state.now, state.limits
    if now - state.looked > PROGRESS_SECONDS:
        state.looked = now
        work = _disk_work(state.qmp)
        if work != state.disk_work:
            state.disk_work, state.progressed = work, now
    if state.finishing is not None:
        if now - state.finishing > limits.finish:
            raise _Ended(End.HANG, f"the guest did not end within {limits.finish:.0f} s of being told to")
        return
    spoke = bool(state.reports)
    last = state.phases[-1].name if state.phases else "power on"
    if not spoke and now > limits.report:
        raise _Ended(End.SILENT, f"no report came within {limits.report:.0f} s; the last sign of life was `{last}`")
    if now - state.progressed > limits.still:
        if not spoke and _is_idle(state):
            raise _Ended(End.SILENT, f"the guest runs and waits, but has reported nothing for {now:.0f} s")
        raise _Ended(End.HANG, f"nothing has changed for {limits.still:.0f} s; the last phase was `{last}`")
    if spoke and now > limits.gates:
        raise _Ended(End.HANG, f"the gates have not spoken within {limits.gates:.0f} s; the last phase was `{last}`")


def _disk_work(qmp: Qmp) -> int:
    statistics = qmp.execute("query-blockstats") or []
    return sum(one["stats"]["rd_operations"] + one["stats"]["wr_operations"] for one in statistics)


def _is_idle(state: _State) -> bool:
    """Whether the guest's processors mostly sleep: then nothing spins, it just does not speak.

    Of the time in which a processor's thread could have run (it did not wait for a turn on a busy host), how much did it run?
    https://www.kernel.org/doc/html/latest/scheduler/sched-stats.html: nanoseconds run, nanoseconds waited for a turn.
    """
    threads = [cpu["thread-id"] for cpu in state.qmp.execute("query-cpus-fast") or []]
    before = [_schedule(state, thread) for thread in threads]
    start = time.monotonic()
    time.sleep(IDLE_SECONDS)
    elapsed = time.monotonic() - start
    shares = []
    for thread, (ran, waited) in zip(threads, before, strict=True):
        ran_now, waited_now = _schedule(state, thread)
        could = elapsed - (waited_now - waited)
        shares.append((ran_now - ran) / could if could > 0 else 1.0)
    return max(shares, default=1.0) < BUSY_SHARE


def _schedule(state: _State, thread: int) -> tuple[float, float]:
    """Seconds that a thread of QEMU has run, and has waited to run."""
    ran, waited, _ = Path(f"/proc/{state.process.pid}/task/{thread}/schedstat").read_text().split()
    return int(ran) / 1e9, int(waited) / 1e9


def _judge_exit(state: _State | None, running: subprocess.Popen[bytes], talk: Path) -> _Ended:
    """QEMU has ended, or closed its sockets: as agreed, too early, or by a fault of its own?"""
    try:
        code = running.wait(timeout=30)
    except subprocess.TimeoutExpired:
        return _Ended(End.QEMU, "QEMU closed its sockets without ending")
    said = tuple(line for line in talk.read_text(errors="replace").strip().splitlines() if line.strip())[-10:]
    if state is None or code < 0 or (code not in (0, qemu.EXIT_CODE) and not state.has_reached("finished") and said):
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return _Ended(End.QEMU, f"QEMU {how}", said)
    # What was said last may still wait to be read.
    for read in (_listen, _read_console, _take_events):
        try:
            read(state)
        except _Ended as better:
            return better
        except QmpClosedError:
            continue
    if state.shutdown == "host-signal":
        return _Ended(End.QEMU, "QEMU was ended by a signal from this machine", said)
    finished = state.finishing is not None and any(report["phase"] == "finished" for report in state.reports)
    if code == state.agreed and finished:
        return _Ended(End.FINISHED, "the guest reported healthy gates and ended as agreed")
    if code == qemu.EXIT_CODE:
        return _Ended(End.EARLY_EXIT, "the guest ended with the agreed code, but without the report that belongs to it")
    last = state.phases[-1].name if state.phases else "power on"
    why = f" ({state.shutdown})" if state.shutdown else ""
    return _Ended(End.EARLY_EXIT, f"the machine was switched off after `{last}`{why}; QEMU's exit code is {code}, not {qemu.EXIT_CODE}")
