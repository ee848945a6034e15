"""Which files are private keys, or hold one, by what is in them: PEM (RFC 7468), DER, PKCS#12 (RFC 7292), PGP's armour (RFC 9580),
JSON (RFC 7517, 7518)."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

LARGEST = 64 << 10
"""Bytes: what is larger is asked for PEM and PGP alone, and where it is text."""

MARK = b"PRIVATE KEY"
_END = rb"[ \t]*(?:\r?\n|(?:\\r)?\\n)"
PEM = re.compile(
    rb"-----BEGIN (?:[A-Z]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----" + _END + rb"(?P<headers>(?:[ \t]*[A-Za-z-]+:[^\r\n\\]*" + _END + rb")*)"
    rb"(?:" + _END + rb")?(?P<body>(?:[ \t]*(?:[A-Za-z0-9+/=]|\\/)+" + _END + rb")+)[ \t]*-----END "
)
"""A key from its first line to its last: at the margin, indented as in YAML, or escaped as in JSON. An example leaves some of it out."""
CHECKSUM = re.compile(rb"=[A-Za-z0-9+/]{4}$")
"""What PGP's armour has behind the key."""
SHORTEST = 32
"""Bytes: no key has fewer."""

DER = re.compile(rb"\x30(?:[\x00-\x7f]|\x81.|\x82..)", re.DOTALL)
DER_KEY = re.compile(
    rb"\x02\x01(?:\x00\x02[\x81\x82]|[\x00\x01]\x30.\x06|\x01\x04[\x1c\x20\x30\x42])"
    rb"|\x30(?:.|\x81.|\x82..)\x06(?:\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05[\x01\x03\x04\x06\x0a\x0b\x0d]"
    rb"|\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01.)",
    re.DOTALL,
)
"""How a key begins behind its length: RSA's as PKCS#1 has it, any as PKCS#8 does, an elliptic curve's as RFC 5915 does, and any that is
encrypted by one of the schemes of PKCS#5 and PKCS#12."""
PKCS12 = b"\x02\x01\x03"
KEY_BAG = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02"
"""What in a PKCS#12 file is a key, and not a certificate alone."""

KEY_TYPE = b'"kty"'
PRIVATE_PART = {"RSA": "d", "EC": "d", "OKP": "d", "oct": "k"}
"""What in a key in JSON is its secret, by its type: a private key's own number, or a key that both sides have."""
NUMBER = re.compile(r"[A-Za-z0-9_-]{20,}")


def is_private(data: bytes) -> bool:
    """Whether a file is a private key, or holds one."""
    if MARK in data and (len(data) <= LARGEST or b"\0" not in data) and any(map(_is_whole, PEM.finditer(data))):
        return True
    if KEY_TYPE in data and len(data) <= LARGEST and data.lstrip()[:1] in (b"{", b"[") and _holds_json_key(data):
        return True
    head = _head(data) if len(data) <= LARGEST else None
    if head is None:
        return False
    return bool(DER_KEY.match(data, head.end())) or (data.startswith(PKCS12, head.end()) and KEY_BAG in data)


def _head(data: bytes) -> re.Match[bytes] | None:
    """The first bytes of a sequence in DER that ends where the data does; None where it is none."""
    head = DER.match(data)
    size = head and (int.from_bytes(data[2 : head.end()]) if head.end() > 2 else data[1])
    return head if head and len(data) == head.end() + (size or 0) else None


def _is_whole(found: re.Match[bytes]) -> bool:
    """Whether what stands in PEM is a key: documents show the beginning of one."""
    try:
        key = base64.b64decode(CHECKSUM.sub(b"", b"".join(re.split(rb"(?:\\[rn]|\\(?=/)|\s)+", found["body"]))), validate=True)
    except binascii.Error:
        return False
    return len(key) >= SHORTEST and (not key.startswith(b"\x30") or bool(found["headers"]) or _head(key) is not None)


def _holds_json_key(data: bytes) -> bool:
    """Whether a text in JSON is such a key or a set of them, or has one anywhere in it."""
    try:
        left: list[Any] = [json.loads(data)]
    except (ValueError, RecursionError):
        return False
    while left:
        part = left.pop()
        if isinstance(part, dict):
            number = part.get(PRIVATE_PART.get(str(part.get("kty")), ""))
            if isinstance(number, str) and NUMBER.fullmatch(number):
                return True
            left += part.values()
        elif isinstance(part, list):
            left += part
    return False
