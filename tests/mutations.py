"""Faults as they happen to images, planted by a seed: in a module, a library, firmware, a unit or a configuration that chance picks.

Each works on any image's files, as they were read (`Base.files`) and as bytes, and says by which check it must be found and what is named.
"""

from __future__ import annotations

import base64
import re
from random import Random

import elf_samples
from images_read import Files, owned
from kernel_samples import LOADER
from module_mutations import (
    PACKAGE,
    Base,
    Fault,
    Kind,
    broken_index,
    cut_module,
    exchanged_modules,
    flipped,
    flipped_module,
    foreign_module,
    gone,
    kernel_ahead,
    lost_module,
    no_checksum,
    other_checksum,
    other_kernel,
    rival,
    second_kernel,
)
from start_mutations import (
    MORE_ARGUMENTS,
    cut_initramfs,
    gate_off,
    gutted_initramfs,
    lost_init,
    masked_unit,
    older_initramfs,
    other_gate,
    other_prepare_root,
    silenced_udev,
    start_of_something_else,
    unswitched_initramfs,
)

from aistack.compose import modes
from aistack.compose.checks import driver, packages, references
from aistack.compose.node_program import PACKAGE as NODE_PROGRAM
from aistack.compose.render.system import QUADLETS
from aistack.compose.verify import LOCK_PATH
from aistack.facts.binary import GSP_FIRMWARE
from aistack.facts.kernel_files import module_name
from aistack.host.layers import DIRECTORY, Entry

CDI = b'{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [{"name": "all"}], "containerEdits": {"mounts": [{"hostPath": "%s"}]}}'
OTHER = "111.22.33"
"""A version of no driver, as long as some and different from all."""


def _firmware(random: Random, base: Base) -> str:
    return random.choice([path for path in sorted(base.data) if GSP_FIRMWARE.fullmatch(path)])


def cut_firmware(random: Random, base: Base) -> Fault:
    path = _firmware(random, base)
    data = base.data[path]
    return Fault("readable-binaries", path, {path: data[: random.randrange(64, len(data))]}, PACKAGE)


def lost_firmware(random: Random, base: Base) -> Fault:
    path = _firmware(random, base)
    return Fault("module-firmware", path.removeprefix("/usr/lib/firmware/"), gone(path), PACKAGE)


def other_firmware(random: Random, base: Base) -> Fault:
    path = _firmware(random, base)
    version = path.split("/")[5].encode()
    assert base.data[path].count(version) >= 1
    return Fault(
        "driver-versions", path, {path: base.data[path].replace(version, OTHER.encode()[: len(version)].ljust(len(version), b"3"))}, PACKAGE
    )


def _driver_libraries(base: Base) -> list[str]:
    return [path for path in sorted(base.data) if driver.LIBRARY.fullmatch(path)]


def other_library(random: Random, base: Base) -> Fault:
    """A library of another driver in the place of the right one, or beside it."""
    path = random.choice(_driver_libraries(base))
    match = driver.LIBRARY.fullmatch(path)
    assert match
    other = path.replace(match["version"], "535.247.01")
    return Fault("driver-versions", other, {other: base.data[path]})


def misled_library(random: Random, base: Base) -> Fault:
    """A link by which programs load the driver leads to another of its libraries, or its place is taken."""
    names = sorted(path for path in base.files.entries if re.fullmatch(r"/usr/lib/.*-linux-gnu/lib(?:cuda|nvidia-ml)\.so\.1", path))
    path = random.choice(names)
    other = {"libcuda.so.1": "libnvidia-ml.so.1", "libnvidia-ml.so.1": "libcuda.so.1"}[path.rpartition("/")[2]]
    planted = random.choice((other, b"", b"text"))
    return Fault("driver-versions", f"{path} leads to", {path: planted}, PACKAGE | {"library-needs"})


def other_manager(random: Random, base: Base) -> Fault:
    """A service of switches that was installed for another driver."""
    path = f"/usr/bin/{random.choice(('nv-fabricmanager', 'nvidia-imex'))}"
    return Fault("driver-versions", f"{path} is of", {path: elf_samples.binary(interpreter=LOADER, behind=b"\x00535.104.05\0")})


def lost_library(random: Random, base: Base) -> Fault:
    """A library that a program needs is not there; of one that plugins alone need it would not be told."""
    needed = {name for binary in base.files.binaries.values() if binary.interpreter for name in binary.needed}
    path = random.choice([path for path in sorted(base.data) if path.rpartition("/")[2] in needed])
    return Fault("library-needs", path.rpartition("/")[2], gone(path), PACKAGE)


