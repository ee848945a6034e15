"""The lints of `bootc container lint`, asked of an image that is read and never run, so that they hold where bootc is absent.

All of bootc 1.16's are here, with its names and with what it calls fatal:
https://github.com/bootc-dev/bootc/blob/v1.16.9/crates/lib/src/lints.rs. Three are stricter: `kernel` wants exactly one, with its initramfs;
`bootc-kargs` reads what is for other architectures too; `var-tmpfiles`, which bootc asks of running systems only, is asked of images.
One is milder: `nonempty-run-tmp` passes over folders.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator

from aistack.compose.checks.references import unfit
from aistack.compose.checks.systemd import DEFAULT, SHELLS, Units
from aistack.compose.checks.tree import boots
from aistack.compose.findings import Check, Exemption
from aistack.facts import kargs
from aistack.facts.filesystem import Filesystem

PREPARE_ROOT = ("/etc/ostree/prepare-root.conf", "/usr/lib/ostree/prepare-root.conf")
COMPOSEFS, TRANSIENT = ("composefs", "enabled"), ("root", "transient")
DEMANDED = ("yes", "true", "1", "signed", "verity")
"""Values of it without which OSTree starts nothing: ostree-prepare-root(1)."""
SPACE = " \t\r\f"
GROUP, KEY = re.compile(r"\[([^\[\]\0-\x1f\x7f]+)\][ \t]*"), re.compile(r"[^\[\]]*[^\[\] ](?:\[[\w.@-]*\])?")
"""How GLib has the lines of a key file; behind a key may stand a locale."""
SIGNS = ("/sysroot", "/ostree", "/usr/lib/ostree", "/usr/lib/bootc")
"""Folders of bootable containers that no other system has."""
MODEL_ROOT = "/usr/share/doc/bootc/baseimage/base"
"""Where an image with bootc carries an example of a root; it is held to the same."""

SYSUSERS, TMPFILES = "/usr/lib/sysusers.d/", "/usr/lib/tmpfiles.d/"
ACCOUNTS = ("/etc/passwd", "/etc/group")
DPKG_STATUS = ("/usr/lib/sysimage/dpkg/status", "/var/lib/dpkg/status")
INJECTED = ("/etc/hostname", "/etc/resolv.conf")
STUB = "/run/systemd/resolve/stub-resolv.conf"

FSTAB, ON_DISK = "/etc/fstab", re.compile(r"(?:/dev/|(?:PART)?(?:UUID|LABEL)=).*")
NOT_NEEDED = ("noauto", "nofail", "x-systemd.automount")
"""What fstab(5) calls a file system on a disk, and by which option a start does without: systemd.mount(5)."""

SYSTEMD = "/usr/lib/systemd/systemd"
INITS = re.compile(r"init|systemd|[\w+-]+-init|busybox|dinit|sinit")
LOADERS = re.compile(r"modprobe|kmod|busybox.*|toybox")
"""What programs are called that init and modprobe may be links to, where there is systemd; and init alone, only where OSTree deploys."""
NO_INITS = re.compile(r"kmod|modprobe|systemctl|udevadm|coreutils|true|false|nologin")
"""Programs that end at once, or refuse to be the first one; there are too many inits for a list of them all."""


def wanted(path: str) -> bool:
    """The files whose contents the lints read."""
    return path in (*ACCOUNTS, *PREPARE_ROOT, *DPKG_STATUS, FSTAB) or path.startswith((SYSUSERS, TMPFILES, kargs.FOLDER + "/"))


def _var_run(filesystem: Filesystem) -> list[str]:
    return ["/var/run is not a link to /run"] if filesystem.kind("/var/run") not in ("", "link") else []


def _injected(filesystem: Filesystem) -> list[str]:
    empty = (path for path in INJECTED if filesystem.kind(path) == "file" and not filesystem.entries[path].size)
    return [f"{path} is an empty file: a container's runtime mounted its own over it" for path in empty]


def _usr_etc(filesystem: Filesystem) -> list[str]:
    return ["/usr/etc stands beside /etc: only a deployment has it"] if filesystem.kind("/etc") and filesystem.kind("/usr/etc") else []


def _kargs(filesystem: Filesystem) -> list[str]:
    wrong = []
    for path in filesystem.below(kargs.FOLDER):
        if path.endswith(".toml"):
            try:
                kargs.read(filesystem.texts.get(path, b""))
            except ValueError as error:
                wrong.append(f"{path}: {error}")
    return wrong


def _kernel(filesystem: Filesystem) -> list[str]:
    kernels = [path.split("/")[4] for path in filesystem.entries if re.fullmatch(r"/usr/lib/modules/[^/]+/vmlinuz", path)]
    wrong = [] if len(kernels) == 1 else [f"kernels in /usr/lib/modules: {', '.join(sorted(kernels)) or 'none'}; there must be one"]
    lacking = (kernel for kernel in sorted(kernels) if not filesystem.kind(f"/usr/lib/modules/{kernel}/initramfs.img"))
    return wrong + [f"/usr/lib/modules/{kernel} has no initramfs.img" for kernel in lacking]


def _utf8(filesystem: Filesystem) -> list[str]:
    def broken(text: str) -> bool:
        return any("\ud800" <= letter <= "\udfff" for letter in text)

    found = (path for path, entry in filesystem.entries.items() if broken(path) or broken(entry.target))
    return [f"{path.encode('utf-8', 'surrogateescape')!r} or its target is not UTF-8" for path in found]


def _api_folders(filesystem: Filesystem) -> list[str]:
    folders = ("/dev", "/proc", "/sys", "/run", "/tmp", "/var")
    return [f"{path} is no folder" for path in folders if filesystem.kind(path) != "directory"]


def _roots(filesystem: Filesystem) -> tuple[str, ...]:
    return ("", MODEL_ROOT) if filesystem.kind(MODEL_ROOT) else ("",)


def _root(filesystem: Filesystem) -> list[str]:
    wrong = []
    for root in _roots(filesystem):
        if filesystem.kind(f"{root}/sysroot") != "directory":
            wrong.append(f"{root}/sysroot is no folder")
        if filesystem.kind(f"{root}/ostree") != "link" or filesystem.entries[f"{root}/ostree"].target != "sysroot/ostree":
            wrong.append(f"{root}/ostree is not a link to sysroot/ostree")
    return wrong


def _composefs(filesystem: Filesystem) -> list[str]:
    wrong = []
    for root in _roots(filesystem):
        file = next((root + path for path in PREPARE_ROOT if filesystem.kind(root + path)), None)
        data = filesystem.texts.get(filesystem.resolved(file)) if file else None
        if data is None:
            wrong.append(f"there is no {root}{PREPARE_ROOT[1]} that could be read")
        elif not _enabled(data):
            wrong.append(f"{file} does not enable composefs")
    return wrong


def _enabled(data: bytes) -> bool:
    said = _settings(data) or {}
    return said.get(COMPOSEFS, "no") in ("maybe", *DEMANDED) or said.get(TRANSIENT, "") in ("true", "1")


def _settings(data: bytes) -> dict[tuple[str, str], str] | None:
    """The values of a key file by group and key; None where GLib, and so OSTree, reads none: https://docs.gtk.org/glib/struct.KeyFile.html."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    found, group = dict[tuple[str, str], str](), ""
    for line in (line.lstrip(SPACE) for line in text.replace("\r\n", "\n").split("\n")):
        if match := GROUP.fullmatch(line):
            group = match[1]
        elif line and not line.startswith("#"):
            key, is_pair, value = line.partition("=")
            if not (group and is_pair and KEY.fullmatch(key := key.rstrip(SPACE))):
                return None
            found[group, key] = value.strip(SPACE)
    return None if "\0" in text else found


