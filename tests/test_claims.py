"""Who gets the accelerator: modprobe's lines, shells' commands in them, kernel arguments, drivers that take what they are told to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from images_read import Files, read
from kernel_samples import CLAIM, FOLDER, at, driver_module, initramfs, module, tree
from test_checks import EXPECTED, base, judged

from aistack.compose.checks import claims, cmdline
from aistack.compose.checks.expected import Expected
from aistack.compose.findings import Outcome
from aistack.compose.verify import LOCK_PATH
from aistack.facts import install_lines, kmod
from aistack.facts.filesystem import Filesystem

__all__ = ["base"]

ANYTHING = None


@pytest.mark.parametrize(
    ("command", "loads"),
    [
        ("/bin/false", ""),
        ("/usr/bin/true", ""),
        (":", ""),
        ("exit 1", ""),
        ("/dev/null", ""),
        ("echo it is off", ""),
        ("logger 'not; modprobe -i nouveau'; false", ""),
        ("/bin/true # modprobe -i nouveau", ""),
        ("/bin/true; modprobe --ignore-install nouveau", "nouveau"),
        ("/bin/false || /sbin/modprobe -i nouveau", "nouveau"),
        ("/bin/false && modprobe -i nouveau", ""),
        ("/bin/true||modprobe -i nouveau;true", ""),
        ("test -e /x && exit 0; modprobe -i nouveau", "nouveau"),
        ("test -e /x && false || modprobe -i nouveau", "nouveau"),
        ("exit 0; modprobe -i nouveau", ""),
        ("exit 0 | true; modprobe -i nouveau", "nouveau"),
        ("if test -e /x; then exit 0; else exec modprobe -qi nouveau; fi", "nouveau"),
        ("if false; then exit 0; fi; A=b modprobe -i nouveau", "nouveau"),
        ("{ modprobe -i $MODPROBE_MODULE >/dev/null 2>&1; }", "nouveau"),
        ("! (modprobe -ai one nouveau)", "nouveau one"),
        ("modprobe -C /etc/own --dirname /x -i nouveau modeset=1", "nouveau"),
        ("modprobe -i nvidia-current $CMDLINE_OPTS", "nvidia_current"),
        ("modprobe -i -r nouveau", ""),
        ("modprobe --show-depends -i nouveau", ""),
        ("modprobe nouveau", "nouveau"),
        ("modprobe other; modprobe -i that", "that"),  # `other` has a line of its own, below
        ("modprobe first", "nouveau"),
        ("insmod /lib/modules/6.1/nou-veau.ko.xz a=b", "nou_veau"),
        ("insmod /lib/modules/$(uname -r)/nouveau.ko", ANYTHING),
        ("modprobe -i `cat /etc/module`", ANYTHING),
        ("modprobe -i $WANTED", ANYTHING),
        ("/usr/local/bin/choose", ANYTHING),
        ("sh -c 'modprobe -i nouveau'", ANYTHING),
        ("echo 'does not end; modprobe -i nouveau", ""),
    ],
)
def test_what_a_line_of_modprobes_may_load(command: str, loads: str | None) -> None:
    lines = f"install nouveau {command}\ninstall other /bin/false\ninstall first modprobe second\ninstall second modprobe -i nouveau\n"
    found = install_lines.loaded(kmod.configuration([lines]), "nouveau")
    assert found == (None if loads is None else frozenset(loads.split()))


def test_a_line_may_be_for_more_than_one_module_and_needs_a_command() -> None:
    settings = kmod.configuration(["install nouveau\ninstall nou* /bin/false\nsoftdep nv* post: a pre: b-c d\nsoftdep nvidia pre: e\n"])
    assert (settings.command("nouveau"), settings.command("nvidia")) == ("/bin/false", None)
    assert settings.loaded_before("nvidia") == {"b_c", "d", "e"}


NO_LISTS: Files = {"/etc/modprobe.d/nvidia.conf": b"", "/usr/lib/modprobe.d/nouveau.conf": b""}
KARGS, LINE, GRUB = "/usr/lib/bootc/kargs.d/20.toml", "/etc/kernel/cmdline", "/etc/default/grub"
VFIO, STUB = at("kernel/vfio-pci.ko", module("vfio_pci", packed=False)), at("kernel/pci-stub.ko", module("pci_stub", packed=False))
BUILT_IN = at("modules.builtin.modinfo", b"pci_stub.license=GPL\0pci_stub.parm=ids:initial PCI IDs to add\0")


def told(*words: str) -> Files:
    return {KARGS: f"kargs = [{', '.join(repr(word) for word in words)}]\n".encode()}


def lines(text: str) -> Files:
    """Of two lines for a module, these count: their file is read first."""
    return {"/etc/modprobe.d/00-own.conf": text.encode() + b"\n"}


def without_lock(base: Filesystem) -> Filesystem:
    """An image that somebody else built, who may have told the kernel's arguments in other files than ours."""
    return replace(base, entries={path: entry for path, entry in base.entries.items() if path != LOCK_PATH})