def uncached_library(random: Random, base: Base) -> Fault:
    """A library that somebody put into a folder of its own and told ldconfig of, without running that."""
    name, folder = f"libmore{random.randrange(100)}.so.1", random.choice(("/usr/local/lib", "/usr/lib/more", "/usr/share/more/lib"))
    files: Files = {
        f"{folder}/{name}": elf_samples.binary(soname=name),
        "/etc/ld.so.conf.d/more.conf": f"{folder}\n".encode(),
        "/usr/bin/more-tool": elf_samples.binary(interpreter=LOADER, needed=[name]),
    }
    return Fault("library-needs", f"/usr/bin/more-tool needs {name}", files)


def cut_program(random: Random, base: Base) -> Fault:
    path = random.choice([path for path, binary in sorted(base.files.binaries.items()) if path in base.data and binary.interpreter])
    data = base.data[path]
    return Fault("readable-binaries", path, {path: data[: random.randrange(64, len(data))]}, PACKAGE)


def lost_program(random: Random, base: Base) -> Fault:
    path = base.text(random, rf"(?:{'|'.join(references.UNITS)})[^/]+\.service", "ExecStart=/")
    program = f"/usr/bin/gone{random.randrange(100)}"
    text = re.sub(rb"(?m)^ExecStart=[^\s]+", b"ExecStart=" + program.encode(), base.data[path])
    return Fault("unit-programs", f"{path}: ExecStart names {program}", {path: text}, PACKAGE | {"gates"})


def helper_of_udev(random: Random, base: Base) -> Fault:
    path = f"/usr/lib/udev/rules.d/{random.randrange(10, 99)}-more.rules"
    return Fault("udev-programs", path, {path: b'KERNEL=="nvidia*", RUN+="/usr/bin/nvidia-gone"\n'})


def lent_file(random: Random, base: Base) -> Fault:
    path, lent = "/etc/cdi/nvidia.json", f"/usr/lib/libgone.so.{random.randrange(9)}"
    return Fault("cdi-files", f"{path} lends {lent}", {path: CDI % lent.encode()})


def not_blacklisted(random: Random, base: Base) -> Fault:
    """Whoever keeps a rival away by modprobe's configuration no longer does."""
    files: Files = {
        path: re.sub(rb"(?m)^(?:blacklist|install) nouveau\b.*$", b"", data)
        for path, data in base.data.items()
        if path.endswith(".conf") and b"blacklist nouveau" in data
    }
    return Fault("driver-rivals", "nouveau", files, PACKAGE)


def own_driver_off(random: Random, base: Base) -> Fault:
    name = random.choice(sorted(module_name(path) for path in driver.modules(base.files)))
    word = random.choice(
        ("blacklist {}", "install {} /bin/false", "install {} exit 1", "install {} echo off", "blacklist  {}  # for a test")
    )
    return Fault("driver-enabled", name, {f"/etc/modprobe.d/{random.randrange(100)}.conf": word.format(name).encode() + b"\n"})


def other_alias(random: Random, base: Base) -> Fault:
    """Whoever asks for the driver by the name that it has everywhere gets something else."""
    name = random.choice(("nvidia", "nvidia-uvm"))
    text = f"alias {name} {random.choice(('off', 'nouveau', 'none'))}\n"
    return Fault("driver-enabled", name.replace("-", "_"), {f"/etc/modprobe.d/{random.randrange(100)}.conf": text.encode()})


def option_of_another_type(random: Random, base: Base) -> Fault:
    """An option as people write it, and the driver does not."""
    path = next(path for path, module in driver.modules(base.files).items() if module.name == "nvidia")
    own = module_name(path)
    word = f"NVreg_EnableMSI={random.choice(('yes', 'on', 'true', '1,', '09', '0xg'))}"
    name = random.choice((own, own.replace("_", "-"), "nvidia"))
    files: tuple[Files, ...] = (
        {f"/etc/modprobe.d/{random.randrange(100)}.conf": f"options {name} NVreg_DeviceFileMode=0660 {word}\n".encode()},
        {MORE_ARGUMENTS: f'kargs = ["{name}.{word}"]\n'.encode()},
    )
    return Fault("driver-enabled", f"{own} is not loaded with the option {word}", random.choice(files))


def no_modules(random: Random, base: Base) -> Fault:
    """Somebody hardens a node, and forgets that its driver is a module."""
    text = random.choice(("kernel.modules_disabled = 1", "kernel/modules_disabled=1", "-kernel.modules_disabled=1"))
    return Fault("driver-enabled", "modules_disabled", {f"/etc/sysctl.d/{random.randrange(10, 100)}-more.conf": text.encode()})


