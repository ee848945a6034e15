"""What a lock promises of the binaries in an image; of an image without one, nothing is expected."""

from __future__ import annotations

from aistack.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """`driver` is the version of the accelerator's driver where it is one that comes in parts (None: there is none, or it is not known).

    `pci_ids` are the accelerator's, as the catalog has them (`10de:27b8`). `signer` is the common name of whoever signs the modules that do
    not come with the kernel; None: nobody was named.
    """

    driver: str | None = None
    pci_ids: tuple[str, ...] = ()
    signer: str | None = None
