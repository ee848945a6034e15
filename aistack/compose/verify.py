"""Is an image what it should be? Pure checks over the file systems that were read back from images.

Any image is held to what bootable containers hold to, if it is one, and to what no image should carry (compose/lint.py, tidy.py); what we
built, to its lock as well. Each check has three outcomes: yes, no, could not tell. None of them runs the image.
"""

from __future__ import annotations

import csv
import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress

from packaging.utils import canonicalize_name, canonicalize_version

from aistack.compose import boot_programs, checks, gates, lint, quadlets, tidy
from aistack.compose.checks import code as device_code
from aistack.compose.checks.expected import Expected, Signed
from aistack.compose.checks.packages import database, installed
from aistack.compose.checks.signing import signers
from aistack.compose.checks.tree import trees
from aistack.compose.distros import debian
from aistack.compose.findings import Finding, Outcome, answer, ask, some
from aistack.compose.lock import Lock, LockedAccelerator, LockedApp, LockFormatError, decode, identity
from aistack.compose.render.system import image_names
from aistack.facts.files import APP, site_packages
from aistack.facts.filesystem import Filesystem
from aistack.facts.pins import LockedRoot

LOCK_PATH = "/usr/lib/aistack/lock.json"
OUR_PATH = ("/usr/bin", "/usr/sbin", "/usr/local/bin", f"{APP}/bin")
BOOTABLE, LOCK_LABEL = "containers.bootc", "io.aistack.lock"


def wanted(path: str) -> bool:
    """The files whose contents the checks read."""
    if path.startswith(APP + "/"):
        return path.endswith(".dist-info/RECORD")
    own = path == LOCK_PATH or gates.wanted(path) or boot_programs.wanted(path) or quadlets.wanted(path)
    return own or lint.wanted(path) or tidy.wanted(path) or checks.wanted(path)


NOTHING = Expected()
"""What an image without a lock promises."""
IMAGE_CHECKS = (*lint.LINTS, *lint.OURS, *quadlets.CHECKS, *tidy.TIDY)
OF_LOCK = {
    "packages": "the packages are those of the lock, each at its version",
    "wheels": "the wheels are those of the lock, and no file is of none",
    "lock": "the image carries the lock that its label names",
    "locked-kernel": "the kernel is the lock's, and the only one",
    "gates": "the gates are started, and nothing is in their place",
    "boot-programs": "shim and GRUB for the EFI system partition are whole, signed, and the lock's",
    "accelerator-firmware": "the firmware that the kernel's driver asks for is there",
    "bound-images": "the lock's images, and no others, are bound by digest and run",
    "image": "an image that others built has the lock's digest",
    "command": "the program that the app starts is there",
    "no-cuda-library": "an app for an accelerator without CUDA holds no library of it",
    device_code.NAME: "the app's libraries hold code for the accelerator",
    device_code.BESIDE: "other libraries that hold code for the vendor hold some for the accelerator",
    "module-signers": "every module is signed as it has to be",
    "no-secret-settings": "no password and no token in the image's settings and its history",
    "sbom-complete": "the bill of materials names all that is in the image",
}
"""Checks that need more than an image's files, each with the sentence that is true when the answer is yes."""


def described() -> dict[str, tuple[str, bool]]:
    """Every check by its name: the sentence that is true when the answer is yes, and whether a no condemns."""
    found = {check.name: (check.description, check.fatal) for check in (*IMAGE_CHECKS, *checks.checks(NOTHING))}
    return found | {name: (text, name != device_code.BESIDE) for name, text in OF_LOCK.items()}


def verify_image(filesystem: Filesystem, *, bootable: bool, expected: Expected = NOTHING) -> tuple[Finding, ...]:
    """Checks any image, whoever built it: what bootable containers hold to, if it is one, and what no image should carry.

    Its kernel, driver, programs and libraries must fit each other, and what is expected of them. An image that is no bootable container may
    have kernels, too, anywhere and as many as it likes.
    """
    kernel = bootable or bool(trees(filesystem))
    asked = (*IMAGE_CHECKS, *checks.checks(expected))
    asked = tuple(check for check in asked if (bootable or not check.bootable) and (kernel or not check.kernel))
    found = tuple(ask(filesystem, asked, lint.EXEMPTIONS))
    return (*found, signers(filesystem, expected)) if kernel else found


def carried(filesystem: Filesystem) -> Lock | None:
    """The lock that an image carries; None where there is none, or none that can be read."""
    lock = _carried(filesystem) if LOCK_PATH in filesystem.entries else None
    return lock if isinstance(lock, Lock) else None


