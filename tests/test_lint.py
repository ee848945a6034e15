"""Lints and what no image should carry: a healthy image with one fault planted, and the check that names it."""

from __future__ import annotations

from pathlib import Path

import pytest
from elf_samples import binary, initramfs
from images_read import DIGEST, PEM, STATUS, SYSTEMD_UNITS, Files, compiled, folder, healthy, owned, read
from kernel_samples import KERNEL, LIBRARIES, LOADER, program

from aistack.compose import checks, lint, quadlets, tidy
from aistack.compose.checks import signing
from aistack.compose.checks.expected import Expected
from aistack.compose.findings import Finding, Outcome
from aistack.compose.render.system import BOUND_IMAGES, QUADLETS
from aistack.compose.verify import LOCK_PATH, is_bootable, verify_image
from aistack.host.layers import Entry

CAPABILITY = (("security.capability", b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),)
OSTREE = (
    b"Package: libostree-1-1\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2025.2-1\nDepends: libc6, libcurl3t64-gnutls\n\n"
)
PREPARE_ROOT = "/usr/lib/ostree/prepare-root.conf"
PYC = "/usr/lib/__pycache__/a.cpython-313.pyc"
INITRAMFS = f"/usr/lib/modules/{KERNEL}/initramfs.img"
SHADOW = b"root:*:18262:0:99999:7:::\n"

EMPTY_PROGRAM = owned(b"", mode=0o755)
OTHER_INITS: tuple[Files, ...] = tuple(
    {"/usr/sbin/init": f"../bin/{name}", f"/usr/bin/{name}": EMPTY_PROGRAM} for name in ("runit", "s6-svscan", "finit", "upstart", "tini")
)
LOADER_FILE = f"{LIBRARIES}/ld-linux-x86-64.so.2"
LOADED: Files = {"/lib64": "usr/lib64", LOADER: f"{LIBRARIES}/ld-linux-x86-64.so.2", "/usr/bin/tool": program()}
ELSEWHERE: Files = {
    f"{LIBRARIES}/liba.so.1": "/etc/alternatives/a",
    "/etc/alternatives/a": "/usr/lib/own/b/liba.so.1.2",
    "/usr/lib/own/b/liba.so.1.2": binary(),
}
"""A library where the loader finds it by its links."""

