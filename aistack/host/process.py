"""Running other programs: the only place that starts a process."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from aistack.diagnostics import MAKE_ROOM, DiagnosticError, unable
from aistack.values import dataclass

LINES_THAT_MATTER = 12
MOST_OF_A_LINE = 600
"""Characters of a command, or of a line that a program said, that a message shows."""
SHORTAGES = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM))
LEAST_ROOM = 1 << 16
"""Bytes: with less, a disk counts as full."""
LEAST_MOVED = 1 << 16
"""Bytes: a program that reads and writes fewer while it is watched is stuck, whatever its timers do."""
LAST_SECONDS = 2.0
"""How long a killed program may take to end: one that waits inside a driver does not even notice."""
STEP_SECONDS = 0.5
"""How often who waits for a program looks whether there is still time."""


class _Deadline:
    """When everything has to have ended that this process runs (time.monotonic)."""

    until = math.inf


_DEADLINE = _Deadline()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What a program said; `returncode` is negative when a signal ended it."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


def find(tool: str) -> str | None:
    """The path of a program, or None; the system's administration folders count too."""
    return shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin:/usr/local/sbin")


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Programs that are run inside have these seconds, all of them together (None: no end), and none any more once SIGTERM has come.

    Whoever runs one later, or still waits for one, gets DiagnosticError (exit 3, HOST003), and can tell what it knows. For the main thread.
    """
    _DEADLINE.until = math.inf if seconds is None else time.monotonic() + seconds

    def end(number: int, frame: object) -> None:
        _DEADLINE.until = 0.0

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _DEADLINE.until = math.inf


def left() -> float:
    """The seconds that programs still have: 0 where there is no time any more, infinite where nobody set an end."""
    return max(_DEADLINE.until - time.monotonic(), 0.0)


@contextmanager
def talk() -> Iterator[Path]:
    """A file in memory for what a program says: it needs no file system, and goes with this process. Raises OSError."""
    number = os.memfd_create("talk")
    try:
        yield Path(f"/proc/self/fd/{number}")
    finally:
        os.close(number)


def require(tool: str, package: str) -> str:
    """The path of a program, or exit 3 with the one line that installs it."""
    path = find(tool)
    if path is None:
        raise unable(
            "HOST001",
            "tool-missing",
            f"`{tool}` is not installed",
            hints=(f"apt-get install {package}", "`aistack doctor` lists everything that is missing"),
        )
    return path


def failure(argv: Sequence[str], returncode: int, output: str, *, log: Path | None = None) -> DiagnosticError:
    """The error for a program that ended badly, with the last lines that it said and the first that names a shortage of the machine's.

    A full disk at its log kept them from being written.
    """
    how = f"was ended by signal {-returncode}" if returncode < 0 else f"ended with exit code {returncode}"
    room = shutil.disk_usage(log) if log is not None else None
    if room is not None and room.total > 0 and room.free < LEAST_ROOM:  # a file in memory has no disk
        output += f"\n{log}: {os.strerror(errno.ENOSPC)}"
    lines = [line for line in output.strip().splitlines() if line.strip()]
    said = [line[:MOST_OF_A_LINE] for line in lines[-LINES_THAT_MATTER:]]
    short = next((line[-MOST_OF_A_LINE:] for line in lines if any(word in line for word in SHORTAGES)), "")
    if short and not any(word in line for line in said for word in SHORTAGES):  # a build goes on for long where one of its processes failed
        said[0] = short
    hints = MAKE_ROOM if os.strerror(errno.ENOSPC) in output else ()
    why = (f"command: {shlex.join(argv)[:MOST_OF_A_LINE]}", *said)
    return unable("HOST002", "tool-failed", f"`{argv[0].rsplit('/', 1)[-1]}` {how}", why=why, hints=hints)


def run(
    argv: Sequence[str],
    *,
    check: bool = True,
    input: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 3600,
    log: Path | None = None,
) -> Completed:
    """Run a program to its end and return what it said.

    `env` replaces the whole environment when given. With `log`, both streams go to that file (and `stdout` holds its text).
    Raises DiagnosticError (exit 3) when the program is missing, fails while `check`, or outlasts `timeout` seconds, or those of `within`.
    """
    with contextlib.ExitStack() as stack:
        talk = subprocess.PIPE if log is None else stack.enter_context(log.open("wb"))
        errors = subprocess.PIPE if log is None else subprocess.STDOUT
        source = subprocess.DEVNULL if input is None else subprocess.PIPE
        process = stack.enter_context(_started(argv, stdin=source, stdout=talk, stderr=errors, cwd=cwd, env=env))
        said, complained = _ended(process, argv, None if input is None else input.encode(), timeout)
    if log is not None:
        said = complained = log.read_bytes()
    stdout, stderr = (text.decode(errors="replace") for text in (said, complained))
    if check and process.returncode != 0:
        raise failure(argv, process.returncode, stderr or stdout, log=log)
    return Completed(argv=tuple(argv), returncode=process.returncode, stdout=stdout, stderr=stderr)


def _ended(process: subprocess.Popen[bytes], argv: Sequence[str], given: bytes | None, timeout: float) -> tuple[bytes, bytes]:
    """What a program said until its end, on both streams; HOST003 where that takes too long."""
    began = time.monotonic()
    while True:
        remaining = min(began + timeout - time.monotonic(), left())
        try:
            return process.communicate(given, timeout=max(min(remaining, STEP_SECONDS), 0.0))
        except subprocess.TimeoutExpired:
            given = None  # what was not written yet is kept by `process`
            if remaining <= STEP_SECONDS:
                raise _too_slow(argv, f"did not end within {round(time.monotonic() - began, 1):g} s") from None


def _too_slow(argv: Sequence[str], how: str) -> DiagnosticError:
    message = f"`{argv[0].rsplit('/', 1)[-1]}` {how}"
    return unable("HOST003", "tool-too-slow", message, why=(f"command: {shlex.join(argv)[:MOST_OF_A_LINE]}",))


def filtered(argv: Sequence[str], data: bytes, most: int) -> tuple[int, bytes]:
    """Send data through a program: its exit code, and what it wrote; once that is `most` bytes, the program is ended, and the code is 0.

    Raises DiagnosticError (exit 3) when the program is missing.
    """
    with _started(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        feeder = threading.Thread(target=_feed, args=(process.stdin, data), daemon=True)
        feeder.start()
        written = bytearray()
        while len(written) < most and (piece := process.stdout.read(min(1 << 20, most - len(written)))):
            written += piece
        if len(written) == most:
            process.kill()
        feeder.join()
        return (0 if len(written) == most else process.wait()), bytes(written)


def _feed(pipe: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(data)


@contextmanager
def _started(argv: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a process group of its own: when the block is left early, whatever it had started is killed with it.

    It is also killed when this process, or the thread that is inside, dies without leaving it; what cannot be killed is left behind.
    """
    if left() <= 0:
        raise _too_slow(argv, "was not started: no time was left")
    environment = options.get("env") or os.environ
    if shutil.which(argv[0], path=environment.get("PATH")) is None:
        raise unable("HOST001", "tool-missing", f"`{argv[0]}` is not installed")
    setpriv = find("setpriv")
    guarded = [setpriv, "--pdeathsig", "KILL", "--", *argv] if setpriv else list(argv)
    process = subprocess.Popen(guarded, process_group=0, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LAST_SECONDS)