RULE, LOADS = "/etc/udev/rules.d/90-a.rules", "/etc/modules-load.d/9.conf"
INSIDE = initramfs(
    {"kernel/vfio-pci.ko": module("vfio_pci", packed=False)},
    more={"etc/modprobe.d/a.conf": b"options vfio-pci ids=10de:27b8\n", "usr/lib/modules-load.d/a.conf": b"vfio-pci\n"},
)


def rule(driver: str, asked: str = "") -> Files:
    """A rule of udev's that gives the vendor's devices to a driver."""
    text = f'ACTION=="add", SUBSYSTEM=="pci", {asked}ATTR{{vendor}}=="0x10de", ATTR{{driver_override}}="{driver}"\n'
    return {RULE: text.encode()}


NVIDIA_CONF, DEVICE = "/etc/modprobe.d/nvidia.conf", "pci:v000010DEd000027B8sv00000000sd00000000bc03sc"
NOT_LISTED = "nouveau is for the same devices, and not blacklisted"
TAKEN = "vfio-pci is told to take 10de:27b8 before the driver can"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({**NO_LISTS, **lines("install nouveau /bin/true; modprobe --ignore-install nouveau")}, NOT_LISTED),
        ({**NO_LISTS, **lines("install nouveau /bin/false || /sbin/modprobe -i nouveau")}, NOT_LISTED),
        ({**NO_LISTS, **lines("options nouveau modeset=0\noptions nouveau modeset=1")}, NOT_LISTED),
        ({**NO_LISTS, **lines("options nouveau modeset=0"), **told("nouveau.modeset=1")}, NOT_LISTED),
        ({**NO_LISTS, **lines("options nouveau modeset=1"), **told("nomodeset")}, NOT_LISTED),
        ({**NO_LISTS, GRUB: b'#GRUB_CMDLINE_LINUX="modprobe.blacklist=nouveau"\n'}, NOT_LISTED),
        (lines("softdep nvidia pre: nouveau"), "nouveau is for the same devices, and loaded before it all the same"),
        (lines("install nvidia-current modprobe nouveau; modprobe -i nvidia-current"), "loaded before it all the same"),
        ({**VFIO, **told("vfio-pci.ids=8086:1,10DE:27B8")}, TAKEN),
        ({**VFIO, **told("vfio_pci.ids=10de:27b8:1028:1"), **lines("blacklist vfio-pci")}, TAKEN),
        ({**VFIO, LINE: b"quiet vfio-pci.ids=10de:ffffffff\n"}, TAKEN),
        ({**VFIO, **lines("options vfio-pci ids=10de:27b8\nsoftdep nvidia pre: vfio-pci")}, TAKEN),
        ({**VFIO, **lines("options vfio-pci ids=10de:27b8\nsoftdep nvidia* pre: vfio")}, ""),
        ({**VFIO, **lines("options vfio-pci ids=10de:27b8"), **told("rd.driver.pre=vfio-pci")}, TAKEN),
        ({**VFIO, **lines("options vfio-pci ids=10de:27b8\ninstall nvidia modprobe vfio-pci; modprobe -i nvidia-current")}, TAKEN),
        ({**STUB, **told("pci-stub.ids=10de:27b8")}, "pci-stub is told to take 10de:27b8"),
        ({**BUILT_IN, **told("pci-stub.ids=10de:27b8")}, "pci-stub is told to take 10de:27b8"),
        (told("pci-stub.ids=10de:27b8"), ""),  # of a driver that the image has not
        ({**BUILT_IN, **lines("options pci-stub ids=10de:27b8")}, ""),  # which nothing reads
        ({**VFIO, **lines("options vfio-pci ids=10de:27b8"), "/etc/modules-load.d/a.conf": b"vfio-pci\n"}, TAKEN),
        ({**VFIO, **lines("options vfio-pci ids=10de:27b8"), LOADS: "../modules", "/etc/modules": b"; ours\nvfio_pci\n"}, TAKEN),
        ({**VFIO, **at("initramfs.img", INSIDE)}, TAKEN),
        (rule("vfio-pci"), f"{RULE} gives 10de:27b8 to vfio-pci (driver_override)"),
        (rule("none", 'ATTR{device}=="0x27b8|0x27b7", ATTR{class}=="0x03*", '), "to none (driver_override)"),
        (rule("vfio-pci", 'ATTR{class}!="0x0403*", \\\n'), "to vfio-pci (driver_override)"),
        (rule("nvidia"), ""),
        (rule(""), ""),
        (rule("vfio-pci", 'ATTR{device}=="0x2204", '), ""),
        (rule("vfio-pci", 'ATTR{class}=="0x040300", '), ""),
        (rule("vfio-pci", 'KERNEL=="0000:01:00.0", '), ""),
        (rule("vfio-pci", 'ENV{MODE}!="pass", GOTO="end"\n'), ""),
        ({"/usr/lib/udev/rules.d/90-a.rules": rule("vfio-pci")[RULE], RULE: "/dev/null"}, ""),
        ({**VFIO, "/etc/driverctl.d/0000:01:00.0": b"vfio-pci\n"}, ""),
        ({**VFIO, **lines("options vfio-pci ids=10de:27b8\nblacklist vfio-pci"), LOADS: b"vfio-pci\n"}, ""),
        ({**VFIO, **lines("options vfio-pci ids=10de:27b8"), LOADS: b"#vfio-pci\nvfio\n"}, ""),
        ({**VFIO, **lines("options vfio-pci ids=10de:27b8"), "/usr/lib/modules-load.d/9.conf": b"vfio-pci\n", LOADS: "/dev/null"}, ""),
        ({**VFIO, **lines("options vfio-pci ids=8086:1"), LOADS: b"vfio-pci\n"}, ""),
        ({**VFIO, **lines("options vfio-pci ids=10de:27b8")}, ""),
        ({**VFIO, **lines("options vfio-pci ids=10de:27b8\nsoftdep nvidia post: vfio-pci")}, ""),
        ({**VFIO, **told("vfio-pci.ids=10de:1eb8")}, ""),
        ({**VFIO, **told("vfio-pci.ids=10de:27b8", "vfio-pci.ids=8086:1")}, ""),
        ({**VFIO, **told("vfio-pci.ids=10de:,x:y")}, ""),
        ({**VFIO, **told("vfio-pci.ids=10de:27b8"), **lines("install vfio-pci /bin/false")}, ""),
        ({**NO_LISTS, **lines("options nouveau modeset=0")}, ""),
        ({**NO_LISTS, **told("nouveau.modeset=0")}, ""),
        ({**NO_LISTS, **told("nomodeset")}, ""),
        ({**NO_LISTS, **lines("install nouveau exit 1")}, ""),
        ({**NO_LISTS, **lines("install nouveau modprobe nvidia")}, ""),
        ({**NO_LISTS, **lines("install nouv* /dev/null")}, ""),
        ({**NO_LISTS, LINE: b"modprobe.blacklist=nouveau\n"}, ""),
        ({**NO_LISTS, "/usr/lib/kernel/cmdline": b"modprobe.blacklist=nouveau\n"}, ""),
        ({**NO_LISTS, GRUB: b'GRUB_CMDLINE_LINUX="quiet modprobe.blacklist=nouveau" # ours\n'}, ""),
    ],
)
def test_who_else_gets_the_accelerator(files: Files, said: str, base: Filesystem, tmp_path: Path) -> None:
    found = claims.rivals(read(tmp_path, [files], without_lock(base)), EXPECTED)
    assert isinstance(found, list)
    assert bool(found) is bool(said), found
    assert said in "".join(found)


