"""Running other programs: what they said, how they ended, and nothing left behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tools_needed import needs

from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.host import process

pytestmark = pytest.mark.slow

LEAVES_A_CHILD = "sleep 300 & echo $! >{file}.new; mv {file}.new {file}; wait"


def gone(pid: int, seconds: float = 5) -> bool:
    """Whether a process ends soon; one that only waits to be reaped counts as ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_what_a_program_says_is_kept(tmp_path: Path) -> None:
    done = process.run(["sh", "-c", "cat; echo bad >&2; exit 3"], input="good", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "good", "bad\n")
    logged = process.run(["sh", "-c", "echo one; echo two >&2"], log=tmp_path / "log")
    assert logged.stdout == (tmp_path / "log").read_text() == "one\ntwo\n"


def test_a_bad_end_is_told_with_the_last_lines_cut_to_what_a_message_bears() -> None:
    with pytest.raises(DiagnosticError) as caught:
        process.run([sys.executable, "-c", "print('x' * 9000); print('the reason'); raise SystemExit(4)"])
    (told,) = caught.value.diagnostics
    assert caught.value.exit_code is ExitCode.UNABLE
    assert "ended with exit code 4" in told.message and told.why[-1] == "the reason"
    assert max(map(len, told.why)) <= process.MOST_OF_A_LINE + len("command: ")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM])
def test_a_shortage_is_told_however_much_was_said_after_it_and_before_it_in_its_line(number: int) -> None:
    reason = f"{'x' * 2 * process.MOST_OF_A_LINE}: {os.strerror(number)}"
    more = "\n".join(map(str, range(process.LINES_THAT_MATTER * 9)))
    (told,) = process.failure(("dkms", "build"), 1, f"begun\n{reason}\n{more}").diagnostics
    (line,) = (line for line in told.why if os.strerror(number) in line)
    assert line.endswith(os.strerror(number)) and len(line) == process.MOST_OF_A_LINE
    assert len(told.why) == 1 + process.LINES_THAT_MATTER and told.why[-1] == more.split()[-1]
    assert bool(told.hints) is (number == errno.ENOSPC)
    (near,) = process.failure(("dkms", "build"), 1, f"{more}\n{os.strerror(number)}").diagnostics
    assert near.why[-1] == os.strerror(number) and near.why.count(os.strerror(number)) == 1


def test_a_program_that_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with pytest.raises(DiagnosticError) as caught:
        process.run(["sh", "-c", LEAVES_A_CHILD.format(file=file)], timeout=1)
    assert caught.value.diagnostics[0].rule == "HOST003"
    assert gone(int(file.read_text()))


@pytest.mark.slow
def test_a_program_that_moves_nothing_is_ended_and_one_that_does_is_not(tmp_path: Path) -> None:
    def read(script: str) -> bytes:
        with process.stream(["sh", "-c", script], log=tmp_path / "log", silence=0.5) as running:
            assert running.stdout is not None
            return running.stdout.read()

    with pytest.raises(DiagnosticError) as caught:
        read("echo begun; exec sleep 60")
    assert caught.value.diagnostics[0].rule == "HOST003" and "did nothing for 0 s" in str(caught.value)
    slow = "import time, sys\nfor _ in range(12):\n    sys.stdout.buffer.write(bytes(100_000)); sys.stdout.flush(); time.sleep(0.15)"
    assert len(read(f"exec {sys.executable} -c '{slow}'")) == 1_200_000


def ends_in_time(command: str) -> None:
    started = time.monotonic()
    with pytest.raises(DiagnosticError) as caught:
        process.run(["sh", "-c", command], timeout=0.5)
    assert caught.value.diagnostics[0].rule == "HOST003"
    assert time.monotonic() - started < 0.5 + process.LAST_SECONDS + 2


@pytest.mark.slow
def test_a_program_that_no_signal_reaches_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as deaf:
        deaf.setattr(os, "killpg", lambda group, number: None)
        ends_in_time("sleep 8")


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="root alone freezes a file system")
def test_a_program_that_waits_inside_the_kernel_is_left_behind(tmp_path: Path) -> None:
    """As one does whose driver hangs: here a frozen file system holds it."""
    needs("mkfs.ext4", "fsfreeze")
    disk, mounted = tmp_path / "disk", tmp_path / "mounted"
    mounted.mkdir()
    with disk.open("wb") as file:
        file.truncate(16 << 20)
    for command in (f"mkfs.ext4 -q {disk}", f"mount -o loop {disk} {mounted}", f"fsfreeze -f {mounted}"):
        subprocess.run(command.split(), check=True)
    try:
        ends_in_time(f"echo x > {mounted}/file")
    finally:
        subprocess.run(["fsfreeze", "-u", mounted], check=True)
        subprocess.run(["umount", "--lazy", mounted], check=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_when_we_are_told_to_end_so_are_they(tmp_path: Path, number: int) -> None:
    """The program itself, with one verb put in its table: what ends it ends what it runs."""
    file = tmp_path / "pid"
    code = f"""
import sys
from aistack import cli, verbs
from aistack.host import process
def slow() -> int:
    process.run(["sh", "-c", {LEAVES_A_CHILD.format(file=file)!r}])
verbs.VERBS["aistack"]["slow"] = slow
sys.argv = ["aistack", "slow"]
cli.main()
"""
    running = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 20
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(running.pid, number)
        _, said = running.communicate(timeout=20)
    finally:
        running.kill()
    assert (running.returncode, said) == (ExitCode.INTERRUPTED, "interrupted\n")
    assert gone(int(file.read_text()))


def test_killed_without_warning_nothing_that_we_run_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    code = f"from aistack.host import process\nprocess.run(['sh', '-c', 'echo $$ > {file}.new; mv {file}.new {file}; exec sleep 60'])"
    running = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 20
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        running.kill()
        running.wait(20)
    assert gone(int(file.read_text()))
