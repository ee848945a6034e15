"""Faults as they happen to images, planted by a seed: in a module, a library, firmware, a unit or a configuration that chance picks.

Each works on any image's files, as they were read (`Base.files`) and as bytes, and says by which check it must be found and what is named.
"""

from __future__ import annotations

import lzma
import re
from random import Random

import elf_samples
from images_read import Files, owned
from kernel_samples import LOADER, SYSTEMD, UNITS, systemd_initramfs
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
    packed_as_it_was,
    rival,
    second_kernel,
    short,
)

from aistack.compose import gates, tidy
from aistack.compose.checks import driver, masks, packages, references
from aistack.compose.checks.tree import trees
from aistack.compose.render.system import QUADLETS
from aistack.compose.verify import LOCK_PATH
from aistack.facts.binary import GSP_FIRMWARE
from aistack.facts.kernel_files import module_name
from aistack.host.layers import Entry

MORE_ARGUMENTS = "/usr/lib/bootc/kargs.d/90-more.toml"
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
    return Fault("unit-programs", f"{path}: ExecStart names {program}", {path: text}, PACKAGE)


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
    programs = [path for path, binary in base.files.binaries.items() if binary.interpreter and tidy.PROGRAM.fullmatch(path)]
    path = random.choice(sorted(base.data.keys() & programs))
    changed = owned(base.data[path], mode=random.choice((0o644, 0o600, 0o640)))
    return Fault("modes", path, {path: changed}, frozenset({"unit-programs"}))


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


def gate_off(random: Random, base: Base) -> Fault:
    """Whoever was in a hurry switched a gate off."""
    unit = random.choice(gates.GATES)
    here = f"/etc/systemd/system/{unit}"
    target = random.choice(("multi-user.target", "sysinit.target", "boot-complete.target"))
    return random.choice(
        (
            Fault("gates", here, {here: "/dev/null"}),
            Fault("gates", here, {f"{here}.d/{random.randrange(100)}.conf": b"[Service]\nExecStart=\nExecStart=/bin/sh -c :\n"}),
            Fault("gates", unit, {MORE_ARGUMENTS: f'kargs = ["systemd.mask={unit}"]\n'.encode()}),
            Fault("gates", target, {f"/etc/systemd/system/{target}": "/dev/null"}, frozenset({"init", "driver-enabled"})),
            Fault("gates", "service.d", {"/etc/systemd/system/service.d/9.conf": b"[Unit]\nConditionPathExists=/etc/gone\n"}),
        )
    )


def silenced_udev(random: Random, base: Base) -> Fault:
    """Whoever masked it wanted quiet, and no device gets its driver."""
    unit, rule = random.choice(("systemd-udevd.service", "systemd-udev-trigger.service")), "/etc/udev/rules.d/80-drivers.rules"
    argument = f'kargs = ["systemd.mask={unit}"]\n'.encode()
    files: tuple[Files, ...] = ({f"/etc/systemd/system/{unit}": "/dev/null"}, {MORE_ARGUMENTS: argument}, {rule: "/dev/null"})
    planted = random.choice(files)
    return Fault("driver-enabled", "no rule of udev's" if rule in planted else unit, planted, frozenset({"needed-units"}))


def masked_unit(random: Random, base: Base) -> Fault:
    """A mask from an evening of looking for what was slow."""
    units = (unit for unit in sorted({*masks.NEEDED, *masks.NETWORK}) if base.files.kind(f"/usr/lib/systemd/system/{unit}"))
    unit = random.choice([*units])
    argument = f'kargs = ["systemd.mask={unit}"]\n'.encode()
    files: tuple[Files, ...] = ({f"/etc/systemd/system/{unit}": "/dev/null"}, {MORE_ARGUMENTS: argument})
    return Fault("needed-units", unit, random.choice(files), frozenset({"driver-enabled"}))