FAULTS: list[tuple[str, Files, str]] = [
    ("var-run", {"/var/run": folder("/var/run")}, "/var/run"),
    ("buildah-injected", {"/etc/hostname": b""}, "/etc/hostname is an empty file"),
    ("buildah-injected", {"/etc/resolv.conf": b""}, "/etc/resolv.conf is an empty file"),
    ("etc-usretc", {"/usr/etc/passwd": b""}, "/usr/etc"),
    ("bootc-kargs", {"/usr/lib/bootc/kargs.d/20-bad.toml": b'kargs = "quiet"\n'}, "20-bad.toml: `kargs` must be a list"),
    ("bootc-kargs", {"/usr/lib/bootc/kargs.d/20-bad.toml": b'kargs = []\narch = ["x"]\n'}, "`arch` is not a known key"),
    ("bootc-kargs", {"/usr/lib/bootc/kargs.d/20-bad.toml": b"kargs = [\n"}, "20-bad.toml: "),
    (
        "bootc-kargs",
        {"/usr/lib/bootc/kargs.d/20-bad.toml": b'kargs = ["aistack.trial"]\n'},
        "20-bad.toml: `aistack.trial` is the boot menu's",
    ),
    ("kernel", {"/usr/lib/modules/6.1.0/vmlinuz": b"older"}, f"kernels in /usr/lib/modules: 6.1.0, {KERNEL}"),
    ("kernel", {"/usr/lib/modules/6.1.0/vmlinuz": b"older"}, "/usr/lib/modules/6.1.0 has no initramfs.img"),
    ("utf8", {"/usr/share/caf\udce9": b""}, "is not UTF-8"),
    ("utf8", {"/usr/share/link": "caf\udce9"}, "/usr/share/link"),
    ("api-base-directories", {"/sys": "usr/sys"}, "/sys is no folder"),
    ("baseimage-root", {"/ostree": "sysroot"}, "/ostree is not a link to sysroot/ostree"),
    ("baseimage-root", {"/sysroot": "var/sysroot"}, "/sysroot is no folder"),
    ("baseimage-root", {f"{lint.MODEL_ROOT}/sysroot": b""}, f"{lint.MODEL_ROOT}/ostree is not a link"),
    ("baseimage-composefs", {PREPARE_ROOT: b"[composefs]\nenabled = no\n"}, "does not enable composefs"),
    ("baseimage-composefs", {PREPARE_ROOT: b"[sysroot\n"}, "does not enable composefs"),
    ("baseimage-composefs", {PREPARE_ROOT: "\ufeff[composefs]\nenabled = yes\n".encode()}, "does not enable composefs"),
    ("baseimage-composefs", {"/etc/ostree/prepare-root.conf": b""}, "/etc/ostree/prepare-root.conf does not enable"),
    ("var-log", {"/var/log/dpkg.log": b"installed dash\n"}, "/var/log/dpkg.log"),
    ("var-tmpfiles", {"/var/lib/thing": b"state"}, "/var/lib/thing is state"),
    ("var-tmpfiles", {"/var/lib/folder": folder("/var/lib/folder")}, "/var/lib/folder is made by no line"),
    ("sysusers", {"/etc/passwd": b"root:x:0:0::/root:/bin/bash\nada:x:1000:0::/:/bin/sh\n"}, "ada of /etc/passwd"),
    ("sysusers", {"/etc/group": b"root:x:0:\nada:x:1000:\n"}, "ada of /etc/group"),
    ("nonempty-boot", {"/boot/vmlinuz": b"kernel"}, "/boot/vmlinuz"),
    ("nonempty-run-tmp", {"/run/lock/pid": b"1\n"}, "/run/lock/pid"),
    ("nonempty-run-tmp", {"/tmp/build.log": b""}, "/tmp/build.log"),
    ("state-folders", {"/home": folder("/home")}, "/home does not lead into /var"),
    ("init", {"/usr/sbin/.wh.init": b""}, "/sbin/init is not there, or leads to nothing"),
    ("init", {"/.wh.sbin": b""}, "/sbin/init is not there"),
    ("init", {"/usr/lib/systemd/.wh.systemd": b""}, "/sbin/init is not there, or leads to nothing"),
    ("init", {"/usr/sbin/init": "/usr/bin/kmod"}, "/sbin/init leads to /usr/bin/kmod"),
    ("init", {"/usr/sbin/init": "../bin/runit", "/usr/bin/runit": EMPTY_PROGRAM}, "/sbin/init leads to /usr/bin/runit"),
    ("init", {"/usr/sbin/init": b"exec /usr/lib/systemd/systemd\n"}, "/usr/sbin/init, which may be executed by nobody"),
    ("init", {"/usr/sbin/modprobe": "/usr/bin/dash"}, "/sbin/modprobe leads to /usr/bin/dash"),
    ("init", {f"{SYSTEMD_UNITS}/.wh.default.target": b""}, "there is no default.target"),
    ("init", {f"{SYSTEMD_UNITS}/.wh.multi-user.target": b""}, "multi-user.target, which is no target"),
    ("init", {"/etc/systemd/system/default.target": "/dev/null"}, "/etc/systemd/system/default.target masks default.target"),
    ("init", {"/etc/systemd/system/multi-user.target": "/dev/null"}, "/etc/systemd/system/multi-user.target masks multi-user.target"),
    (
        "init",
        {"/usr/lib/bootc/kargs.d/20.toml": b'kargs = ["systemd.unit=rescue.target"]\n'},
        "rescue.target is a shell, and starts no system",
    ),
    ("init", {"/usr/lib/bootc/kargs.d/20.toml": b'kargs = ["systemd.unit=gone.target"]\n'}, "there is no gone.target"),
    ("prepare-root", {PREPARE_ROOT: b"[sysroot\nreadonly tru"}, f"{PREPARE_ROOT} is no key file"),
    ("prepare-root", {PREPARE_ROOT: b"enabled = yes\n[composefs]\n"}, f"{PREPARE_ROOT} is no key file"),
    ("prepare-root", {PREPARE_ROOT: bytes(30)}, f"{PREPARE_ROOT} is no key file"),
    ("prepare-root", {"/etc/ostree/prepare-root.conf": b"[a]\n\xff = 1\n"}, "/etc/ostree/prepare-root.conf is no key file"),
    ("prepare-root", {PREPARE_ROOT: "\ufeff[composefs]\nenabled = yes\n".encode()}, f"{PREPARE_ROOT} is no key file"),
    ("prepare-root", {INITRAMFS: initramfs({"usr/lib/ostree/prepare-root.conf": b"-"})}, f"{INITRAMFS}: {PREPARE_ROOT} is no key file"),
    ("mounts", {"/etc/fstab": b"UUID=1111-2222 /var/data ext4 defaults 0 2\n"}, "/etc/fstab: no start without UUID=1111-2222 on /var/data"),
    ("mounts", {"/etc/fstab": b"#\n\n/dev/sdb1\t/srv\tauto\n"}, "/etc/fstab: no start without /dev/sdb1 on /srv"),
    ("bound-links", {f"{BOUND_IMAGES}/gone.image": f"{QUADLETS}/gone.image"}, f"leads to nothing ({QUADLETS}/gone.image)"),
    ("bound-links", {f"{BOUND_IMAGES}/web.image": b"[Image]\nImage=a\n"}, f"{BOUND_IMAGES}/web.image is no link"),
    ("bound-links", {f"{BOUND_IMAGES}/web": f"{QUADLETS}/web.container"}, f"{BOUND_IMAGES}/web is no link to a .container"),
    ("bound-links", {f"{QUADLETS}/web.container": b"[Container]\n#Image=a\n"}, f"{QUADLETS}/web.container, which names no image"),
    ("bound-links", {f"{QUADLETS}/web.container": b"[Container]\nImage=a/%i:1\n"}, "names the image `a/%i:1`, and specifiers are not"),
    ("bound-by-digest", {f"{QUADLETS}/web.container": b"[Container]\nImage = a.example/x:latest\n"}, "binds a.example/x:latest, which may"),
    ("no-package-cache", {"/var/cache/apt/archives/dash.deb": b"!<arch>"}, "/var/cache/apt/archives/dash.deb"),
    ("no-package-cache", {"/var/roothome/.cache/pip/wheel": b"PK"}, "pip"),
    ("no-backups", {"/etc/ssh/sshd_config.dpkg-old": b""}, "sshd_config.dpkg-old"),
    ("no-backups", {"/etc/shadow-": b""}, "/etc/shadow-"),
    ("no-backups", {"/etc/.pwd.lock": b""}, "/etc/.pwd.lock"),
    ("no-backups", {"/usr/share/thing/notes.txt~": b""}, "notes.txt~"),
    ("no-builder", {"/etc/hostname": b"build-host-7\n"}, "/etc/hostname names `build-host-7`"),
    ("no-builder", {"/etc/hosts": b"127.0.0.1 localhost\n10.0.0.7 build-host-7.example.org build-host-7\n"}, "build-host-7.example.org"),
    ("no-builder", {"/etc/mailname": b"buildd\n"}, "/etc/mailname names `buildd`"),
    ("no-builder", {"/etc/resolv.conf": b"nameserver 10.0.0.1\n"}, "/etc/resolv.conf is the builder's"),
    ("package-sources", {"/etc/apt/sources.list": b"deb [trusted=yes] copy:/tmp/repository ./\n"}, "/etc/apt/sources.list"),
    ("package-sources", {"/etc/apt/sources.list.d/local.sources": b"Types: deb\nURIs: file:///tmp/repository\n"}, "local.sources"),
    ("no-identity", {"/etc/machine-id": b"0123456789abcdef0123456789abcdef\n"}, "/etc/machine-id"),
    ("no-identity", {"/etc/ssh/ssh_host_ed25519_key": b"-"}, "ssh_host_ed25519_key"),
    ("no-identity", {"/etc/ssl/private/site.key": PEM}, "/etc/ssl/private/site.key is a private key"),
    ("owners", {"/etc/passwd": "root:x:0:0::/:\na:x:\u00b2:0::/:\n".encode(), "/srv2": Entry(path="", uid=2)}, "/srv2 belongs to 2:0"),
    ("no-identity", {"/var/lib/systemd/random-seed": b"\x01"}, "random-seed"),
    ("no-identity", {"/var/lib/systemd/credential.secret": b"\x01"}, "credential.secret"),
    ("no-identity", {"/var/roothome/.docker/config.json": b'{"auths": {"a.example": {"auth": "dTpw"}}}'}, ".docker/config.json"),
    ("no-password", {"/usr/lib/credstore/passwd.hashed-password.root": b"$6$abc$d\n"}, "passwd.hashed-password.root gives root a password"),
    ("no-password", {"/etc/credstore/passwd.plaintext-password.a": b"a\n"}, "/etc/credstore/passwd.plaintext-password.a gives a a"),
    (
        "no-password",
        {"/usr/lib/bootc/kargs.d/20.toml": b'kargs = ["systemd.set_credential=passwd.hashed-password.root:$y$j9T$a"]\n'},
        "a kernel argument gives root a password",
    ),
    ("no-password", {"/etc/shadow": SHADOW + b"ada:$y$j9T$abc:1::::::\n"}, "ada has a password"),
    ("no-password", {"/etc/shadow": b"root:!$6$abc$def:1::::::\n"}, "root has a password"),
    ("no-password", {"/etc/shadow": b"root:!*ab01FAX.bQRSU:1::::::\n"}, "root has a password"),
    ("no-password", {"/etc/shadow": SHADOW + b"ada::1::::::\n"}, "ada needs no password"),
    ("no-password", {"/etc/passwd": b"root::0:0:root:/root:/bin/bash\n"}, "/etc/passwd: root needs no password"),
    ("set-id", {"/usr/bin/su": Entry(path="", mode=0o4755)}, "/usr/bin/su has set-user-id"),
    ("set-id", {"/usr/bin/wall": Entry(path="", mode=0o2755)}, "/usr/bin/wall has set-group-id"),
    ("set-id", {"/usr/bin/ping": Entry(path="", mode=0o755, xattrs=CAPABILITY)}, "/usr/bin/ping has file capabilities"),
    ("no-world-writable", {"/usr/bin/tool": Entry(path="", mode=0o777)}, "/usr/bin/tool"),
    ("no-world-writable", {"/etc/cron.d/x": Entry(path="", mode=0o1666)}, "/etc/cron.d/x"),
    ("no-password", {"/etc/./shadow": b"root::1::::::\n"}, "/etc/shadow: root needs no password"),
    ("set-id", {"/usr//bin/su": Entry(path="", mode=0o4755)}, "/usr/bin/su has set-user-id"),
    ("no-world-writable", {"/usr/share/open": folder("", 0o777)}, "/usr/share/open"),
    ("owners", {"/usr/bin/tool": Entry(path="", uid=1000)}, "/usr/bin/tool belongs to 1000:0"),
    ("modes", {"/usr/bin/tool": owned(program(), mode=0o644)}, "/usr/bin/tool may be executed by nobody"),
    ("modes", {"/usr/lib/systemd/tool": owned(program(), mode=0o600)}, "/usr/lib/systemd/tool may be executed by nobody"),
    ("modes", {"/usr": folder("/usr", 0o700)}, "/usr may not be passed by everyone"),
    ("modes", {"/usr/sbin": folder("/usr/sbin", 0o750)}, "/usr/sbin may not be passed by everyone"),
    ("modes", {"/etc": folder("/etc", 0o711)}, "/etc may not be passed by everyone"),
    ("modes", {"/usr/lib/x86_64-linux-gnu": folder("", 0o754)}, "/usr/lib/x86_64-linux-gnu may not be passed by everyone"),
    ("modes", {"/": folder("/", 0o700)}, "/ may not be passed by everyone"),
    ("modes", {"/tmp": folder("/tmp", 0o755)}, "/tmp is no folder for everyone's files"),
    ("modes", {"/var/tmp": folder("/var/tmp", 0o1755)}, "/var/tmp is no folder for everyone's files"),
    ("modes", {LOADER_FILE: owned(binary(), mode=0o644), **LOADED}, f"{LOADER_FILE} may not be executed by everyone"),
    ("modes", {"/opt/tool": binary(interpreter="//lib/own.so"), "/lib/own.so": owned(b"", mode=0o644)}, "/lib/own.so may not be executed"),
    ("modes", {"/opt/tool": binary(interpreter="/opt/l"), "/opt/l": "//opt/own.so", "/opt/own.so": b""}, "/opt/own.so may not be executed"),
    ("modes", {f"{LIBRARIES}/liba.so.1": owned(binary(), mode=0o600)}, f"{LIBRARIES}/liba.so.1 may not be read by everyone"),
    ("modes", {**ELSEWHERE, "/usr/lib/own/b/liba.so.1.2": owned(binary(), mode=0o640)}, "/usr/lib/own/b/liba.so.1.2 may not be read by"),
    ("modes", {**ELSEWHERE, "/usr/lib/own/b": folder("", 0o700)}, "/usr/lib/own/b may not be passed by everyone"),
    ("modes", {**ELSEWHERE, "/etc/alternatives": folder("", 0o744)}, "/etc/alternatives may not be passed by everyone"),
    (
        "modes",
        {f"{LIBRARIES}/liba.so": "/root/liba.so", "/.wh.root": b"", "/root": folder("", 0o700), "/root/liba.so": binary()},
        "/root may",
    ),
    ("modes", {"/etc/passwd": owned(b"root:x:0:0::/root:/bin/sh\n", mode=0o600)}, "/etc/passwd may not be read by everyone"),
    ("modes", {"/etc/group": owned(b"root:x:0:\n", mode=0o640)}, "/etc/group may not be read by everyone"),
    ("modes", {"/etc/shadow": owned(SHADOW, mode=0o644)}, "/etc/shadow may be read by everyone"),
    ("modes", {"/etc/gshadow": owned(b"root:*::\n", mode=0o604)}, "/etc/gshadow may be read by everyone"),
    ("system-owners", {"/usr/bin/tool": owned(b"", uid=65534)}, "/usr/bin/tool belongs to 65534:0, which is no account"),
    ("system-owners", {"/usr/lib/a": Entry(path="", gid=1000)}, "/usr/lib/a belongs to 0:1000, which is no account"),
    ("system-owners", {"/usr/lib/a": folder("/usr/lib/a"), "/usr/lib/a/b": owned(b"", uid=100_000)}, "/usr/lib/a/b belongs to 100000:0"),
    ("links", {"/etc/alternatives/editor": "/usr/bin/vim.basic"}, "/etc/alternatives/editor leads to nothing"),
    ("links", {"/usr/lib/systemd/system/a.service": "b.service"}, "/usr/lib/systemd/system/a.service"),
    ("links", {"/etc/one": "two", "/etc/two": "one"}, "/etc/one"),
    ("os-release", {"/usr/lib/os-release": b""}, "os-release does not say ID"),
    ("os-release", {"/usr/lib/os-release": b'ID=debian\nPRETTY_NAME="Debian\n'}, 'PRETTY_NAME="Debian` is no setting'),
    ("os-release", {"/etc/os-release": "../usr/lib/none", "/usr/lib/.wh.os-release": b""}, "there is no os-release"),
    ("byte-code", {"/usr/lib/python3/__pycache__/gone.cpython-313.pyc": b""}, "has no source"),
    ("byte-code", {"/usr/lib/a.py": b"A = 1", PYC: compiled(b"A = 1")[:-9]}, f"{PYC} cannot be loaded: it ends too early"),
    ("byte-code", {"/usr/lib/a.py": b"A = 2", PYC: compiled(b"A = 1")}, f"{PYC} is run in the place of /usr/lib/a.py, and was compiled"),
    ("byte-code", {"/usr/lib/b.py": b"B", "/usr/lib/a.py": "b.py", PYC: compiled(b"A")}, "is run in the place of /usr/lib/b.py"),
    ("byte-code", {"/usr/lib/a.py": b"", "/usr/lib/__pycache__/a.cpython-311.pyc": b""}, "a Python that is not there"),
]
NO_LINES = (b"[a\tb]\n", b"[a\x7f]\n", b"[a]\x0b\n", b"[a]\r", b"\x0b\n", b"a[b = 1\n", b"a [b] = 1\n", b"a[b c] = 1\n", b"a]=1\n")
FAULTS += [("prepare-root", {PREPARE_ROOT: b"[composefs]\nenabled = yes\n" + line}, f"{PREPARE_ROOT} is no key file") for line in NO_LINES]


