"""Where everything lies on a disk, and under which names: sizes, partition table, file systems' ids; no disk is touched."""

from __future__ import annotations

import hashlib
import struct
import uuid

from aistack.values import dataclass

SECTOR = 512
MIB = 1 << 20

# https://uapi-group.org/specifications/specs/discoverable_partitions_specification/ and
# https://www.gnu.org/software/grub/manual/grub/html_node/BIOS-installation.html
BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
XBOOTLDR = "BC13C2FF-59E6-4262-A352-B275FD6F7172"
ROOT = {"x86_64": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "aarch64": "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"}

BIOS_BOOT_MIB = 1
ESP_MIB = 128
BOOT_MIB = 512
TAIL_MIB = 1

NAMESPACE = uuid.UUID("6f0d2b34-9f0c-5b8c-9d4c-2d2f6a2b8a51")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The disk's names, all drawn from one text, so that the same step makes the same disk."""

    disk: str
    esp: str
    esp_volume: str
    boot: str
    boot_fs: str
    root: str
    root_fs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition; start and size in MiB."""

    name: str
    type: str
    uuid: str
    start: int
    size: int

    @property
    def offset(self) -> int:
        """Where it begins, in bytes."""
        return self.start * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A whole disk; `size` in MiB."""

    identity: Identity
    bios: Partition
    esp: Partition
    boot: Partition
    root: Partition
    size: int


def identify(seed: str) -> Identity:
    """The ids drawn from a text (a plan step's id)."""

    def draw(name: str) -> str:
        return str(uuid.uuid5(NAMESPACE, f"{seed}/{name}"))

    return Identity(
        disk=draw("disk"),
        esp=draw("esp"),
        esp_volume=hashlib.sha256(f"{seed}/esp-volume".encode()).hexdigest()[:8],
        boot=draw("boot"),
        boot_fs=draw("boot-fs"),
        root=draw("root"),
        root_fs=draw("root-fs"),
    )


def lay_out(seed: str, *, boot_bytes: int, root_bytes: int, headroom_mib: int, arch: str = "x86_64") -> Layout:
    """A disk for that content: a BIOS core image, an ESP, /boot with room for three more kernels, and the rest for the root.

    `root_bytes` are whole blocks of every distinct file; ext4's own tables and journal and `headroom_mib` MiB free are added.
    The architecture, as the kernel spells it, is in the root's type; where it has no BIOS, the place for GRUB's core image stays empty.
    """
    identity = identify(seed)
    boot_size = max(BOOT_MIB, _mib(boot_bytes * 4) + 64)
    root_size = _mib(root_bytes + root_bytes // 16) + 192 + headroom_mib
    start = 1
    partitions = []
    for name, kind, own, size in (
        ("bios", BIOS_BOOT, str(uuid.uuid5(NAMESPACE, f"{seed}/bios")), BIOS_BOOT_MIB),
        ("esp", ESP, identity.esp, ESP_MIB),
        ("boot", XBOOTLDR, identity.boot, boot_size),
        ("root", ROOT[arch], identity.root, root_size),
    ):
        partitions.append(Partition(name=name, type=kind, uuid=own, start=start, size=size))
        start += size
    bios, esp, boot, root = partitions
    return Layout(identity=identity, bios=bios, esp=esp, boot=boot, root=root, size=start + TAIL_MIB)


def _mib(size: int) -> int:
    return -(-size // MIB)


def table(layout: Layout) -> str:
    """The partition table as sfdisk reads it."""
    lines = ["label: gpt", f"label-id: {layout.identity.disk}", "unit: sectors", "first-lba: 34"]
    per_mib = MIB // SECTOR
    for part in (layout.bios, layout.esp, layout.boot, layout.root):
        lines.append(
            f"start={part.start * per_mib}, size={part.size * per_mib}, type={part.type}, uuid={part.uuid}, name=aistack-{part.name}"
        )
    return "\n".join(lines) + "\n"


def kernel_arguments(identity: Identity) -> tuple[str, ...]:
    """What only the disk knows; here rather than in /etc/fstab, so that /etc of a fresh node is the image's."""
    return (f"root=UUID={identity.root_fs}", "rw", f"systemd.mount-extra=UUID={identity.boot_fs}:/boot:ext4:rw,nosuid,nodev")


def search_boot(identity: Identity, *, then: str = "") -> str:
    """GRUB commands that find /boot by its file system's id; `then` follows."""
    return f"search.fs_uuid {identity.boot_fs} root\nset prefix=($root)/grub\n{then}"


def efi_programs(arch: str) -> dict[str, str]:
    """Debian's signed programs for UEFI by their names in the ESP's EFI/BOOT (UEFI specification, 3.5.1.1), and where packages lay them."""
    short, long = {"x86_64": ("x64", "x86_64"), "aarch64": ("aa64", "arm64")}[arch]
    return {
        f"BOOT{short.upper()}.EFI": f"/usr/lib/shim/shim{short}.efi.signed",
        f"mm{short}.efi": f"/usr/lib/shim/mm{short}.efi.signed",
        f"grub{short}.efi": f"/usr/lib/grub/{long}-efi-signed/grub{short}.efi.signed",
    }


def boot_sector(boot_img: bytes, mbr: bytes, lba: int) -> bytes:
    """GRUB's boot.img made ready: it loads one sector at `lba`; the disk's own partition bytes stay.

    Offsets as in grub-core/boot/i386/pc/boot.S: the kernel sector's number at 0x5c; at 0x66 a jump that is replaced by two no-ops, so that
    the BIOS's drive number is not trusted; the area from 440 on belongs to the partition table.
    """
    sector = bytearray(boot_img[:SECTOR])
    sector[440:SECTOR] = mbr[440:SECTOR]
    sector[0x5C:0x64] = struct.pack("<Q", lba)
    sector[0x66:0x68] = b"\x90\x90"
    return bytes(sector)


def core_image(core: bytes, lba: int) -> bytes:
    """GRUB's core image made ready to lie at sector `lba`: its first sector lists where the others are (diskboot.S, at 0x1f4)."""
    sectors = -(-len(core) // SECTOR)
    if sectors * SECTOR > BIOS_BOOT_MIB * MIB:
        raise ValueError(f"GRUB's core image has {len(core)} bytes, more than the partition for it")
    ready = bytearray(core.ljust(sectors * SECTOR, b"\0"))
    ready[0x1F4:0x200] = struct.pack("<QHH", lba + 1, sectors - 1, 0x820)
    return bytes(ready)