def _file(random: Random, base: Base) -> str:
    return random.choice([path for path in sorted(base.data) if path.startswith(("/usr/bin/", "/usr/lib/systemd/", "/etc/modprobe.d"))])


def writable(random: Random, base: Base) -> Fault:
    path = _file(random, base)
    entry = Entry(path=path.lstrip("/"), mode=random.choice((0o666, 0o777, 0o622, 0o602)))
    company = {
        "unit-programs",
        "driver-rivals",
        "driver-versions",
        "driver-enabled",
        "readable-binaries",
        "gates",
        "init",
    }  # an entry has no content here
    return Fault("no-world-writable", path, {path: entry}, PACKAGE | company)


def set_id(random: Random, base: Base) -> Fault:
    path = f"/usr/bin/more{random.randrange(100)}"
    return Fault("set-id", path, {path: Entry(path=path.lstrip("/"), mode=random.choice((0o4755, 0o2755)))})


def strange_owner(random: Random, base: Base) -> Fault:
    path = f"/usr/share/more{random.randrange(100)}"
    return Fault(
        "owners", path, {path: Entry(path=path.lstrip("/"), mode=0o644, uid=random.randrange(1000, 60000))}, frozenset({"system-owners"})
    )


def lost_mode(random: Random, base: Base) -> Fault:
    """A program that was copied without its mode."""
    programs = [path for path, binary in base.files.binaries.items() if binary.interpreter and modes.PROGRAM.fullmatch(path)]
    path = random.choice(sorted(base.data.keys() & programs))
    changed = owned(base.data[path], mode=random.choice((0o644, 0o600, 0o640)))
    return Fault("modes", path, {path: changed}, frozenset({"unit-programs"}))


def lost_way(random: Random, base: Base) -> Fault:
    """A library, or a folder before it, that a careless copy left to its owner alone: what is no root starts no more."""
    loaded = {name for binary in base.files.binaries.values() if binary.interpreter for name in binary.needed}
    libraries = [path for path in sorted(base.data.keys() & base.files.binaries) if path.rpartition("/")[2] in loaded]
    path = random.choice(libraries)
    folder = random.choice(("/", "/usr", path.rpartition("/")[0]))
    closed = Entry(path=folder.lstrip("/"), kind=DIRECTORY, mode=random.choice((0o700, 0o750, 0o744)))
    common = Entry(path="tmp", kind=DIRECTORY, mode=0o755)
    planted: tuple[tuple[str, bytes | Entry], ...] = ((path, owned(base.data[path], mode=0o640)), (folder, closed), ("/tmp", common))
    place, content = random.choice(planted)
    return Fault("modes", place, {place: content})


def changed_package(random: Random, base: Base) -> Fault:
    """A file that only its checksum tells, as a script or a text."""
    path = random.choice([path for path in _packaged(base) if path in base.data and path not in base.files.binaries])
    return Fault("package-files", path, {path: flipped(random, base.data[path]) + b"\n"}, frozenset({"unit-programs"}))


def lost_file(random: Random, base: Base) -> Fault:
    path = random.choice([path for path in _packaged(base) if path in base.data and path not in base.files.binaries])
    return Fault("package-files", path, gone(path), frozenset({"unit-programs"}))


def lost_link(random: Random, base: Base) -> Fault:
    """A link that a package brought, which no checksum tells."""
    named = {line for path, data in base.data.items() if packages.NAMES.fullmatch(path) for line in data.decode().splitlines()}
    links = [path for path in sorted(named) if path.startswith("/usr/") and base.files.kind(path) == "link"]
    path = random.choice([path for path in links if not packages.LEFT_OUT.fullmatch(path)])
    return Fault("package-files", path, gone(path), frozenset({"unit-programs", "library-needs"}))


def _packaged(base: Base) -> list[str]:
    lists = (data.decode() for path, data in sorted(base.data.items()) if packages.LIST.fullmatch(path))
    return [f"/{line.partition('  ')[2]}" for text in lists for line in text.splitlines()]


def other_digest(random: Random, base: Base) -> Fault:
    path = base.text(random, rf"{QUADLETS}/[^/]+\.container", "@sha256:")
    text = base.data[path].decode()
    name = re.search(r"^Image=(?:\S*/)?(\S+)@sha256:([0-9a-f]{64})", text, re.MULTILINE)
    assert name
    digest = f"{random.getrandbits(256):064x}"
    return Fault("bound-images", f"{name[1]} is bound as sha256:{digest}", {path: text.replace(name[2], digest).encode()})


