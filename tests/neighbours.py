"""Changes to an image that are near a fault and are none: one seeded choice each."""

from __future__ import annotations

import lzma
from collections.abc import Callable
from random import Random

import elf_samples
from images_read import Files, compiled
from kernel_samples import LOADER
from module_mutations import Base

from aistack.host.layers import Entry

Neighbour = Callable[[Random, Base], Files]


def again_packed(random: Random, base: Base) -> Files:
    """A module that another compressor wrote: what is loaded is the same."""
    path = base.module(random, packed=True)
    return {path: lzma.compress(lzma.decompress(base.data[path]), preset=random.randrange(1, 6))}


def remark(random: Random, base: Base) -> Files:
    path = random.choice([path for path in sorted(base.data) if path.startswith("/etc/modprobe.d/")])
    return {path: base.data[path] + f"# blacklist nvidia {random.randrange(100)}\n".encode()}


def unused_unit(random: Random, base: Base) -> Files:
    return {f"/usr/lib/systemd/system/more{random.randrange(100)}.service": b"[Service]\nExecStart=/usr/bin/gone\n"}


def optional_program(random: Random, base: Base) -> Files:
    text = b"[Service]\nExecStart=-/usr/bin/gone\n[Install]\nWantedBy=multi-user.target\n"
    return {f"/usr/lib/systemd/system/more{random.randrange(100)}.service": text}


def more_firmware(random: Random, base: Base) -> Files:
    return {f"/usr/lib/firmware/more/{random.randrange(100)}.bin": random.randbytes(100)}


def more_library(random: Random, base: Base) -> Files:
    return {f"/usr/lib/x86_64-linux-gnu/libmore{random.randrange(100)}.so.1": elf_samples.binary(soname="libmore.so.1")}


def library_of_ones_own(random: Random, base: Base) -> Files:
    """A library that no loader knows, for a program that says itself where it is."""
    folder, name = random.choice(("/usr/local/lib", "/usr/lib/more")), f"libmore{random.randrange(100)}.so.1"
    tool = elf_samples.binary(interpreter=LOADER, needed=[name], runpath=folder)
    return {f"{folder}/{name}": elf_samples.binary(soname=name), "/usr/bin/more-tool": tool}


def library_by_way_of_another_link(random: Random, base: Base) -> Files:
    """An administrator's choice of the driver's library, as Debian has it."""
    name = random.choice(("libcuda.so.1", "libnvidia-ml.so.1"))
    path = next(path for path in sorted(base.files.entries) if path.startswith("/usr/lib/") and path.endswith(f"-linux-gnu/{name}"))
    return {path: f"/etc/alternatives/more--{name}", f"/etc/alternatives/more--{name}": base.files.resolved(path)}


def other_folder(random: Random, base: Base) -> Files:
    return {f"/usr/lib/modules/6.1.{random.randrange(99)}/modules.order": b"", "/usr/lib/modules/kabi-current/symvers.gz": b""}


def public_key(random: Random, base: Base) -> Files:
    return {f"/etc/ssl/certs/{random.randrange(100)}.pem": b"-----BEGIN CERTIFICATE-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n"}


def own_service(random: Random, base: Base) -> Files:
    path = f"/usr/lib/udev/rules.d/{random.randrange(10, 99)}-more.rules"
    return {path: b'TEST=="/usr/bin/nvidia-gone", RUN+="/usr/bin/nvidia-gone"\n'}


def readable(random: Random, base: Base) -> Files:
    path = f"/usr/share/more{random.randrange(100)}"
    return {path: Entry(path=path.lstrip("/"), mode=random.choice((0o644, 0o755, 0o600, 0o664)))}


def option_of_the_drivers(random: Random, base: Base) -> Files:
    """Options that the driver takes, or passes over, in the forms in which the kernel reads numbers."""
    value = random.choice(("0", "1", "0x1", "-1", "+1", "01"))
    text = f'options nvidia NVreg_EnableMSI={value} NVreg_RegistryDwords="A=1;B=2" NVreg_none=yes\noptions nouveau modeset=none\n'
    return {f"/etc/modprobe.d/{random.randrange(100)}.conf": text.encode()}


def other_settings_of_units(random: Random, base: Base) -> Files:
    """What an administrator sets for all services, or starts beside what a node starts."""
    own: Files = {
        "/usr/lib/bootc/kargs.d/90-more.toml": b'kargs = ["systemd.unit=kiosk.target", "systemd.mask=more.service"]\n',
        "/etc/systemd/system/kiosk.target": b"[Unit]\nRequires=multi-user.target\nWants=kiosk.service more.service\n",
    }
    proxy: Files = {"/etc/systemd/system/service.d/9.conf": b"[Service]\nEnvironment=HTTPS_PROXY=http://proxy:1\nTimeoutStopSec=9\n"}
    return random.choice((own, proxy))


def compiled_again(random: Random, base: Base) -> Files:
    """A module that was mended and compiled, and one whose byte code Python looks at before it runs it."""
    text = f"A = {random.randrange(100)}\n".encode()
    folder, other = "/usr/lib/python3/dist-packages", compiled(b"A = 100\n", 3)
    return {f"{folder}/more.py": text, f"{folder}/__pycache__/more.cpython-313.pyc": random.choice((compiled(text), other))}


NEIGHBOURS: tuple[Neighbour, ...] = (
    again_packed, remark, unused_unit, optional_program, more_firmware, more_library, other_folder, public_key, own_service, readable,
    library_of_ones_own, other_settings_of_units, compiled_again, library_by_way_of_another_link, option_of_the_drivers,
)  # fmt: skip
"""Changes that are near a fault and are none."""
