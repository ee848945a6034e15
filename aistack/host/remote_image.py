"""The blobs of a registry's image, one by one, for whoever imports it: through skopeo's proxy, which enforces policy.json."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from aistack.facts.readings import PromisedImage
from aistack.host import image_proxy, oci, registry
from aistack.host.blobs import Readable
from aistack.host.ostree import Layer, layers_of
from aistack.values import dataclass


@dataclass(frozen=True, slots=True)
class RegistryImage:
    """One image of a registry, made by `opened`; each blob comes when it is asked for, and no other."""

    reference: str
    proxy: image_proxy.Proxy
    came: Callable[[int], None]

    @contextmanager
    def blob(self, digest: str, size: int | None) -> Iterator[Readable]:
        """The blob as the registry sends it; without a size, the image's manifest."""
        with _refused(self.reference):
            if size is None:
                yield io.BytesIO(self.proxy.manifest())
                return
            with self.proxy.blob(digest, size, self.came) as stream:
                yield stream


@contextmanager
def opened(
    reference: str, digest: str, came: Callable[[int], None] = lambda _: None, *, policy: Path | None = None
) -> Iterator[RegistryImage]:
    """HOST/REPOSITORY[:TAG] at a digest, opened: this is where `policy`, else the machine's policy.json, is enforced.

    `came` is told how many bytes of blobs came.
    """
    with _refused(reference), image_proxy.opened(f"docker://{registry.repository(reference)}@{digest}", policy) as proxy:
        yield RegistryImage(reference, proxy, came)


@contextmanager
def _refused(reference: str) -> Iterator[None]:
    try:
        yield
    except image_proxy.ProxyError as error:
        raise registry.refused(reference, str(error)) from error


def missing_layers(repository: str, image: PromisedImage, there: Collection[str]) -> tuple[Layer, ...]:
    """The layers of HOST/REPOSITORY's image of that digest, but for those whose digests are `there`; raises DiagnosticError (exit 3)."""
    name = f"{repository}@{image.digest}"
    data = registry.inspected(name, name, image.digest)
    try:
        return tuple(layer for layer in layers_of(data) if layer.digest not in there)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise oci.not_an_image(name, f"{type(error).__name__}: {error}") from error
