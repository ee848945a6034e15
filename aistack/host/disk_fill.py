"""What runs inside the tools root to make a disk: deploy into a folder, then file systems and boot loaders straight into one file.

No loop device and no mount: mke2fs and mkfs.fat write at an offset of the file, mtools and debugfs change what they wrote.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from aistack.diagnostics import DiagnosticError, unable
from aistack.host import bound_images, bound_store, disk_layout, grub, ostree, ostree_commit, process, sysroot
from aistack.host.blobs import LayoutFolder
from aistack.host.disk_layout import MIB, SECTOR, Layout
from aistack.values import dataclass

BLOCK = 4096
ENTRY = 8
"""Bytes of an entry in an ext4 folder beside its name."""
PROGRESS = "progress: "
STORAGE = "ostree/bootc/storage"
BIOS_GRUB = Path("/usr/lib/grub/i386-pc")
BIOS_MODULES = (
    "biosdisk", "part_gpt", "ext2", "normal", "linux", "echo", "loadenv", "test", "search", "search_fs_uuid", "serial", "terminal",
    "configfile", "sleep", "ls", "cat", "reboot", "halt",
)  # fmt: skip
EXTENTS_FLAG, IMMUTABLE_FLAG = 0x80000, 0x10


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to put on a disk; paths are as seen inside the tools root, `bound` holds (image name, manifest digest)."""

    seed: str
    work: str
    layout: str
    digest: str
    reference: str
    bound: tuple[tuple[str, str], ...]
    headroom_mib: int
    arch: str
    qcow2: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What came out: the deployment, its commit, kernel arguments, sizes in bytes, seconds of each part."""

    commit: str
    deployment: str
    kernel_arguments: tuple[str, ...]
    size: int
    root_bytes: int
    boot_bytes: int
    seconds: dict[str, float]


def fill(order: Order) -> Filled:
    """Make WORK/disk.raw (and WORK/disk.qcow2); WORK must be empty and writable."""
    work, layout = Path(order.work), Path(order.layout)
    clock = _Clock()
    root = work / "root"
    repository = sysroot.init_sysroot(root)
    image = ostree.import_image(repository, LayoutFolder(layout), order.digest, sync=False, progress=_say)
    clock.lap("import")
    identity = disk_layout.identify(order.seed)
    deployment, arguments = _deploy(order, root, image.commit, identity)
    clock.lap("deploy")
    for name, digest in order.bound:
        _say(f"bound image {name}")
        _bind(work, layout, root / STORAGE, name, digest)
    bound_store.normalise(root / STORAGE)
    clock.lap("bound images")
    boot = work / "boot"
    (root / "boot").rename(boot)
    (root / "boot").mkdir()
    (boot / "grub" / "grubenv").write_bytes(grub.write_environment({}))
    plan = disk_layout.lay_out(order.seed, boot_bytes=_size(boot), root_bytes=_size(root), headroom_mib=order.headroom_mib, arch=order.arch)
    disk = work / "disk.raw"
    with disk.open("wb") as stream:
        stream.truncate(plan.size * MIB)
    process.run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(disk)], input=disk_layout.table(plan))
    _say("boot loaders")
    _esp(work, disk, plan, order.arch)
    if order.arch == "x86_64":
        _bios(work, disk, plan)
    _ext4(disk, plan.boot.offset, plan.boot.size, identity.boot_fs, "boot", boot)
    clock.lap("boot partitions")
    _say("root file system")
    _ext4(disk, plan.root.offset, plan.root.size, identity.root_fs, "root", root)
    _make_immutable(disk, plan.root.offset, f"/ostree/deploy/{sysroot.STATEROOT}/deploy/{deployment}")
    clock.lap("root file system")
    sizes = _size(root), _size(boot)
    shutil.rmtree(root)
    shutil.rmtree(boot)
    if order.qcow2:
        _say("qcow2")
        process.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(disk), str(work / "disk.qcow2")])
        clock.lap("qcow2")
    return Filled(
        commit=image.commit,
        deployment=deployment,
        kernel_arguments=arguments,
        size=plan.size * MIB,
        root_bytes=sizes[0],
        boot_bytes=sizes[1],
        seconds=clock.laps,
    )


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self.last = round(now - self.last, 1), now


def _say(text: str) -> None:
    print(f"{PROGRESS}{text}", flush=True)


def _deploy(order: Order, root: Path, commit: str, identity: disk_layout.Identity) -> tuple[str, tuple[str, ...]]:
    # The flag that makes a deployment's root immutable is set in the finished file system: setting it on a folder needs a privilege
    # over the build host's own file system (CAP_LINUX_IMMUTABLE), and it would hinder the clean-up.
    os.environ["OSTREE_SYSROOT_DEBUG"] = "mutable-deployments"
    with sysroot.opened(root) as opened:
        programs = ostree_commit.files_in(opened.repo(), commit, str(Path(sysroot.GRUB_PROGRAM).parent))
        program = programs.get(Path(sysroot.GRUB_PROGRAM).name)
        if program is None:
            raise unable("DSK001", "menu-program-missing", f"the image has no {sysroot.GRUB_PROGRAM}", why=(f"image: {order.digest}",))
        copy = Path(order.work) / "grub-config"
        copy.write_bytes(program)
        copy.chmod(0o755)
        os.environ["OSTREE_GRUB2_EXEC"] = str(copy)
        asked = sysroot.image_kargs(opened.repo(), commit, order.arch)
        arguments = (*(one for one in disk_layout.kernel_arguments(identity) if one not in asked), *asked)
        name = sysroot.deploy(opened, commit, digest=order.digest, reference=order.reference, kernel_arguments=arguments)
    copy.unlink()
    return name, arguments


def _bind(work: Path, layout: Path, storage: Path, name: str, digest: str) -> None:
    """Copy an image into the store that podman on the node reads as an additional one."""
    single = work / "single"
    single.mkdir()
    manifest = layout / "blobs" / "sha256" / digest.partition(":")[2]
    if not manifest.is_file():
        raise unable("OST004", "layout-blob-missing", f"the layout has no blob {digest}", why=(f"bound image: {name}",))
    media_type = json.loads(manifest.read_bytes()).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
    index = {"schemaVersion": 2, "manifests": [{"mediaType": media_type, "digest": digest, "size": manifest.stat().st_size}]}
    (single / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (single / "index.json").write_text(json.dumps(index))
    (single / "blobs").symlink_to((layout / "blobs").resolve())
    process.run(["skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{single}", bound_images.target(storage, name, digest)])
    shutil.rmtree(single)


def _size(folder: Path) -> int:
    """Bytes in whole blocks of every distinct file and folder below.

    What a folder takes is counted by its names, as ext4 stores them: the size that a builder's own file system gives it differs.
    """
    seen: set[tuple[int, int]] = set()
    total = 0
    for parent, folders, files in os.walk(folder):
        total += _blocks(sum(ENTRY + -(-len(os.fsencode(name)) // 4) * 4 for name in (".", "..", *folders, *files)))
        for name in (*folders, *files):
            found = os.lstat(os.path.join(parent, name))  # noqa: PTH118  # tens of thousands of times
            if not stat.S_ISDIR(found.st_mode) and (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                total += _blocks(found.st_size)
    return total


def _blocks(size: int) -> int:
    return max(BLOCK, -(-size // BLOCK) * BLOCK)


def _ext4(disk: Path, offset: int, size_mib: int, uuid: str, label: str, content: Path) -> None:
    # GRUB 2.12 cannot read a file system with a checksum seed; orphan_file is left out for older rescue systems.
    features = "^metadata_csum_seed,^orphan_file"
    options = f"offset={offset},hash_seed={uuid},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"
    process.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-b", str(BLOCK), "-m", "1", "-O", features, "-U", uuid, "-L", label,
         "-E", options, "-d", str(content), str(disk), f"{size_mib * 1024}k"],
    )  # fmt: skip


def _make_immutable(disk: Path, offset: int, path: str) -> None:
    target = f"{disk}?offset={offset}"
    process.run(["debugfs", "-w", "-R", f"set_inode_field {path} flags {EXTENTS_FLAG | IMMUTABLE_FLAG:#x}", target])
    shown = process.run(["debugfs", "-R", f"stat {path}", target]).stdout
    if f"Flags: {EXTENTS_FLAG | IMMUTABLE_FLAG:#x}" not in shown:
        raise unable("DSK002", "flag-not-set", f"`{path}` could not be made immutable", why=tuple(shown.splitlines()[:4]))


def _esp(work: Path, disk: Path, plan: Layout, arch: str) -> None:
    # One sector for each cluster: firmware takes a FAT32 with fewer than 65525 clusters for something else and does not read it.
    process.run(
        ["mkfs.fat", "-F", "32", "-s", "1", "-S", str(SECTOR), "-i", plan.identity.esp_volume, "-n", "ESP",
         "--offset", str(plan.esp.offset // SECTOR), str(disk), str(plan.esp.size * 1024)]
    )  # fmt: skip
    stub = work / "stub.cfg"
    stub.write_text(disk_layout.search_boot(plan.identity, then="configfile $prefix/grub.cfg\n"))
    drive = f"{disk}@@{plan.esp.offset}"
    process.run(["mmd", "-i", drive, "::/EFI", "::/EFI/BOOT", "::/EFI/debian"])
    programs = [(Path(source), f"BOOT/{name}") for name, source in disk_layout.efi_programs(arch).items()]
    # The second is where Debian's signed GRUB looks.
    for source, target in (*programs, (stub, "BOOT/grub.cfg"), (stub, "debian/grub.cfg")):
        process.run(["mcopy", "-i", drive, str(source), f"::/EFI/{target}"])
    stub.unlink()


def _bios(work: Path, disk: Path, plan: Layout) -> None:
    early, core = work / "early.cfg", work / "core.img"
    early.write_text(disk_layout.search_boot(plan.identity))
    process.run(["grub-mkimage", "-O", "i386-pc", "-d", str(BIOS_GRUB), "-o", str(core), "-p", "/grub", "-c", str(early), *BIOS_MODULES])
    lba = plan.bios.offset // SECTOR
    with disk.open("r+b") as stream:
        mbr = stream.read(SECTOR)
        stream.seek(0)
        stream.write(disk_layout.boot_sector((BIOS_GRUB / "boot.img").read_bytes(), mbr, lba))
        stream.seek(plan.bios.offset)
        stream.write(disk_layout.core_image(core.read_bytes(), lba))
    early.unlink()
    core.unlink()


def main(arguments: Sequence[str]) -> int:
    """Make the disk of the order in the file `arguments[0]` (JSON); the last line of the output is what came out, or errors, as JSON."""
    document = json.loads(Path(arguments[0]).read_text())
    document["bound"] = tuple((name, digest) for name, digest in document["bound"])
    os.umask(0o022)  # what this makes is a node's: whoever builds it may keep their own files to themselves
    try:
        filled = fill(Order(**document))
    except DiagnosticError as error:
        found = [dataclasses.asdict(one) for one in error.diagnostics]
        print(json.dumps({"errors": found, "exit_code": int(error.exit_code)}), flush=True)
        return 0
    print(json.dumps(dataclasses.asdict(filled)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