def lost_generator(random: Random, base: Base) -> Fault:
    """What makes units of quadlets is gone, or as good as gone."""
    path = "/usr/lib/systemd/system-generators/podman-system-generator"
    program = base.files.resolved(path)
    here = path.replace("/usr/lib/", random.choice(("/etc/", "/usr/local/lib/", "/usr/lib/")))
    planted = random.choice(
        ({here: b""}, {here: "/usr/bin/sh"}, {program: owned(b"")}, {program: owned(b"\x7fELF" + random.randbytes(99))})
    )
    return Fault("bound-images", "no quadlet is started", {**planted}, PACKAGE | {"readable-binaries"})


def lost_trust(random: Random, base: Base) -> Fault:
    """Nothing says any more from whom images may come."""
    bundle, podman, policy = "/etc/ssl/certs/ca-certificates.crt", "/usr/local/bin/podman", "/etc/containers/policy.json"
    return random.choice(
        (
            Fault("certificates", bundle, {bundle: random.choice((b"", b"-----BEGIN CERTIFICATE-----\n"))}),
            Fault("container-settings", policy, {podman: b"#!/bin/sh\n", **random.choice((gone(policy), {policy: "none"}))}),
        )
    )


def edited_lock(random: Random, base: Base) -> Fault:
    text = base.data[LOCK_PATH].decode()
    wrong = text.replace('"memory_mib": ', f'"memory_mib": {random.randrange(1, 9)}')
    return Fault("lock", LOCK_PATH, {LOCK_PATH: wrong.encode()})


ED25519 = bytes.fromhex("302e020100300506032b657004220420")
"""How a key of that kind begins in PKCS#8: RFC 8410."""


def left_key(random: Random, base: Base) -> Fault:
    path = f"/etc/{random.choice(('tls', 'app', 'ssl/private'))}/{random.randrange(100)}.pem"
    key = b"-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n" % base64.b64encode(ED25519 + random.randbytes(32))
    in_json = b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}]}'
    return Fault("no-identity", path, {path: random.choice((key, in_json))})


def left_credential(random: Random, base: Base) -> Fault:
    """What a service or an account is to get when the node starts, in a place that everybody with the image reads."""
    token = f"hf_{random.getrandbits(160):040x}"
    check, path, text = random.choice(
        (
            ("no-identity", MORE_ARGUMENTS, f'kargs = ["systemd.set_credential=app:{token}"]\n'),
            ("no-identity", "/etc/credstore/hub-token", token),
            ("no-password", "/usr/lib/credstore/passwd.hashed-password.root", "$6$abc$defghijklmnopq"),
        )
    )
    return Fault(check, path, {path: text.encode()})


def other_byte_code(random: Random, base: Base) -> Fault:
    """Byte code was cut off, or its source mended without compiling it anew."""
    path = random.choice([path for path in sorted(base.data) if path.startswith(f"{NODE_PROGRAM}/") and path.endswith(".pyc")])
    source = re.sub(r"__pycache__/([^/.]+)\..*", r"\1.py", path)
    data = base.data[path]
    planted: tuple[Files, ...] = ({path: data[: random.randrange(16, len(data) - 4)]}, {source: base.data[source] + b"# mended\n"})
    return Fault("byte-code", path, random.choice(planted))


def left_compiler(random: Random, base: Base) -> Fault:
    path = f"/usr/bin/{random.choice(('gcc', 'clang', 'x86_64-linux-gnu-g++'))}-{random.randrange(9, 15)}"
    return Fault("no-build-tools", path, {path: b"#!/bin/sh\n"})


KINDS: tuple[Kind, ...] = (
    flipped_module, cut_module, other_checksum, no_checksum, other_kernel, exchanged_modules, lost_module, foreign_module, rival,
    second_kernel, broken_index, cut_firmware, lost_firmware, other_firmware, other_library, lost_library, cut_program, lost_program,
    helper_of_udev, lent_file, not_blacklisted, own_driver_off, other_alias, no_modules, writable, set_id, strange_owner, lost_mode,
    changed_package, lost_file, lost_link, other_digest, edited_lock, gate_off, left_key, left_compiler, cut_initramfs, older_initramfs,
    gutted_initramfs, kernel_ahead, uncached_library, silenced_udev, other_gate, start_of_something_else, left_credential,
    other_byte_code, lost_way, lost_init, other_prepare_root, misled_library, other_manager, unswitched_initramfs,
    option_of_another_type, lost_generator, lost_trust, masked_unit,
)  # fmt: skip
"""Every kind of fault."""