def findings(tmp_path: Path, *upper: Files, bootable: bool = True) -> dict[str, Finding]:
    return {finding.name: finding for finding in verify_image(read(tmp_path, [healthy(), *upper]), bootable=bootable)}


@pytest.mark.parametrize(("check", "fault", "said"), FAULTS)
def test_a_planted_fault_is_named(check: str, fault: Files, said: str, tmp_path: Path) -> None:
    finding = findings(tmp_path, fault)[check]
    assert finding.outcome is Outcome.NO
    assert said in finding.message


def test_a_healthy_image_passes_and_every_check_has_its_fault(tmp_path: Path) -> None:
    found = findings(tmp_path)
    assert {finding.outcome for finding in found.values()} == {Outcome.YES}
    assert {check for check, _, _ in FAULTS} == {check.name for check in (*lint.LINTS, *lint.OURS, *quadlets.CHECKS, *tidy.TIDY)}


def test_what_need_not_be_a_fault_is_none(tmp_path: Path) -> None:
    harmless: Files = {
        "/etc/hostname": b"localhost\n",
        "/etc/machine-id": b"uninitialized\n",
        "/etc/systemd/system/masked.service": "/dev/null",
        "/etc/systemd/system/default.target": f"{SYSTEMD_UNITS}/multi-user.target",
        "/usr/lib/bootc/kargs.d/20.toml": b'kargs = ["systemd.unit=kiosk.target"]\n',
        "/etc/systemd/system/kiosk.target": b"[Unit]\nRequires=multi-user.target\n",
        "/etc/fstab": b"UUID=1 / ext4 defaults\nLABEL=a /a ext4 ro,nofail\n/dev/sdb1 none swap\ntmpfs /b tmpfs\nhost:/c /c nfs _netdev\n",
        "/usr/lib/credstore/passwd.hashed-password.root": b"!locked\n",
        "/usr/lib/credstore/passwd.shell.root": b"/bin/bash\n",
        **{path: content for path, content in LOADED.items() if path != "/lib64"},
        **ELSEWHERE,
        LOADER_FILE: binary(),
        "/usr/lib/own": folder("", 0o711),
        "/usr/lib/more/plugin.so": owned(binary(), mode=0o600),
        "/usr/lib/private": folder("", 0o700),
        "/var/tmp": folder("", 0o1777),
        "/usr/lib/passwd": b"ssh:x:885:42::/:/sbin/nologin\n",
        "/usr/lib/group": b"shadow:x:42:\n",
        "/etc/gshadow-own": owned(b"", mode=0o640, uid=885),
        "/usr/bin/modprobe": "kmod",
        "/usr/sbin/modprobe": "../bin/modprobe",
        "/etc/mtab": "../proc/self/mounts",
        "/etc/default/locale": "../locale.conf",
        "/etc/vconsole.conf": "default/keyboard",
        "/run/lock/subsys": folder("/run/lock/subsys"),
        "/etc/gshadow": owned(b"root:*::\n", mode=0o640),
        "/boot/EFI/Linux": folder("/boot/EFI/Linux"),
        "/run/systemd/resolve": folder("/run/systemd/resolve"),
        "/var/log": folder("/var/log"),
        "/var/log/lastlog": b"",
        "/usr/lib/tmpfiles.d/more.conf": b"f /var/log/lastlog 0644 - - -\n",
        "/usr/lib/a.py": b"",
        PYC: b"",
        "/usr/lib/b.py": "../share/b.py",
        "/usr/share/b.py": b"B = 1",
        "/usr/lib/__pycache__/b.cpython-313.pyc": compiled(b"B = 1"),
        "/usr/lib/__pycache__/b.cpython-313.opt-1.pyc": compiled(b"B = 2", 3),
        **{path: Entry(path="", mode=0o4755) for path in tidy.SET_ID},
        f"{QUADLETS}/nobody.container": b"[Container]\nImage=a.example/x:latest\n",
        "/etc/containers/systemd/gone.container": "/dev/null",
        "/etc/containers/systemd/y.container": f"[Container]\nImage=a/%%y@{DIGEST}\n".encode(),
        f"{BOUND_IMAGES}/y.container": "../../../../etc/containers/systemd/y.container",
    }
    wrong = {name for name, finding in findings(tmp_path, harmless).items() if finding.outcome is Outcome.NO}
    assert wrong == {"var-tmpfiles"}  # a file below /var, though an empty one that tmpfiles.d makes


