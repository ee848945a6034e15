"""A disk after a power cut: can a node start from it, and is what it starts whole? Runs in the tools root, over a file, without mounts.

`python3 cut_check.py ORDER.json` rebuilds the disk at each cut of the order and prints one JSON line for each. A kernel replays the journal
when it mounts, so that is done first (`e2fsck -p`); after that nothing may be left to mend. Folders are read by debugfs, so what a line
says of a file is what lies on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import write_log
from write_log import Cut

from aistack.diagnostics import DiagnosticError
from aistack.host import grub

SECTOR = 512
STATEROOT = "/ostree/deploy/aistack"
ENTRY = re.compile(r"menuentry '[^']*' --unrestricted \{\n  linux (\S+) (.*)\n  initrd (\S+)\n\}")
BOOTED = re.compile(r"(?:^| )ostree=(/ostree/boot\.[01]/aistack/[0-9a-f]{64}/\d+)(?: |$)")
LISTED = re.compile(r"([-dl])\d+ \d+ \d+ +(\d+) ([0-9a-f]{64} )?([0-9a-f]{64}) (/.*)")
DAMAGED = "the ESP has errors"
SET_ID = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


@dataclass(frozen=True, slots=True)
class File:
    """A file of a commit: `-`, or `l` for a symbolic link, its size in bytes, and its object's name."""

    kind: str
    size: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Inode:
    """What a folder's name stands for; size in bytes."""

    number: int
    mode: int
    size: int


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit says that a deployment holds: files by path, and every folder (`/` is one)."""

    files: Mapping[str, File]
    folders: frozenset[str]


@dataclass(slots=True)
class Checker:
    """One disk after another, in pieces; `outside` is what firmware may find.

    Kept from one to the next: the commits that were read, and the repositories (`fingerprint`) in which `ostree fsck` found no fault.
    """

    pieces: Path
    scratch: Path
    outside: frozenset[str]
    commits: dict[str, Commit] = field(default_factory=dict)
    good: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def check(self) -> dict[str, object]:
        """What is wrong with the disk, which is mended on the way; the commits that its menu starts, the default first, on trial or not."""
        self.wrong = []
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        boot, root = (FileSystem(disk=self.pieces / name) for name in ("boot", "root"))
        for name, system in (("/boot", boot), ("/", root)):
            self.wrong += [f"{name}: {line}" for line in system.mend()]
        if not outside(self.pieces, self.scratch) <= self.outside:
            self.wrong.append("the ESP, the boot sector or GRUB's core image is neither what it was nor what it becomes")
        boot.take("/", self.scratch / "boot")
        trial = self._trial()
        objects = self._repository(root)
        starts = [self._started(root, objects, *entry) for entry in self._menu()]
        if not starts:
            self.wrong.append("nothing can be started")
        return {"wrong": self.wrong, "starts": starts, "on_trial": trial is not None and starts[:1] == [trial]}

    def _trial(self) -> str | None:
        """The commit whose boots GRUB counts."""
        try:
            environment = self.scratch / "boot/grub/grubenv"
            grub.read_environment(environment.read_bytes())
            found = grub.trial(environment)
        except (OSError, DiagnosticError) as error:
            self.wrong.append(f"{error}")
            return None
        return found.deployment.partition(".")[0] if found else None

    def _menu(self) -> list[tuple[str, str, str]]:
        """(kernel, arguments, initramfs) of each entry that GRUB shows."""
        menu = self.scratch / "boot/grub/grub.cfg"
        text = menu.read_text() if menu.is_file() else ""
        entries = ENTRY.findall(text)
        if len(entries) != text.count("menuentry '"):
            self.wrong.append("the menu is cut off")
        return entries

    def _repository(self, root: FileSystem) -> dict[str, int]:
        """The repository's objects, name → inode; the whole repository is copied and every byte of it checked."""
        repository = self.scratch / "repo"
        root.take("/ostree/repo", self.scratch)
        folders = [f"/ostree/repo/objects/{number:02x}" for number in range(256)]
        objects = {}
        for folder, names in root.listed(folders).items():
            for name, inode in names.items():
                objects[folder[-2:] + name] = inode.number
                if inode.mode & SET_ID and stat.S_ISREG(inode.mode):  # debugfs gives the file its owner last, which takes these away
                    (repository / "objects" / folder[-2:] / name).chmod(stat.S_IMODE(inode.mode))
        content = fingerprint(repository)
        if content not in self.good:
            said = run("ostree", f"--repo={repository}", "fsck", "--quiet")
            if said.returncode != 0:
                self.wrong.append(f"ostree fsck: {said.stderr.strip()[-400:]}")
            else:
                self.good.add(content)
        return objects

    def _started(self, root: FileSystem, objects: Mapping[str, int], kernel: str, arguments: str, initramfs: str) -> str:
        """The commit that an entry starts, every file of its deployment compared; empty where it cannot be told."""
        named = BOOTED.search(arguments)
        if named is None:
            self.wrong.append(f"an entry without a deployment: {arguments}")
            return ""
        target = root.link(named[1], self.scratch / "link")
        found = re.fullmatch(r"\.\./\.\./\.\./deploy/aistack/deploy/(([0-9a-f]{64})\.\d+)", target)
        if found is None:
            self.wrong.append(f"{named[1]} leads to {target!r}")
            return ""
        commit = self._commit(found[2])
        if commit is None:
            self.wrong.append(f"the commit of {found[1]} cannot be read")
            return ""
        self._compare(root, objects, commit, f"{STATEROOT}/deploy/{found[1]}")
        if not re.search(r"^manifest-digest=sha256:[0-9a-f]{64}$", root.text(f"{STATEROOT}/deploy/{found[1]}.origin"), re.MULTILINE):
            self.wrong.append(f"{found[1]} has no origin")
        for path, ending in ((kernel, "/vmlinuz"), (initramfs, "/initramfs.img")):
            (checksum,) = (one.checksum for name, one in commit.files.items() if re.fullmatch(rf"/usr/lib/modules/[^/]+{ending}", name))
            lies = self.scratch / "boot" / path.strip("/")
            if not lies.is_file() or digest(lies) != digest(self._object(checksum)):
                self.wrong.append(f"{path} is not the {ending[1:]} of {found[1]}")
        return found[2]

    def _commit(self, checksum: str) -> Commit | None:
        if checksum not in self.commits:
            said = run("ostree", f"--repo={self.scratch / 'repo'}", "ls", "-R", "-C", checksum, "/")
            lines = [LISTED.fullmatch(line) for line in said.stdout.splitlines()]
            if said.returncode != 0 or not all(lines):
                return None
            files, folders = {}, set()
            for kind, size, _, name, path in (line.groups() for line in lines if line):
                place, _, target = path.partition(" -> ") if kind == "l" else (path, "", "")
                if kind == "d":
                    folders.add(place)
                else:
                    files[place] = File(kind, len(os.fsencode(target)) if kind == "l" else int(size), name)
            self.commits[checksum] = Commit(files, frozenset(folders))
        return self.commits[checksum]

    def _compare(self, root: FileSystem, objects: Mapping[str, int], commit: Commit, deployment: str) -> None:
        """A deployment's files are hard links to objects whose bytes were checked; /etc, which is written to, has every file of usr/etc."""
        found: dict[str, Inode] = {}
        etc = {path.removeprefix("/usr") for path in commit.folders if path.startswith("/usr/etc")}
        for folder, names in root.listed([deployment + path for path in sorted(commit.folders | etc)]).items():
            inner = folder.removeprefix(deployment).rstrip("/")
            found |= {f"{inner}/{name}": inode for name, inode in names.items()}
        nothing = Inode(0, 0, 0)
        for path, file in commit.files.items():
            inode = found.get(path, nothing)
            # OSTree makes empty files and symbolic links anew: they have no bytes of their own, or their target's.
            alike = inode.size == file.size and stat.S_IFMT(inode.mode) == (stat.S_IFLNK if file.kind == "l" else stat.S_IFREG)
            anew = alike and (file.kind == "l" or file.size == 0)
            if inode.number != objects.get(f"{file.checksum}.file") and not anew:
                self.wrong.append(f"{deployment}{path} is not the object {file.checksum}")
            own = path.removeprefix("/usr")
            if path.startswith("/usr/etc/") and (own not in found or (found[own].size == 0 and file.size > 0)):
                self.wrong.append(f"{deployment}{own} is missing or empty")
        self.wrong += [f"{deployment}{path} is missing" for path in commit.folders - {"/"} if path not in found]
        allowed = commit.files.keys() | commit.folders
        more = [path for path in found if path not in allowed and not path.startswith(("/etc", "/var/"))]
        self.wrong += [f"{deployment}{path} is in no commit" for path in more]

    def _object(self, checksum: str) -> Path:
        return self.scratch / "repo/objects" / checksum[:2] / f"{checksum[2:]}.file"


