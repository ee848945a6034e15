"""Roots: file systems unpacked from exactly the packages of a lock, as a stream or as a throw-away folder, and programs run inside.

No network is used: the packages come from the store. Nothing here says what a root is for.
"""

from __future__ import annotations

import array
import fcntl
import hashlib
import json
import os
import re
import select
import shutil
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.parse import quote

from aistack.diagnostics import DiagnosticError, unable
from aistack.facts.files import Rendered, RenderedFile
from aistack.facts.pins import LockedPackage, LockedRoot
from aistack.host import accounts, deb, layers, process
from aistack.host.store import Store
from aistack.values import dataclass

EPOCH = 1_577_836_800
"""SOURCE_DATE_EPOCH of everything that is built, 2020-01-01: fixed, so that one changed package changes only what it brings."""

TOOL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USERS = "/usr/lib/sysusers.d/"
"""Users and groups named in files here are made before any package is configured: their numbers do not depend on an order."""

UNPACKED = 16
"""Bytes that a root may need for each byte of its packages: what they unpack to (code for ten accelerators to 14), and the packages."""

PY3COMPILE = "py3compile"
"""Byte code is made once, at the end and where it is wanted, not package by package."""

DPKG_OPTIONS = (
    "force-unsafe-io",  # a build that is cut off is thrown away
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/bug/*",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A folder or file of the host seen inside a root at the absolute path `target`."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """A finished root while it is read: `stream` is its tar archive (sorted, numeric owners, extended attributes).

    `owners` maps absolute paths of files to the package that brought them; `status` is dpkg's list of installed packages.
    """

    stream: IO[bytes]
    owners: Mapping[str, str]
    status: str


def privileges() -> tuple[str, ...]:
    """The words to put before a program that must act as root: none for root, else a user namespace of our own subordinate ids.

    Raises DiagnosticError (exit 3) that explains what this machine lacks.
    """
    if os.geteuid() == 0:
        tried = process.run(["unshare", "--mount", "true"], check=False)
        if tried.returncode != 0:
            raise unable(
                "HOST020",
                "no-mount-permission",
                "this root user may not make mount namespaces",
                why=(tried.stderr.strip(), "CAP_SYS_ADMIN is missing, as in an ordinary container"),
                hints=("run outside the container, as root or as a user with subordinate ids", "or give the container CAP_SYS_ADMIN"),
            )
        return ()
    process.require("newuidmap", "uidmap")
    argv = ("unshare", "--user", "--map-auto", "--map-root-user", "--mount", "--")
    tried = process.run([*argv, "true"], check=False)
    if tried.returncode != 0:
        raise _no_namespace(tried.stderr.strip())
    return argv


def _no_namespace(said: str) -> DiagnosticError:
    hints: list[str] = []
    for setting, bad in (("kernel/apparmor_restrict_unprivileged_userns", "1"), ("kernel/unprivileged_userns_clone", "0")):
        path = Path("/proc/sys") / setting
        if path.exists() and path.read_text().strip() == bad:
            hints.append(f"sysctl {setting.replace('/', '.')}={'0' if bad == '1' else '1'} (as root; it is {bad} now)")
    if not hints:
        hints.append("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER (as root), then log in again")
    hints.append("or run as root")
    return unable(
        "HOST021",
        "no-user-namespace",
        "this user may not make a user namespace, which building as a plain user needs",
        why=(said, "a root holds files of many owners; without root they need subordinate ids (/etc/subuid, /etc/subgid)"),
        hints=tuple(hints),
    )


@contextmanager
def make_tar(
    store: Store,
    root: LockedRoot,
    *,
    files: Sequence[Rendered] = (),
    script: str = "",
    stand_ins: Sequence[str] = (),
    log: Path | None = None,
) -> Iterator[Unpacked]:
    """Install exactly the packages of `root`, put `files` in, run `script` (sh, inside, as root, without a network), stream the result.

    The packages must be in the store. Programs named in `stand_ins` do nothing while packages are configured: `script` undoes or
    repeats their work anyhow. `log` receives what the programs said; without it the talk is shown on failure only.
    """
    prefix = privileges()
    for tool, package in (("mmdebstrap", "mmdebstrap"), ("unshare", "util-linux")):
        process.require(tool, package)
    with store.scratch() as folder:
        report, place = folder / "report", folder / "place"
        report.mkdir()
        place.mkdir()
        repository(store, root.packages, folder / "repository")
        _write_overlay(files, folder / "files.tar")
        users = b"".join(file.content for file in files if isinstance(file, RenderedFile) and file.path.startswith(USERS))
        for name, text in accounts.lines(users.decode(), epoch=EPOCH).items():
            (folder / name).write_text(text)
        early = folder / "early"
        early.write_text(EARLY)
        early.chmod(0o755)
        (folder / "script").write_text(f"set -eu\n{script}\n")
        hook = folder / "hook"
        hook.write_text(HOOK)
        hook.chmod(0o755)
        # Namespaces of its own: no network, and neither a mount nor a process can outlive it.
        alone = ("--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
        argv = (
            *(prefix[:-1] or ("unshare", "--mount")),
            *alone,
            *_in_memory(place, root.packages),
            "mmdebstrap",
            "--mode=root",
            "--variant=essential",
            "--format=tar",
            # After the hooks nothing of mmdebstrap's may run apt: were its configuration in the root gone by then (a script may empty
            # /tmp), apt would clean this machine's lists instead.
            "--skip=cleanup/apt",
            f"--architectures={root.arch}",
            *(f"--dpkgopt={option}" for option in DPKG_OPTIONS),
            '--aptopt=APT::Install-Recommends "false"',
            '--aptopt=Acquire::Languages "none"',
            '--aptopt=APT::Sandbox::User "root"',
            f'--aptopt=DPkg::Path "{TOOL_PATH}"',  # apt's own path leaves out /usr/local, where the stand-ins lie
            "--include=" + ",".join(_wanted(package) for package in root.packages),
            f"--essential-hook={early}",
            f"--customize-hook={hook}",
            "",
            "-",
            f"deb [trusted=yes] copy:{quote(str((folder / 'repository').resolve()))} ./",
        )  # fmt: skip
        talk = log or folder / "log"
        environment = {
            "PATH": TOOL_PATH,
            "LC_ALL": "C.UTF-8",
            "SOURCE_DATE_EPOCH": str(EPOCH),
            "TMPDIR": str(place),
            "HOME": "/root",
            "INITRD": "No",
            "AISTACK_BUILD": str(folder),
            "AISTACK_STAND_INS": " ".join((PY3COMPILE, *stand_ins)),
        }
        with process.stream(argv, log=talk, env=environment) as running:
            assert running.stdout is not None
            if _has_bytes(running.stdout):
                status = (report / "status").read_text()
                _require_exact(root, status)
                yield Unpacked(stream=running.stdout, owners=_owners(report / "info"), status=status)
                while running.stdout.read(1 << 20):
                    pass


def _in_memory(place: Path, packages: Sequence[LockedPackage]) -> tuple[str, ...]:
    """The words before a program that lay memory over the folder `place`, where there is enough; none where there is not.

    A root's files are written, read once and removed: on a disk that is a quarter of a build's time. The program has a mount namespace.
    """
    most = UNPACKED * sum(package.size for package in packages)
    if _memory() < most:
        return ()
    return ("sh", "-c", f'mount -t tmpfs -o size={most},mode=0755 tmpfs "$0" || true; exec "$@"', str(place))


def _memory() -> int:
    """Bytes of memory that can be had: what this machine has to spare, and no more than the limit of a container."""
    spare = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    limit = Path("/sys/fs/cgroup/memory.max")
    limited = limit.read_text().strip() if limit.exists() else "max"
    return min(int(spare[1]) * 1024 if spare else 0, int(limited) if limited.isdigit() else sys.maxsize)


def _has_bytes(stream: IO[bytes]) -> bool:
    """Wait until the pipe holds bytes (true) or is closed without any (false), taking none of them."""
    select.select([stream], [], [])
    waiting = array.array("i", [0])
    fcntl.ioctl(stream, termios.FIONREAD, waiting)
    return waiting[0] > 0


def _wanted(package: LockedPackage) -> str:
    arch = "" if package.arch == "all" else f":{package.arch}"
    return f"{package.name}{arch}={package.version}"


EARLY = """#!/bin/sh
set -eu
rm -f "$1/etc/resolv.conf" "$1/etc/hostname"
for name in passwd group shadow gshadow; do
    [ ! -s "$AISTACK_BUILD/$name" ] || cat "$AISTACK_BUILD/$name" >> "$1/etc/$name"
done
# Stand-ins that do nothing, removed again by the other hook.
mkdir -p "$1/usr/local/sbin"
for name in $AISTACK_STAND_INS; do
    printf '#!/bin/sh\\n' >"$1/usr/local/sbin/$name"
    chmod 0755 "$1/usr/local/sbin/$name"
done
"""

HOOK = """#!/bin/sh
set -eu
for name in $AISTACK_STAND_INS; do rm "$1/usr/local/sbin/$name"; done
cp "$1/var/lib/dpkg/status" "$AISTACK_BUILD/report/status"
mkdir "$AISTACK_BUILD/report/info"
cp "$1"/var/lib/dpkg/info/*.list "$AISTACK_BUILD/report/info/"
rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/archives/*.deb "$1"/var/cache/apt/*.bin
rm -f "$1/etc/apt/sources.list" "$1"/etc/apt/sources.list.d/0000* "$1/etc/apt/apt.conf.d/99mmdebstrap"
rm -f "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap" "$1/etc/resolv.conf" "$1/etc/hostname"
tar --directory "$1" --extract --preserve-permissions --keep-directory-symlink --file "$AISTACK_BUILD/files.tar"
exec chroot "$1" /bin/sh -c "$(cat "$AISTACK_BUILD/script")"
"""


def repository(store: Store, packages: Sequence[LockedPackage], folder: Path) -> Path:
    """A flat package repository of links into the store, holding exactly those packages."""
    folder.mkdir(parents=True)
    (folder / "blobs").symlink_to(store.blobs.resolve())
    index = []
    for package in packages:
        if not store.has(package.sha256):
            raise unable(
                "PKG006", "package-not-fetched", f"`{package.name}` {package.version} is not in the store",
                hints=("build without `--offline` once",),
            )  # fmt: skip
        text = deb.control(store.blob(package.sha256)).strip()
        (fields,) = deb.stanzas(text)
        found = (fields.get("package"), fields.get("version"), fields.get("architecture"))
        if found != (package.name, package.version, package.arch):
            raise unable(
                "PKG008",
                "package-not-as-locked",
                f"the locked package `{package.name}` {package.version} {package.arch} is really {' '.join(str(part) for part in found)}",
                why=(f"sha256: {package.sha256}",),
                hints=("aistack lock RECIPE",),
            )
        index.append(f"{text}\nFilename: ./blobs/{package.sha256}\nSize: {package.size}\nSHA256: {package.sha256}\n")
    (folder / "Packages").write_text("\n".join(index))
    return folder


def _write_overlay(files: Sequence[Rendered], target: Path) -> None:
    with target.open("wb") as out:
        writer = layers.LayerWriter(out.write)
        for file in sorted(files, key=lambda one: one.path):
            if isinstance(file, RenderedFile):
                writer.add(layers.Entry(path=file.path.strip("/"), mode=file.mode, size=len(file.content), mtime=EPOCH), file.content)
            else:
                writer.add(layers.Entry(path=file.path.strip("/"), kind=layers.SYMBOLIC_LINK, target=file.target, mtime=EPOCH))
        writer.finish()


def _require_exact(root: LockedRoot, status: str) -> None:
    installed = {
        (fields["package"], fields["version"], fields["architecture"])
        for fields in deb.stanzas(status)
        if fields.get("status", "").endswith(" installed")
    }
    locked = {(package.name, package.version, package.arch) for package in root.packages}
    if installed != locked:
        extra, absent = sorted(installed - locked), sorted(locked - installed)
        raise unable(
            "PKG009",
            "root-differs-from-lock",
            "what was installed is not what is locked",
            why=tuple(f"installed, not locked: {' '.join(one)}" for one in extra[:6])
            + tuple(f"locked, not installed: {' '.join(one)}" for one in absent[:6]),
            hints=("aistack lock RECIPE",),
        )


def _owners(info: Path) -> dict[str, str]:
    owners: dict[str, str] = {}
    for listing in sorted(info.glob("*.list")):
        package = listing.name.removesuffix(".list").partition(":")[0]
        for line in listing.read_text(errors="surrogateescape").splitlines():
            owners[merged(line)] = package
    return owners


def merged(path: str) -> str:
    """A path as it is on a system whose /bin, /sbin and /lib live in /usr (https://www.freedesktop.org/wiki/Software/systemd/TheCaseForTheUsrMerge/)."""
    top = path.split("/", 2)[1:2]
    return f"/usr{path}" if top and top[0] in ("bin", "sbin", "lib", "lib32", "lib64", "libx32") else path


def make_root(
    store: Store,
    root: LockedRoot,
    name: str | None = None,
    *,
    files: Sequence[Rendered] = (),
    script: str = "",
    stand_ins: Sequence[str] = (),
    log: Path | None = None,
) -> Path:
    """The folder STORE/roots/`name` with that root unpacked; made whole or not at all, reused when it is there.

    Without `name` it is called after its content, so that whoever needs the same root finds it.
    """
    name = name or _content(root, files, script, stand_ins)
    final = store.path / "roots" / name
    if final.is_dir():
        return final
    store.prepare()
    final.parent.mkdir(exist_ok=True)
    unfinished = final.with_name(f".{name}.{os.getpid()}")
    unfinished.mkdir()
    try:
        with make_tar(store, root, files=files, script=script, stand_ins=stand_ins, log=log) as unpacked:
            argv = (
                *privileges(), "tar", "--extract", "--file=-", f"--directory={unfinished}", "--numeric-owner", "--preserve-permissions",
                "--xattrs", "--xattrs-include=*", "--exclude=./dev/*", "--delay-directory-restore",
            )  # fmt: skip
            with store.scratch() as folder, process.stream(argv, log=folder / "log", stdin=unpacked.stream.fileno()) as extracting:
                assert extracting.stdout is not None
                extracting.stdout.read()
        with suppress(OSError):  # another builder may have been first with the same root
            unfinished.rename(final)
    finally:
        if unfinished.is_dir():
            remove_root(unfinished)
    return final


def _content(root: LockedRoot, files: Sequence[Rendered], script: str, stand_ins: Sequence[str]) -> str:
    document = [root.arch, sorted(package.sha256 for package in root.packages), [repr(file) for file in files], script, *stand_ins]
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def remove_root(folder: Path) -> None:
    """Delete an unpacked root, whoever owns its files."""
    if os.geteuid() == 0:
        shutil.rmtree(folder)
    else:
        process.run([*privileges(), "rm", "-rf", "--one-file-system", str(folder)])


def entering(
    root: Path,
    argv: Sequence[str],
    *,
    binds: Sequence[Bind] = (),
    network: bool = False,
    environment: Mapping[str, str] | None = None,
    folder: str = "/",
    writable: bool = False,
) -> list[str]:
    """The command that runs `argv` inside `root` as its root user, for `process.run` or `process.stream`.

    The root is read-only unless `writable`; /tmp, /run and /var/tmp are empty and in memory; no network unless asked for.
    """
    process.require("bwrap", "bubblewrap")
    command = [*privileges(), "bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--cap-add", "ALL"]
    if not network:
        command.append("--unshare-net")
    command += ["--bind" if writable else "--ro-bind", str(root), "/", "--dev", "/dev", "--proc", "/proc"]
    command += ["--tmpfs", "/tmp", "--tmpfs", "/run", "--tmpfs", "/var/tmp", "--chdir", folder, "--clearenv"]
    if network:
        for path in ("/etc/resolv.conf", "/etc/hosts"):
            if Path(path).exists():
                command += ["--ro-bind", str(Path(path).resolve()), path]
    for bind in binds:
        command += ["--bind" if bind.writable else "--ro-bind", str(bind.source.resolve()), bind.target]
    settings = {"PATH": TOOL_PATH, "LC_ALL": "C.UTF-8", "HOME": "/tmp", "SOURCE_DATE_EPOCH": str(EPOCH), **(environment or {})}
    for name, value in sorted(settings.items()):
        command += ["--setenv", name, value]
    return [*command, "--", *argv]


def foreign(root: Path, argv: Sequence[str]) -> tuple[str, ...]:
    """The command that runs a program of `root` in this machine's own file system: by the root's loader, with the root's libraries.

    For a filter, which opens no file: no namespace is made, so it costs nothing. ld.so(8), `--library-path`.
    """
    loader = next(iter(sorted((root / "usr/lib").glob("*/ld-linux-*.so.[0-9]"))), None)
    program = root / "usr/bin" / argv[0]
    if loader is None or not program.is_file():
        raise unable("HOST022", "root-lacks-program", f"the root {root} has no `{argv[0]}` that can be run", hints=("aistack lock RECIPE",))
    return (str(loader), "--inhibit-cache", "--library-path", str(loader.parent), "--argv0", argv[0], str(program), *argv[1:])


def enter(
    root: Path,
    argv: Sequence[str],
    *,
    binds: Sequence[Bind] = (),
    network: bool = False,
    environment: Mapping[str, str] | None = None,
    folder: str = "/",
    writable: bool = False,
    check: bool = True,
    input: str | None = None,
    timeout: float = 3600,
    log: Path | None = None,
) -> process.Completed:
    """Run a program inside a root (see `entering`) to its end; errors are as `process.run`'s."""
    command = entering(root, argv, binds=binds, network=network, environment=environment, folder=folder, writable=writable)
    return process.run(command, check=check, input=input, timeout=timeout, log=log)
