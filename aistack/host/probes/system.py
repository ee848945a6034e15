"""What a machine's operating system has beside its kernel: its name, its C library, what guards it, its container runtime, its services."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from aistack.facts.readings import Reading
from aistack.facts.system_readings import CdiSpecification, SystemReadings
from aistack.host.probes import services
from aistack.host.probes.reading import inside, read
from aistack.host.process import run

SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
BLACKLISTS = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d")
CDI = ("/etc/cdi", "/var/run/cdi")
GSP = "/usr/lib/firmware/nvidia"
SERVICES = ("nvidia-fabricmanager.service", "nvidia-imex.service", "nvidia-persistenced.service")
CONFIG = re.compile(r"^(CONFIG_\w+)=([ym])$|^# (CONFIG_\w+) is not set$", re.MULTILINE)
VERSION = re.compile(r"\d+\.\d+(?:\.\d+)*")


def take_system(root: Path, kernel: str | None) -> SystemReadings:
    """Read it below `root`; what programs say is only asked on the machine itself, and each reading carries its own error."""
    return SystemReadings(
        os=read("/etc/os-release", lambda: _os(_first(root, "/etc/os-release", "/usr/lib/os-release"))),
        glibc=read("confstr CS_GNU_LIBC_VERSION", lambda: (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ")),
        secure_boot=read(SECURE_BOOT, lambda: _secure_boot(root)),
        blacklist=read("modprobe.d", lambda: _blacklist(root)),
        kernel_config=read("the kernel's configuration", lambda: _kernel_config(root, kernel)),
        firmware=read(GSP, lambda: tuple(sorted(path.parent.name for path in inside(root, GSP).glob("[0-9]*/gsp_*.bin")))),
        services=services.units(SERVICES),
        versions={name: _version(argv) for name, argv in VERSIONS.items()},
        cdi=cdi(root),
    )


def cdi(root: Path) -> Reading[tuple[CdiSpecification, ...]]:
    """What containers are offered, by every specification that an engine reads; nothing is known where one of them is damaged."""
    return read(" ".join(CDI), lambda: _cdi(root))


VERSIONS = {
    "podman": ("podman", "--version"),
    "container_toolkit": ("nvidia-ctk", "--version"),
    "dcgm": ("dcgmi", "--version"),
    "fabricmanager": ("nv-fabricmanager", "--version"),
    "imex": ("nvidia-imex", "--version"),
    "nvcc": ("nvcc", "--version"),
}
"""Programs that tell their own version."""


def _version(argv: tuple[str, ...]) -> Reading[str]:
    def said() -> str:
        text = run(argv, timeout=30).stdout
        found = re.search(r"(?:version|release|ersion is:?)\s*v?(\d+\.\d+(?:\.\d+)*)", text, re.IGNORECASE) or VERSION.search(text)
        if found is None:
            raise ValueError(f"no version in {text[:200]!r}")
        return found[found.lastindex or 0]

    return read(" ".join(argv), said)


def _first(root: Path, *paths: str) -> str:
    present = [path for path in paths if inside(root, path).is_file()]
    return inside(root, (present or list(paths))[0]).read_text()


def _os(text: str) -> str:
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))
    return f"{fields['ID']}-{fields['VERSION_ID']}"


def _secure_boot(root: Path) -> bool:
    """The variable of the firmware: four bytes of attributes, then one that says yes or no; without EFI there is no Secure Boot."""
    if not inside(root, "/sys/firmware/efi").exists():
        return False
    return inside(root, SECURE_BOOT).read_bytes()[4] == 1


def _blacklist(root: Path) -> tuple[str, ...]:
    """Modules that may not load by themselves, by modprobe's configuration and the kernel's command line."""
    found = set()
    for folder in BLACKLISTS:
        for file in sorted(inside(root, folder).glob("*.conf")):
            found |= set(re.findall(r"^\s*blacklist\s+(\S+)", file.read_text(errors="replace"), re.MULTILINE))
    for word in inside(root, "/proc/cmdline").read_text().split():
        name, _, value = word.partition("=")
        if name in ("module_blacklist", "modprobe.blacklist", "rd.driver.blacklist"):
            found |= set(value.split(","))
    return tuple(sorted(found))


def _kernel_config(root: Path, kernel: str | None) -> Mapping[str, str]:
    """`y`, `m` or `n` by the setting's name."""
    built_in = inside(root, "/proc/config.gz")
    if built_in.is_file():
        text = gzip.decompress(built_in.read_bytes()).decode()
    else:
        text = _first(root, f"/boot/config-{kernel}", f"/usr/lib/modules/{kernel}/config", f"/lib/modules/{kernel}/config")
    return {match[1] or match[3]: match[2] or "n" for match in CONFIG.finditer(text)}


def _cdi(root: Path) -> tuple[CdiSpecification, ...]:
    files = [(f"{folder}/{file.name}", file) for folder in CDI for file in sorted(inside(root, folder).glob("*"))]
    return tuple(_specification(path, file) for path, file in files if file.suffix in (".json", ".yaml", ".yml"))


def _specification(path: str, file: Path) -> CdiSpecification:
    try:
        document: Any = json.loads(file.read_text()) if file.suffix == ".json" else yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{file.name} is no YAML") from error
    mounts = [mount["hostPath"] for mount in (document.get("containerEdits") or {}).get("mounts") or ()]
    driver = next((match[1] for path in mounts if (match := re.search(r"/libcuda\.so\.(\d+\.\d+(?:\.\d+)?)$", path))), None)
    return CdiSpecification(
        path=path,
        version=str(document["cdiVersion"]),
        nodes={f"{document['kind']}={device['name']}": _nodes(device) + _nodes(document) for device in document.get("devices") or ()},
        driver=driver,
    )


def _nodes(edited: Any) -> tuple[str, ...]:
    """The device nodes that a device, or a whole specification with each of its devices, brings."""
    return tuple(node["path"] for node in (edited.get("containerEdits") or {}).get("deviceNodes") or ())