def expected_by(lock: Lock | None, signed: Signed = frozenset()) -> Expected:
    """What a lock promises of the binaries in its base; `signed` are the modules that its certificate's key signed."""
    if lock is None:
        return NOTHING
    accelerator = lock.accelerator
    driver = dict(lock.components).get("driver") if accelerator and accelerator.product.startswith("nvidia/") else None
    return Expected(driver=driver, pci_ids=accelerator.pci_ids if accelerator else (), signed=signed if lock.signing else None)


def is_bootable(filesystem: Filesystem, labels: Mapping[str, str]) -> bool:
    """Whether an image is a bootable container: by its label, or by what bootc and OSTree want, beside modules for a kernel."""
    return labels.get(BOOTABLE) == "1" or (bool(trees(filesystem)) and any(filesystem.kind(path) for path in lint.SIGNS))


def verify_base(filesystem: Filesystem, lock: Lock, signed: Signed = frozenset()) -> tuple[Finding, ...]:
    """Checks a base, which holds what a system image does but the lock and the images that it binds; `signed` as in `expected_by`."""
    return (*_content(filesystem, lock), *verify_image(filesystem, bootable=True, expected=expected_by(lock, signed)))


def verify_system(filesystem: Filesystem, lock: Lock, bound: Mapping[str, str], signed: Signed = frozenset()) -> tuple[Finding, ...]:
    """As `verify_base`, a system image; `bound` maps the image names that the lock promises to their manifest digests (`sha256:…`)."""
    expected = expected_by(lock, signed)
    return (*_promised(filesystem, lock, identity(lock), bound), *verify_image(filesystem, bootable=True, expected=expected))


def verify_carried(filesystem: Filesystem, labels: Mapping[str, str]) -> tuple[Finding, ...]:
    """Checks an image against the lock that it carries; nothing where it carries none.

    Which digests its apps' images have, only their builder knows: it is enough that they are bound by one.
    """
    if LOCK_PATH not in filesystem.entries:
        return ()
    lock = _carried(filesystem)
    if isinstance(lock, Finding):
        return (lock,)
    bound = dict.fromkeys(name.rsplit("/", 1)[-1] for name in image_names(lock))
    return tuple(_promised(filesystem, lock, labels.get(LOCK_LABEL, ""), bound))


def verify_app(filesystem: Filesystem, lock: Lock, app: LockedApp, wanted: device_code.Wanted | None = None) -> tuple[Finding, ...]:
    """Checks an app's image; its code is `wanted` to be for the lock's accelerator (None: no code is compiled for it beforehand)."""
    assert app.root is not None
    findings = [_packages(filesystem, lock.root(app.root)), _command(filesystem, app, OUR_PATH)]
    if app.python:
        findings.append(_wheels(filesystem, app, app.python))
    if not lock.accelerator or not lock.accelerator.product.startswith("nvidia/"):
        cuda = [path for path in filesystem.entries if re.search(r"/lib(cuda|cudart|cublas|cudnn|nccl|nvrtc)[-_.\w]*\.so", path)]
        findings.append(
            answer("no-cuda-library", not cuda, "no CUDA library, as the accelerator needs none", f"CUDA libraries: {some(cuda)}")
        )
    findings += device_code.judge(filesystem, wanted) if wanted else ()
    return (*findings, *verify_image(filesystem, bootable=False))


def _promised(filesystem: Filesystem, lock: Lock, named: str, bound: Mapping[str, str | None]) -> Iterator[Finding]:
    """What a lock promises of a system image; `named` is the identity that its label or its builder gives, a digest of None any."""
    yield from _content(filesystem, lock)
    yield _lock(filesystem, named)
    yield quadlets.held(filesystem, bound)
    yield from boot_programs.whole(filesystem, lock)


def _content(filesystem: Filesystem, lock: Lock) -> Iterator[Finding]:
    """What a lock promises of a base, and so of what is built on it."""
    yield _packages(filesystem, lock.root("base"))
    yield _kernel(filesystem, lock.component("kernel"))
    yield gates.undisturbed(filesystem, lock)
    if lock.accelerator and lock.accelerator.firmware:
        yield _firmware(filesystem, lock.accelerator)


def verify_upstream(
    filesystem: Filesystem, app: LockedApp, digest: str, path: str, wanted: device_code.Wanted | None = None
) -> tuple[Finding, ...]:
    """Checks an image that somebody else built: what it holds is theirs; that it is the locked one, and can start and compute, is ours.

    `digest` is the image's own, `path` the PATH of its settings.
    """
    assert app.image is not None
    locked = app.image.digest
    same = answer("image", digest == locked, f"{app.image.reference}, at the locked digest", f"{digest}, the lock says {locked}")
    starts = _command(filesystem, app, tuple(dict(app.environment).get("PATH", path).split(":")))
    return (same, starts, *(device_code.judge(filesystem, wanted) if wanted else ()))


