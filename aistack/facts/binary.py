"""What an ELF program or library says of itself, as read from its file. Values only."""

from __future__ import annotations

from aistack.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """A program or a library. `machine` is ELF's own name (`EM_X86_64`), `bits` 32 or 64, `interpreter` the loader that a program asks for.

    `needed` are the libraries that it asks for by name, `rpath` and `runpath` the folders where it wants them sought, as they stand there
    (`$ORIGIN/../lib`). `versions` are the versions of a vendor's driver that stand in it, where it is a part of one: text, sorted.
    """

    machine: str
    bits: int
    interpreter: str = ""
    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