@pytest.mark.parametrize("loader", ["ld-linux.so.2", "./lib/ld.so", "lib/../ld.so", ".", "..", "/", "//", "///", "//gone", "/a/../../b"])
def test_a_loader_that_lies_nowhere_certain_is_not_looked_for(loader: str, tmp_path: Path) -> None:
    found = findings(tmp_path, {"/opt/tool": binary(interpreter=loader)})["modes"]
    assert (found.outcome, found.message) == (Outcome.YES, found.message)


@pytest.mark.parametrize("home", ["/var/roothome", "/var/home/ada", "/root", "/home/ada"])
def test_what_lies_in_somebodys_home_is_for_nobody_else(home: str, tmp_path: Path) -> None:
    files: Files = {
        **{path: content for path, content in LOADED.items() if path != "/lib64"},
        LOADER_FILE: binary(),
        "/etc/ld.so.conf": f"include ld.so.conf.d/*.conf\n{home}\n".encode(),
        "/etc/ld.so.conf.d/own.conf": f"{home}/conda/lib\n".encode(),
        home: folder("", 0o700),
        f"{home}/liba.so": binary(),
        f"{home}/conda/lib/liba.so.1": owned(binary(), mode=0o600),
        f"{home}/conda/bin/tool": binary(interpreter=f"{home}/conda/lib/ld.so"),
        f"{home}/conda/lib/ld.so": owned(binary(), mode=0o640),
    }
    below = {path: content for path, content in healthy().items() if path not in ("/root", "/home")}
    (found,) = (one for one in verify_image(read(tmp_path, [below, files]), bootable=False) if one.name == "modes")
    assert (found.outcome, found.message) == (Outcome.YES, found.message)