def _packages(filesystem: Filesystem, root: LockedRoot) -> Finding:
    status = database(filesystem)
    if status is None:
        return Finding(name="packages", outcome=Outcome.UNKNOWN, message="the image has no package database to compare with the lock")
    built = set(installed(status))
    locked = {(package.name, package.version, package.arch) for package in root.packages}
    more = [f"{name} {version} is in the image only" for name, version, _ in sorted(built - locked)]
    less = [f"{name} {version} is in the lock only" for name, version, _ in sorted(locked - built)]
    return answer("packages", not (more or less), f"{len(locked)} packages, each at the locked version", some([*more, *less]))


def _wheels(filesystem: Filesystem, app: LockedApp, python: str) -> Finding:
    """Each wheel at its version, and no file that none of them says it brought (their RECORDs, and the byte code of what is in them)."""
    site = site_packages(python)
    built: set[tuple[str, str]] = set()
    brought = {file.path for file in debian.app_python(python)}
    for path, text in filesystem.texts.items():
        if match := re.fullmatch(rf"{re.escape(site)}/([^/]+)-([^/-]+)\.dist-info/RECORD", path):
            built.add(_known_as(match[1], match[2]))
            brought.update(posixpath.normpath(f"{site}/{name}") for name in _brought(text.decode(errors="replace")))
    locked = {_known_as(wheel.name, wheel.version) for wheel in app.wheels}
    strange = [f"{name} {version} is in the image only" for name, version in sorted(built - locked)]
    strange += [f"{name} {version} is in the lock only" for name, version in sorted(locked - built)]
    strange += [
        f"{path} is of no wheel"
        for path in filesystem.below(APP)
        if filesystem.entries[path].kind != "directory" and BYTE_CODE.sub(r"\1.py", path) not in brought
    ]
    return answer("wheels", not strange, f"{len(locked)} wheels, each at the locked version", some(strange))


def _brought(record: str) -> tuple[str, ...]:
    """The files that a wheel's RECORD names, as far as it can be read: what it does not name is of no wheel."""
    names: list[str] = []
    with suppress(csv.Error):  # a field of more than 128 KiB
        names.extend(row[0] for row in csv.reader(record.splitlines()) if row)
    return tuple(names)


BYTE_CODE = re.compile(r"__pycache__/([^/]+)\.cpython-\d+\.pyc$")


def _known_as(name: str, version: str) -> tuple[str, str]:
    return canonicalize_name(name), canonicalize_version(version, strip_trailing_zero=False)


def _carried(filesystem: Filesystem) -> Lock | Finding:
    try:
        return decode(filesystem.texts.get(LOCK_PATH, b""))
    except LockFormatError as error:
        return Finding(name="lock", outcome=Outcome.NO, message=f"{LOCK_PATH}: {error}")


def _lock(filesystem: Filesystem, named: str) -> Finding:
    lock = _carried(filesystem)
    if isinstance(lock, Finding):
        return lock
    inside = "sha256:" + hashlib.sha256(filesystem.texts[LOCK_PATH]).hexdigest()  # as it was written, whatever keys locks have today
    return answer(
        "lock", inside == named, f"carries its lock, {inside[:19]}", f"carries the lock {inside}, not {named or 'one that its label names'}"
    )


def _kernel(filesystem: Filesystem, kernel: str) -> Finding:
    found = sorted({path.split("/")[4] for path in filesystem.entries if re.match(r"/usr/lib/modules/[^/]+/(vmlinuz$|kernel/)", path)})
    return answer("locked-kernel", found == [kernel], f"the kernel is {kernel}", f"kernels: {some(found)}; the lock says {kernel}")


def _firmware(filesystem: Filesystem, accelerator: LockedAccelerator) -> Finding:
    """The kernel looks for a file as it is called, or compressed."""
    names = [f"/usr/lib/firmware/{file}" for file in accelerator.firmware]
    missing = [name for name in names if not any(filesystem.resolved(name + end) in filesystem.entries for end in ("", ".zst", ".xz"))]
    what = f"firmware that the kernel's driver asks for on {accelerator.product}"
    return answer("accelerator-firmware", not missing, f"{len(names)} files of {what}", f"no {what}: {some(missing)}")


def _command(filesystem: Filesystem, app: LockedApp, folders: tuple[str, ...]) -> Finding:
    program = app.command[0] if app.command else ""
    candidates = [program] if program.startswith("/") else [f"{folder}/{program}" for folder in folders]
    there = any(filesystem.resolved(path) in filesystem.entries for path in candidates)
    return answer("command", there, f"`{program}` is there", f"`{program}` is not in the image")
