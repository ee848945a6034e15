"""Names of kernels, as `uname -r` prints them or as people shorten them."""

from __future__ import annotations

import re

from aistack.facts.version import Scheme, VersionFormatError, key

_ARCHITECTURE = re.compile(r"[._-](?:x86_64|aarch64|ppc64le|amd64|arm64)(?=$|[+.-])")
_BEGINNING = re.compile(r"[\d.-]+")
_KEPT_COMPATIBLE = (
    re.compile(r"(?P<base>[\d.]+-\d+)(?:\.[\d.]+)?\.el\d+(?:_\d+)?(?P<flavor>.*)"),  # RHEL and its rebuilds, within a point release
    re.compile(r"(?P<base>[\d.]+-\d{5,6})\.[\d.]+-(?P<flavor>\w+)"),  # SUSE, within a service pack
)


def series(kernel: str) -> str | None:
    """The upstream series: `6.8` of `6.8.0-45-generic`; None for a text that is no kernel's name."""
    try:
        key(kernel, Scheme.KERNEL)
    except VersionFormatError:
        return None
    found = re.match(r"\d+\.\d+", kernel)
    return found[0] if found else None


def same_kernel(one: str, other: str) -> bool | None:
    """Whether two names mean kernels that the same compiled modules fit; None where the names do not tell.

    They do not tell where one is only the beginning of the other, and between updates for which a distribution promises that compiled
    modules go on to fit.
    """
    one, other = _ARCHITECTURE.sub("", one), _ARCHITECTURE.sub("", other)
    if one == other:
        return True
    short, long = sorted((one, other), key=len)
    if _BEGINNING.fullmatch(short) and re.match(re.escape(short) + r"[.+_-]", long):
        return None
    for pattern in _KEPT_COMPATIBLE:
        first, second = pattern.fullmatch(one), pattern.fullmatch(other)
        if first and second and first.groups() == second.groups():
            return None
    return False
