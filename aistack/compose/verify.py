"""Is the built image what the lock says? Pure checks over the file systems that were read back from the images.

Each check has three outcomes: yes, no, could not tell. None of them runs the image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from aistack.compose.lock import Lock, LockedApp, LockFormatError, decode, identity
from aistack.facts.filesystem import Filesystem
from aistack.facts.pins import LockedRoot

LOCK_PATH = "/usr/lib/aistack/lock.json"
QUADLETS = "/usr/share/containers/systemd"
BOUND = "/usr/lib/bootc/bound-images.d"
DPKG_STATUS = ("/usr/lib/sysimage/dpkg/status", "/var/lib/dpkg/status")
SHOWN = 5


class Outcome(StrEnum):
    """What a check found."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: a name, what it found, and in words what that is."""

    name: str
    outcome: Outcome
    message: str


def wanted(path: str) -> bool:
    """The files whose contents the checks read."""
    return path in (LOCK_PATH, "/etc/machine-id", *DPKG_STATUS) or path.startswith((QUADLETS + "/", "/usr/lib/bootc/kargs.d/"))


def verify_system(filesystem: Filesystem, lock: Lock, bound: Mapping[str, str]) -> tuple[Finding, ...]:
    """Checks a system image; `bound` maps the image names that the lock promises to their manifest digests (`sha256:…`)."""
    return (
        _packages(filesystem, lock.root("base")),
        _lock(filesystem, lock),
        _kernel(filesystem, lock.component("kernel")),
        _bound(filesystem, bound),
        *_contract(filesystem),
        *_clean(filesystem),
    )


def verify_app(filesystem: Filesystem, lock: Lock, app: LockedApp) -> tuple[Finding, ...]:
    """Checks an app's image."""
    findings = [_packages(filesystem, lock.root(app.root)), _command(filesystem, app), *_clean(filesystem)]
    if not lock.accelerator or not lock.accelerator.product.startswith("nvidia/"):
        cuda = [path for path in filesystem.entries if re.search(r"/lib(cuda|cudart|cublas|cudnn|nccl|nvrtc)[-_.\w]*\.so", path)]
        findings.append(
            finding("no-cuda-library", not cuda, "no CUDA library, as the accelerator needs none", f"CUDA libraries: {some(cuda)}")
        )
    return tuple(findings)


def _packages(filesystem: Filesystem, root: LockedRoot) -> Finding:
    status = next((filesystem.texts[path] for path in DPKG_STATUS if path in filesystem.texts), None)
    if status is None:
        return Finding(name="packages", outcome=Outcome.UNKNOWN, message="the image has no package database to compare with the lock")
    built = set(installed(status.decode(errors="replace")))
    locked = {(package.name, package.version, package.arch) for package in root.packages}
    more = [f"{name} {version} is in the image only" for name, version, _ in sorted(built - locked)]
    less = [f"{name} {version} is in the lock only" for name, version, _ in sorted(locked - built)]
    return finding("packages", not (more or less), f"{len(locked)} packages, each at the locked version", some([*more, *less]))


def installed(status: str) -> Iterator[tuple[str, str, str]]:
    """(name, version, architecture) of every package that is installed, from dpkg's database."""
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            yield fields["Package"], fields["Version"], fields["Architecture"]


def _lock(filesystem: Filesystem, lock: Lock) -> Finding:
    try:
        inside = identity(decode(filesystem.texts.get(LOCK_PATH, b"")))
    except LockFormatError as error:
        return Finding(name="lock", outcome=Outcome.NO, message=f"{LOCK_PATH}: {error}")
    return finding(
        "lock", inside == identity(lock), f"carries its lock, {inside[:19]}", f"carries another lock: {inside}, not {identity(lock)}"
    )


def _kernel(filesystem: Filesystem, kernel: str) -> Finding:
    found = sorted({match[1] for path in filesystem.entries if (match := re.fullmatch(r"/usr/lib/modules/([^/]+)/vmlinuz", path))})
    trees = sorted({match[1] for path in filesystem.entries if (match := re.match(r"/usr/lib/modules/([^/]+)/kernel/", path))})
    initramfs = f"/usr/lib/modules/{kernel}/initramfs.img" in filesystem.entries
    good = found == [kernel] and trees == [kernel] and initramfs
    problem = (
        f"kernels: {some(found)}; module trees: {some(trees)}; initramfs {'present' if initramfs else 'missing'}; the lock says {kernel}"
    )
    return finding("kernel", good, f"one kernel, {kernel}, with its modules and initramfs", problem)


