"""Debian as a node's OS, an app's root and the tools root: package names, files and build scripts, as text.

The scripts run with sh inside the new root, as its root user, without a network. The layout they leave is the bootable container's,
https://bootc-dev.github.io/bootc/bootc-images.html, with OSTree as Debian packages it.
"""

from __future__ import annotations

import re

from aistack.compose.tidy import SET_ID
from aistack.facts.files import APP, RENDER, Rendered, RenderedFile, RenderedLink
from aistack.facts.systems import Kernel, Os

BASE = (
    "ca-certificates",
    "crun",
    "dbus",
    "dracut",
    "e2fsprogs",
    "gir1.2-ostree-1.0",
    "grub-common",  # grub-editenv: boot counting
    "iproute2",
    "kmod",
    "libpam-systemd",
    "netavark",
    "nftables",
    "openssh-server",
    "ostree",
    "ostree-boot",
    "podman",
    "python3",
    "python3-gi",
    "python3-packaging",
    "python3-typer",
    "python3-yaml",
    "skopeo",
    "systemd",
    "systemd-resolved",
    "systemd-sysv",
    "systemd-timesyncd",
    "tzdata",
    "udev",
    "zstd",
)

TOOLS = (
    "containers-storage",
    "dosfstools",
    "e2fsprogs",
    "fdisk",
    "gir1.2-ostree-1.0",
    "grub-common",
    "grub-efi-{arch}-signed",
    "mtools",
    "ostree",
    "python3",
    "python3-gi",
    "python3-packaging",
    "python3-yaml",
    "qemu-utils",
    "shim-signed",
    "skopeo",
    "zstd",
)


def base_packages(os: Os) -> tuple[str, ...]:
    """What a node's OS consists of beside its kernel and driver: as little as boots, updates itself and runs containers."""
    return tuple(sorted({*BASE, *os.packages}))


def tools_packages(arch: str) -> tuple[str, ...]:
    """The programs that import images into OSTree and write disks for nodes of that architecture; only amd64 also boots by BIOS."""
    return (*(name.replace("{arch}", arch) for name in TOOLS), *(("grub-pc-bin",) if arch == "amd64" else ()))


def kernel_images(kernel: Kernel, arch: str) -> str:
    """A regular expression for the packages that hold one kernel each of a flavour, as its meta package is called without the version."""
    name = re.escape(kernel.packages[0].replace("{arch}", arch))
    return name.replace("linux\\-image\\-", r"linux-image-\d[0-9A-Za-z.+~]*-", 1)


def kernel_headers(kernel: str) -> str:
    """The package with what modules are compiled against, for the kernel of that version string."""
    return f"linux-headers-{kernel}"


def app_packages(os: Os) -> tuple[str, ...]:
    """What every app's root has beside the essential packages and its own: certificates, to speak TLS."""
    return ("ca-certificates",)


def app_python(python: str) -> tuple[Rendered, ...]:
    """What makes the folder of an app's wheels a virtual environment of the root's Python (`3.13`), without that root's own modules.

    https://docs.python.org/3/library/site.html says how `pyvenv.cfg` is read.
    """
    settings = f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {python}\n"
    return (
        RenderedLink(path=f"{APP}/bin/python", target=f"/usr/bin/python{python}"),
        RenderedLink(path=f"{APP}/bin/python3", target="python"),
        _file(f"{APP}/pyvenv.cfg", settings),
    )


def base_files() -> tuple[Rendered, ...]:
    """The files of a base that no package brings, sorted by path; the node part's are beside them."""
    files: list[Rendered] = [
        _file("/usr/lib/dracut/dracut.conf.d/90-aistack.conf", DRACUT),
        _file("/usr/lib/ostree/prepare-root.conf", PREPARE_ROOT),
        _file("/usr/lib/bootc/kargs.d/10-aistack.toml", KERNEL_ARGUMENTS),
        *(
            _file(f"/usr/lib/bootc/kargs.d/20-aistack-console-{arch}.toml", CONSOLE_ARGUMENTS.format(arch=arch, serial=serial))
            for arch, serial in CONSOLES.items()
        ),
        _file("/usr/lib/systemd/system.conf.d/50-aistack-watchdog.conf", WATCHDOG),
        _file("/usr/lib/sysusers.d/00-aistack.conf", USERS),
        _file("/usr/lib/tmpfiles.d/aistack-base.conf", TMPFILES),
        _file("/etc/containers/storage.conf", CONTAINERS_STORAGE),
        RenderedLink(path="/etc/resolv.conf", target="../run/systemd/resolve/stub-resolv.conf"),
    ]
    return tuple(sorted(files, key=lambda file: file.path))


def module_files() -> tuple[Rendered, ...]:
    """The files of a root that compiles modules, beside its packages: DKMS is not to make up a key and sign with it."""
    return (_file("/etc/dkms/framework.conf.d/aistack.conf", "sign_file=/nonexistent\n"),)