@dataclass(frozen=True, slots=True)
class FileSystem:
    """An ext4 file system within a disk's file."""

    disk: Path
    offset: int = 0

    @property
    def place(self) -> str:
        """How e2fsprogs name it."""
        return f"{self.disk}?offset={self.offset}" if self.offset else str(self.disk)

    def mend(self) -> list[str]:
        """Replay the journal as a mount does; what then is still not as it should be."""
        replayed = run("e2fsck", "-p", self.place)
        whole = run("e2fsck", "-f", "-n", self.place)
        return [one.stdout.strip()[-400:] for one, good in ((replayed, (0, 1)), (whole, (0,))) if one.returncode not in good]

    def take(self, path: str, target: Path) -> None:
        """Copy a file, link or folder with everything in it into a folder."""
        target.mkdir(exist_ok=True)
        run("debugfs", "-R", f"rdump {path} {target}", self.place)

    def link(self, path: str, scratch: Path) -> str:
        """Where a symbolic link leads; empty where there is none. SCRATCH is a folder of its own."""
        self.take(path, scratch)
        copy = scratch / path.rpartition("/")[2]
        target = str(copy.readlink()) if copy.is_symlink() else ""
        shutil.rmtree(scratch)
        return target

    def text(self, path: str) -> str:
        """What a file holds; empty where there is none."""
        return run("debugfs", "-R", f"cat {path}", self.place).stdout

    def listed(self, folders: Sequence[str]) -> dict[str, dict[str, Inode]]:
        """For each folder what its names stand for; a folder that is not there has none."""
        said = run("debugfs", "-f", "-", self.place, input="".join(f'ls -p "{folder}"\n' for folder in folders)).stdout
        found: dict[str, dict[str, Inode]] = {folder: {} for folder in folders}
        names: dict[str, Inode] = {}
        for line in said.splitlines():
            if line.startswith("debugfs: ls -p "):
                names = found[line.removeprefix("debugfs: ls -p ").strip('"')]
            elif line.startswith("/"):
                _, number, mode, _, _, name, size, _ = line.split("/")
                if name not in (".", ".."):
                    names[name] = Inode(int(number), int(mode, 8), int(size or 0))
        return found


