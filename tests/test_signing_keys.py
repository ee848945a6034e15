"""The key and the certificate that a recipe names for its modules: what is wrong with them is told before anything is compiled."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tools_needed import needs

from aistack.commands.reading import read_recipe
from aistack.diagnostics import DiagnosticError

RECIPE = """\
schema: aistack/recipe/v1
name: l4
arch: amd64
os: debian-13
kernel: {flavor: cloud}
accelerator: {product: nvidia/l4, count: 1}
driver: {version: "550.*", signing: {key: modules.key, certificate: modules.pem}}
"""
KINDS = {"rsa": "rsa:2048", "ec": "ec -pkeyopt ec_paramgen_curve:P-384", "ed25519": "ed25519", "rsa-pss": "rsa-pss"}


def keys(folder: Path, name: str, kind: str = "rsa") -> None:
    """A key and its certificate."""
    needs("openssl")
    argv = f"openssl req -new -x509 -nodes -subj /CN={name} -days 30 -keyout {name}.key -out {name}.pem -newkey {KINDS[kind]}"
    subprocess.run(argv.split(), cwd=folder, check=True, capture_output=True)


def converted(folder: Path, command: str) -> bytes:
    return subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True).stdout


def test_only_a_certificate_comes_into_the_lock(tmp_path: Path) -> None:
    keys(tmp_path, "modules")
    recipe, file = tmp_path / "l4.yaml", tmp_path / "modules.pem"
    recipe.write_text(RECIPE)
    pem, key = file.read_bytes(), (tmp_path / "modules.key").read_bytes()
    der = converted(tmp_path, "x509 -in modules.pem -outform DER")
    key_der = converted(tmp_path, "pkey -in modules.key -outform DER")
    for content in (pem, der, key + pem, b"made today\n" + pem + key):
        file.write_bytes(content)
        driver = read_recipe(recipe).recipe.driver
        assert driver is not None and driver.signing is not None and driver.signing.certificate == pem.decode()
    refused = (
        key_der,
        key,
        converted(tmp_path, "pkey -in modules.key -traditional -outform DER"),
        converted(tmp_path, "pkey -in modules.key -pubout -outform DER"),
        b"-----BEGIN CERTIFICATE-----" + key.partition(b"-----\n")[2].partition(b"-----")[0] + b"-----END CERTIFICATE-----",
        der + key_der,
        der[:-1],
        der + b"\0",
        pem.replace(b"M", b"\xff"),
        b"0",
        b"",
    )
    for content in refused:
        file.write_bytes(content)
        with pytest.raises(DiagnosticError) as caught:
            read_recipe(recipe)
        (found,) = caught.value.diagnostics
        assert found.rule == "REC015" and found.place is not None and found.place.line == 7
        assert "it holds " in found.message
