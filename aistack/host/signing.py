"""Signing kernel modules, and proving who signed them, with the builder's openssl.

It is done as the kernel's own build does it: Documentation/admin-guide/module-signing.rst.

The private key is used where it is, a file or a token, and copied nowhere. Tokens are reached through openssl's engine `pkcs11`.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import struct
from pathlib import Path

from aistack.diagnostics import DiagnosticError, unable
from aistack.facts.kernel_files import Signature
from aistack.facts.pins import Signing
from aistack.host import process
from aistack.host.store import Store

MAGIC = b"~Module signature appended~\n"
PKCS7 = 2
PIN = "KBUILD_SIGN_PIN"


def der(certificate: str) -> bytes:
    """A certificate as firmware and mokutil want it: DER, of its PEM text."""
    return ssl.PEM_cert_to_DER_cert(certificate)


def fingerprint(certificate: str) -> str:
    """The sha256 (hex) of a certificate, as openssl and mokutil print it, without colons."""
    return hashlib.sha256(der(certificate)).hexdigest()


def proves(store: Store, certificate: str, signature: Signature) -> bool:
    """Whether a module's signature was made with the key of a certificate (PEM) and names it, as the kernel looks for keys by name."""
    from asn1crypto import x509

    known = x509.Certificate.load(der(certificate))
    if not signature.digest or signature.key not in (f"{known.serial_number:x}", (known.key_identifier or b"").hex()):
        return False
    with store.scratch() as scratch:
        files = {"certificate": certificate.encode(), "digest": signature.digest, "signature": signature.value}
        for name, content in files.items():
            (scratch / name).write_bytes(content)
        argv = [
            process.require("openssl", "openssl"), "pkeyutl", "-verify", "-certin", "-inkey", "certificate", "-sigfile", "signature",
            "-in", "digest", "-pkeyopt", f"digest:{signature.algorithm}",
        ]  # fmt: skip
        return process.run(argv, check=False, cwd=scratch).returncode == 0


def sign(store: Store, module: bytes, signing: Signing, folder: Path) -> bytes:
    """The module with its signature appended; a key that is a file lies at its path from `folder`.

    An RSA key gives the same bytes each time. Raises DiagnosticError (exit 3) when openssl refuses, or would have to ask for a PIN.
    """
    token = signing.key.startswith("pkcs11:")
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
        try:
            process.run(argv, env={PIN: "", **os.environ})  # with no word given, openssl would ask whoever sits at the terminal
        except DiagnosticError as error:
            (said,) = error.diagnostics
            message = "a module could not be signed with the recipe's key"
            hints = ("openssl needs its engine for tokens: apt-get install libengine-pkcs11-openssl",) if token else ()
            raise unable("KMD002", "module-not-signed", message, why=said.why, hints=hints) from error
        made = signature.read_bytes()
    # struct module_signature: algorithm, hash, kind, lengths of signer and key id (0: the PKCS#7 message tells), padding, length.
    return module + made + struct.pack(">BBBBB3xI", 0, 0, PKCS7, 0, 0, len(made)) + MAGIC