def run(*argv: str, input: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, input=input, capture_output=True, text=True, errors="surrogateescape", check=False)


def digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(folder: Path) -> str:
    """One digest over every byte, name, owner and mode in a folder."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else digest(path) if path.is_file() else ""
        whole.update(f"{path.relative_to(folder)} {status.st_mode:o} {status.st_uid} {status.st_gid} {content}\n".encode())
    return whole.hexdigest()


def partitions(disk: Path) -> dict[str, tuple[int, int]]:
    """Name → (offset, size) in bytes, from the table at the disk's beginning (UEFI specification, 5.3)."""
    with disk.open("rb") as stream:
        stream.seek(SECTOR)
        head = stream.read(SECTOR)
        assert head.startswith(b"EFI PART"), "no partition table"
        (start,), (count, size) = struct.unpack_from("<Q", head, 72), struct.unpack_from("<II", head, 80)
        stream.seek(start * SECTOR)
        entries = [stream.read(size) for _ in range(count)]
    found = {}
    for entry in entries:
        first, last = struct.unpack_from("<QQ", entry, 32)
        if first:
            found[entry[56:128].decode("utf-16-le").rstrip("\0")] = first * SECTOR, (last + 1 - first) * SECTOR
    return found


def outside(pieces: Path, scratch: Path) -> frozenset[str]:
    """Digests of what firmware reads: boot sector, GRUB's core image, each file of the ESP; DAMAGED where its file system has errors."""
    start, size = partitions(pieces / "head")["aistack-bios"]
    with (pieces / "head").open("rb") as source:
        first = source.read(SECTOR)
        source.seek(start)
        core = source.read(size)
    esp = scratch / "esp"
    shutil.rmtree(esp, ignore_errors=True)
    esp.mkdir()
    found = {hashlib.sha256(data).hexdigest() for data in (first, core)}
    if run("fsck.fat", "-n", str(pieces / "esp")).returncode != 0:
        found.add(DAMAGED)
    run("mcopy", "-s", "-n", "-i", str(pieces / "esp"), "::/", str(esp))
    return frozenset(found | {f"{path.relative_to(esp)} {digest(path)}" for path in esp.rglob("*") if path.is_file()})