def _logs(filesystem: Filesystem) -> list[str]:
    found = (path for path in filesystem.below("/var/log") if filesystem.entries[path].kind == "file" and filesystem.entries[path].size)
    return [f"{path} is a log with something in it" for path in found]


def _var(filesystem: Filesystem) -> list[str]:
    made = {"/var"}
    for fields in _lines(filesystem, TMPFILES):
        if len(fields) > 1:
            made.add(fields[1].rstrip("/"))
    wrong = []
    for path in filesystem.below("/var"):
        if filesystem.kind(path) not in ("directory", "link"):
            wrong.append(f"{path} is state that an update does not bring")
        elif path not in made:
            wrong.append(f"{path} is made by no line of {TMPFILES}")
    return wrong


def _users(filesystem: Filesystem) -> list[str] | str:
    if any(filesystem.text(path) is None for path in ACCOUNTS):
        return "there is no /etc/passwd, or no /etc/group"
    users, groups = set[str](), set[str]()
    for fields in _lines(filesystem, SYSUSERS):
        if fields[0].rstrip("!") == "u":
            users.add(fields[1])
        if fields[0].rstrip("!") in ("u", "g"):
            groups.add(fields[1])
    wrong = []
    for path, made in zip(ACCOUNTS, (users, groups), strict=True):
        names = [line.partition(":")[0] for line in (filesystem.text(path) or "").splitlines() if line]
        wrong += [f"{name} of {path} is made by no line of {SYSUSERS}" for name in names if name not in made]
    return wrong


