"""Images of the store in a registry: byte by byte as they are, without what the registry has already, by skopeo."""

from __future__ import annotations

from collections.abc import Callable

from aistack.diagnostics import DiagnosticError
from aistack.host import image_proxy, oci, process, registry
from aistack.host.store import Store

Advance = Callable[[int, int], None]


def publish(store: Store, digest: str, name: str, advance: Advance = lambda done, total: None) -> None:
    """Put an image of the store there as HOST/REPOSITORY:TAG; parts that an earlier, broken attempt left there are not sent again.

    `advance` is told how many bytes, of how many, skopeo has taken up or passed over. Raises DiagnosticError (exit 3): not reached, not
    trusted, not allowed, cut off, or a registry that has other bytes afterwards than it was given.
    """
    sizes = {layer.digest: layer.size for layer in oci.read_image(store, digest, whole=False).layers}
    with store.scratch() as scratch:
        layout, log = oci.layout(store, {"image": digest}, scratch / "layout"), scratch / "log"
        argv = image_proxy.skopeo("copy", "--preserve-digests", "--retry-times=3", f"oci:{layout}:image", f"docker://{name}")
        done = 0
        try:
            with process.stream(argv, log=log) as running:
                for line in running.stdout or ():
                    done += sizes.get(line.decode(errors="replace").removeprefix("Copying blob ").strip(), 0)
                    advance(done, sum(sizes.values()))
        except DiagnosticError as error:
            said = log.read_text(errors="replace")
            if not said:
                raise
            raise registry.refused(name, registry.words(said), taking=True) from error
    registry.inspected(name, name, digest)