def _bound(filesystem: Filesystem, bound: Mapping[str, str]) -> Finding:
    named: dict[str, str] = {}
    problems = []
    for path in filesystem.below(BOUND):
        target = filesystem.entries[path].target
        quadlet = filesystem.texts.get(target)
        match = re.search(r"^Image=(\S+)@(sha256:[0-9a-f]{64})$", quadlet.decode(errors="replace"), re.MULTILINE) if quadlet else None
        if match:
            named[match[1].rsplit("/", 1)[-1]] = match[2]
        else:
            problems.append(f"{path} leads to nothing that names an image by digest ({target})")
    problems += [
        f"{name} is bound as {named.get(name)}, built as {digest}" for name, digest in sorted(bound.items()) if named.get(name) != digest
    ]
    problems += [f"{name} is bound but not in the lock" for name in sorted(named.keys() - bound.keys())]
    return finding("bound-images", not problems, f"{len(bound)} images bound by digest", some(problems))


def _contract(filesystem: Filesystem) -> Iterator[Finding]:
    entries = filesystem.entries
    links = {"/ostree": "sysroot/ostree"}
    wrong = [f"{path} is not a link to {target}" for path, target in links.items() if path not in entries or entries[path].target != target]
    wrong += [f"{path} is missing" for path in ("/sysroot", "/usr/lib/ostree/prepare-root.conf") if path not in entries]
    wrong += [f"{path} must not be in an image" for path in ("/usr/etc",) if path in entries]
    yield finding("bootc-layout", not wrong, "laid out as bootable containers are", some(wrong))
    boot = filesystem.below("/boot")
    yield finding("boot-empty", not boot, "/boot is empty", f"/boot holds {some(list(boot))}")
    var = [path for path in filesystem.below("/var") if entries[path].kind != "directory"]
    yield finding("var-empty", not var, "/var holds no file", f"/var holds {some(var)}")


def _clean(filesystem: Filesystem) -> Iterator[Finding]:
    secrets = [*filesystem.keys, *(path for path in filesystem.entries if re.search(r"/ssh_host_\w+_key$|/var/lib/dkms/mok\.key$", path))]
    if filesystem.texts.get("/etc/machine-id", b"").strip() not in (b"", b"uninitialized"):
        secrets.append("/etc/machine-id")
    yield finding("no-identity", not secrets, "no private key, no machine id", f"carries {some(secrets)}")
    caches = [
        path
        for path in (*filesystem.below("/var/cache/apt"), *filesystem.below("/var/lib/apt/lists"))
        if filesystem.entries[path].kind == "file"
    ]
    logs = [path for path in filesystem.below("/var/log") if filesystem.entries[path].size]
    yield finding("no-leftovers", not (caches or logs), "no package cache, no log", f"holds {some([*caches, *logs])}")
    writable = [
        path
        for path, entry in filesystem.entries.items()
        if entry.kind in ("file", "directory") and entry.mode & 0o002 and not entry.mode & 0o1000
    ]
    yield finding("no-world-writable", not writable, "nothing that everyone may write", f"everyone may write {some(sorted(writable))}")


def _command(filesystem: Filesystem, app: LockedApp) -> Finding:
    program = app.command[0] if app.command else ""
    candidates = (
        [program]
        if program.startswith("/")
        else [f"{folder}/{program}" for folder in ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/opt/app/bin")]
    )
    return finding(
        "command", any(path in filesystem.entries for path in candidates), f"`{program}` is there", f"`{program}` is not in the image"
    )


def finding(name: str, good: bool, yes: str, no: str) -> Finding:
    """The finding of a check that came to an answer, with the words for each."""
    return Finding(name=name, outcome=Outcome.YES if good else Outcome.NO, message=yes if good else no)


def some(items: list[str] | tuple[str, ...]) -> str:
    """The first few of them in words, and how many more there are."""
    more = f" …and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return "; ".join(items[:SHOWN]) + more if items else "none"