MODULE_STAND_INS = ("dkms", "update-initramfs")
"""Programs that do nothing while that root is made: what they would do is done by `module_script`, or by nobody."""


def _file(path: str, text: str) -> RenderedFile:
    return RenderedFile(path=path, content=text.encode())


# Made for any machine, not for the one that builds; display drivers carry firmware and are loaded from the real root. What a package
# lists in modules-load.d would be brought along with all its firmware, whatever drivers are left out.
DRACUT = """\
hostonly="no"
hostonly_cmdline="no"
reproducible="yes"
early_microcode="no"
compress="zstd -9 -q -T0"
add_dracutmodules+=" ostree "
omit_dracutmodules+=" plymouth drm hwdb network iscsi nfs nbd multipath mdraid lvm crypt btrfs dmraid i18n resume terminfo "
omit_dracutmodules+=" systemd-modules-load "
omit_drivers+=" amdgpu radeon nouveau nvidia.* i915 xe "
install_optional_items+=" /usr/bin/less "
"""

# Debian 13 builds ostree without composefs: asking for it here would fail the boot.
PREPARE_ROOT = """\
[sysroot]
readonly = true
"""

# No partition is to be guessed: the deployment says where / and /boot are. A panic restarts, so that boot counting can act.
# The list of security modules leaves out bpf: systemd would load its file system filter at each start, which nothing here uses and
# which takes 50 s on an emulated processor. systemd.ssh_auto looks for a vsock that no node has.
KERNEL_ARGUMENTS = """\
kargs = ["quiet", "audit=0", "panic=10", "systemd.gpt_auto=0", "systemd.ssh_auto=0", "lsm=landlock,lockdown,yama,integrity,apparmor"]
"""

# The screen, and the serial line as the architecture names its first one; the last is where systemd writes.
CONSOLES = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
CONSOLE_ARGUMENTS = """\
kargs = ["console=tty0", "console={serial},115200"]
match-architectures = ["{arch}"]
"""

WATCHDOG = """\
[Manager]
RuntimeWatchdogSec=60s
RebootWatchdogSec=10min
"""

# Fixed numbers: files below /var keep them from one base to the next, whatever order packages are configured in.
USERS = f"""\
g systemd-journal 899
g input 898
g sgx 897
g kvm 896
g render {RENDER}
g systemd-coredump 894
g clock 893
u! messagebus 890 "System Message Bus" /nonexistent /usr/sbin/nologin
u! systemd-network 889 "systemd Network Management" / /usr/sbin/nologin
u! systemd-resolve 888 "systemd Resolver" / /usr/sbin/nologin
u! systemd-timesync 887 "systemd Time Synchronization" / /usr/sbin/nologin
u! sshd 886:65534 "sshd user" /run/sshd /usr/sbin/nologin
g _ssh 885
u! nvpd 884 "NVIDIA Persistence Daemon" /nonexistent /usr/sbin/nologin
g rdma 883
"""

TMPFILES = """\
L /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg
d /var/home 0755 root root -
d /var/srv 0755 root root -
d /var/opt 0755 root root -
d /var/mnt 0755 root root -
d /var/roothome 0700 root root -
"""

CONTAINERS_STORAGE = """\
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
"""

_BYTE_CODE = """\
# Byte code that is valid by content (every file's time is reset) and trusted as it lies (the root is read-only).
if command -v python3 >/dev/null; then
    # One process, in the order of names, so that the bytes are the same each time; a template that is not Python is no error.
    for folder in /usr/lib/python3* /usr/share/python3 /usr/lib/aistack/python; do
        [ ! -d "$folder" ] || python3 -m compileall -q -f --invalidation-mode unchecked-hash "$folder" || true
    done
fi
"""

_CLEAN = f"""\
# Nobody logs in to change a password or to become another: what serves that need not run with more rights than its caller's.
find / -xdev -type f -perm /6000 {" ".join(f"! -path {path}" for path in SET_ID)} -exec chmod a-s {{}} +
# Documentation was left out as packages were unpacked; so are the folders that held it, and the links to it.
find /usr/share/doc -xtype l -delete -o -type d -empty -delete
rm -f /etc/machine-id /etc/.resolv.conf.systemd-resolved.bak /var/lib/dbus/machine-id /etc/ssh/ssh_host_* /etc/fstab /etc/.pwd.lock
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid-
rm -rf /var/lib/apt/lists/* /var/cache/apt/*
find /var/log -type f -delete
rm -f /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/lib/dpkg/lock* /var/lib/dpkg/triggers/Lock
"""