@pytest.mark.parametrize("mark", ["*", "!", "!!", "!*", "!locked", "!unset", "*LOCK*", "*NP*", "!unprovisioned", "x"])
def test_what_no_password_becomes_is_none(mark: str, tmp_path: Path) -> None:
    """As distributions write it: Amazon Linux has `*LOCK*`, systemd-sysusers `!unprovisioned`."""
    files: Files = {"/etc/shadow": owned(f"root:{mark}:18262:0:99999:7:::\n".encode(), mode=0o640)}
    assert findings(tmp_path, files)["no-password"].outcome is Outcome.YES


def test_composefs_is_excused_only_while_ostree_is_built_without_it(tmp_path: Path) -> None:
    plain: Files = {PREPARE_ROOT: b"[sysroot]\nreadonly = true\n", "/usr/lib/sysimage/dpkg/status": STATUS + OSTREE}
    excused = findings(tmp_path, plain)["baseimage-composefs"]
    assert excused.outcome is Outcome.NO
    assert "until its libostree depends on libcomposefs" in excused.accepted
    built = {**plain, "/usr/lib/sysimage/dpkg/status": STATUS + OSTREE.replace(b"libc6,", b"libc6, libcomposefs1 (>= 1.0.8),")}
    assert findings(tmp_path, built)["baseimage-composefs"].accepted == ""
    assert findings(tmp_path, {PREPARE_ROOT: b""})["baseimage-composefs"].accepted == ""  # whose OSTree it is cannot be told