@contextmanager
def stream(
    argv: Sequence[str],
    *,
    log: Path,
    stdin: int | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    whole: bool = True,
    silence: float | None = None,
    timeout: float | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program whose standard output is read as it comes (`process.stdout`); its talk goes to `log`.

    A bad end raises DiagnosticError (exit 3) with the log's last lines; leaving early ends the program. With `whole` false, whoever has
    read enough just leaves the block: the program is ended then, and how it ended does not count. A program that moves no bytes for
    `silence` seconds, twice that at most, is killed: HOST003. So is one that outlasts `timeout` seconds, or then those of `within`.
    """
    source = subprocess.DEVNULL if stdin is None else stdin
    began = time.monotonic()
    with (
        log.open("wb") as errors,
        _started(argv, stdin=source, stdout=subprocess.PIPE, stderr=errors, env=env, cwd=cwd) as process,
        _watched(process, silence) as stuck,
        _limited(process, timeout) as late,
    ):
        yield process
        if not whole:
            return
        returncode = process.wait()
    if stuck.is_set():
        raise _too_slow(argv, f"did nothing for {silence:.0f} s")
    if late.is_set():
        raise _too_slow(argv, f"did not end within {round(min(timeout or 0.0, time.monotonic() - began), 1):g} s")
    if returncode != 0:
        raise failure(argv, returncode, log.read_text(errors="replace"), log=log)


def ended(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a program whose output came to its end; 0 where it is still at work."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(STEP_SECONDS)
    return 0


@contextmanager
def _watched(process: subprocess.Popen[bytes], silence: float | None) -> Iterator[threading.Event]:
    """Kills a program that is stuck, and says so; what it moved is what the kernel counts (proc_pid_io(5)), sockets and pipes too."""
    stuck, over = threading.Event(), threading.Event()

    def moved() -> int:
        counted = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
        return int(counted["rchar"]) + int(counted["wchar"])

    def watch() -> None:
        with contextlib.suppress(OSError):  # it has ended
            before = moved()
            while not over.wait(silence):
                now = moved()
                if now - before < LEAST_MOVED:
                    stuck.set()
                    os.killpg(process.pid, signal.SIGKILL)
                before = now

    if silence is None:
        yield stuck
        return
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield stuck
    finally:
        over.set()
        watcher.join()


@contextmanager
def _limited(process: subprocess.Popen[bytes], timeout: float | None) -> Iterator[threading.Event]:
    """Kills a program whose time is over, and says so; None: nobody looks."""
    late, over = threading.Event(), threading.Event()

    def watch(until: float) -> None:
        while (remaining := min(until - time.monotonic(), left())) > 0:
            if over.wait(min(remaining, STEP_SECONDS)):
                return
        late.set()
        with contextlib.suppress(OSError):  # it has ended
            os.killpg(process.pid, signal.SIGKILL)

    if timeout is None:
        yield late
        return
    watcher = threading.Thread(target=watch, args=(time.monotonic() + timeout,), daemon=True)
    watcher.start()
    try:
        yield late
    finally:
        over.set()
        watcher.join()


@contextmanager
def background(argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program beside this one, both streams into `log`; the caller judges its end, and leaving the block kills it."""
    with log.open("wb") as talk, _started(argv, stdin=subprocess.DEVNULL, stdout=talk, stderr=subprocess.STDOUT, env=env) as process:
        yield process
