"""What apt's words about an archive's package lists mean."""

from __future__ import annotations

import re

from aistack.diagnostics import Diagnostic, unable
from aistack.facts.pins import Archive

KEYRING_HINT = "install a newer debian-archive-keyring on this machine"


def key_hint(archive: Archive) -> str:
    """What helps where an archive's signature does not hold."""
    if archive.signed_by:
        return "the key that `signed-by:` names must be the one that signs this archive now"
    return "an archive that is not the OS's own needs its key: `signed-by:` in the recipe" if archive.uri else KEYRING_HINT


def list_problem(lines: tuple[str, ...], name: str, key_hint: str) -> tuple[Diagnostic, ...]:
    """What apt's lines about the package lists of an archive of that name mean."""
    said, why = " ".join(lines), lines[:8]
    hints: tuple[str, ...] = (key_hint,)
    if re.search(r"NO_PUBKEY|couldn't be verified|not signed|BADSIG|EXPKEYSIG|no signature|verification failed", said, re.IGNORECASE):
        message = f"the package lists of {name} have no valid signature"
        return unable("PKG003", "package-lists-not-trusted", message, why=why, hints=hints).diagnostics
    if "is not valid yet" in said or "expired" in said.lower():
        hints = ("check this machine's clock", "use a mirror that is kept up to date")
        message = f"the package lists of {name} are out of date"
        return unable("PKG003", "package-lists-not-trusted", message, why=why, hints=hints).diagnostics
    hints = (
        "check the network and the proxy (`apt-config dump | grep -i proxy`)",
        "with a filled store, `aistack build --offline` needs no network",
    )
    if re.search(r"does not have a Release file|404 ", said):
        hints = ("its address is the folder that holds `dists/SUITE`; a flat one, with `Release` itself, has `suites: [./]`",)
    message = f"the package lists of {name} could not be fetched"
    return unable("PKG004", "package-lists-unreachable", message, why=why, hints=hints).diagnostics
