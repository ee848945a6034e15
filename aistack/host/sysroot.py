"""OSTree deployments: lay out a sysroot, deploy a commit with its kernel arguments, read and reorder what is deployed.

The deployed system's bootloader program is named by OSTREE_GRUB2_EXEC in the environment (aistack.compose.render.grub's script).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aistack.diagnostics import unable
from aistack.facts import kargs
from aistack.host.ostree import LOCK_KEY, MANIFEST_KEY, libostree
from aistack.host.ostree_commit import commit_metadata, files_in, folders_in, sizes_in, undamaged
from aistack.values import dataclass

STATEROOT = "aistack"
GRUB_PROGRAM = "/usr/libexec/aistack/grub-config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One bootable version.

    `digest` and `lock` are what the commit says of itself, `promised` the manifest digest that was asked for when it was deployed;
    `booted` runs now, `default` is what the bootloader starts next, `staged` becomes the default at the next clean shutdown.
    """

    checksum: str
    serial: int
    version: str | None
    digest: str | None
    lock: str | None
    promised: str | None
    reference: str | None
    booted: bool
    default: bool
    staged: bool
    pinned: bool
    kernel_arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        """How OSTree names it on disk: `CHECKSUM.SERIAL`."""
        return f"{self.checksum}.{self.serial}"

    @property
    def tree(self) -> str:
        """Its folder, as an absolute path of the machine."""
        return f"/ostree/deploy/{STATEROOT}/deploy/{self.name}"


def image_kargs(repo: Any, commit: str, arch: str) -> tuple[str, ...]:
    """The kernel arguments that an image asks for, in the order of the files' names; `arch` is as the kernel spells it (`x86_64`)."""
    return parse_kargs(files_in(repo, commit, kargs.FOLDER), arch)


def parse_kargs(files: Mapping[str, bytes], arch: str) -> tuple[str, ...]:
    """The kernel arguments of the kargs.d files (name to content) that apply to this architecture."""
    found: list[str] = []
    for name in sorted(files):
        if not name.endswith(".toml"):
            continue
        try:
            arguments, architectures = kargs.read(files[name])
        except ValueError as error:
            message = f"{kargs.FOLDER}/{name} cannot be read"
            raise unable("OST010", "kargs-not-understood", message, why=(str(error),)) from error
        if architectures is None or arch in architectures:
            found += arguments
    return tuple(found)


def changed_kargs(current: Sequence[str], old_image: Sequence[str], new_image: Sequence[str]) -> tuple[str, ...]:
    """A node's kernel arguments after an update: the image's come as a whole and in its order, since the order of some counts
    (`hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=512`); local ones stay before or after them.
    """
    owned, before, after = list(old_image), list[str](), list[str]()
    for argument in current:
        if argument in owned:
            owned.remove(argument)
        elif not argument.startswith("ostree="):
            (before if len(owned) == len(old_image) else after).append(argument)
    return (*before, *new_image, *after)


def init_sysroot(path: Path) -> Path:
    """Make an empty sysroot whose bootloader is GRUB through our program; returns its repository's path."""
    with libostree() as (api, _):
        from gi.repository import Gio

        (path / "boot" / "grub").mkdir(parents=True)
        # libostree writes /boot/loader.N/grub.cfg and swaps the link /boot/loader: the switch is one rename.
        (path / "boot" / "grub" / "grub.cfg").symlink_to("../loader/grub.cfg")
        for name in ("sys", "proc", "dev", "run", "tmp"):
            (path / name).mkdir()
        sysroot = api.Sysroot.new(Gio.File.new_for_path(str(path)))
        sysroot.ensure_initialized(None)
        sysroot.load(None)
        sysroot.init_osname(STATEROOT, None)
        repo = sysroot.repo()
        settings = repo.copy_config()
        settings.set_boolean("sysroot", "readonly", True)
        settings.set_string("sysroot", "bootloader", "grub2")
        settings.set_string("core", "min-free-space-size", "64MB")
        repo.write_config(settings)
    return path / "ostree" / "repo"


@contextmanager
def opened(path: Path = Path("/"), *, writable: bool = False) -> Iterator[Any]:
    """A loaded OSTree.Sysroot; `writable` makes the booted one writable, for this process only, and holds its lock."""
    with libostree() as (api, _):
        from gi.repository import Gio

        sysroot = api.Sysroot.new(Gio.File.new_for_path(str(path)))
        if writable:
            sysroot.initialize_with_mount_namespace(None)
            sysroot.lock()
        try:
            sysroot.load(None)
            yield sysroot
        finally:
            if writable:
                sysroot.unlock()
            sysroot.unload()


def deployments(sysroot: Any) -> tuple[Deployment, ...]:
    """What is deployed, in boot order; the first that is not staged is the default. A damaged commit says nothing of itself."""
    repo = sysroot.repo()
    booted = sysroot.get_booted_deployment()
    found: list[Deployment] = []
    for one in sysroot.get_deployments():
        checksum = one.get_csum()
        metadata = undamaged(commit_metadata, repo, checksum) or {}
        options = one.get_bootconfig().get("options") or ""
        found.append(
            Deployment(
                checksum=checksum,
                serial=one.get_deployserial(),
                version=metadata.get("version"),
                digest=metadata.get(MANIFEST_KEY),
                lock=metadata.get(LOCK_KEY),
                promised=_origin_value(one, "aistack", "manifest-digest"),
                reference=_origin_value(one, "origin", "container-image-reference"),
                booted=booted is not None and one.equal(booted),
                default=not one.is_staged() and all(earlier.staged for earlier in found),
                staged=one.is_staged(),
                pinned=one.is_pinned(),
                kernel_arguments=kargs.split(options),
            )
        )
    return tuple(found)