_BASE = """\
set -- /usr/lib/modules/*
[ $# -eq 1 ] || { echo "a base holds one kernel, not $#: $*" >&2; exit 1; }
kernel=${1##*/}
echo "$(date +%T) initramfs for $kernel"
[ ! -d "$1/updates" ] || depmod --all "$kernel"
# Since 7.3 Debian's kernels bring these files where we want them, and /boot has links.
for kind in vmlinuz System.map config; do
    [ -e "$1/$kind" ] || [ ! -e "/boot/$kind-$kernel" ] || cp "/boot/$kind-$kernel" "$1/$kind"
done
DRACUT_NO_XATTR=1 dracut --quiet --force --no-hostonly --reproducible --kver "$kernel" "$1/initramfs.img"
[ -s "$1/initramfs.img" ]
chmod 0644 "$1/initramfs.img"
rm -rf /boot/* /vmlinuz* /initrd.img*
# No time zone is UTC; a zone, or a link for a keyboard, would keep the credentials firstboot.timezone and firstboot.keymap from counting.
rm -f /etc/localtime /etc/timezone /etc/vconsole.conf
# A copy of podman for podman's own tests, as large as podman.
rm -f /usr/libexec/podman/podman-testing

echo "$(date +%T) units"
# Which units start is said once, by the presets, not by each package as it is installed.
rm -rf /etc/systemd/system/* /etc/systemd/user/* /etc/rc?.d
systemctl preset-all --quiet
# journalctl looks for its catalog in /var: compiled here, it lies in the image, and tmpfiles.d makes the link.
journalctl --update-catalog
mv /var/lib/systemd/catalog/database /usr/lib/systemd/catalog/
# The linker's cache and the message catalog are in the image; foreign binaries are never run. On an emulated processor each costs
# seconds before sysinit.target.
systemctl mask --quiet ldconfig.service systemd-journal-catalog-update.service systemd-binfmt.service
"""

_LAYOUT = """\
mkdir -p /usr/lib/sysimage
mv /var/lib/dpkg /usr/lib/sysimage/dpkg
rm -rf /var/lib/systemd/deb-systemd-helper* /var/lib/systemd/deb-systemd-user-helper* /var/cache/debconf /var/lib/ucf /var/lib/pam \\
    /var/lib/apt /var/cache/apt /var/log/apt /var/tmp/* /var/backups
list=/usr/lib/tmpfiles.d/00-aistack-var.conf
(cd / && find var -mindepth 1 -type d ! -path 'var/tmp*' -printf 'd /%p %#m %U %G -\\n') | LC_ALL=C sort > $list
rm -rf /var/* /var/.[!.]* /home /srv /opt /mnt /media /root
mkdir -p /sysroot /efi
ln -s var/home /home
ln -s var/srv /srv
ln -s var/opt /opt
ln -s var/mnt /mnt
ln -s run/media /media
ln -s var/roothome /root
ln -s sysroot/ostree /ostree
"""

_MODULES = """\
# DKMS knows how each package's sources are compiled and what its modules are called. A time, a user or a host must not get into them.
export KBUILD_BUILD_TIMESTAMP=2020-01-01 KBUILD_BUILD_USER=aistack KBUILD_BUILD_HOST=aistack
for settings in /usr/src/*/dkms.conf; do
    name=$(sed -n 's/^PACKAGE_NAME="\\{0,1\\}\\([^"]*\\)"\\{0,1\\}$/\\1/p' "$settings")
    version=$(sed -n 's/^PACKAGE_VERSION="\\{0,1\\}\\([^"]*\\)"\\{0,1\\}$/\\1/p' "$settings")
    dkms add -m "$name" -v "$version"
    ended=0
    dkms build -m "$name" -v "$version" -k "$1" || ended=$?
    find "/var/lib/dkms/$name" -name make.log -exec cat {} +
    [ $ended = 0 ] || exit $ended
    find "/var/lib/dkms/$name" -path '*/module/*.ko*' ! -type d -exec mv {} /out/ \\;
done
# Loaded as they are: a signature is for the module, not for an archive of it, and the image's layer is compressed anyhow.
find /out -name '*.xz' -exec unxz {} + -o -name '*.gz' -exec gunzip {} + -o -name '*.zst' -exec unzstd -q --rm {} +
"""

_APP = """\
rm -rf /var/cache/* /var/lib/apt /var/lib/systemd /var/log/apt /var/backups /etc/rc?.d /boot /media /mnt /srv /home
"""


def base_script() -> str:
    """What makes an installed root a bootable image: initramfs, presets, layout."""
    return f"(\n{_BYTE_CODE}) &\n{_BASE}wait\n{_CLEAN}{_LAYOUT}"  # byte code is compiled beside the initramfs


def module_script() -> str:
    """What compiles every module of the root's packages for the kernel that is its first argument, into /out."""
    return f"set -eu\n{_MODULES}"


def app_script() -> str:
    """What an app's root need not carry is removed; the list of packages stays, so that it can be told what is inside."""
    return _BYTE_CODE + _CLEAN + _APP
