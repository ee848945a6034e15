"""What need not be a fault is none, and what cannot be told is said to be so: an image with a driver, one trap at a time."""

from __future__ import annotations

import gzip
import lzma
from dataclasses import replace
from pathlib import Path

import elf_samples
import pytest
from images_read import Files, read
from kernel_samples import (
    DRIVER,
    EXT4,
    FIRMWARE,
    FOLDER,
    JBD2,
    KERNEL,
    LIBRARIES,
    MODULES,
    NOUVEAU,
    NVIDIA,
    at,
    driver_module,
    initramfs,
    module,
    program,
)
from kernel_samples import tree as tree_of
from test_checks import AARCH64, CDI, EXPECTED, FOREIGN, UDEV, UNIT, base, judged

from aistack.compose.checks import claims, cmdline, signing
from aistack.compose.checks.expected import Expected
from aistack.compose.checks.libraries import _needs
from aistack.compose.findings import Finding, Outcome
from aistack.compose.verify import verify_image
from aistack.facts.filesystem import Filesystem

__all__ = ["base"]
DATA = Path(__file__).resolve().parent / "data" / "modules"
LIBRARY = elf_samples.binary()
CUDA = elf_samples.binary(soname="libcuda.so.1", behind=f"\0{DRIVER}\0".encode())