def _lines(filesystem: Filesystem, folder: str) -> Iterator[list[str]]:
    """The words of every line of a folder's .conf files; what cannot be split is left out."""
    for path in filesystem.below(folder):
        text = filesystem.text(path) if path.endswith(".conf") else None
        for line in (text or "").splitlines():
            try:
                fields = shlex.split(line, comments=True)
            except ValueError:
                continue
            if len(fields) > 1:
                yield fields


def _boot(filesystem: Filesystem) -> list[str]:
    if filesystem.kind("/boot") != "directory":
        return ["/boot is no folder"]
    return [f"{path}: what lies there is never seen" for path in filesystem.below("/boot") if not f"{path}/".startswith("/boot/EFI/")]


def _run_and_tmp(filesystem: Filesystem) -> list[str]:
    """What lies there, but for folders: packages bring some, and a start makes them anew."""
    found = (path for folder in ("/run", "/tmp") for path in filesystem.below(folder) if filesystem.kind(path) != "directory")
    return [f"{path}: what lies there is never seen" for path in found if path != STUB]


def _state(filesystem: Filesystem) -> list[str]:
    folders = ("/home", "/root", "/srv", "/opt", "/mnt")
    return [f"{path} does not lead into /var" for path in folders if not filesystem.resolved(path).startswith("/var/")]


def _init(filesystem: Filesystem) -> list[str] | str:
    """Whether what starts a system is there: only names tell what a program is, so a link to one of another name is wrong.

    Kernels and modules are in images that are no systems, too: for their nodes, or for machines that a program of theirs starts. Such an
    image may have systemd and start something else, so that only what surely starts nothing is wrong there.
    """
    named = filesystem.kind(posixpath.join(filesystem.resolved("/sbin"), "init"))
    deployed = any(filesystem.kind(path) for path in SIGNS)
    if not deployed and not (named and boots(filesystem)):
        return "whether it is a system cannot be told: there is no kernel, or no /sbin/init"
    wrong, has_systemd = list[str](), bool(filesystem.kind(SYSTEMD))
    init, modprobe = filesystem.resolved("/sbin/init"), filesystem.resolved("/sbin/modprobe")
    called = posixpath.basename(init)
    if not filesystem.kind(init):
        wrong.append("/sbin/init is not there, or leads to nothing")
    elif NO_INITS.fullmatch(called) or (deployed and has_systemd and not INITS.fullmatch(called)):
        wrong.append(f"/sbin/init leads to {init}")
    elif problem := unfit(filesystem, init, ()):
        wrong.append(f"/sbin/init leads to {init}, which {problem}")
    if has_systemd and filesystem.kind(modprobe) and not LOADERS.fullmatch(posixpath.basename(modprobe)):
        wrong.append(f"/sbin/modprobe leads to {modprobe}")
    if has_systemd and (deployed or init == filesystem.resolved(SYSTEMD)):
        wrong += _first(filesystem, Units(filesystem=filesystem), deployed=deployed)
    return wrong


def _deployed(filesystem: Filesystem) -> Iterator[str]:
    """What is wrong with OSTree's settings, outside, where it deploys, and in an initramfs, where it starts what is deployed."""
    lacks = _ostree_lacks_composefs(filesystem)
    for where, files in (("", filesystem), *((f"{file}: ", inside) for file, inside in sorted(filesystem.initramfs.items()))):
        said = {path: _settings(data) for path in PREPARE_ROOT if (data := files.texts.get(files.resolved(path))) is not None}
        yield from (f"{where}{path} is no key file, and OSTree starts nothing with it" for path, read in said.items() if read is None)
        path, first = next(iter(said.items()), ("", None))
        if lacks and first and first.get(COMPOSEFS) in DEMANDED:
            yield f"{where}{path} asks for composefs, without which the image's OSTree is built"