def test_a_rival_in_the_kernel_itself_takes_no_device_where_it_is_told_so(base: Filesystem, tmp_path: Path) -> None:
    inside: Files = {
        f"{FOLDER}/kernel/drivers/gpu/drm/.wh.nouveau": b"",
        **at("modules.builtin.modinfo", b"nouveau.alias=pci:v000010DEd*sv*sd*bc03sc*i*\0"),
    }
    by_file = read(tmp_path, [{**inside, **lines("options nouveau modeset=0")}], base)
    assert claims.rivals(by_file, EXPECTED) == ["nouveau is for the same devices, and built into the kernel"]
    assert claims.rivals(read(tmp_path, [{**inside, **told("nouveau.modeset=0")}], base), EXPECTED) == []


STOCK = (
    "install nvidia modprobe -i nvidia-current $CMDLINE_OPTS\n"
    "install nvidia-modeset modprobe nvidia ; modprobe -i nvidia-current-modeset $CMDLINE_OPTS\n"
    "install nvidia-uvm modprobe nvidia ; modprobe -i nvidia-current-uvm $CMDLINE_OPTS\n"
    "alias pci:v000010DEd*sv*sd*bc03sc02i00* nvidia\nblacklist nouveau"
)
"""Debian's, of nvidia-kernel-support."""


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (lines("install nvidia-current exit 1"), "nvidia_current is never loaded: modprobe runs `exit 1` instead"),
        (lines("install nvidia-current /dev/null"), "nvidia_current is never loaded"),
        (lines("install nvidia* echo off"), "nvidia_current is never loaded: modprobe runs `echo off` instead"),
        (lines("install nvidia-current /bin/false && modprobe -i nvidia-current"), "nvidia_current is never loaded"),
        (lines("install nvidia-current modprobe -i ext4"), "nvidia_current is never loaded: modprobe runs `modprobe -i ext4`"),
        (lines("install nvidia-current-uvm /bin/true"), "nvidia_current_uvm is never loaded"),
        ({LINE: b"# module_blacklist=x\nquiet module_blacklist=nvidia_current\n"}, "nvidia_current is blacklisted"),
        ({GRUB: b"GRUB_CMDLINE_LINUX_DEFAULT=modprobe.blacklist=nvidia\n"}, "nvidia is blacklisted"),
        (
            {GRUB: b"GRUB_CMDLINE_LINUX=a\n", f"{GRUB}.d/9.cfg": b'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX module_blacklist=nvidia"\n'},
            "nvidia is blacklisted",
        ),
        (lines(f"alias {CLAIM} off"), f"modprobe's aliases give {DEVICE}02i00 to off, and not to the accelerator's driver"),
        (lines("alias pci:v000010DEd000027B8sv*sd*bc*sc*i* nouveau\nalias pci:* vfio-pci"), "to nouveau and vfio_pci, and not to"),
        (lines("alias pci:v000010de* off"), ""),  # it is not how the kernel writes it
        (lines(f"alias {CLAIM} nvidia\nalias {CLAIM} off"), ""),  # every alias counts
        (lines(f"alias {CLAIM} nvidia-current-uvm"), ""),  # which needs it
        (lines("alias pci:v000010DEd*sv000010DEsd*bc03sc02i00* off\nalias pci:v000010DEd00002236sv*sd*bc03sc02i00* off"), ""),
        (lines(f"alias {CLAIM} some\ninstall some /usr/local/bin/load"), ""),
        ({NVIDIA_CONF: b"blacklist nouveau\n"}, "modprobe does not find updates/dkms/nvidia-current.ko as nvidia, which programs ask for"),
        ({NVIDIA_CONF: b"install nvidia modprobe -i nvidia-current"}, "does not find updates/dkms/nvidia-current-uvm.ko as nvidia_uvm"),
        (lines("alias nvidia off"), "does not find updates/dkms/nvidia-current.ko as nvidia"),
        (lines("alias nvidia-current-uvm off"), "modprobe loads off in the place of nvidia_uvm"),
        ({NVIDIA_CONF: b"alias nvidia nvidia-current\nalias nvidia-uvm nvidia-current-uvm\n"}, ""),
        ({NVIDIA_CONF: b"", "/etc/modules-load.d/a.conf": b"# ours\nnvidia-current\n nvidia-current-uvm\n"}, ""),
        ({NVIDIA_CONF: b"", LINE: b"modules-load=nvidia-current,nvidia-current-uvm\n"}, ""),
        ({NVIDIA_CONF: b"", "/etc/modules": b"nvidia-current\n", "/usr/lib/modules-load.d/a.conf": "/etc/modules"}, "as nvidia_uvm"),
        (
            {
                NVIDIA_CONF: b"",
                "/usr/lib/modules-load.d/a.conf": b"nvidia-current\nnvidia-current-uvm\n",
                "/etc/modules-load.d/a.conf": "/dev/null",
            },
            "as nvidia, which",
        ),
        (told("nomodule"), "the kernel loads no module at all (nomodule)"),
        ({LINE: b"sysctl.kernel.modules_disabled=1\n"}, "the kernel loads no module at all (sysctl.kernel.modules_disabled)"),
        (told("nomodule=0"), ""),
        ({"/etc/sysctl.d/9.conf": b"# ours\nkernel.modules_disabled = 1\n"}, "no module can be loaded any more once settings are made"),
        ({"/etc/sysctl.d/9.conf": b"kernel.modules_disabled=1\nkernel.modules_disabled=0\n"}, ""),
        ({"/usr/lib/sysctl.d/9.conf": b"kernel.modules_disabled=1\n", "/etc/sysctl.d/9.conf": "/dev/null"}, ""),
        ({"/etc/sysctl.d/9.conf": b"kernel.modules_disabled=1\n", LOADS: b"nvidia\n"}, ""),
        ({"/etc/sysctl.d/9.conf": b"#kernel.modules_disabled=1\nkernel.dmesg_restrict=1\n"}, ""),
        (lines("alias nouveau off\nalias lbm-nouveau off"), ""),
        (lines(STOCK), ""),
        (lines("install nvidia-current test -e /etc/off || modprobe -i nvidia-current"), ""),
        (lines("install nvidia-current modprobe -i nvidia-tesla || modprobe -i nvidia-current"), ""),
        (lines("install nvidia-current /usr/local/bin/load"), ""),
        (lines("install nvidia modprobe nvidia-current-uvm"), ""),  # which needs it
        (lines("options nvidia-current NVreg_OpenRmEnableUnsupportedGpus=1 modeset=0"), ""),
        ({LINE: b"# module_blacklist=nvidia\n", **told("nomodeset")}, ""),
        ({LINE: b"quiet\n", "/usr/lib/kernel/cmdline": b"module_blacklist=nvidia\n"}, ""),  # the administrator's counts
        (told('dyndbg="file module_blacklist=nvidia +p"'), ""),  # double quotes keep spaces together
        ({LINE: b'dyndbg="file module_blacklist=nvidia +p"\n'}, ""),
        ({GRUB: b"GRUB_CMDLINE_LINUX='module_blacklist=nvidia\nGRUB_TIMEOUT=module_blacklist=nvidia\n"}, ""),
    ],
)
def test_what_keeps_the_accelerators_own_driver_from_it(files: Files, said: str, base: Filesystem, tmp_path: Path) -> None:
    found = claims.disabled(read(tmp_path, [files], without_lock(base)), EXPECTED)
    assert bool(found) is bool(said), found
    assert said in "".join(found)