HARMLESS: list[tuple[str, str, Files]] = [
    (
        "folders of other kernels without modules",
        "one-kernel-tree",
        {"/usr/lib/modules/kabi-current/symvers.gz": b"", "/usr/lib/modules/6.1.0/build": "/usr/src"},
    ),
    (
        "modules of another folder that a link brings in",
        "one-kernel-tree",
        {
            "/usr/lib/modules/6.12.100/extra/a.ko": module(
                "a", packed=False, in_tree=False, vermagic="6.12.100 SMP mod_unload modversions", needs={"printk": 0x11}
            ),
            f"{FOLDER}/weak-updates/a.ko": "/usr/lib/modules/6.12.100/extra/a.ko",
        },
    ),
    (
        "a module built in, of which there is no file",
        "initramfs-modules",
        at("initramfs.img", initramfs({NOUVEAU: MODULES[NOUVEAU]}, more={"etc/modprobe.d/a.conf": b"blacklist nouveau"})),
    ),
    (
        "a vendor's name in a module of the kernel's",
        "driver-versions",
        at("kernel/nvidia-wmi-ec-backlight.ko", module("nvidia_wmi_ec_backlight", packed=False, more=[("version", "1.0")])),
    ),
    (
        "firmware that is compressed, and where updates of it lie",
        "driver-versions",
        {
            f"{FIRMWARE.rpartition('/')[0]}/.wh.gsp_ga10x.bin": b"",
            f"{FIRMWARE}.xz": lzma.compress(elf_samples.firmware(DRIVER)),
            FIRMWARE.replace("/firmware/", "/firmware/updates/"): elf_samples.firmware(DRIVER),
            **at("initramfs.img", initramfs({}, more={f"{FIRMWARE}.xz": lzma.compress(elf_samples.firmware(DRIVER))})),
        },
    ),
    (
        "firmware of the kernel's own driver, and files with a name of the driver's programs",
        "readable-binaries",
        {
            "/usr/lib/firmware/nvidia/ga102/gsp/gsp-535.113.01.bin": b"\x10\xde",
            "/usr/share/lintian/overrides/nvidia-smi": b"text",
            "/etc/init.d/nvidia-persistenced": b"text",
            "/usr/bin/nvidia-smi": b"#!/bin/sh\nexec /usr/lib/nvidia/current/nvidia-smi\n",
        },
    ),
    (
        "programs that the processor runs as well, and libraries of another for those who ask for them",
        "architecture",
        {
            "/usr/bin/wine": elf_samples.binary(machine=3),
            f"/usr/lib/i386-linux-gnu/libcuda.so.{DRIVER}": elf_samples.binary(machine=3),
            f"/usr/lib/aarch64-linux-gnu/libcuda.so.{DRIVER}": FOREIGN,
            "/usr/aarch64-linux-gnu/lib/libc.so.6": FOREIGN,
            "/usr/share/tests/program": FOREIGN,
        },
    ),
    (
        "programs for which there is an emulator",
        "architecture",
        {"/usr/bin/tool": FOREIGN, "/usr/lib/binfmt.d/qemu-aarch64.conf": b":qemu-aarch64:M::\\x7fELF\n"},
    ),
    (
        "libraries where Debian has them, through links that an administrator may change",
        "driver-versions",
        {
            f"{LIBRARIES}/.wh.libcuda.so.{DRIVER}": b"",
            f"{LIBRARIES}/nvidia/current/libcuda.so.{DRIVER}": CUDA,
            f"{LIBRARIES}/nvidia/current/libcuda.so.1": f"libcuda.so.{DRIVER}",
            f"{LIBRARIES}/libcuda.so.1": "/etc/alternatives/nvidia--libcuda.so.1",
            "/etc/alternatives/nvidia--libcuda.so.1": f"{LIBRARIES}/nvidia/current/libcuda.so.1",
        },
    ),
    (
        "libraries in a folder that the loader is told of",
        "driver-versions",
        {
            f"{LIBRARIES}/.wh.libcuda.so.{DRIVER}": b"",
            f"{LIBRARIES}/.wh.libcuda.so.1": b"",
            f"/usr/lib64/nvidia/libcuda.so.{DRIVER}": CUDA,
            "/usr/lib64/nvidia/libcuda.so.1": f"libcuda.so.{DRIVER}",
            "/etc/ld.so.conf": b"/usr/lib64/nvidia\n",
        },
    ),
    (
        "another device of the vendor's",
        "driver-rivals",
        at("kernel/ahci.ko", module("ahci", packed=False, more=[("alias", "pci:v000010DEd0000044Csv*sd*bc*sc*i*")])),
    ),
    (
        "another function of the accelerator",
        "driver-rivals",
        at("kernel/hda.ko", module("snd_hda_intel", packed=False, more=[("alias", "pci:v000010DEd*sv*sd*bc04sc03i*")])),
    ),
    (
        "a class that is not the accelerator's",
        "driver-rivals",
        at("kernel/ahci.ko", module("ahci", packed=False, more=[("alias", "pci:v*d*sv*sd*bc01sc06i01*")])),
    ),
    (
        "a rival that the kernel's arguments keep away, in the initramfs too",
        "driver-rivals",
        {
            **at("initramfs.img", initramfs({NOUVEAU: MODULES[NOUVEAU]})),
            "/usr/lib/bootc/kargs.d/20.toml": b'kargs = ["modprobe.blacklist=nouveau,nova"]\n',
            "/etc/modprobe.d/nvidia.conf": b"",
            "/etc/modprobe.d/nouveau.conf": b"",
        },
    ),
    (
        "a rival that only the initramfs must not have",
        "driver-rivals",
        {
            **at("initramfs.img", initramfs({NOUVEAU: MODULES[NOUVEAU]})),
            "/usr/lib/bootc/kargs.d/20.toml": b'kargs = ["rd.driver.blacklist=nouveau"]\n',
        },
    ),
    (
        "a rival that loads nothing",
        "driver-rivals",
        {"/etc/modprobe.d/nvidia.conf": b"install nouveau /bin/false\n", "/etc/modprobe.d/nouveau.conf": b""},
    ),
    (
        "versions of symbols that are offered, by the second of that name, or not asked for in earnest",
        "library-needs",
        {
            "/usr/bin/tool": program(needed=["liba.so", "libb.so"], asked={"liba.so": ["A_1", "A_2"], "libb.so": ["B_1"]}),
            "/usr/bin/careless": program(needed=["liba.so"], asked={"liba.so": ["A_9"]}, weakly=True),
            f"{LIBRARIES}/liba.so": elf_samples.binary(soname="liba.so", offered=["A_1"]),
            "/usr/local/lib/liba.so": elf_samples.binary(soname="liba.so", offered=["A_1", "A_2"]),
            f"{LIBRARIES}/libb.so": LIBRARY,
        },
    ),
    (
        "a library by its path, as Pythons that are put anywhere have it",
        "library-needs",
        {"/opt/python/bin/tool": program(needed=["$ORIGIN/../lib/liba.so.1"]), "/opt/python/lib/liba.so.1": LIBRARY},
    ),
    (
        "libraries beside a program",
        "library-needs",
        {
            "/usr/bin/tool": program(needed=["liba.so"], runpath="$ORIGIN/../lib/own"),
            "/usr/lib/own/liba.so": elf_samples.binary(needed=["libb.so"], rpath="${ORIGIN}"),
            "/usr/lib/own/libb.so": LIBRARY,
        },
    ),
    (
        "a program that a script starts with its own libraries",
        "library-needs",
        {
            "/usr/lib/own/bin/tool": program(needed=["liba.so"]),
            "/usr/lib/own/lib/liba.so": LIBRARY,
            "/usr/lib/other/tool": program(needed=["libc.so"]),
            "/usr/lib/other/libc.so": LIBRARY,
        },
    ),
    (
        "a folder named by the processor's words",
        "library-needs",
        {
            "/usr/bin/tool": program(needed=["liba.so", "libb.so"], runpath="$ORIGIN/../own/$LIB:/usr/own/${PLATFORM}"),
            "/usr/own/lib/x86_64-linux-gnu/liba.so": LIBRARY,
            "/usr/own/x86_64/libb.so": LIBRARY,
        },
    ),
    (
        "CUDA's libraries for older drivers",
        "driver-versions",
        {"/usr/local/cuda-12.8/compat/libcuda.so.570.86.10": elf_samples.binary(behind=b"\x00570.86.10\0")},
    ),
    (
        "a folder that the loader is told of",
        "library-needs",
        {
            "/etc/ld.so.conf": b"include /etc/ld.so.conf.d/*.conf\n",
            "/etc/ld.so.conf.d/own.conf": b"# ours\n/usr/lib/own\n",
            "/usr/bin/tool": program(needed=["liba.so"]),
            "/usr/lib/own/liba.so": LIBRARY,
        },
    ),
    (
        "a library for newer processors alone",
        "library-needs",
        {"/usr/bin/tool": program(needed=["liba.so"]), f"{LIBRARIES}/glibc-hwcaps/x86-64-v3/liba.so": LIBRARY},
    ),
    (
        "a plugin whose program has loaded what it needs",
        "library-needs",
        {"/usr/lib/plugins/a.so": elf_samples.binary(needed=["liba.so"]), "/usr/lib/own/liba.so": LIBRARY},
    ),
    (
        "a library through links",
        "library-needs",
        {
            "/usr/bin/tool": program(needed=["liba.so.1"]),
            f"{LIBRARIES}/liba.so.1": "/etc/alternatives/liba",
            "/etc/alternatives/liba": "/usr/lib/own/liba.so.1.2",
            "/usr/lib/own/liba.so.1.2": LIBRARY,
        },
    ),
    ("objects that a compiler made", "library-needs", {"/usr/lib/crt1.o": elf_samples.module("no module")}),
    ("a unit that nothing starts", "unit-programs", {UNIT: b"[Service]\nExecStart=/usr/bin/gone\n"}),
    ("a program that may be absent", "unit-programs", {UNIT: b"[Service]\nExecStart=-/usr/bin/gone\n[Install]\n"}),
    (
        "a unit that its condition keeps from starting",
        "unit-programs",
        {UNIT: b"[Unit]\nConditionFileIsExecutable=/usr/bin/gone\n[Service]\nExecStart=/usr/bin/gone\n[Install]\n"},
    ),
    (
        "a unit that is masked",
        "unit-programs",
        {UNIT: b"[Service]\nExecStart=/usr/bin/gone\n[Install]\n", "/etc/systemd/system/a.service": "/dev/null"},
    ),
    (
        "programs that are made or named later",
        "unit-programs",
        {UNIT: b"[Service]\nExecStart=/run/a\nExecStop=/usr/bin/%i\nExecReload=$A\n[Install]\n"},
    ),
    (
        "a program behind /bin, and by its name alone",
        "unit-programs",
        {UNIT: b"[Service]\nExecStart=/bin/dash -c 'gone'\nExecStop=!!dash\n[Install]\n"},
    ),
    (
        "udev's own, and a rule for what is not there",
        "udev-programs",
        {UDEV: b'RUN{builtin}+="kmod load x"\nTEST=="/usr/bin/gone", RUN+="/usr/bin/gone"\n# RUN+="gone"\n'},
    ),
    (
        "what a machine makes",
        "cdi-files",
        {
            CDI: b"cdiVersion: 1.1.0\nkind: nvidia.com/gpu\ndevices: [{name: all}]\n"
            b"containerEdits:\n  mounts: [{hostPath: /run/nvidia-persistenced/socket}]\n  deviceNodes: [{path: /dev/nvidiactl}]\n"
        },
    ),
    (
        "a class of devices with a dot, and a number for a name",
        "cdi-files",
        {CDI: b"cdiVersion: 1.1.0\nkind: example.com/a.b\ndevices: [{name: 0}]\n"},
    ),
    (
        "a link to headers that are not there",
        "no-build-tools",
        {f"{FOLDER}/build": "/usr/src/linux-headers", "/usr/bin/gcc-ranlib": b"", "/usr/bin/cccheck": b""},
    ),
    (
        "programs and folders that are called alike",
        "no-build-tools",
        {
            "/usr/bin/ld.so": "../lib64/ld-linux-x86-64.so.2",
            "/usr/bin/run-as": b"",
            "/usr/bin/ldd": b"",
            "/usr/bin/h2xs": b"",
            "/usr/sbin/make-ssl-cert": b"",
            "/usr/share/bash-completion/completions/make": b"",
            "/usr/share/doc/dkms/examples/dkms.conf": b"",
            "/usr/lib/python3/dist-packages/make/ld": b"",
            "/usr/lib/modules-load.d/dkms.conf": b"",
        },
    ),
    ("the certificate of a key", "no-signing-key", {"/var/lib/dkms/mok.pub": b"\x30\x82"}),
    (
        "a place for a key that nobody made",
        "no-signing-key",
        {"/etc/dkms/framework.conf": b"# mok_signing_key=/usr/bin/dash\nmok_signing_key=/srv/gone.key\nmok_certificate=/usr/bin/dash\n"},
    ),
]