@dataclass(slots=True)
class Pieces:
    """A disk in four files, as e2fsck mends a file system only where it begins its file: `head` is what lies before the ESP."""

    folder: Path
    places: tuple[tuple[str, int, int], ...]
    position: int = 0

    @classmethod
    def of(cls, disk: Path, folder: Path) -> Pieces:
        """Take a disk to pieces."""
        found = partitions(disk)
        esp, boot, root = (found[f"aistack-{name}"] for name in ("esp", "boot", "root"))
        made = cls(folder=folder, places=(("head", 0, esp[0]), ("esp", *esp), ("boot", *boot), ("root", *root)))
        folder.mkdir()
        for name, offset, size in made.places:
            span = (f"if={disk}", f"of={folder / name}", "bs=1M", f"skip={offset >> 20}", f"count={size >> 20}")
            subprocess.run(["dd", *span, "conv=sparse", "status=none"], check=True)
            os.truncate(folder / name, size)
        return made

    def copy(self, folder: Path) -> Pieces:
        """Another disk like it."""
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["cp", "-r", "--sparse=always", self.folder, folder], check=True)
        return Pieces(folder=folder, places=self.places)

    def seek(self, position: int) -> None:
        """Where the next write goes, in bytes from the disk's beginning."""
        self.position = position

    def write(self, data: bytes) -> None:
        """Write there; what lies behind the root file system is left out."""
        for name, offset, size in self.places:
            if offset <= self.position < offset + size:
                with (self.folder / name).open("r+b") as stream:
                    stream.seek(self.position - offset)
                    stream.write(data)


def main(order: Mapping[str, Any]) -> None:
    """Rebuild and check: `base` (a raw disk), `log` of its writes, `cuts`, and `scratch`, a folder that is best in memory."""
    scratch = Path(order["scratch"])
    before = Pieces.of(Path(order["base"]), scratch / "before")
    with Path(order["log"]).open("rb") as log:
        entries = write_log.read(log)
        last = before.copy(scratch / "disk")
        write_log.replay(log, entries, Cut(durable=len(entries), until=len(entries)), last)
        known = outside(before.folder, scratch) | outside(last.folder, scratch)
        checker = Checker(pieces=last.folder, scratch=scratch / "read", outside=known - {DAMAGED})
        done = 0
        for one in order["cuts"]:
            started = time.monotonic()
            cut = Cut(**{**one, "kept": tuple(one["kept"])})
            write_log.replay(log, entries, Cut(durable=cut.durable, until=cut.durable), before, done=done)
            done = cut.durable
            write_log.replay(log, entries, cut, before.copy(checker.pieces), done=done)
            said = checker.check()
            print(json.dumps({**one, **said, "seconds": round(time.monotonic() - started, 1)}), flush=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