def start_of_something_else(random: Random, base: Base) -> Fault:
    """An argument from an evening of looking for what was wrong."""
    word = random.choice(("rd.break", "init=/bin/false", "rd.systemd.unit=emergency.target", "rdinit=/bin/none"))
    said = "/none" if "none" in word else "/false" if "false" in word else word
    return Fault("initramfs-start", said, {MORE_ARGUMENTS: f'kargs = ["{word}"]\n'.encode()})


def left_key(random: Random, base: Base) -> Fault:
    path = f"/etc/{random.choice(('tls', 'app', 'ssl/private'))}/{random.randrange(100)}.pem"
    key = b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"
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


def left_compiler(random: Random, base: Base) -> Fault:
    path = f"/usr/bin/{random.choice(('gcc', 'clang', 'x86_64-linux-gnu-g++'))}-{random.randrange(9, 15)}"
    return Fault("no-build-tools", path, {path: b"#!/bin/sh\n"})


def cut_initramfs(random: Random, base: Base) -> Fault:
    path = f"{trees(base.files)[0].folder}/initramfs.img"
    data = base.data[path]
    return Fault(
        "readable-binaries", path, {path: data[: random.randrange(200, len(data) - 1)]}, frozenset({"initramfs-modules", "initramfs-start"})
    )


def older_initramfs(random: Random, base: Base) -> Fault:
    """A module outside was compiled anew, and the initramfs has the old one."""
    tree = trees(base.files)[0]
    inside = base.files.initramfs[f"{tree.folder}/initramfs.img"].modules
    path = random.choice([path for path in base.modules() if path in inside])
    raw = lzma.decompress(base.data[path]) if path.endswith(".xz") else base.data[path]
    return Fault("initramfs-modules", short(path), packed_as_it_was(path, raw + bytes(random.randrange(1, 9))), PACKAGE)


def gutted_initramfs(random: Random, base: Base) -> Fault:
    """Whoever made it had no module for this kind of system."""
    path = f"{trees(base.files)[0].folder}/initramfs.img"
    starts = {"init": b"#!/init\n", "usr/lib/ostree/ostree-prepare-root": elf_samples.binary()}
    gone = random.choice(sorted(starts))
    left = {name: data for name, data in starts.items() if name != gone}
    return Fault("initramfs-start", gone.rpartition("/")[2], {path: elf_samples.initramfs(left)})


def unswitched_initramfs(random: Random, base: Base) -> Fault:
    """Whoever made it smaller left out what it does not start a system without."""
    path = f"{trees(base.files)[0].folder}/initramfs.img"
    lost = {
        "etc/initrd-release": "/etc/initrd-release",
        **{f"{UNITS}/{name}": name for name in ("initrd.target", "initrd-cleanup.service", "initrd-switch-root.service")},
        f"{UNITS}/ostree-prepare-root.service": "no unit that is started there runs",
        "bin/sh": "/bin/sh leads to no file",
    }
    gone = random.choice(sorted(lost))
    left = {name: data for name, data in SYSTEMD.items() if name != gone}
    return Fault("initramfs-start", lost[gone], {path: systemd_initramfs({}, starts=left)})


KINDS: tuple[Kind, ...] = (
    flipped_module, cut_module, other_checksum, no_checksum, other_kernel, exchanged_modules, lost_module, foreign_module, rival,
    second_kernel, broken_index, cut_firmware, lost_firmware, other_firmware, other_library, lost_library, cut_program, lost_program,
    helper_of_udev, lent_file, not_blacklisted, own_driver_off, other_alias, no_modules, writable, set_id, strange_owner, lost_mode,
    changed_package, lost_file, lost_link, other_digest, edited_lock, gate_off, left_key, left_compiler, cut_initramfs, older_initramfs,
    gutted_initramfs, kernel_ahead, uncached_library, silenced_udev, start_of_something_else, left_credential,
    misled_library, other_manager, unswitched_initramfs,
    option_of_another_type, lost_generator, lost_trust, masked_unit,
)  # fmt: skip
"""Every kind of fault."""
