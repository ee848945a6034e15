"""Images made by hand, written as real layers and read back: a bootable one with nothing wrong, to break in one way at a time."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import marshal
from collections.abc import Iterable, Mapping
from pathlib import Path

import kernel_samples
from kernel_samples import KERNEL

from aistack.commands.verifying import wanted
from aistack.compose import gates
from aistack.compose.lock import Lock, encode
from aistack.compose.render import render_node
from aistack.compose.render.node import PYTHON_PATH
from aistack.compose.render.system import BOUND_IMAGES, QUADLETS
from aistack.compose.verify import LOCK_PATH
from aistack.facts.files import RenderedFile
from aistack.facts.filesystem import Filesystem
from aistack.facts.pins import LockedPackage, LockedRoot
from aistack.host.inspect import filesystem
from aistack.host.layers import DIRECTORY, Entry, Layer, file_entry, link_entry, write_layer
from aistack.host.store import Store

Files = dict[str, bytes | Entry | str]
"""Contents by path: bytes are a file, text is a link's target, an entry is itself."""

PROGRAMS = (b"\x7fELF", b"#!")
"""How files begin that may be executed."""
SYSTEMD_UNITS = "/usr/lib/systemd/system"
DASH_BYTES = b"#!/bin/false\n"
DIGEST = "sha256:" + "1" * 64
PEM = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----\n"
"""A private key (Ed25519), which nobody uses."""
STATUS = b"Package: dash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 0.5.12-12\n\n"
DASH = LockedPackage(
    name="dash",
    version="0.5.12-12",
    arch="amd64",
    sha256="a" * 64,
    size=1,
    origin="trixie/main",
    filename="pool/dash.deb",
    source="dash 0.5.12-12",
)
LOCK = Lock(
    name="example",
    arch="amd64",
    os="debian-13",
    components=(("kernel", KERNEL),),
    accelerator=None,
    roots=(("base", LockedRoot(arch="amd64", os="debian-13", packages=(DASH,))),),
    apps=(),
    models=(),
    node=(),
    memory_mib=1024,
    wish="sha256:" + "2" * 64,
)
QUADLET = f"[Container]\nImage=localhost/aistack/app-web@{DIGEST}\n".encode()


def compiled(source: bytes, flags: int = 1) -> bytes:
    """Byte code of a source, which is run whatever becomes of that (3: looked at before): PEP 552."""
    code = marshal.dumps(compile(source, "a.py", "exec", dont_inherit=True))
    return importlib.util.MAGIC_NUMBER + flags.to_bytes(4, "little") + importlib.util.source_hash(source) + code


NODE = f"{PYTHON_PATH}/aistack/node"
PROGRAM = {
    f"{NODE}/__init__.py": b'"""What a node runs: gate, agent."""\n',
    f"{NODE}/agent.py": b"import json\nfrom aistack.node import gate\nfrom aistack.node.gate import ONE as one\n",
    f"{NODE}/gate.py": b"ONE, TWO = 1, 2\ndef look(): ...\n",
}
"""A node's program, as small as one can be that has the parts of the real one."""
BYTE_CODE = {f"{NODE}/__pycache__/{name}.cpython-313.pyc": compiled(PROGRAM[f"{NODE}/{name}.py"]) for name in ("agent", "gate")}

UDEV: Files = {
    f"{SYSTEMD_UNITS}/systemd-udevd.service": b"[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/usr/bin/echo\n",
    f"{SYSTEMD_UNITS}/systemd-udev-trigger.service": b"[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/usr/bin/echo\n",
    f"{SYSTEMD_UNITS}/sysinit.target.wants/systemd-udev-trigger.service": "../systemd-udev-trigger.service",
    "/usr/lib/udev/rules.d/80-drivers.rules": b'ENV{MODALIAS}=="?*", RUN{builtin}+="kmod load"\n',
}
"""What gives devices their drivers, as Debian has it."""


class Owned(bytes):
    """A file's content, with its mode and owner."""

    mode = 0o644
    uid = 0


def owned(content: bytes, *, mode: int = 0o755, uid: int = 0) -> Owned:
    """A file of that mode and owner."""
    made = Owned(content)
    made.mode, made.uid = mode, uid
    return made


def folder(path: str, mode: int = 0o755) -> Entry:
    """A folder's entry."""
    return Entry(path=path.strip("/"), kind=DIRECTORY, mode=mode)


