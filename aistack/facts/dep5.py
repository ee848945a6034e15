"""The licences of a Debian package, from its copyright file, where that is machine-readable (copyright-format 1.0, once DEP-5).

A file that is prose says NOASSERTION: guessing from its words would be a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.facts import licences

NAMES = {
    "apache-2": "Apache-2.0",
    "artistic": "Artistic-1.0",
    "expat": "MIT",
    "gpl": "GPL-1.0-or-later",
    "lgpl": "LGPL-2.0-or-later",
    "public-domain": "LicenseRef-public-domain",
}
"""Short names in lower case that SPDX does not know, or knows for something else, as the format's own table explains them."""

EXCEPTIONS = {
    "classpath": "Classpath-exception-2.0",
    "font": "Font-exception-2.0",
    "libtool": "Libtool-exception",
    "linux-syscall-note": "Linux-syscall-note",
    "llvm": "LLVM-exception",
    "texinfo": "Texinfo-exception",
}
"""Exceptions of which SPDX has one text; of Autoconf's, Bison's and others it has several, and the name does not say which."""

GNU = re.compile(r"(A?GPL|LGPL|G?FDL)(-NIV)?-(\d)(\.\d)?(\+|-only|-or-later)?", re.IGNORECASE)


def expression(text: str, source: str) -> str:
    """The SPDX expression of every licence that a copyright file names, NOASSERTION where it is not machine-readable.

    `source` is the source package: a licence that SPDX does not know is named after it, `LicenseRef-SOURCE-NAME`; its text is in the file.
    """
    return licences.conjunction(_translated(name, source) for name in _named(text))


def _named(text: str) -> Iterator[str]:
    from debian_inspector.copyright import CopyrightFilesParagraph, DebianCopyright, is_machine_readable_copyright

    if is_machine_readable_copyright(text):
        paragraphs = DebianCopyright.from_text(text).paragraphs
        files = [one for one in paragraphs if isinstance(one, CopyrightFilesParagraph)]
        names = [one.license.name or "unnamed" for one in files] or [paragraphs[0].license.name]
        yield from (name.strip() for name in names if name)


def _translated(synopsis: str, source: str) -> str:
    """A field's first line as an expression. A comma before `and` and `or` makes it bind less tightly (copyright-format 1.0, 7.2)."""
    words = re.split(r",\s+(and|or)\s+", synopsis, flags=re.IGNORECASE)
    return "".join(f" {word.upper()} " if odd % 2 else f"({_tight(word, source)})" for odd, word in enumerate(words))


def _tight(part: str, source: str) -> str:
    words = re.split(r"\s+(and|or)\s+", part, flags=re.IGNORECASE)
    return "".join(f" {word.upper()} " if odd % 2 else _one(word.strip(), source) for odd, word in enumerate(words))


def _one(name: str, source: str) -> str:
    licence, _, exception = name.lower().partition(" with ")
    found = _licence(licence)
    if exception and found:
        known = EXCEPTIONS.get(re.sub(r"[ -]exception$", "", exception))
        found = known and f"{found} WITH {known}"
    return licences.normal(found or "") or licences.reference(source, name)


def _licence(name: str) -> str | None:
    if match := GNU.fullmatch(name):
        family, invariant, major, minor, later = match.groups()
        family = "GFDL" if family.upper() == "FDL" else family.upper()
        end = "-only" if later in (None, "-only") else "-or-later"
        return f"{family}-{major}{minor or '.0'}{'-no-invariants' if invariant else ''}{end}"
    return NAMES.get(name, name)
