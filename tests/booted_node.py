"""A node without a machine: a real OSTree deployment entered as the root file system, so that libostree takes it for the booted one.

What runs inside is the deployment's own Debian (libostree, skopeo, GRUB's tools) and this checkout's code. A reboot finalizes what is
staged, as the unit does at shutdown, and enters what the bootloader's menu has first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import oci_samples as samples
from node_samples import LOCK

import aistack
from aistack.compose.lock import identity
from aistack.compose.render import RenderedFile, image_names, render_system
from aistack.compose.render.grub import PROGRAM, SCRIPT
from aistack.facts.following import SEALED_LABEL
from aistack.facts.pins import Archive
from aistack.host import apt, grub, layers, oci, process, rootfs
from aistack.host.process import Completed
from aistack.host.store import Store, default_path

PACKAGES = ("ostree", "python3", "python3-gi", "gir1.2-ostree-1.0", "grub-common", "skopeo", "zstd", "ca-certificates", "mount", "systemd")
PYTHON = ("python3-typer", "python3-packaging", "python3-yaml")
CODE = Path(aistack.__file__).parent.parent
LEAN = (
    "./dev", "./mnt", "./proc", "./run", "./sys", "./tmp", "./usr/lib/cni", "./usr/lib/python3.13/test", "./usr/lib/x86_64-linux-gnu/gconv",
    "./usr/lib/x86_64-linux-gnu/perl-base", "./usr/share/doc", "./usr/share/locale", "./usr/share/man", "./usr/share/zoneinfo",
    "./var/cache", "./var/lib/apt", "./var/lib/dpkg",
)  # fmt: skip
"""Folders that are left empty: nothing in them runs."""
KERNEL = "6.12.1"

INSTALL = """
import os, sys
from pathlib import Path
from aistack.host import grub, ostree, sysroot
from aistack.host.blobs import LayoutFolder
layout, digest, reference = sys.argv[1:]
root = Path("/run/work/sysroot")
root.mkdir()
program = Path("/run/work/grub-config")
os.environ["OSTREE_GRUB2_EXEC"] = str(program)
image = ostree.import_image(sysroot.init_sysroot(root), LayoutFolder(Path(layout)), digest, sync=False)
with sysroot.opened(root) as opened:
    sysroot.deploy(opened, image.commit, digest=digest, reference=reference, kernel_arguments=["root=UUID=1", "quiet", "local=1"])
