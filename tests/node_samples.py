"""A small lock, and a recorded tree of a healthy node that was made from it; tests change one thing at a time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from aistack.compose.lock import Lock, LockedAccelerator, LockedApp, LockedModel, encode, identity
from aistack.compose.render import RenderedFile, image_names, render_system
from aistack.facts.pins import LockedFile, LockedRoot
from aistack.facts.readings import Deployment, FileSystem, MachineReadings, Reading
from aistack.host.probes.all import take

KERNEL = "6.12.107+deb13-cloud-amd64"
MANIFEST = "sha256:" + "9" * 64
COMMIT = "8" * 64
ORIGIN = f"[origin]\ncontainer-image-reference=r.example/n:stable\n\n[aistack]\nmanifest-digest={MANIFEST}\n"
MODEL = LockedModel(
    id="Org/Model-1",
    revision="b" * 40,
    licence="apache-2.0",
    sources=("hub",),
    files=(LockedFile(path="config.json", sha256="c" * 64, size=612),),
)
APP = LockedApp(
    name="embed",
    framework="llama.cpp",
    version="1.0",
    root="app-embed",
    python=None,
    wheels=(),
    models=("Org/Model-1",),
    command=("llama-server", "--model", "/models/Org/Model-1/model.gguf", "--port", "8080"),
    environment=(("LANG", "C.UTF-8"),),
    port=8080,
    health="/health",
    cpu_features=("avx2", "fma"),
)
LOCK = Lock(
    name="example",
    arch="amd64",
    os="debian-13",
    components=(("kernel", KERNEL),),
    accelerator=LockedAccelerator(product="cpu/x86-64", count=1),
    roots=(("base", LockedRoot(arch="amd64", os="debian-13", packages=())),),
    apps=(APP,),
    models=(MODEL,),
    node=(("ssh", "credential"), ("time-zone", "UTC")),
    memory_mib=2048,
    wish="sha256:" + "d" * 64,
)


def digests(lock: Lock) -> dict[str, str]:
    """A different, well-formed manifest digest for each image of the lock."""
    return {name: f"sha256:{index:064x}" for index, name in enumerate(image_names(lock), start=1)}


def lay(root: Path, lock: Lock = LOCK) -> Path:
    """Write below `root` what the probes read on a healthy node of this lock (its ostree repository is not among it)."""
    for file in render_system(lock, digests(lock)):
        path = root / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(file, RenderedFile):
            path.write_bytes(file.content)
        else:
            path.symlink_to(file.target)
    cpu = "processor\t: {0}\nmodel name\t: Example CPU\nflags\t\t: fpu sse2 avx2 fma\n\n"
    texts = {
        "proc/sys/kernel/osrelease": f"{KERNEL}\n",
        "proc/sys/kernel/arch": "x86_64\n",
        "proc/cmdline": f"BOOT_IMAGE=x root=UUID=1 ostree=/ostree/boot.1/aistack/{'7' * 64}/0 quiet\n",
        "proc/cpuinfo": cpu.format(0) + cpu.format(1),
        "proc/meminfo": "MemTotal:        2013268 kB\nMemFree:          100000 kB\n",
        "proc/uptime": "41.52 70.00\n",
        f"usr/lib/modules/{KERNEL}/modules.builtin": "kernel/fs/ext4/ext4.ko\n",
        f"usr/lib/modules/{KERNEL}/modules.dep": "kernel/fs/overlayfs/overlay.ko.xz:\nkernel/net/br-netfilter.ko.xz: kernel/net/x.ko.xz\n",
        f"ostree/deploy/aistack/deploy/{COMMIT}.0.origin": ORIGIN,
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    link = root / f"ostree/boot.1/aistack/{'7' * 64}/0"
    link.parent.mkdir(parents=True)
    link.symlink_to(f"../../../deploy/aistack/deploy/{COMMIT}.0")
    for folder in ("sys/module", "var", "boot"):
        (root / folder).mkdir(parents=True)
    device = root / "sys/bus/pci/devices/0000:00:02.0"
    device.mkdir(parents=True)
    for name, text in (("vendor", "0x1af4\n"), ("device", "0x1041\n"), ("class", "0x020000\n")):
        (device / name).write_text(text)
    _store(root / "usr/lib/bootc/storage", lock)
    return root


def _store(store: Path, lock: Lock) -> None:
    layers, images = [], []
    for index, (name, digest) in enumerate(digests(lock).items()):
        lower, upper = f"{index:031x}a" * 2, f"{index:031x}b" * 2
        layers += [{"id": lower}, {"id": upper, "parent": lower}]
        images.append({"id": "f" * 64, "digest": digest, "names": [f"{name}:latest"], "layer": upper, "big-data-names": ["manifest"]})
        for layer in (lower, upper):
            (store / "overlay" / layer / "diff").mkdir(parents=True)
    (store / "overlay-images").mkdir()
    (store / "overlay-layers").mkdir()
    (store / "overlay-images/images.json").write_text(json.dumps(images))
    (store / "overlay-layers/layers.json").write_text(json.dumps(layers))


def readings(root: Path, lock: Lock = LOCK) -> MachineReadings:
    """The tree below `root` as the probes read it; the deployment and the space are given, since no file of the tree holds them."""
    taken = take(root)
    return replace(
        taken,
        deployment=Reading(
            source="ostree",
            value=Deployment(
                stateroot="aistack", commit=COMMIT, serial=0, promised_manifest=MANIFEST, manifest=MANIFEST, lock_identity=identity(lock)
            ),
        ),
        file_systems=(Reading(source="statvfs /var", value=FileSystem(path="/var", size_mib=6000, free_mib=3000)),),
    )


def lock_text(lock: Lock = LOCK) -> Reading[bytes]:
    """The lock as it was read from the image."""
    return Reading(source="/usr/lib/aistack/lock.json", value=encode(lock))
