"""Which files are private keys, or hold one, by what is in them: PEM (RFC 7468), DER, PKCS#12 (RFC 7292), PGP's armour (RFC 9580),
JSON (RFC 7517, 7518)."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import Any

LARGEST = 64 << 10
"""Bytes: what is larger is asked for PEM and PGP alone, and where it is text."""

MARK = b"PRIVATE KEY"
EDGE = re.compile(rb"-----(?:BEGIN (?:[A-Z]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----|END )")
"""Where a key in PEM begins, and where anything ends."""
HEADER = re.compile(rb"\s*+[^\n:]*+:[^\n]*+\n")
ENCRYPTED = b"DEK-Info:"
"""The header of a key that is encrypted as RFC 1421 has it, of which nothing can be told without the password."""
WORDS = re.compile(rb"\S[ \t]++\S")
SPACE = b" \t\n\v\f\r"
FORMS = (b"openssh-key-v1\0", b'{"')
"""How keys begin that are not in DER: OpenSSH's, and cosign's, which are encrypted."""
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
    if MARK in data and (len(data) <= LARGEST or b"\0" not in data) and any(map(_is_whole, _between(data))):
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


def _between(data: bytes) -> Iterator[bytes]:
    """What stands between the first line of a key in PEM and the next end; no byte stands in two of them, however many begin."""
    begin = None
    for edge in EDGE.finditer(data):
        if not edge[0].endswith(b"END "):
            begin = edge.end()
        elif begin is not None:
            yield data[begin : edge.start()]
            begin = None


def _unescaped(text: bytes) -> bytes:
    return text.replace(b"\\r", b"").replace(b"\\n", b"\n").replace(b"\\/", b"/")


def _is_whole(text: bytes) -> bool:
    """Whether what stands in PEM is a key, at the margin, indented as in YAML, or escaped as in JSON: documents show the beginning of
    one, or words in its place."""
    if b"\n" not in text:
        text = _unescaped(text)
    start = 0
    while header := HEADER.match(text, start):
        start = header.end()
    body = _unescaped(text[start:])
    digits = body.translate(None, SPACE)
    try:
        key = base64.b64decode(CHECKSUM.sub(b"", digits), validate=True)
    except binascii.Error:
        return False
    if len(key) < SHORTEST:
        return False
    if key.startswith(FORMS) or _head(key) or ENCRYPTED in text[:start] or CHECKSUM.search(digits):
        return True
    return not WORDS.search(body) and (not key.startswith(b"\x30") or start > 0)


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
