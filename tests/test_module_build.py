"""Kernel modules compiled for real, in a root of locked packages: the same bytes twice, no key in them, and a refusal that is told.

Then signed, also by a key in a token, and loaded by a kernel under Secure Boot, which refuses what `verify` had said it would.
"""

from __future__ import annotations

import dataclasses
import io
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from images_read import LOCK
from tools_needed import needs

from aistack.commands import compiling, verifying
from aistack.commands.pinning import Places
from aistack.compose.checks.signing import signers
from aistack.compose.distros import debian
from aistack.compose.findings import Finding, Outcome
from aistack.compose.verify import expected_by
from aistack.diagnostics import DiagnosticError
from aistack.facts.files import RenderedFile
from aistack.facts.pins import Archive, LockedRoot, Signing
from aistack.host import apt, console, inspect, layers, machine, rootfs, signing
from aistack.host.binaries.module import module as read_module
from aistack.host.qemu import Firmware, Hardware
from aistack.host.store import Store, default_path
from aistack.report.progress import Progress

pytestmark = pytest.mark.system

SOURCES = "acpi-call-dkms"
"""A small package of modules that DKMS compiles as it does NVIDIA's, in seconds instead of minutes; it needs no device to be loaded."""

BOOTED = ("busybox-static", "grub-efi-amd64-signed", "mtools", "shim-signed")
"""What makes a disk that does nothing but load modules."""

OWNER, STRANGER, PIN = "Example modules", "Somebody else", "31415926"


@pytest.fixture(scope="module")
def root() -> LockedRoot:
    """What compiles that package for the newest kernel of Debian 13, and starts that kernel."""
    archives = [Archive(suite=suite, components=("main", "contrib")) for suite in ("trixie", "trixie-updates", "trixie-security")]
    store = Store(default_path(os.environ))
    headers = apt.resolve(store, archives, ["linux-headers-cloud-amd64"], "amd64", "debian-13", environment=os.environ)
    (kernel,) = {match[1] for one in headers.packages if (match := re.fullmatch(r"linux-headers-(\d.*-cloud-amd64)", one.name))}
    wanted = [f"linux-headers-{kernel}", SOURCES, f"linux-image-{kernel}", *BOOTED]
    return apt.resolve(store, archives, wanted, "amd64", "debian-13", environment=os.environ)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """A store of its own: nothing that was compiled before counts."""
    needs("mmdebstrap", "bwrap")
    yield Places(store=Store(tmp_path_factory.mktemp("store")), environment=os.environ)


def kernel_of(root: LockedRoot) -> str:
    return next(one.name for one in root.packages if one.name.startswith("linux-image-")).removeprefix("linux-image-")


def compiled(root: LockedRoot, places: Places, folder: Path) -> dict[str, Any]:
    progress = Progress(stream=io.StringIO(), terminal=False)
    return compiling.compiled(root, kernel_of(root), places, (), progress, folder / "log")