def _origin_value(deployment: Any, group: str, key: str) -> str | None:
    origin = deployment.get_origin()
    if origin is None or not origin.has_group(group) or key not in origin.get_keys(group)[0]:
        return None
    return str(origin.get_string(group, key))


def deploy(sysroot: Any, commit: str, *, digest: str, reference: str, kernel_arguments: Sequence[str], staged: bool = False) -> str:
    """Deploy a commit with exactly these kernel arguments; returns `CHECKSUM.SERIAL`.

    `digest` (the system image's manifest) and `reference` go into the origin file: the promise that the first gate checks.
    /etc is merged from the booted deployment, or from the newest one. Staged: written out at the next clean shutdown.
    Raises DiagnosticError (exit 3) for arguments that libostree would not take apart as they are meant.
    """
    for argument in kernel_arguments:
        if argument.count('"') % 2:
            hints = ("it stands in the options of /boot/loader/entries",)
            raise unable("OST010", "kargs-not-understood", f"the kernel argument `{argument}` has a double quote too many", hints=hints)
    from gi.repository import GLib, OSTree

    origin = GLib.KeyFile()
    origin.set_string("origin", "container-image-reference", reference)
    origin.set_string("aistack", "manifest-digest", digest)
    merge = sysroot.get_merge_deployment(STATEROOT)
    os.environ.setdefault("OSTREE_GRUB2_EXEC", GRUB_PROGRAM)
    if staged:
        new = sysroot.stage_tree(STATEROOT, commit, origin, merge, list(kernel_arguments), None)[1]
    else:
        new = sysroot.deploy_tree(STATEROOT, commit, origin, merge, list(kernel_arguments), None)[1]
        flags = OSTree.SysrootSimpleWriteDeploymentFlags.RETAIN_ROLLBACK
        sysroot.simple_write_deployment(STATEROOT, new, merge, flags, None)
    return f"{new.get_csum()}.{new.get_deployserial()}"


def next_name(sysroot: Any, commit: str) -> str:
    """What `deploy` will call the next deployment of a commit: OSTree counts on from the folders that are there."""
    folder = Path(sysroot.get_path().get_path()) / "ostree/deploy" / STATEROOT / "deploy"
    serials = [int(serial) for path in folder.glob(f"{commit}.*") if (serial := path.name.rpartition(".")[2]).isdecimal()]
    return f"{commit}.{max(serials, default=-1) + 1}"


def set_default(sysroot: Any, name: str) -> None:
    """Make the deployment `CHECKSUM.SERIAL` the one that the bootloader starts; a staged deployment is dropped by OSTree."""
    every = [one for one in sysroot.get_deployments() if not one.is_staged()]
    chosen = [one for one in every if f"{one.get_csum()}.{one.get_deployserial()}" == name]
    if not chosen:
        raise unable("OST011", "deployment-not-on-disk", f"no deployment is called `{name}`")
    os.environ.setdefault("OSTREE_GRUB2_EXEC", GRUB_PROGRAM)
    sysroot.write_deployments(chosen + [one for one in every if not one.equal(chosen[0])], None)


def discard_staged(sysroot: Any) -> None:
    """Drop the staged deployment, where there is one."""
    every = sysroot.get_deployments()
    others = [one for one in every if not one.is_staged()]
    if len(others) < len(every):
        sysroot.write_deployments(others, None)


def hold(sysroot: Any, digests: Collection[str]) -> None:
    """Pin the deployments of these promised digests, so that finalizing a staged one does not drop them, and unpin what was held before.

    What is booted needs no pin, nor does an earlier deployment of the same image; a pin that somebody else set stays.
    """
    booted = sysroot.get_booted_deployment()
    runs = None if booted is None else _origin_value(booted, "aistack", "manifest-digest")
    for one in sysroot.get_deployments():
        origin = one.get_origin()
        held = _origin_value(one, "aistack", "held") == "true"
        promised = _origin_value(one, "aistack", "manifest-digest")
        wanted = promised in digests and promised != runs
        if one.is_staged() or origin is None or held == wanted or (wanted and one.is_pinned()):
            continue
        for group, key in (("aistack", "held"), ("libostree-transient", "pinned")):
            if wanted:
                origin.set_boolean(group, key, True)
            else:
                origin.remove_key(group, key)
        sysroot.write_origin_file(one, origin, None)


def keep_only(sysroot: Any, names: Collection[str]) -> None:
    """Drop every deployment that is neither of these (`CHECKSUM.SERIAL`) nor staged, in the order that they have."""
    every = sysroot.get_deployments()
    kept = [one for one in every if one.is_staged() or f"{one.get_csum()}.{one.get_deployserial()}" in names]
    if len(kept) < len(every):
        os.environ.setdefault("OSTREE_GRUB2_EXEC", GRUB_PROGRAM)
        sysroot.write_deployments(kept, None)


def prune(sysroot: Any, refs: Collection[str]) -> None:
    """Remove every image and layer whose ref is not one of these, all objects that nothing needs, and leftovers of broken attempts."""
    repo = sysroot.repo()
    for ref in sorted(set(repo.list_refs(None, None)[1]) - set(refs)):
        if ref.startswith("oci/"):
            repo.set_ref_immediate(None, ref, None, None)
    sysroot.cleanup(None)


KERNELS = "/usr/lib/modules"


def boot_files(repo: Any, commit: str) -> dict[str, tuple[str, int]]:
    """The files of a commit that a deployment puts into /boot: name, checksum of the content, bytes."""
    return {
        name: found
        for kernel in folders_in(repo, commit, KERNELS)
        for name, found in sizes_in(repo, commit, f"{KERNELS}/{kernel}").items()
        if name in ("vmlinuz", "initramfs.img", "devicetree")
    }