@pytest.mark.parametrize(("check", "what"), [(check, what) for _, check, what in HARMLESS], ids=[name for name, _, _ in HARMLESS])
def test_what_need_not_be_a_fault_is_none(check: str, what: Files, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, what)[check]
    assert (finding.outcome, finding.message) == (Outcome.YES, finding.message)


def test_a_containers_own_folders_of_libraries_are_searched(tmp_path: Path) -> None:
    """As images without a system lay them out, where /lib is a folder and nothing configures the loader; and as CUDA's and ROCm's do."""
    found = read(
        tmp_path,
        [
            {
                "/lib/x86_64-linux-gnu/liba.so": LIBRARY,
                "/opt/own/lib/libb.so": LIBRARY,
                "/lib64/ld-linux-x86-64.so.2": LIBRARY,
                "/usr/bin/tool": program(needed=["liba.so", "libb.so"]),
            }
        ],
    )
    assert _needs(found) == ["/usr/bin/tool needs libb.so, which is not where it is looked for"]
    assert _needs(replace(found, environment={"LD_LIBRARY_PATH": "/usr/none:/opt/own/lib/:"})) == []


def test_kernel_arguments_for_another_architecture_keep_nothing_away(base: Filesystem, tmp_path: Path) -> None:
    words = b'kargs = ["module_blacklist=nouveau"]\nmatch-architectures = ["aarch64"]\n'
    settings: Files = {"/etc/modprobe.d/nvidia.conf": b"", "/usr/lib/modprobe.d/nouveau.conf": b"", "/usr/lib/bootc/kargs.d/20.toml": words}
    found = read(tmp_path, [settings], base)
    assert claims.rivals(replace(found, arch="amd64"), EXPECTED) == ["nouveau is for the same devices, and not blacklisted"]
    assert claims.rivals(replace(found, arch="arm64"), EXPECTED) == claims.rivals(replace(found, arch=""), EXPECTED) == []
    assert cmdline.arguments(replace(found, arch="amd64")) == ("quiet",)


