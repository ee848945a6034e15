"""A node in QEMU that lives through many starts: each reports, ssh reaches it, and its state can be kept and resumed.

`aistack.host.machine` sees one boot to its agreed end; here the machine restarts as often as a test makes it, and a boot that goes wrong is
what is waited for. A start takes minutes where QEMU translates, so a series begins from the kept state of a node that is up.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aistack.host import console, layers, machine, oci, process, qemu
from aistack.host.qemu import Firmware, Hardware
from aistack.host.qmp import Qmp, connect
from aistack.host.store import Store

HOST = "10.0.2.2"
"""This machine's loopback, as the guest reaches it."""
BOOT_SECONDS = 900
RESET_SECONDS = 5
FILES = ("overlay.qcow2", "variables.fd", "memory")
OPTIONS = (
    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"),
    *("-o", "ConnectTimeout=60", "-o", "IdentitiesOnly=yes"),
)

Found = TypeVar("Found")


@dataclass(slots=True, kw_only=True)
class Node:
    """A machine that runs. `boots` are the reports of each start that came as far as `started`, `resets` the seconds of each restart.

    Seconds count from power on (`began`, since 1970), or from where a kept state was resumed: there the guest's clock goes on from where it
    was. A report that came while nobody waited gets the time of the next look.
    """

    folder: Path
    key: Path
    ports: dict[int, int]
    qmp: Qmp
    channel: socket.socket
    start: float
    began: float
    boots: list[list[dict[str, Any]]] = field(default_factory=list)
    resets: list[float] = field(default_factory=list)
    off: bool = False
    heard: bytes = b""

    @property
    def now(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.start

    @property
    def console(self) -> str:
        """All that the serial console said."""
        return console.clean((self.folder / "console.log").read_bytes())

    def listen(self) -> None:
        """Take what was reported and how often the machine restarted."""
        for event in self.qmp.take_events():
            at = event["timestamp"]["seconds"] - self.began
            # A BIOS machine is reset in several ways one after the other until one of them takes.
            if event["event"] == "RESET" and (not self.resets or at > self.resets[-1] + RESET_SECONDS):
                self.resets.append(at)
            self.off |= event["event"] == "SHUTDOWN" and bool(event["data"]["guest"])
        try:
            data = self.channel.recv(1 << 16)
        except BlockingIOError:
            return
        assert data, "QEMU closed the report channel"
        *lines, self.heard = (self.heard + data).split(b"\n")
        for line in lines:
            try:
                report = {**json.loads(line), "heard": self.now}
            except ValueError:
                continue  # cut by a restart
            if report["phase"] == "started":
                self.boots.append([])
            if self.boots:
                self.boots[-1].append(report)

    def report(self, phase: str, boot: int) -> dict[str, Any] | None:
        """What the boot of that number (from 1) reported for a phase, None when it has not."""
        if len(self.boots) < boot:
            return None
        return next((report for report in self.boots[boot - 1] if report["phase"] == phase), None)

    def wait(self, phase: str, boot: int, *, seconds: float = BOOT_SECONDS) -> dict[str, Any]:
        """Wait until the boot of that number has reported a phase."""
        return self.until(lambda: self.report(phase, boot), f"`{phase}` of boot {boot}", seconds=seconds)

    def until(self, look: Callable[[], Found | None], what: str, *, seconds: float = BOOT_SECONDS) -> Found:
        """Wait until `look` finds something; a failure shows the reports and the console's end."""
        end = self.now + seconds
        while (found := look()) is None:
            assert self.now < end, f"no {what} within {seconds:.0f} s\n{self.said()}"
            time.sleep(0.2)
            self.listen()
        return found

    def said(self) -> str:
        """What a failure shows: phases of each boot, and the last lines of the console."""
        phases = [[f"{report['phase']} {report.get('outcome', '')}" for report in boot] for boot in self.boots]
        return "\n".join((f"boots {phases}, restarts {self.resets}", *self.console.splitlines()[-25:]))

    def ssh(self, command: str, *, check: bool = True, seconds: float = 300, input: str | None = None) -> str:
        """Run a command as root in the guest; returns what it printed, errors included."""
        argv = ["ssh", *OPTIONS, "-i", str(self.key), "-p", str(self.ports[22]), "root@127.0.0.1", command]
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False, input=input or ""
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-4000:]}"
        return done.stdout

    def python(self, program: str, **settings: Any) -> str:
        """Run a Python program with the node's own aistack; `settings` are its variables."""
        text = "".join(f"{name} = {value!r}\n" for name, value in settings.items()) + program
        return self.ssh("PYTHONPATH=/usr/lib/aistack/python python3 -", input=text)

    def switch_on(self) -> None:
        """Wait until the guest has switched itself off, and switch it on again."""
        self.until(lambda: self.off or None, "power off")
        self.off = False
        self.qmp.execute("system_reset")
        self.qmp.execute("cont")

    def hang(self) -> None:
        """Make the guest's kernel spin on every processor, interrupts off, as a fault in it would.

        By QEMU's debugger (https://sourceware.org/gdb/current/onlinedocs/gdb.html/Remote-Protocol.html): all processors are stopped until
        they are in the kernel together, and find `cli; jmp $` where they go on.
        """
        address = self.folder / "debugger"
        self.qmp.execute("human-monitor-command", {"command-line": f"gdbserver unix:{address},server=on,wait=off"})
        processors = range(1, len(self.qmp.execute("query-cpus-fast")) + 1)
        with socket.socket(socket.AF_UNIX) as debugger:
            debugger.settimeout(60)
            debugger.connect(str(address))
            while True:
                places = []
                for number in processors:
                    _ask(debugger, f"Hg{number}")
                    registers = bytes.fromhex(_ask(debugger, "g"))
                    places.append((int.from_bytes(registers[128:136], "little"), registers[140] & 3))
                if all(ring == 0 for _, ring in places):
                    break
                debugger.sendall(b"$c#63")
                time.sleep(0.05)
                debugger.sendall(b"\x03")
                _answer(debugger)
            for number, (place, _) in zip(processors, places, strict=True):
                _ask(debugger, f"Hg{number}")
                assert _ask(debugger, f"M{place:x},3:faebfe") == "OK"
            _ask(debugger, "D")
        self.qmp.execute("cont")

    def cut_power(self) -> None:
        """Switch off and on in one moment: what the guest has not written is lost."""
        self.qmp.execute("system_reset")

    def keep(self, folder: Path) -> None:
        """Keep the machine as it is, memory and disk, in `folder`; it goes on afterwards."""
        self.qmp.execute("stop")
        self.qmp.take_events()
        folder.mkdir()
        self.qmp.execute("migrate", {"uri": f"exec:cat > {folder}/memory"})
        while (state := self.qmp.execute("query-migrate")["status"]) != "completed":
            assert state != "failed", state
            time.sleep(0.2)
        for name in FILES[:2]:
            if (self.folder / name).exists():
                shutil.copyfile(self.folder / name, folder / name)
        self.qmp.execute("cont")


