"""What a lock promises of the binaries in an image; of an image without one, nothing is expected."""

from __future__ import annotations

from aistack.values import dataclass

Signed = frozenset[str] | str
"""The modules (sha256, hex) that are signed with one key; a text says instead why that cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """`driver` is the version of the accelerator's driver where it is one that comes in parts (None: there is none, or it is not known).

    `pci_ids` are the accelerator's, as the catalog has them (`10de:27b8`). `signed` are the modules that are signed with the key of the
    lock's certificate, as all have to be that do not come with the kernel; None: the lock names no certificate.
    """

    driver: str | None = None
    pci_ids: tuple[str, ...] = ()
    signed: Signed | None = None