MASK = "/dev/null"
SILENCED: list[tuple[Files, str]] = [
    ({"/etc/systemd/system/systemd-udevd.service": MASK}, "/etc/systemd/system/systemd-udevd.service masks systemd-udevd.service"),
    ({"/etc/systemd/system/systemd-udev-trigger.service": MASK}, "masks systemd-udev-trigger.service"),
    (told("systemd.mask=systemd-udevd.service"), "no device gets its driver: the kernel's arguments mask systemd-udevd.service"),
    ({"/etc/systemd/system/sysinit.target.wants/systemd-udev-trigger.service": MASK}, "sysinit.target does not start systemd-udev-trigger"),
    ({"/etc/udev/rules.d/80-drivers.rules": MASK}, "no rule of udev's loads a device's module"),
    (
        {"/etc/udev/rules.d/80-drivers.rules": b'# RUN{builtin}+="kmod load"\nSUBSYSTEM=="scsi", RUN{builtin}+="kmod load sg"\n'},
        "no rule of udev's loads a device's module",
    ),
]


@pytest.mark.parametrize(("files", "said"), SILENCED)
def test_what_keeps_udev_from_giving_devices_their_drivers(files: Files, said: str, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, files)["driver-enabled"]
    assert (finding.outcome, said in finding.message) == (Outcome.NO, True)
    by_name: Files = {"/etc/modules-load.d/own.conf": b"nvidia-current\n"}
    assert judged(base, tmp_path / "named", files, by_name)["driver-enabled"].outcome is Outcome.YES