def test_what_cannot_be_told_is_unknown(base: Filesystem, tmp_path: Path) -> None:
    flat = at("vmlinuz", b"Linux version " + KERNEL.encode() + b" (somebody)")
    told = judged(base, tmp_path, flat)
    assert told["module-symbols"].outcome is Outcome.UNKNOWN
    assert told["kernel-version"].outcome is told["vermagic"].outcome is Outcome.YES  # its modules say the one, it says the other
    wrong = judged(base, tmp_path, {**flat, **at(NVIDIA, driver_module(needs={"printk": 0x12}))})
    assert "against other versions of printk" in wrong["module-symbols"].message
    claims = at("kernel/other.ko", module("other", packed=False, more=[("alias", "pci:v00001002d000074A1sv*sd*bc12sc*i*")]))
    twice = at("kernel/more.ko", module("more", packed=False, more=[("alias", "pci:v00001002d000074A1sv*sd*bc*sc*i*")]))
    amd = Expected(pci_ids=("1002:74a1",))
    assert judged(base, tmp_path, claims, expected=amd)["driver-rivals"].outcome is Outcome.YES
    assert "which of them gets it cannot be told" in judged(base, tmp_path, {**claims, **twice}, expected=amd)["driver-rivals"].message
    gone = read(tmp_path, [{f"{FOLDER}/.wh.vmlinuz": b""}], base)
    outcomes = {finding.name: finding.outcome for finding in verify_image(gone, bootable=True)}
    assert {outcomes[name] for name in ("kernel-version", "module-symbols", "module-terms")} == {Outcome.UNKNOWN}
    assert {outcomes[name] for name in ("vermagic", "module-indexes", "module-signers")} == {Outcome.YES}  # by the modules themselves
    nothing = {finding.name for finding in verify_image(read(tmp_path, [{"/a": b""}]), bootable=True) if finding.outcome is Outcome.UNKNOWN}
    assert {"kernel-version", "vermagic", "module-symbols", "module-terms", "module-indexes", "module-signers"} <= nothing


