"""Signing kernel modules, with the builder's openssl, and proving who signed them.

Signing is done as the kernel's own build does it: Documentation/admin-guide/module-signing.rst.

The private key is used where it is, a file or a token, and copied nowhere. Tokens are reached through openssl's engine `pkcs11`.
"""

from __future__ import annotations

import os
import re
import ssl
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from aistack.diagnostics import unable
from aistack.facts.kernel_files import Module, Signature
from aistack.facts.pins import Signing
from aistack.host import process, python_parts
from aistack.host.binaries.elf import DamagedError
from aistack.host.binaries.module import signature as signature_of
from aistack.host.store import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

MAGIC = b"~Module signature appended~\n"
PKCS7 = 2
PIN = "KBUILD_SIGN_PIN"
TOKEN = "pkcs11:"
ENCRYPTED = (b"ENCRYPTED", bytes.fromhex("06092a864886f70d01050d"))
"""What stands in a key that has a pass phrase: PEM's word, or the identifier of PBES2 (RFC 8018, A.4)."""

CURVES = ("secp192r1", "secp256r1", "secp384r1", "secp521r1")
"""The curves that the kernel's parser of certificates knows (crypto/asymmetric_keys/x509_cert_parser.c; the last one since Linux 6.10)."""


def der(certificate: str) -> bytes:
    """A certificate as firmware and mokutil want it: DER, of its PEM text."""
    return ssl.PEM_cert_to_DER_cert(certificate)


def signed_with(certificate: str, modules: Iterable[Module]) -> frozenset[str]:
    """The modules (sha256, hex) whose signature was made with the key of a certificate (PEM) and names it, as the kernel looks for keys.

    Raises ValueError, which says why that cannot be told: of a certificate that cannot be read, or a key that signs no modules.
    """
    return _proved(certificate, {module.digest: module.signature for module in modules if module.signature})


def _proved(certificate: str, signatures: Mapping[str, Signature]) -> frozenset[str]:
    """The names of those signatures that the key of a certificate made; raises ValueError as `signed_with`."""
    from cryptography import x509

    told = {name: signature for name, signature in signatures.items() if signature.digest}
    try:
        known = x509.load_pem_x509_certificate(certificate.encode())
        names = {f"{known.serial_number:x}"}
        names |= {one.value.digest.hex() for one in known.extensions if isinstance(one.value, x509.SubjectKeyIdentifier)}
        key = known.public_key()
        return frozenset(name for name, signature in told.items() if signature.key in names and _made(signature, key))
    except Exception as error:  # what is damaged may fail a parser in any way
        raise ValueError(f"{error}") from error


def _made(signature: Signature, key: CertificatePublicKeyTypes) -> bool:
    """Whether a signature was made with a key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

    hashed = utils.Prehashed(getattr(hashes, signature.algorithm.upper())())
    try:
        match key:
            case rsa.RSAPublicKey():
                key.verify(signature.value, signature.digest, padding.PKCS1v15(), hashed)
            case ec.EllipticCurvePublicKey() if key.curve.name not in CURVES:
                raise ValueError(f"its key is on the curve {key.curve.name}: the kernel knows {', '.join(CURVES)}")
            case ec.EllipticCurvePublicKey():
                key.verify(signature.value, signature.digest, ec.ECDSA(hashed))
            case _:
                raise ValueError("its key is neither RSA's nor an elliptic curve's")
    except InvalidSignature:
        return False
    return True


def at_hand(signing: Signing, folder: Path) -> bool:
    """Whether the key can be used here and now: its file is there or its token answers, and the PIN is known where it needs one."""
    openssl = process.find("openssl")
    if openssl is None:
        return False
    if signing.key.startswith(TOKEN):
        return PIN in os.environ and _answers(openssl, signing.key)
    encrypted = _encrypted(folder / signing.key)
    return encrypted is not None and (PIN in os.environ or not encrypted)


def _encrypted(key: Path) -> bool | None:
    """Whether a key's file has a pass phrase; None where it cannot be read."""
    try:
        content = key.read_bytes()
    except OSError:
        return None
    return any(mark in content for mark in ENCRYPTED)