@pytest.fixture(scope="module")
def first(root: LockedRoot, places: Places, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compiled(root, places, tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def plain(root: LockedRoot, places: Places, first: dict[str, Any]) -> bytes:
    """The module as it was compiled."""
    (file,) = compiling.files(places.store, first, kernel_of(root), None, places.store.path)
    assert isinstance(file, RenderedFile) and file.path == f"/usr/lib/modules/{kernel_of(root)}/updates/acpi_call.ko"
    return file.content


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two keys and their certificates."""
    needs("openssl")
    folder = tmp_path_factory.mktemp("keys")
    for name in (OWNER, STRANGER):
        argv = ["openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}/"]
        subprocess.run([*argv, "-keyout", f"{name}.key", "-out", f"{name}.pem"], cwd=folder, check=True, capture_output=True)
    return folder


def signer(keys: Path, name: str, key: str | None = None) -> Signing:
    return Signing(key=key or f"{name}.key", certificate=(keys / f"{name}.pem").read_text())


def test_two_compilations_give_the_same_modules(
    root: LockedRoot, places: Places, first: dict[str, Any], plain: bytes, tmp_path: Path
) -> None:
    second = compiled(root, places, tmp_path)
    assert first["errors"] == () and first["modules"] == second["modules"] != []
    assert f"vermagic={kernel_of(root)} ".encode() in plain
    assert signing.MAGIC not in plain, "a key that nobody gave"
    assert "acpi_call" in (tmp_path / "log").read_text()


def unpacked(root: LockedRoot, places: Places, folder: Path) -> Path:
    return rootfs.make_root(places.store, root, files=debian.module_files(), stand_ins=debian.MODULE_STAND_INS, log=folder / "root")


@pytest.fixture
def token(keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The owner's key in a token of SoftHSM's; its URI."""
    needs("softhsm2-util", "modinfo")
    if subprocess.run(["openssl", "engine", "pkcs11"], capture_output=True, check=False).returncode:
        needs("openssl's engine `pkcs11`")
    settings = tmp_path / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {tmp_path}\nobjectstore.backend = file\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(settings))
    monkeypatch.setenv(signing.PIN, PIN)
    util = ["softhsm2-util", "--token", "modules", "--label", "modules", "--pin", PIN]
    subprocess.run([*util, "--init-token", "--free", "--so-pin", "0000"], check=True, capture_output=True)
    subprocess.run([*util, "--import", keys / f"{OWNER}.key", "--id", "01"], check=True, capture_output=True)
    return "pkcs11:token=modules;object=modules;type=private"


def test_a_key_in_a_token_signs_as_one_in_a_file_does(token: str, keys: Path, plain: bytes, places: Places, tmp_path: Path) -> None:
    signed = signing.sign(places.store, plain, signer(keys, OWNER, token), keys)
    assert signed == signing.sign(places.store, plain, signer(keys, OWNER), keys)
    (tmp_path / "module.ko").write_bytes(signed)
    told = subprocess.run(["modinfo", tmp_path / "module.ko"], capture_output=True, text=True, check=True).stdout
    assert {"sig_id": "PKCS#7", "signer": OWNER, "sig_hashalgo": "sha256"}.items() <= dict(
        re.findall(r"^(\w+): +(.+)$", told, re.MULTILINE)
    ).items()
    found = read_module(signed).signature
    assert found is not None and (found.signer, found.algorithm) == (OWNER, "sha256")


@pytest.mark.parametrize(("pin", "said"), [("2718281828", "PIN incorrect"), (None, "KBUILD_SIGN_PIN is not set")])
def test_a_token_that_stays_shut_is_told_without_the_pin(
    pin: str | None, said: str, token: str, keys: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(signing.PIN)
    if pin:
        monkeypatch.setenv(signing.PIN, pin)
    with pytest.raises(DiagnosticError) as failed:
        signing.sign(places.store, b"x", signer(keys, OWNER, token), keys)
    (told,) = failed.value.diagnostics
    assert told.rule == "KMD002" and said in " ".join((told.message, *told.why))
    assert pin is None or pin not in repr(told)


DISK = """\
set -e
cd /run/work
mkdir -p tree/proc tree/sys
cp /usr/bin/busybox init *.ko tree
(cd tree && find . | busybox cpio -o -H newc) > initrd
busybox truncate -s 128M disk.raw
mformat -i disk.raw -F ::
mmd -i disk.raw ::/EFI ::/EFI/BOOT ::/EFI/debian
mcopy -i disk.raw /usr/lib/shim/shimx64.efi.signed ::/EFI/BOOT/BOOTX64.EFI
mcopy -i disk.raw /usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed ::/EFI/BOOT/grubx64.efi
mcopy -i disk.raw grub.cfg ::/EFI/debian/grub.cfg
mcopy -i disk.raw initrd /boot/vmlinuz-* ::/
"""

MENU = "linux /vmlinuz-{kernel} console=ttyS0 quiet panic=10\ninitrd /initrd\nboot\n"

INIT = """\
#!/busybox sh
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sysfs /sys
/busybox mount -t securityfs securityfs /sys/kernel/security
echo "lockdown: $(/busybox cat /sys/kernel/security/lockdown)"
for name in nobody stranger owner; do
    said=$(/busybox insmod /$name.ko 2>&1) && echo "$name: loaded" || echo "$name: $said"
done
/busybox grep acpi_call /proc/modules
/busybox poweroff -f
"""


def test_under_secure_boot_a_signed_module_loads_and_no_other(
    root: LockedRoot, places: Places, keys: Path, plain: bytes, tmp_path: Path
) -> None:
    """Shim, GRUB and kernel are Debian's, signed; the firmware has Microsoft's keys, and the owner's certificate in shim's list."""
    needs("qemu-system-x86_64", "qemu-img")
    store, work = places.store, tmp_path / "work"
    files = {"nobody.ko": plain} | {
        f"{name}.ko": signing.sign(store, plain, signer(keys, who), keys) for name, who in (("owner", OWNER), ("stranger", STRANGER))
    }
    started = unpacked(root, places, tmp_path)
    assert verdict(store, kernel_of(root), started, {"owner.ko": files["owner.ko"]}, signer(keys, OWNER), tmp_path).outcome is Outcome.YES
    refused = verdict(store, kernel_of(root), started, files, signer(keys, OWNER), tmp_path)
    assert refused.outcome is Outcome.NO
    assert "nobody.ko is not signed, and not with the key of the lock's certificate" in refused.message
    assert f"stranger.ko is signed by {STRANGER}, and not with the key of the lock's certificate" in refused.message
    assert "owner.ko" not in refused.message

    work.mkdir()
    for name, content in {**files, "init": INIT.encode(), "grub.cfg": MENU.format(kernel=kernel_of(root)).encode()}.items():
        (work / name).write_bytes(content)
    (work / "init").chmod(0o755)
    bind = rootfs.Bind(source=work, target="/run/work", writable=True)
    rootfs.enter(started, ["sh", "-c", DISK], binds=(bind,))
    trusted = (signer(keys, OWNER).certificate,)
    hardware = Hardware(disk=work / "disk.raw", firmware=Firmware.UEFI_SECURE, memory_mib=1024, trusted=trusted)
    booted = machine.boot(hardware, tmp_path / "logs")
    shown = console.clean(booted.console.read_bytes())
    assert "lockdown: none [integrity] confidentiality" in shown, (booted.message, shown[-2000:])
    assert "owner: loaded" in shown.splitlines()
    assert "acpi_call" in shown
    for name in ("nobody", "stranger"):
        assert re.search(
            rf"^{name}: insmod: can't insert .*: (Key was rejected by service|Required key not available)", shown, re.MULTILINE
        )


def test_a_refusal_is_told_and_kept(root: LockedRoot, places: Places, tmp_path: Path) -> None:
    """The root's own sources, broken as a kernel breaks them: a function that the kernel no longer has.

    The last one, since it may have the root that the one before it unpacked.
    """
    folder = unpacked(root, places, tmp_path)
    (source,) = folder.glob("usr/src/acpi-call-*/acpi_call.c")
    source.write_bytes(source.read_bytes() + b"\nvoid gone(void); void gone(void) { strlcpy_from_another_kernel(1); }\n")
    document = compiled(root, places, tmp_path)
    assert not folder.exists(), "the root is thrown away, whatever came of it"
    assert document["modules"] == []
    assert re.match(r"acpi_call\.c:\d+: implicit declaration of function .strlcpy_from_another_kernel.", document["errors"][0])


def verdict(store: Store, kernel: str, started: Path, files: Mapping[str, bytes], owner: Signing, folder: Path) -> Finding:
    """What `verify` says of an image that has these modules beside the kernel, and whose lock names the owner's certificate."""
    lock, tree = dataclasses.replace(LOCK, signing=owner), f"/usr/lib/modules/{kernel}"
    given = {f"{tree}/{name}": (started / f"boot/{name}-{kernel}").read_bytes() for name in ("vmlinuz", "config")}
    given |= {f"{tree}/updates/{name}": content for name, content in files.items()}
    layer = layers.write_layer(store, [layers.file_entry(path, content) for path, content in given.items()], compress=False)
    read = inspect.filesystem([store.blob(layer.digest.removeprefix("sha256:"))], verifying.wanted, folder)
    return signers(read, expected_by(lock, verifying.signed(read, lock)))