def _ask(debugger: socket.socket, words: str) -> str:
    debugger.sendall(f"${words}#{sum(words.encode()) % 256:02x}".encode())
    while (answer := _answer(debugger)).startswith("T"):  # it stopped once more than it was asked to
        pass
    return answer


def _answer(debugger: socket.socket) -> str:
    """The next packet's content, and nothing of the one after it."""
    data = b""
    while not (match := re.search(rb"\$([^#]*)#..", data)):
        got = debugger.recv(1)
        assert got, "the debugger hung up"
        data += got
    debugger.sendall(b"+")
    return match[1].decode()


def new_key(folder: Path) -> Path:
    """A key to log in with."""
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)], check=True)
    return key


def hardware(disk: Path, key: Path, *, firmware: Firmware = Firmware.UEFI, credentials: tuple[tuple[str, bytes], ...] = ()) -> Hardware:
    """A machine for that disk that lets the key in, reports its boots and has a watchdog."""
    given = ((machine.CREDENTIAL, qemu.REPORT_PORT.encode()), ("ssh.authorized_keys.root", key.with_suffix(".pub").read_bytes()))
    return Hardware(disk=disk, firmware=firmware, forwards=(22, 8080), credentials=(*given, *credentials), memory_mib=1536, watchdog=True)


@contextmanager
def running(hardware: Hardware, folder: Path, key: Path, *, kept: Path | None = None) -> Iterator[Node]:
    """Switch the machine on, or go on from what `keep` wrote (with the same hardware); it is gone when the block is left.

    The disk itself is never changed: writes go to an overlay in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        qemu.make_overlay(hardware, folder)
        argv = qemu.command(hardware, qemu.find_accelerator()[0], folder, folder / "console.log")
        argv += ["-action", "panic=none,shutdown=pause"]  # a panic is the guest's to end, and it can be switched on again
        if kept is not None:
            for name in FILES[:2]:
                if (kept / name).exists():
                    shutil.copyfile(kept / name, folder / name)
            argv += ["-incoming", f"exec:cat {kept}/memory"]
        started = stack.enter_context(process.background(argv, log=folder / "qemu.log"))

        def alive() -> bool:
            return started.poll() is None

        channel = stack.enter_context(connect(folder / "report", alive=alive))
        qmp = stack.enter_context(Qmp(connect(folder / "qmp", alive=alive)))
        channel.setblocking(False)
        qmp.execute("qmp_capabilities")
        while qmp.execute("query-status")["status"] == "inmigrate":
            time.sleep(0.2)
        ports = dict(qemu.forwarded(str(qmp.execute("human-monitor-command", {"command-line": "info usernet"}))))
        node = Node(folder=folder, key=key, ports=ports, qmp=qmp, channel=channel, start=time.monotonic(), began=time.time())
        qmp.take_events()
        qmp.execute("cont")
        yield node


def built(recipe: Path) -> dict[str, Any]:
    """What `aistack build` says of a recipe: `where` by `title` of each artifact."""
    argv = [sys.executable, "-m", "aistack", "build", recipe.name, "--json"]
    done = subprocess.run(
        argv, cwd=recipe.parent, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True, timeout=2400, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {row["title"]: row["where"] for row in json.loads(done.stdout)["artifacts"]}


def disk_of(artifacts: dict[str, Any]) -> Path:
    """The raw disk among what `built` gave."""
    (where,) = (where for title, where in artifacts.items() if title.startswith("disk "))
    return next(Path(path) for path in where.split() if path.endswith(".raw"))


def variant(store: Store, digest: str, files: Mapping[str, bytes | str], labels: Mapping[str, str] | None = None) -> str:
    """The digest of an image that has one more layer: these files (`bytes`) and links (`str`), by path; `labels` replace the image's."""
    image = oci.read_image(store, digest)
    entries = [
        layers.file_entry(path, content) if isinstance(content, bytes) else layers.link_entry(path, content)
        for path, content in files.items()
    ]
    added = layers.write_layer(store, entries)
    words = {**dict(image.labels), **(labels or {})}
    return oci.write_image(
        store, (*image.layers, added), arch=image.arch, settings=image.settings, labels=words, annotations=dict(image.annotations)
    )