(root / "boot/grub/grubenv").write_bytes(grub.write_environment({}))
print(image.commit)
"""

ENTER = r"""
set -eu
S=/run/work/sysroot D=/run/work/sysroot/ostree/deploy/aistack/deploy/$1
shift
mount --bind $D $D
mount --bind $S $D/sysroot
mount --bind $S/boot $D/boot
mount --bind $S/ostree/deploy/aistack/var $D/var
mkdir -p /run/work/run/ostree $D/var/tmp
mount --bind /run/work/run $D/run
: > $D/run/ostree-booted
mount --rbind /proc $D/proc
mount --rbind /dev $D/dev
mount -t tmpfs tmpfs $D/tmp
mkdir $D/tmp/code
mount --rbind /run/code $D/tmp/code
exec chroot $D "$@"
"""


def root_of_the_os() -> Path:
    """A throw-away Debian 13 root with all that a node updates itself with; it stays in the store, so that the next run finds it."""
    store = Store(default_path(os.environ))
    archives = [Archive(suite=suite) for suite in ("trixie", "trixie-updates", "trixie-security")]
    root = apt.resolve(store, archives, (*PACKAGES, *PYTHON), "amd64", "debian-13", environment=os.environ)
    apt.fetch(store, root, environment=os.environ)
    return rootfs.make_root(store, root)


@dataclass(slots=True)
class Images:
    """System images over one OS, in a store of their own."""

    store: Store
    base: layers.Layer
    made: int = 0

    @classmethod
    def over(cls, root: Path, store: Store) -> Images:
        """The OS's own layer is packed once."""
        with store.scratch() as scratch:
            exclude = [f"--exclude={path}/*" for path in LEAN]
            binds = [rootfs.Bind(source=scratch, target="/run", writable=True)]
            rootfs.enter(root, ["tar", "--create", "--file=/run/base", "--numeric-owner", *exclude, "--directory=/", "."], binds=binds)
            packed = scratch / "base"
            with packed.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = packed.stat().st_size
            store.adopt(packed, digest)
        return cls(store=store, base=layers.Layer(digest=f"sha256:{digest}", diff_id=f"sha256:{digest}", size=size, media_type=layers.TAR))

    def system(
        self,
        version: str,
        *,
        sealed: str = "",
        files: Mapping[str, bytes] | None = None,
        bound: Mapping[str, str] | None = None,
        node: Mapping[str, str] | None = None,
        kargs: Sequence[str] = (),
        kernel: bytes = b"kernel",
    ) -> str:
        """A system image: the OS, a layer of `files`, and the lock and quadlets of apps and models whose images are `bound`."""
        self.made += 1
        sealed = sealed or f"2026-11-01T00:00:{self.made:02}Z"
        bound = bound or {}
        lock = dataclasses.replace(LOCK, name=f"node-{version}", sealed=sealed, node=(*LOCK.node, *(node or {}).items()))
        if not bound:
            lock = dataclasses.replace(lock, apps=(), models=())
        boot = f"/usr/lib/modules/{KERNEL}"
        content = {f"{boot}/vmlinuz": kernel, f"{boot}/initramfs.img": b"initramfs", **(files or {})}
        content["/usr/lib/bootc/kargs.d/10-test.toml"] = f"kargs = {json.dumps(list(kargs))}\n".encode()
        entries: list[tuple[layers.Entry, layers.Content]] = [layers.file_entry(path, data) for path, data in content.items()]
        entries.append(layers.file_entry(PROGRAM, SCRIPT.encode(), mode=0o755))
        entries += [
            layers.link_entry("/ostree", "sysroot/ostree"),
            layers.link_entry("/usr/lib/bootc/storage", "../../../sysroot/ostree/bootc/storage"),
        ]
        entries.append((layers.Entry(path="sysroot", kind=layers.DIRECTORY, mode=0o755), None))
        rendered = render_system(lock, bound)
        top = [
            layers.file_entry(one.path, one.content) if isinstance(one, RenderedFile) else layers.link_entry(one.path, one.target)
            for one in rendered
        ]
        written = [layers.write_layer(self.store, entries), layers.write_layer(self.store, top)]
        labels = {"org.opencontainers.image.version": version, "io.aistack.lock": identity(lock), SEALED_LABEL: sealed}
        return oci.write_image(self.store, [self.base, *written], arch="amd64", labels=labels)

    def bound(self, text: str, more: bytes = b"") -> dict[str, str]:
        """An app's and a model's image, which differ with the text, with `more` in each: names and digests."""
        made = {}
        for name in image_names(LOCK):
            layer = samples.layer([samples.file("content", f"{name} {text}".encode() * 1000 + more)], "gzip")
            made[name] = samples.image(self.store, [layer], {"name": name, "text": text})
        return made