def _first(filesystem: Filesystem, units: Units, *, deployed: bool) -> Iterator[str]:
    """Why what systemd starts first starts no system; one that is not `deployed` may be there for the sake of a shell."""
    name, path = units.first, units.file(units.first)
    end = filesystem.resolved(path) if path else ""
    if not path:
        yield f"there is no {name}"
    elif why := units.why_not(name):
        yield why
    elif filesystem.kind(end) != "file" or (name == DEFAULT and not end.endswith(".target")):
        yield f"{path} leads to {end}, which is no target"
    elif deployed and units.called(name) in SHELLS:
        yield f"{name} is a shell, and starts no system"


def _mounts(filesystem: Filesystem) -> list[str]:
    """Disks without which a start ends as an emergency's shell; the root is the boot menu's to say."""
    lines = [line.split() for line in (filesystem.text(FSTAB) or "").splitlines() if not line.lstrip().startswith("#")]
    return [
        f"{FSTAB}: no start without {source} on {place}"
        for source, place, *more in (fields for fields in lines if len(fields) > 1)
        if ON_DISK.fullmatch(source) and place.startswith("/") and place != "/" and not {*"".join(more[1:2]).split(",")} & {*NOT_NEEDED}
    ]


LINTS = (
    Check(name="var-run", description="/var/run is a link, or absent", look=_var_run, bootable=True),
    Check(name="buildah-injected", description="nothing empty that a builder's runtime left", look=_injected, fatal=False),
    Check(name="etc-usretc", description="one /etc, and no /usr/etc", look=_usr_etc, bootable=True),
    Check(name="bootc-kargs", description="kernel arguments that can be read", look=_kargs, bootable=True),
    Check(name="kernel", description="one kernel, with its initramfs", look=_kernel, bootable=True),
    Check(name="utf8", description="every name is UTF-8", look=_utf8, bootable=True),
    Check(name="api-base-directories", description="folders to mount the kernel's file systems on", look=_api_folders, bootable=True),
    Check(name="baseimage-root", description="/sysroot and /ostree are where OSTree wants them", look=_root, bootable=True),
    Check(name="baseimage-composefs", description="OSTree is to use composefs", look=_composefs, fatal=False, bootable=True),
    Check(name="var-log", description="no log", look=_logs, fatal=False),
    Check(name="var-tmpfiles", description="/var holds nothing that tmpfiles.d does not make", look=_var, fatal=False, bootable=True),
    Check(name="sysusers", description="every account is made by sysusers.d", look=_users, fatal=False, bootable=True),
    Check(name="nonempty-boot", description="/boot is empty", look=_boot, fatal=False, bootable=True),
    Check(name="nonempty-run-tmp", description="/run and /tmp hold no files", look=_run_and_tmp, fatal=False),
)
"""Every lint of bootc, under its name."""

OURS = (
    Check(
        name="state-folders",
        description="folders that a node writes to are links into /var, as the rest is read-only",
        look=_state,
        fatal=False,
        bootable=True,
    ),
    Check(
        name="init",
        description="init, modprobe and the default target lead to what they stand for",
        look=_init,
        kernel=True,
    ),
    Check(
        name="prepare-root",
        description="OSTree's settings for the root can be read, and ask for what it can do",
        look=lambda filesystem: [*_deployed(filesystem)],
        bootable=True,
    ),
    Check(name="mounts", description="a start needs no disk but its own", look=_mounts, fatal=False, bootable=True),
)
"""What we ask of a bootable image beside them; `init` of others with a kernel, too."""


def _ostree_lacks_composefs(filesystem: Filesystem) -> bool:
    """Debian's libostree uses composefs through a library of its own package: without that dependency it was built without it."""
    status = next((text for path in DPKG_STATUS if (text := filesystem.text(path))), "")
    depends = re.findall(r"^Package: libostree-1-1\n(?:.+\n)*?Depends: (.*)$", status, re.MULTILINE)  # one for each architecture
    return bool(depends) and not any("libcomposefs" in names for names in depends)


EXEMPTIONS = (
    Exemption(
        check="baseimage-composefs",
        because="the image's OSTree is built without composefs, and asking for it would fail the boot",
        until="its libostree depends on libcomposefs, as Debian 14's does",
        applies=_ostree_lacks_composefs,
    ),
)