def test_a_kernel_may_ask_for_no_namespace(base: Filesystem, tmp_path: Path) -> None:
    takes = at(NVIDIA, driver_module(needs={"pin_pages": 0x44}))
    assert judged(base, tmp_path, takes)["module-terms"].outcome is Outcome.NO
    lenient = at("config", b"CONFIG_MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS=y\n")
    assert judged(base, tmp_path, {**takes, **lenient})["module-terms"].outcome is Outcome.YES
    imported = driver_module(needs={"pin_pages": 0x44}, more=[("import_ns", "PINNING")])
    assert judged(base, tmp_path, at(NVIDIA, imported))["module-terms"].outcome is Outcome.YES
    for names, outcome in (("kvm,nvidia-*", Outcome.YES), ("kvm,nvidia-uvm", Outcome.NO)):
        kernel = elf_samples.kernel(KERNEL, {"printk": 0x11, "pin_pages": 0x44}, namespaces={"pin_pages": f"module:{names}"})
        assert judged(base, tmp_path, {**takes, **at("vmlinuz", kernel)})["module-terms"].outcome is outcome


def test_modules_of_a_kernel_without_checksums_need_none(base: Filesystem, tmp_path: Path) -> None:
    kernel = elf_samples.kernel(KERNEL, {"printk": None, "register_disk": None, "module_layout": None})
    found = judged(base, tmp_path, at("vmlinuz", kernel))
    assert found["module-symbols"].outcome is Outcome.YES


