"""Does a bill of materials name what is in the built image, all of it and nothing else? Over the image's files and the documents' texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from aistack.compose.checks.packages import installed
from aistack.compose.findings import Finding, Outcome, answer, some
from aistack.compose.lint import DPKG_STATUS
from aistack.facts.filesystem import Filesystem

DPKG_LIST = re.compile(r"(?:/usr/lib/sysimage|/var/lib)/dpkg/info/[^/]+\.list")
DIST_INFO = re.compile(r"/([A-Za-z0-9._]+)-([^/-]+)\.dist-info$")

Item = tuple[str, ...]
"""A thing in an image: ("deb", name, version, architecture) or ("pypi", name, version)."""


def wanted(path: str) -> bool:
    """The files whose contents this check reads."""
    return path in DPKG_STATUS or DPKG_LIST.fullmatch(path) is not None


def check(filesystem: Filesystem, documents: Mapping[str, str]) -> Finding:
    """The check of an image; `documents` are the texts of its bills of materials, by file name."""
    status = next((filesystem.texts[path] for path in DPKG_STATUS if path in filesystem.texts), None)
    if status is None or not documents:
        message = "the image has no package database" if documents else "there is no bill of materials: build first"
        return Finding(name="sbom-complete", outcome=Outcome.UNKNOWN, message=message)
    inside = {("deb", *package) for package in installed(status.decode(errors="replace"))} | set(_wheels(filesystem))
    wrong = []
    for file, text in sorted(documents.items()):
        named = set(_named(json.loads(text)))
        wrong += [f"{file} does not name {' '.join(item)}" for item in sorted(inside - named)]
        wrong += [f"{file} names {' '.join(item)}, which is not in the image" for item in sorted(named - inside)]
    return answer(
        "sbom-complete", not wrong, f"{len(inside)} packages and wheels, each named by {', '.join(sorted(documents))}", some(wrong)
    )


def _wheels(filesystem: Filesystem) -> Iterator[Item]:
    """Every Python distribution that no Debian package brought."""
    from packaging.utils import canonicalize_name

    found = {path for path in filesystem.entries if path.endswith(".dist-info")}
    owned = {
        line for path, text in filesystem.texts.items() if DPKG_LIST.fullmatch(path) for line in text.decode(errors="replace").splitlines()
    }
    for path in found - owned:
        if match := DIST_INFO.search(path):
            yield "pypi", canonicalize_name(match[1]), match[2]


def _named(document: Mapping[str, object]) -> Iterator[Item]:
    """The packages and wheels of a document of either format: whatever has such a package URL."""
    from packageurl import PackageURL
    from packaging.utils import canonicalize_name

    components, packages = document.get("components", []), document.get("packages", [])
    assert isinstance(components, list) and isinstance(packages, list)
    purls = [component["purl"] for component in components]
    purls += [reference["referenceLocator"] for package in packages for reference in package.get("externalRefs", [])]
    for text in purls:
        purl = PackageURL.from_string(text)
        if purl.type == "deb":
            assert isinstance(purl.qualifiers, dict)
            yield "deb", purl.name, str(purl.version), purl.qualifiers["arch"]
        elif purl.type == "pypi":
            yield "pypi", canonicalize_name(purl.name), str(purl.version)