def healthy() -> Files:
    """A bootable image with nothing wrong, for `LOCK` with one app."""
    folders = ("/dev", "/proc", "/sys", "/run", "/var", "/boot", "/sysroot")
    return {
        **{path: folder(path) for path in folders},
        "/tmp": folder("/tmp", 0o1777),
        **{path: f"usr{path}" for path in ("/bin", "/sbin", "/lib")},
        "/usr/sbin/init": "../lib/systemd/systemd",
        "/usr/sbin/modprobe": "../bin/kmod",
        **{path: Entry(path="", mode=0o755) for path in ("/usr/lib/systemd/systemd", "/usr/bin/kmod", "/usr/bin/false", "/usr/bin/echo")},
        f"{SYSTEMD_UNITS}/default.target": "multi-user.target",
        f"{SYSTEMD_UNITS}/multi-user.target": b"[Unit]\nDescription=Multi-User System\nRequires=basic.target\n",
        f"{SYSTEMD_UNITS}/basic.target": b"[Unit]\nRequires=sysinit.target\nWants=timers.target\n",
        **{f"{SYSTEMD_UNITS}/{name}.target": f"[Unit]\nDescription={name}\n".encode() for name in ("sysinit", "boot-complete", "rescue")},
        "/ostree": "sysroot/ostree",
        "/home": "var/home",
        "/root": "var/roothome",
        "/srv": "var/srv",
        "/opt": "var/opt",
        "/mnt": "var/mnt",
        "/etc/passwd": b"root:x:0:0:root:/root:/bin/bash\n",
        "/etc/group": b"root:x:0:\n",
        "/etc/shadow": owned(b"root:*:18262:0:99999:7:::\n", mode=0o640),
        "/etc/hosts": b"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
        "/etc/os-release": "../usr/lib/os-release",
        "/etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf",
        "/usr/lib/os-release": b'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n',
        "/usr/lib/sysusers.d/basic.conf": b'u root 0 "Super User" /root /bin/bash\n',
        "/usr/lib/tmpfiles.d/var.conf": b"d /var/log 0755 - - -\n",
        "/usr/lib/bootc/kargs.d/10-example.toml": b'kargs = ["quiet"]\n',
        "/usr/lib/ostree/prepare-root.conf": b"[composefs]\nenabled = yes\n",
        "/usr/lib/sysimage/dpkg/status": STATUS,
        "/usr/bin/python3.13": Entry(path="usr/bin/python3.13", mode=0o755),
        "/usr/bin/python3": "python3.13",
        "/usr/lib/modprobe.d/nouveau.conf": b"blacklist nouveau\n",
        "/usr/lib/sysimage/dpkg/info/dash.md5sums": f"{hashlib.md5(DASH_BYTES).hexdigest()}  usr/bin/dash\n".encode(),
        "/usr/lib/sysimage/dpkg/info/dash.list": b"/.\n/bin\n/usr\n/usr/bin\n/usr/bin/dash\n/usr/bin/sh\n",
        "/usr/bin/dash": DASH_BYTES,
        "/usr/bin/sh": "dash",
        **kernel_samples.tree(),
        **gate_units(),
        **UDEV,
        "/usr/lib/systemd/system-generators/podman-system-generator": "../../../libexec/podman/quadlet",
        "/usr/libexec/podman/quadlet": b"#!/usr/bin/false\n",
        LOCK_PATH: encode(LOCK),
        f"{QUADLETS}/web.container": QUADLET,
        f"{BOUND_IMAGES}/web.container": f"{QUADLETS}/web.container",
    }


def gate_units() -> dict[str, bytes | str]:
    """The units of the gates, the links that start them, and a program for them, as a node has them."""
    ours = (
        file
        for file in render_node()
        if file.path.startswith(SYSTEMD_UNITS) and file.path.endswith((*gates.JUDGES, "boot-complete.target"))
    )
    return {**{file.path: file.content if isinstance(file, RenderedFile) else file.target for file in ours}, **PROGRAM, **BYTE_CODE}


def written(store: Store, files: Mapping[str, bytes | Entry | str], *, compress: bool = True) -> Layer:
    """Those files as a layer in the store."""
    entries: list[tuple[Entry, bytes | None]] = []
    for path, content in files.items():
        if isinstance(content, Entry):
            entries.append((dataclasses.replace(content, path=path.lstrip("/")), b"" if content.kind != DIRECTORY else None))
        else:
            entries.append(_file(path, content) if isinstance(content, bytes) else link_entry(path, content))
    return write_layer(store, entries, compress=compress)


def _file(path: str, content: bytes) -> tuple[Entry, bytes]:
    if isinstance(content, Owned):
        return dataclasses.replace(file_entry(path, content, mode=content.mode)[0], uid=content.uid), bytes(content)
    return file_entry(path, content, mode=0o755 if content.startswith(PROGRAMS) else 0o644)


def read(tmp_path: Path, layers: Iterable[Mapping[str, bytes | Entry | str]], lower: Filesystem | None = None) -> Filesystem:
    """The file system of those layers, lowest first, above a lower one, as the checks get it of an image for amd64."""
    store = Store(tmp_path / "store")
    blobs = [store.blob(written(store, files, compress=False).digest.removeprefix("sha256:")) for files in layers]
    return dataclasses.replace(filesystem(blobs, wanted, tmp_path, lower), arch=LOCK.arch)