def test_who_signed_the_modules_is_told(base: Filesystem, tmp_path: Path) -> None:
    def finding(what: Files) -> Finding:
        return judged(base, tmp_path, what, expected=Expected())[signing.NAME]

    assert "3 of the kernel's own are not signed, 2 that did not come with it are not signed, and are refused" in finding({}).message
    assert "not signed, and" not in finding(at("config", b"CONFIG_MODULES=y\n")).message
    forced = at("config", b"CONFIG_MODULE_SIG_FORCE=y\n")
    assert f"{NVIDIA} is not signed, and the kernel loads nothing else (CONFIG_MODULE_SIG_FORCE)" in finding(forced).message
    argument: Files = {"/usr/lib/bootc/kargs.d/20.toml": b'kargs = ["module.sig_enforce=1"]\n'}
    assert finding(argument).outcome is Outcome.NO
    signed = (DATA / "virtio_dma_buf-6.12.ko.xz").read_bytes()
    mixed = finding({f"{FOLDER}/kernel/{name}.ko.xz": signed for name in ("a", "b", "c", "d")})
    assert f"{EXT4} is not signed, most of the kernel's own are signed by Build time autogenerated kernel key" in mixed.message


def test_an_image_for_another_processor_is_held_to_that_one(base: Filesystem, tmp_path: Path) -> None:
    modules = {path: module(path.rpartition("/")[2].partition(".")[0], machine=AARCH64, needs={"printk": 0x11}) for path in (EXT4, JBD2)}
    image = {
        **tree_of(modules, {}, aliases=[]),
        **at("initramfs.img", initramfs({}, starts={"init": FOREIGN})),
        "/usr/bin/tool": FOREIGN,
        "/usr/bin/old": elf_samples.binary(machine=40),
    }
    for kernel in (
        elf_samples.zboot_kernel(gzip.compress(elf_samples.flat_kernel(KERNEL)), "gzip"),
        elf_samples.flat_kernel(KERNEL),
        gzip.compress(elf_samples.flat_kernel(KERNEL)),
    ):
        found = replace(read(tmp_path, [{**image, **at("vmlinuz", kernel)}]), arch="arm64")
        told = {finding.name: finding for finding in verify_image(found, bootable=True)}
        assert [
            told[name].message for name in ("architecture", "readable-binaries", "kernel-version") if told[name].outcome.value != "yes"
        ] == []
        assert told["module-symbols"].outcome is Outcome.UNKNOWN
    other = {finding.name: finding for finding in verify_image(replace(base, arch="arm64"), bootable=True)}["architecture"]
    assert f"{FOLDER}/vmlinuz is for x86_64, the image for arm64" in other.message


def test_a_processor_that_is_not_told_is_not_judged(base: Filesystem, tmp_path: Path) -> None:
    def finding(found: Filesystem) -> Finding:
        return next(one for one in verify_image(found, bootable=True) if one.name == "architecture")

    for arch, why in (("", "does not say for which architecture"), ("mips", "processors of the architecture `mips` are called")):
        assert finding(replace(base, arch=arch)).outcome is Outcome.UNKNOWN
        assert why in finding(replace(base, arch=arch)).message
    flat = finding(read(tmp_path, [at("vmlinuz", b"Linux version " + KERNEL.encode() + b" (somebody)")], base))
    assert (flat.outcome, flat.message) == (Outcome.UNKNOWN, f"which processor {FOLDER}/vmlinuz is for cannot be told")


def test_what_is_not_read_to_its_end_is_unknown(base: Filesystem, tmp_path: Path) -> None:
    image = at("initramfs.img", gzip.compress(elf_samples.initramfs({"init": b"", "root.img": b"hsqs"}, packed=False)))
    told = judged(base, tmp_path, image)
    for check in ("readable-binaries", "initramfs-modules"):
        assert told[check].outcome is Outcome.UNKNOWN
        assert f"{FOLDER}/initramfs.img: /root.img: it is a file system of its own (squashfs)" in told[check].message
    assert judged(base, tmp_path, {**image, "/usr/bin/nvidia-smi": b""})["readable-binaries"].outcome is Outcome.NO