def _answers(openssl: str, key: str) -> bool:
    argv = (openssl, "pkey", "-noout", "-inform", "engine", "-engine", "pkcs11", "-in", key, "-passin", f"env:{PIN}")
    return process.run(argv, check=False).returncode == 0


def prove(store: Store, signing: Signing, folder: Path) -> None:
    """Signs an empty module, and proves its signature as those of an image are: a key that is no good is told before modules are compiled.

    Raises DiagnosticError (exit 3) as `sign` does, and where the certificate does not prove what its key signs.
    """
    python_parts.require()
    try:
        made = signature_of(sign(store, b"", signing, folder))
        why = "" if made and _proved(signing.certificate, {"": made}) else "the kernel proves RSA (PKCS#1 v1.5) and elliptic curves"
    except (ValueError, DamagedError) as error:
        why = str(error)
    if why:
        message = "the certificate does not prove what is signed with the recipe's key"
        hints = ("openssl req -new -x509 -newkey rsa:4096 -nodes -keyout KEY -out CERTIFICATE -addext extendedKeyUsage=codeSigning",)
        raise unable("KMD002", "module-not-signed", message, why=(why,), hints=hints)


def sign(store: Store, module: bytes, signing: Signing, folder: Path) -> bytes:
    """The module with its signature appended; a key that is a file lies at its path from `folder`.

    An RSA key gives the same bytes each time. Raises DiagnosticError (exit 3) when openssl refuses, or would have to ask for a PIN.
    """
    token = signing.key.startswith(TOKEN)
    if token and PIN not in os.environ:
        way_out = f"put the token's PIN into {PIN}; for a token that asks for none, set it to nothing"
        raise unable("KMD002", "module-not-signed", f"`{signing.key}` needs a PIN, and {PIN} is not set", hints=(way_out,))
    with store.scratch() as scratch:
        file, certificate, signature = scratch / "module", scratch / "certificate", scratch / "signature"
        file.write_bytes(module)
        certificate.write_text(signing.certificate)
        argv = (
            process.require("openssl", "openssl"), "cms", "-sign", "-binary", "-noattr", "-nocerts", "-nosmimecap", "-md", "sha256",
            "-outform", "DER", "-in", str(file), "-out", str(signature), "-signer", str(certificate), "-passin", f"env:{PIN}",
            *(("-keyform", "engine", "-engine", "pkcs11", "-inkey", signing.key) if token else ("-inkey", str(folder / signing.key))),
        )  # fmt: skip
        done = process.run(argv, check=False, env={PIN: "", **os.environ})  # with no word, openssl would ask whoever sits at the terminal
        if done.returncode != 0:
            (said,) = process.failure(argv, done.returncode, done.stderr).diagnostics
            message = "a module could not be signed with the recipe's key"
            hints = _token_hints(done.stderr) if token else _file_hints(done.stderr, folder / signing.key)
            raise unable("KMD002", "module-not-signed", message, why=said.why, hints=hints)
        made = signature.read_bytes()
    # struct module_signature: algorithm, hash, kind, lengths of signer and key id (0: the PKCS#7 message tells), padding, length.
    return module + made + struct.pack(">BBBBB3xI", 0, 0, PKCS7, 0, 0, len(made)) + MAGIC


def _token_hints(said: str) -> tuple[str, ...]:
    """What helps where openssl could not sign with a token's key, by its words and those of its engine (libp11)."""
    if 'Engine "pkcs11" set.' not in said:
        return ("openssl needs its engine for tokens: apt-get install libengine-pkcs11-openssl",)
    if re.search(r":PIN (incorrect|invalid|len range)", said):  # of such a token, too, it says that the key was not found
        return (f"{PIN} has to hold the token's PIN",)
    if "was not found at" in said:
        return ("no token here has the key that the recipe's URI names: `p11tool --list-tokens` (of gnutls-bin) lists what is there",)
    return ()


def _file_hints(said: str, key: Path) -> tuple[str, ...]:
    """The same of a key that is a file."""
    unread = re.search(r"^Could not .*\bkey\b", said, re.MULTILINE)
    return (f"the key has a pass phrase, and {PIN} has to hold it",) if unread and _encrypted(key) else ()