def test_composefs_is_asked_of_no_ostree_that_lacks_it(tmp_path: Path) -> None:
    """It starts nothing then; `maybe` asks only if there is some, and one that /etc takes back is not asked for."""
    lacks: Files = {"/usr/lib/sysimage/dpkg/status": STATUS + OSTREE}
    has: Files = {"/usr/lib/sysimage/dpkg/status": STATUS + OSTREE.replace(b"libc6,", b"libc6, libcomposefs1,")}
    for asked in (b"[composefs]\nenabled = yes\n", b"# a\n[sysroot]\n\n  [composefs]\n enabled=signed\n"):
        inside: Files = {PREPARE_ROOT: b"", INITRAMFS: initramfs({PREPARE_ROOT[1:]: asked})}
        cases: tuple[tuple[Files, str], ...] = (({PREPARE_ROOT: asked}, ""), (inside, f"{INITRAMFS}: "))
        for number, (files, where) in enumerate(cases):
            finding = findings(tmp_path / f"{len(asked)}{number}", {**files, **lacks})["prepare-root"]
            assert (
                finding.condemns()
                and finding.message == f"{where}{PREPARE_ROOT} asks for composefs, without which the image's OSTree is built"
            )
            assert findings(tmp_path / f"has {len(asked)}{number}", {**files, **has})["prepare-root"].outcome is Outcome.YES
    harmless: tuple[Files, ...] = (
        {PREPARE_ROOT: b"[composefs]\nenabled=maybe\n"},
        {"/etc/ostree/prepare-root.conf": b"[composefs]\nenabled=no\n"},
    )
    for number, files in enumerate(harmless):
        assert findings(tmp_path / f"harmless {number}", {**files, **lacks})["prepare-root"].outcome is Outcome.YES


