"""Where packages come from: the archives that this machine's own apt configuration names, turned to another suite of Debian.

No mirror is known here by name. Formats: sources.list(5), apt.conf(5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from aistack.diagnostics import DiagnosticError, unable
from aistack.facts.pins import Archive
from aistack.host import deb

CODENAMES = ("buster", "bullseye", "bookworm", "trixie", "forky", "duke")
ALIASES = ("oldoldstable", "oldstable", "stable", "testing", "unstable", "sid", "experimental", "rc-buggy")
POCKETS = ("-updates", "-backports", "-proposed-updates", "-security", "-backports-sloppy")
KEYRINGS = ("debian-archive-keyring.gpg", "debian-archive-keyring.pgp")
VARIABLE = "AISTACK_APT_DEBIAN"
VARIABLE_SECURITY = "AISTACK_APT_DEBIAN_SECURITY"


def stanza(archive: Archive) -> str:
    """The deb822 stanza of an archive for apt (sources.list(5))."""
    lines = ["Types: deb", f"URIs: {archive.uri}", f"Suites: {archive.suite}"]
    if archive.components:
        lines.append(f"Components: {' '.join(archive.components)}")
    if archive.signed_by:
        lines.append("Signed-By:" + (" " + archive.signed_by if archive.signed_by.startswith("/") else _folded(archive.signed_by)))
    return "\n".join(lines) + "\n"


def _folded(key: str) -> str:
    return "".join(f"\n {line.strip() or '.'}" for line in key.strip().split("\n"))


def locate(wanted: Sequence[Archive], *, environment: Mapping[str, str], root: Path = Path("/")) -> tuple[Archive, ...]:
    """The archives with an address and a key for each, in their order.

    Where they have no address of their own it comes from the variables AISTACK_APT_DEBIAN and AISTACK_APT_DEBIAN_SECURITY, else from
    this machine's own apt configuration below `root`; where they have no key, Debian's keyring is theirs. Raises DiagnosticError (exit 3).
    """
    configured = configured_archives(root)
    ours = [archive for archive in configured if _is_debian(archive, root)]
    ours.sort(key=lambda archive: -_certainty(archive, root))
    keyring = next((str(path) for name in KEYRINGS if (path := root / "usr/share/keyrings" / name).is_file()), "")
    found = []
    for archive in wanted:
        # Keys of a newer suite are in a newer keyring, so the whole keyring is preferred to one key that a suite is tied to.
        uri, key = archive.uri, archive.signed_by or keyring
        if not uri:
            is_security = _is_security(archive.suite)
            variable = VARIABLE_SECURITY if is_security else VARIABLE
            uri = environment.get(variable, "").rstrip("/")
            entry = next((entry for entry in ours if _is_security(entry.suite) == is_security), None)
            if not uri:
                if entry is None:
                    raise _nothing_fits(archive.suite, variable, configured, root)
                uri, key = entry.uri, key or entry.signed_by
        found.append(replace(archive, uri=uri, signed_by=key))
    return tuple(found)


def configured_archives(root: Path = Path("/")) -> tuple[Archive, ...]:
    """Every enabled binary archive of the apt configuration below `root`, one for each URI and suite."""
    etc = root / "etc/apt"
    found: list[Archive] = []
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list")), *sorted((etc / "sources.list.d").glob("*.sources"))]
    for file in files:
        try:
            text = file.read_text(errors="replace")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise unable("PKG001", "apt-unreadable", f"{file}: {error.strerror}") from error
        found += parse(text, one_line=file.suffix == ".list")
    return tuple(replace(archive, uri=_first_mirror(archive.uri, root)) for archive in found)


def _first_mirror(uri: str, root: Path) -> str:
    """The first address in a list of mirrors (apt-transport-mirror(1), as cloud images have it); any other address as it is."""
    if not uri.startswith("mirror+file:"):
        return uri
    try:
        lines = (root / uri.removeprefix("mirror+file:").lstrip("/")).read_text(errors="replace").splitlines()
    except OSError:
        return uri
    return next((line.split()[0].rstrip("/") for line in lines if line.strip() and not line.startswith("#")), uri)


def parse(text: str, *, one_line: bool) -> tuple[Archive, ...]:
    """The enabled `deb` entries of a sources file, in the one-line style or as deb822 stanzas."""
    return tuple(_one_line(text) if one_line else _deb822(text))


def _one_line(text: str) -> list[Archive]:
    found = []
    for line in text.splitlines():
        match = re.fullmatch(
            r"\s*deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>(?:\s+[^#\s]+)*)\s*(?:#.*)?", line
        )
        if match is None:
            continue
        options = dict(option.partition("=")[::2] for option in (match["options"] or "").split())
        found.append(
            Archive(
                uri=match["uri"].rstrip("/"),
                suite=match["suite"],
                components=tuple(match["components"].split()),
                signed_by=options.get("signed-by", ""),
            )
        )
    return found


def _deb822(text: str) -> list[Archive]:
    found = []
    for stanza in deb.stanzas(text):
        if "deb" not in stanza.get("types", "").split() or stanza.get("enabled", "yes").lower() in ("no", "false", "0", "off"):
            continue
        for uri in stanza.get("uris", "").split():
            for suite in stanza.get("suites", "").split():
                found.append(
                    Archive(
                        uri=uri.rstrip("/"),
                        suite=suite,
                        components=tuple(stanza.get("components", "").split()),
                        signed_by=stanza.get("signed-by", ""),
                    )
                )
    return found


def _is_security(suite: str) -> bool:
    return suite.endswith(("-security", "/updates"))


def plain(suite: str) -> str:
    """The codename or alias in a suite's name."""
    name = suite.partition("/")[0]
    for pocket in POCKETS:
        name = name.removesuffix(pocket)
    return name