@pytest.mark.parametrize(
    "files",
    [
        {"/etc/udev/rules.d/70-own.rules": MASK, "/etc/systemd/system/systemd-udev-settle.service": MASK},
        {"/etc/udev/rules.d/80-drivers.rules": b'ACTION!="remove", ENV{MODALIAS}=="?*", RUN{builtin}+="kmod load $env{MODALIAS}"\n'},
        {"/etc/systemd/system/systemd-udevd.service.d/own.conf": b"[Service]\nTimeoutSec=9\n"},
        {f"/usr/lib/systemd/system/.wh.systemd-{name}.service": b"" for name in ("udevd", "udev-trigger")},  # an image with another udev
    ],
)
def test_udev_gives_drivers_all_the_same(files: Files, base: Filesystem, tmp_path: Path) -> None:
    assert judged(base, tmp_path, files)["driver-enabled"].outcome is Outcome.YES


def test_two_drivers_that_call_themselves_alike_may_each_be_chosen(base: Filesystem, tmp_path: Path) -> None:
    other = {**at("updates/dkms/nvidia-tesla.ko", driver_module()), **lines("install nvidia modprobe -i nvidia-tesla")}
    assert claims.disabled(read(tmp_path, [other], base), EXPECTED) == []


def test_the_kernels_own_driver_takes_nothing_without_modes(base: Filesystem, tmp_path: Path) -> None:
    own: Files = {
        **{path: data for path, data in tree().items() if path.startswith(FOLDER)},
        f"{FOLDER}/updates/.wh.dkms": b"",
        **at("kernel/amdgpu.ko", module("amdgpu", packed=False, more=[("alias", "pci:v00001002d000074A1sv*sd*bc*sc*i*")])),
    }
    amd = Expected(pci_ids=("1002:74a1",))
    assert claims.disabled(read(tmp_path, [own], base), amd) == []
    assert claims.disabled(read(tmp_path, [{**own, **told("nomodeset")}], base), amd) == ["amdgpu is told to take no device (modeset)"]


def test_where_we_install_an_image_no_other_file_has_the_kernels_arguments(base: Filesystem, tmp_path: Path) -> None:
    files: Files = {LINE: b"a\n", GRUB: b"GRUB_CMDLINE_LINUX_DEFAULT+=' b'\n"}
    assert cmdline.arguments(read(tmp_path, [files], base)) == ("quiet",)
    assert cmdline.arguments(read(tmp_path, [files], without_lock(base))) == ("quiet", "a", "b")
    assert judged(base, tmp_path, {**NO_LISTS, LINE: b"modprobe.blacklist=nouveau\n"})["driver-rivals"].outcome is Outcome.NO