@pytest.mark.parametrize(
    "data",
    [
        "# \ufffd, \ufeff\n[composefs]\nenabled = yes\n".encode(),
        b" [composefs] \t\r\n\tenabled = yes \r\n\x0c\r\n",
        b"[a b]\na b[de_DE.UTF-8@x-y] = [c\td\n[composefs]\n enabled[de] = no\nenabled=yes",
        "[composefs]\nenabled[\u00e9] = no\nenabled = yes\n\u00a0=\n".encode(),
    ],
)
def test_what_glib_reads_is_a_key_file(data: bytes, tmp_path: Path) -> None:
    found = findings(tmp_path, {PREPARE_ROOT: data})
    assert [found[name].outcome for name in ("prepare-root", "baseimage-composefs")] == [Outcome.YES] * 2


def test_another_init_than_systemd_is_its_own_affair(tmp_path: Path) -> None:
    other: Files = {
        "/usr/lib/systemd/.wh.systemd": b"",
        f"{SYSTEMD_UNITS}/.wh.default.target": b"",
        "/usr/sbin/init": "openrc-init",
        "/usr/sbin/openrc-init": EMPTY_PROGRAM,
        "/usr/sbin/.wh.modprobe": b"",
    }
    assert findings(tmp_path, other)["init"].outcome is Outcome.YES
    own: Files = {"/usr/sbin/init": b"#!/bin/sh\nexec /usr/lib/systemd/systemd\n"}
    assert findings(tmp_path, own)["init"].outcome is Outcome.YES


