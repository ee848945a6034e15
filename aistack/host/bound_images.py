"""The images that a system binds: named by its quadlets, copied into the store that podman reads them from, removed from it.

Nothing but their digests is trusted: the system image names them, and skopeo takes only bytes that have them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from aistack.diagnostics import DiagnosticError, unable
from aistack.facts.readings import PromisedImage, Reading
from aistack.host import bound_arrival, image_proxy, process
from aistack.host.ostree_commit import links_in, undamaged
from aistack.host.probes import images
from aistack.host.probes.reading import read


def bound(repo: Any, commit: str) -> tuple[PromisedImage, ...]:
    """The images that the system image of a commit binds; raises DiagnosticError (exit 3) where one is not named by its digest."""
    found = []
    for name, text in sorted(links_in(repo, commit, images.BOUND).items()):
        image = images.promised(text.decode(errors="replace")) if text else None
        if image is None:
            raise unable("NODE006", "bound-image-unnamed", f"{images.BOUND}/{name} names no image by digest")
        found.append(image)
    return tuple(found)


def bound_by(repo: Any, commit: str, tree: Path) -> tuple[PromisedImage, ...]:
    """The images that the deployment of a commit binds: where the commit is damaged, its folder `tree` tells. Errors as `bound`'s."""
    if (found := undamaged(bound, repo, commit)) is not None:
        return found
    reading = images.promised_images(tree)
    if reading.value is None:
        raise unreadable(reading)
    return reading.value


def unreadable(reading: Reading[Any], storage: Path | None = None) -> DiagnosticError:
    """The error for images that cannot be read; the lists of a `storage` are made anew by what follows a power cut."""
    message, mark = f"cannot read the bound images: {reading.error}", storage and f"{storage}/{bound_arrival.MARK}"
    again = f"to have all of them fetched anew: unshare --mount sh -c 'mount -o remount,rw /sysroot; echo > {mark}'; aistack node update"
    return unable("NODE004", "bound-images-unreadable", message, why=(reading.source,), hints=(again,) if storage else ())


def target(storage: Path, name: str, digest: str) -> str:
    """The store's image as skopeo names it.

    The name with a digest makes skopeo refuse anything that would change a byte of the manifest; a mount of its own over the store's
    folder would outlive it, and keep that folder from being removed.
    """
    return f"{_store(storage)}{name}@{digest}"


def _store(storage: Path) -> str:
    return f"containers-storage:[overlay@{storage}+/run/containers:overlay.skip_mount_home=true]"


def pull(repository: str, image: PromisedImage, storage: Path, scratch: Path, begun: Callable[[str], None]) -> None:
    """Copy an image of HOST/REPOSITORY into the store by its digest; layers that the store has are not fetched again.

    Until the image is whole, skopeo keeps its layers in the folder `scratch` too, as they came. policy.json does not count here: the signed
    system image names the digest. `begun` is told the digest of each blob that is taken up.
    Raises DiagnosticError (exit 3): see host/registry.py.
    """
    from aistack.host import registry  # the gates need none of it

    name = f"{repository}@{image.digest}"
    to = target(storage, image.name, image.digest)
    argv = image_proxy.skopeo("--insecure-policy", f"--tmpdir={scratch}", "copy", "--retry-times=3", f"docker://{name}", to)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        try:
            with process.stream(argv, log=log, silence=image_proxy.SILENCE) as running:
                for line in running.stdout or ():
                    begun(line.decode(errors="replace").removeprefix("Copying blob ").strip())
        except DiagnosticError as error:
            stuck = error.diagnostics[0].rule == "HOST003"
            said = image_proxy.silent() if stuck else registry.words(log.read_text(errors="replace"))
            raise registry.refused(name, said) from error


def layers_there(storage: Path) -> frozenset[str]:
    """The digests (`sha256:HEX`) of the store's layers, as they were fetched and as unpacked."""
    path = storage / "overlay-layers" / "layers.json"

    def layers() -> frozenset[str]:
        return frozenset(
            str(digest)
            for one in bound_arrival.objects(path)
            for key in ("compressed-diff-digest", "diff-digest")
            if (digest := one.get(key))
        )

    found = read(str(path), layers)
    if found.value is None:
        raise unreadable(found, storage)
    return found.value


def there(storage: Path) -> frozenset[str]:
    """The manifest digests of the store's images whose layers are all there."""
    if not (storage / "overlay-images" / "images.json").exists():
        return frozenset()
    found = images.bound_images(Path("/"), str(storage))
    if found.value is None:
        raise unreadable(found, storage)
    return frozenset(image.digest for image in found.value)


def require(storage: Path, bound: Collection[PromisedImage]) -> None:
    """Raises DiagnosticError (exit 3) where the store lacks one of these."""
    present = there(storage)
    if lacking := tuple(f"{one.name}@{one.digest}" for one in bound if one.digest not in present):
        raise unable("UPD002", "bound-images-missing", "the image binds others that are not on this node", why=lacking)


def remove_others(storage: Path, keep: Collection[str]) -> tuple[str, ...]:
    """Remove every image none of whose digests is in `keep`, and the layers that no other image has; returns the names that went."""
    path = storage / "overlay-images" / "images.json"
    gone: list[str] = []
    for one in json.loads(path.read_bytes()) if path.exists() else []:
        if not images.digests(one) & set(keep):
            process.run(image_proxy.skopeo("--insecure-policy", "delete", f"{_store(storage)}@{one['id']}"))
            gone += one.get("names") or [one["id"]]
    return tuple(gone)