@dataclass(slots=True)
class Node:
    """The node below `work`; `booted` is its deployment's name (`CHECKSUM.SERIAL`)."""

    root: Path
    work: Path
    store: Store
    environment: dict[str, str] = field(default_factory=dict)
    booted: str = ""

    def install(self, digest: str, reference: str) -> None:
        """Lay the first image down, and start it."""
        self.work.mkdir(parents=True, exist_ok=True)
        program = self.work / "grub-config"
        program.write_text(SCRIPT)
        program.chmod(0o755)
        self._run(self._entering(["python3", "-c", INSTALL, "/run/store", digest, reference]))
        self.start()

    def start(self) -> None:
        """Enter what the menu has first; /run is empty."""
        shutil.rmtree(self.work / "run", ignore_errors=True)
        menu = (self.work / "sysroot/boot/grub/grub.cfg").read_text()
        link = re.search(r"ostree=(\S+)", menu)
        assert link is not None, menu
        self.booted = (self.work / "sysroot" / link[1].lstrip("/")).readlink().name

    def trust(self, host: str) -> None:
        """Take a registry that speaks plain HTTP, as an administrator says it."""
        conf = self.deployment / "etc/containers/registries.conf.d" / f"{host}.conf"
        conf.parent.mkdir(parents=True, exist_ok=True)
        conf.write_text(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n')

    @property
    def deployment(self) -> Path:
        """The booted deployment's folder."""
        return self.work / "sysroot/ostree/deploy/aistack/deploy" / self.booted

    def reboot(self) -> str:
        """An orderly one; returns the version that runs then."""
        if (self.work / "run/ostree/staged-deployment").exists():
            self.run(["env", f"OSTREE_GRUB2_EXEC={PROGRAM}", "ostree", "admin", "finalize-staged"])
        self.start()
        return self.version()

    def crash(self) -> str:
        """A power cut: nothing is finalized."""
        self.start()
        return self.version()

    def version(self) -> str:
        """Of the image that runs."""
        return str(json.loads(self.run(["cat", "/usr/lib/aistack/lock.json"]).stdout)["name"]).removeprefix("node-")

    def run(self, argv: Sequence[str], *, check: bool = True) -> Completed:
        """Run a program inside the booted deployment."""
        return self._run(self.command(argv), check=check)

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that runs a program inside the booted deployment."""
        return self._entering(["sh", "-c", ENTER, "enter", self.booted, *argv])

    def aistack(self, *arguments: str, check: bool = True) -> Completed:
        """`aistack node …` as the node's own Python runs it."""
        return self.run(["python3", "-m", "aistack", "node", *arguments], check=check)

    def update(self, *arguments: str) -> dict[str, object]:
        """`aistack node update --json`, which has to succeed."""
        document = json.loads(self.aistack("update", "--json", *arguments).stdout)
        assert isinstance(document, dict)
        return document

    def python(self, text: str) -> str:
        """What a Python program prints inside; it has `deployments`, the node's own."""
        begin = "from aistack.node.deployments.ostree import OstreeDeployments\ndeployments = OstreeDeployments()\n"
        return self.run(["python3", "-c", begin + text]).stdout

    def deployments(self) -> list[dict[str, object]]:
        """What OSTree has, in its order: `version`, `booted`, `staged`, `default`, `pinned`, `digest`, `kernel_arguments`, `checksum`."""
        text = "import dataclasses, json\nfrom aistack.host import sysroot\nwith sysroot.opened() as opened:\n"
        text += "    print(json.dumps([dataclasses.asdict(one) for one in sysroot.deployments(opened)]))\n"
        found = json.loads(self.python(text))
        assert isinstance(found, list)
        return found

    def confirm(self) -> None:
        """What the second gate does with a healthy boot, and the cleaning after it."""
        from aistack.node import state
        from aistack.node.decide import State

        path = self.work / "sysroot/ostree/deploy/aistack/var/lib/aistack/state.json"
        before = state.load(path)
        digest = json.loads(self.python("import json; print(json.dumps([one.digest for one in deployments.listed() if one.booted]))"))[0]
        state.save(path, State(confirmed=digest, quarantined=before.quarantined))
        self.python("deployments.stop_counting()")
        self.run(["python3", "-m", "aistack.node.agent", "clean"])

    def trial(self) -> grub.Trial | None:
        """Which deployment GRUB has on trial."""
        return grub.trial(self.work / "sysroot/boot/grub/grubenv")

    def _entering(self, argv: Sequence[str]) -> list[str]:
        binds = [rootfs.Bind(source=self.work, target="/run/work", writable=True), rootfs.Bind(source=CODE, target="/run/code")]
        binds.append(rootfs.Bind(source=self.store.path, target="/run/store"))
        environment = {
            "PYTHONPATH": "/tmp/code:/run/code",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OSTREE_SYSROOT_DEBUG": "mutable-deployments",  # else the test's folder could not be removed
            **self.environment,
        }
        command = rootfs.entering(self.root, argv, binds=binds, environment=environment)
        command.remove("--unshare-net")  # the registry is on the host's loopback
        return command

    def _run(self, command: Sequence[str], *, check: bool = True) -> Completed:
        done = process.run(command, check=False, timeout=600)
        assert not check or done.returncode == 0, f"{command[-4:]}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done