def test_a_system_that_no_ostree_deploys_has_to_start_as_well(tmp_path: Path) -> None:
    """Kernels are in images that are no systems, too: there nothing is called init."""
    plain = {path: content for path, content in healthy().items() if not path.startswith((*lint.SIGNS, "/usr/lib/bootc", LOCK_PATH))}
    outcomes: dict[Outcome, tuple[Files, ...]] = {
        Outcome.YES: (
            {},
            {"/etc/systemd/system/default.target": f"{SYSTEMD_UNITS}/rescue.target"},
            {"/usr/lib/systemd/.wh.systemd": b"", "/usr/sbin/init": "../bin/busybox", "/usr/bin/busybox": EMPTY_PROGRAM},
            *OTHER_INITS,
            {"/usr/sbin/init": "runit", "/usr/sbin/runit": EMPTY_PROGRAM, f"{SYSTEMD_UNITS}/.wh.default.target": b""},
            {"/usr/lib/systemd/.wh.systemd": b"", "/usr/sbin/init": b"#!/bin/sh\nexec /usr/bin/serve\n"},
        ),
        Outcome.UNKNOWN: (
            {"/usr/sbin/.wh.init": b""},
            {"/.wh.sbin": b""},
            {f"/usr/lib/modules/{KERNEL}/.wh.vmlinuz": b"", f"/usr/lib/modules/{KERNEL}/.wh.initramfs.img": b""},
        ),
        Outcome.NO: (
            {"/usr/sbin/init": "/usr/lib/gone"},
            {"/usr/sbin/init": "../bin/kmod"},
            {"/usr/sbin/init": "../bin/false", "/usr/lib/systemd/.wh.systemd": b""},
            {"/usr/sbin/init": "../bin/runit", "/usr/bin/runit": owned(b"", mode=0o644)},
            {"/usr/sbin/init": "../bin", "/usr/lib/systemd/.wh.systemd": b""},
            {"/usr/sbin/init": b"#!/usr/bin/gone\n"},
            {"/usr/lib/systemd/.wh.systemd": b""},
            {"/etc/systemd/system/multi-user.target": "/dev/null"},
        ),
    }
    for outcome, changes in outcomes.items():
        for number, change in enumerate(changes):
            found = read(tmp_path / f"{outcome}{number}", [plain, change])
            assert not is_bootable(found, {})
            (finding,) = (one for one in verify_image(found, bootable=False) if one.name == "init")
            assert finding.outcome is outcome and finding.condemns() is (outcome is Outcome.NO), (finding, change)


def test_an_image_that_does_not_boot_is_asked_what_makes_sense(tmp_path: Path) -> None:
    app = read(tmp_path, [{"/etc/passwd": b"root:*:0:0::/:/bin/sh\n", "/etc/group": b"root:*:0:\n", "/usr/lib/os-release": b"ID=x\n"}])
    assert not is_bootable(app, {})
    found = {finding.name for finding in verify_image(app, bootable=False)}
    assert {"var-log", "set-id", "os-release"} <= found
    assert not {"kernel", "utf8", "baseimage-root", "var-tmpfiles", "state-folders"} & found
    weights = read(tmp_path, [{"/models/org/name/model.gguf": b"GGUF"}])
    untold = {finding.name for finding in verify_image(weights, bootable=False) if finding.outcome is Outcome.UNKNOWN}
    assert untold == {"os-release", "owners", "package-files"}


def test_what_says_that_it_boots_or_has_a_kernel_is_bootable(tmp_path: Path) -> None:
    assert is_bootable(read(tmp_path, [{"/etc/motd": b""}]), {"containers.bootc": "1"})
    assert is_bootable(read(tmp_path, [healthy()]), {})


def test_names_are_unique_and_the_exemption_is_of_a_check() -> None:
    asked = (*lint.LINTS, *lint.OURS, *quadlets.CHECKS, *tidy.TIDY, *checks.checks(Expected()))
    names = [*(check.name for check in asked), signing.NAME]
    assert len(names) == len(set(names))
    assert {one.check for one in lint.EXEMPTIONS} <= set(names)
