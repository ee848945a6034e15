"""The certificates by which programs know servers: where a distribution has them in one file, it holds some.

Which files those are: https://go.dev/src/crypto/x509/root_linux.go, whose list has every distribution's.
"""

from __future__ import annotations

import re

from aistack.compose.checks.packages import database, installed
from aistack.compose.findings import Check
from aistack.facts.filesystem import Filesystem

DEBIAN, PACKAGE = "/etc/ssl/certs/ca-certificates.crt", "ca-certificates"
BUNDLES = (
    DEBIAN,
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
CERTIFICATE = re.compile(r"-----BEGIN ((?:TRUSTED )?CERTIFICATE)-----\s+MI[\w+/=\s]{100,}-----END \1-----", re.ASCII)
"""One as text, which is a sequence of DER of more than 255 bytes."""


def wanted(path: str) -> bool:
    """The files that this check reads."""
    return path in BUNDLES


def _bundles(filesystem: Filesystem) -> list[str]:
    texts = {path: text for path in BUNDLES if (text := filesystem.text(path)) is not None}
    wrong = [f"{path} holds no certificate" for path, text in texts.items() if not CERTIFICATE.search(text)]
    if not filesystem.kind(filesystem.resolved(DEBIAN)) and any(name == PACKAGE for name, *_ in installed(database(filesystem) or "")):
        wrong.append(f"{DEBIAN} is not there, which {PACKAGE} makes")
    return wrong


CHECKS = (
    Check(name="certificates", description="the file of certificates by which servers are known holds some", look=_bundles, fatal=False),
)