def _is_debian(archive: Archive, root: Path) -> bool:
    return (
        plain(archive.suite) in (*CODENAMES, *ALIASES)
        and not archive.uri.startswith(("cdrom:", "file:", "copy:"))
        and _certainty(archive, root) > 0
    )


def _certainty(archive: Archive, root: Path) -> int:
    """How sure it is that an archive is Debian's: 3 by its signed Release file, 2 by its key, 1 by its shape, 0 not."""
    for file in (root / "var/lib/apt/lists").glob(f"*_dists_{archive.suite.replace('/', '_')}_*Release"):
        if file.name.startswith(_list_name(archive.uri)):
            origin = re.search(r"^Origin: *(.*)$", file.read_text(errors="replace")[:4096], re.MULTILINE)
            return 3 if origin is not None and origin[1].strip() == "Debian" else 0
    if archive.signed_by:
        return 2 if "debian-archive" in archive.signed_by else 0
    return 1 if archive.components[:1] == ("main",) and archive.uri.rsplit("/", 1)[-1].startswith("debian") else 0


def bare(uri: str) -> str:
    """An address without its scheme, user name and password."""
    return re.sub(r"^[a-z+]+:/*(?:[^/@]*@)?", "", uri).rstrip("/")


def _list_name(uri: str) -> str:
    """How apt spells an address in the names of its list files."""
    return bare(uri).replace("_", "%5f").replace("/", "_") + "_dists_"


def _nothing_fits(suite: str, variable: str, configured: Sequence[Archive], root: Path) -> DiagnosticError:
    mirror = "security mirror" if variable == VARIABLE_SECURITY else "mirror"
    seen = sorted({archive.suite for archive in configured})
    return unable(
        "PKG002",
        "no-package-source",
        f"no package source for `{suite}`: this machine's apt configuration names no archive of Debian's that fits",
        why=(
            f"suites configured below {root / 'etc/apt'}: {', '.join(seen) if seen else 'none'}",
            "aistack knows no mirror by name: it uses the ones that this machine uses",
        ),
        hints=(
            f"set {variable} to the address of a Debian {mirror} (the folder that holds `dists/`)",
            "or name the archives in the recipe, in `sources:`",
            "install debian-archive-keyring, so that signatures can be checked",
        ),
    )
