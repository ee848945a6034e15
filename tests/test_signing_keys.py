"""The key and the certificate that a recipe names for its modules: what is wrong with them is told before anything is compiled."""

from __future__ import annotations

import io
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from node_samples import LOCK
from tools_needed import needs

from aistack.commands import build as building
from aistack.commands import lock as locking
from aistack.commands import pinning
from aistack.commands.judging import judge_source
from aistack.commands.pinning import Places
from aistack.commands.reading import read_recipe
from aistack.compose.modules import ROOT
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode
from aistack.facts.pins import Signing
from aistack.host import signing
from aistack.host.store import Store
from aistack.report.progress import Progress

pytestmark = pytest.mark.slow

RECIPE = """\
schema: aistack/recipe/v1
name: l4
arch: amd64
os: debian-13
kernel: {flavor: generic, version: "6.12.*"}
accelerator: {product: nvidia/l4, count: 1}
driver: {version: "550.*", signing: {key: modules.key, certificate: modules.pem}}
"""
EC = "ec -pkeyopt ec_paramgen_curve:"
CURVES = ("prime192v1", "P-256", "P-384", "P-521")
"""Those that the kernel knows."""
KINDS = {"rsa": "rsa:2048", "ed25519": "ed25519", "rsa-pss": "rsa-pss"}
KINDS |= {curve: EC + curve for curve in (*CURVES, "secp256k1", "brainpoolP256r1")}


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


PIN = "31415926"
BAD = {
    "missing": "No such file",
    "theirs": "key values mismatch",
    "ed25519": "CMS",
    "rsa-pss": "the kernel proves RSA (PKCS#1 v1.5) and elliptic curves",
    "secp256k1": "its key is on the curve secp256k1",
    "brainpoolP256r1": "its key is on the curve brainpoolP256r1",
}
"""Keys that sign no modules, and what is said of them."""


def bad(folder: Path, kind: str) -> None:
    """A recipe's key and certificate, of which one is not what it should be."""
    keys(folder, "modules", kind if kind in KINDS else "rsa")
    if kind == "missing":
        (folder / "modules.key").unlink()
    elif kind == "theirs":
        keys(folder, "theirs")
        (folder / "theirs.key").rename(folder / "modules.key")


def signs(folder: Path, key: str = "modules.key") -> Signing:
    return Signing(key=key, certificate=(folder / "modules.pem").read_text())


def refused(store: Store, made: Signing, folder: Path) -> Diagnostic | None:
    """What `prove` says against a key; None where it is good."""
    try:
        signing.prove(store, made, folder)
    except DiagnosticError as error:
        (found,) = error.diagnostics
        assert (found.rule, error.exit_code) == ("KMD002", ExitCode.UNABLE)
        return found
    return None


@pytest.mark.parametrize("kind", ["rsa", *CURVES, *BAD])
def test_a_key_is_tried_as_it_will_be_used(kind: str, tmp_path: Path) -> None:
    bad(tmp_path, kind)
    found = refused(Store(tmp_path / "store"), signs(tmp_path), tmp_path)
    assert (found is not None) is (kind in BAD)
    assert found is None or BAD[kind] in " ".join(found.why), found.why


class ResolvedError(Exception):
    """The lock got as far as resolving."""


def locked(folder: Path, patch: pytest.MonkeyPatch, key: str = "modules.key") -> str:
    """What locking says of the key, or `resolved` where it went on."""

    def resolve(*_: object, **__: object) -> NoReturn:
        raise ResolvedError

    patch.setattr(pinning, "pin", resolve)
    recipe = folder / "l4.yaml"
    recipe.write_text(RECIPE.replace("modules.key", f"'{key}'"))
    source = read_recipe(recipe)
    stack = judge_source(source.recipe, source.root, os.environ).stack
    assert stack is not None
    places = Places(store=Store(folder / "store"), environment=os.environ, folder=folder)
    try:
        locking.ensure(stack, folder / "l4.lock.json", places, Progress(stream=io.StringIO(), terminal=False))
    except DiagnosticError as error:
        return error.diagnostics[0].rule
    except ResolvedError:
        return "resolved"
    return ""


@pytest.mark.parametrize("kind", ["rsa", "P-384", *BAD])
def test_a_lock_is_not_made_for_a_key_that_is_no_good_and_is_made_without_the_key(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad(tmp_path, kind)
    assert locked(tmp_path, monkeypatch) == ("KMD002" if kind in BAD.keys() - {"missing"} else "resolved")


@pytest.mark.parametrize("form", ["pkey -aes256", "pkey -aes256 -traditional", "pkcs8 -topk8 -v2 aes256 -outform DER"])
def test_a_lock_needs_no_pass_phrase_and_tries_one_that_is_given(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys(tmp_path, "modules")
    plain = tmp_path / "modules.key"
    plain.write_bytes(converted(tmp_path, f"{form} -in modules.key -passout pass:{PIN}"))
    monkeypatch.delenv(signing.PIN, raising=False)
    assert locked(tmp_path, monkeypatch) == "resolved"
    for given, outcome in ((PIN, "resolved"), ("2718281828", "KMD002")):
        monkeypatch.setenv(signing.PIN, given)
        assert locked(tmp_path, monkeypatch) == outcome


@pytest.mark.parametrize("form", ["pkey -aes256", "pkey -aes256 -traditional", "pkcs8 -topk8 -v2 aes256 -outform DER"])
def test_a_pass_phrase_that_is_missing_or_wrong_is_asked_for_by_the_name_of_its_variable(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys(tmp_path, "modules")
    plain, store = tmp_path / "modules.key", Store(tmp_path / "store")
    plain.write_bytes(converted(tmp_path, f"{form} -in modules.key -passout pass:{PIN}"))
    monkeypatch.delenv(signing.PIN, raising=False)
    for given in ("", "2718281828"):
        if given:
            monkeypatch.setenv(signing.PIN, given)
        found = refused(store, signs(tmp_path), tmp_path)
        assert found is not None and found.hints == (f"the key has a pass phrase, and {signing.PIN} has to hold it",)
    monkeypatch.setenv(signing.PIN, PIN)
    assert refused(store, signs(tmp_path), tmp_path) is None
    keys(tmp_path, "theirs")
    (tmp_path / "theirs.pem").rename(tmp_path / "modules.pem")
    mismatch = refused(store, signs(tmp_path), tmp_path)
    assert mismatch is not None and mismatch.hints == (), "the pass phrase is right, and the key another one's"


def test_a_lock_is_made_where_nothing_can_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad(tmp_path, "theirs")
    monkeypatch.setattr("aistack.host.process.find", lambda tool: None)
    assert locked(tmp_path, monkeypatch) == "resolved"


def test_a_key_in_a_token_is_tried_where_the_token_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("softhsm2-util")
    if subprocess.run(["openssl", "engine", "pkcs11"], capture_output=True, check=False).returncode:
        needs("openssl's engine `pkcs11`")
    for name in ("modules", "theirs"):
        keys(tmp_path, name)
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path}\nobjectstore.backend = file\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    for name in ("modules", "theirs"):
        util = ["softhsm2-util", "--token", name, "--label", name, "--pin", PIN]
        subprocess.run([*util, "--init-token", "--free", "--so-pin", "0000"], check=True, capture_output=True)
        subprocess.run([*util, "--import", tmp_path / f"{name}.key", "--id", "01"], check=True, capture_output=True)
    uri = "pkcs11:token={0};object={0};type=private"
    store, ours, theirs = Store(tmp_path / "proved"), uri.format("modules"), uri.format("theirs")
    monkeypatch.delenv(signing.PIN, raising=False)
    assert locked(tmp_path, monkeypatch, ours) == locked(tmp_path, monkeypatch, theirs) == "resolved"
    assert refused(store, signs(tmp_path, ours), tmp_path) is not None
    monkeypatch.setenv(signing.PIN, PIN)
    assert locked(tmp_path, monkeypatch, ours) == locked(tmp_path, monkeypatch, uri.format("gone")) == "resolved"
    assert locked(tmp_path, monkeypatch, theirs) == "KMD002"
    said = {key: refused(store, signs(tmp_path, key), tmp_path) for key in (ours, theirs, uri.format("gone"))}
    assert said.pop(ours) is None
    monkeypatch.setenv(signing.PIN, "27182818")
    said[ours] = refused(store, signs(tmp_path, ours), tmp_path)
    monkeypatch.setenv(signing.PIN, PIN)
    monkeypatch.setenv("OPENSSL_ENGINES", str(tmp_path))
    said["no engine"] = refused(store, signs(tmp_path, ours), tmp_path)
    hints = [" ".join(found.hints) for found in said.values() if found is not None]
    expected = ("", "p11tool --list-tokens", f"{signing.PIN} has to hold the token's PIN", "apt-get install libengine-pkcs11-openssl")
    for hint, words in zip(hints, expected, strict=True):
        assert words in hint and bool(words) is bool(hint), hints


@pytest.mark.parametrize("kind", BAD)
def test_nothing_is_made_before_a_key_is_known_to_be_good(kind: str, tmp_path: Path) -> None:
    needs("mmdebstrap", "bwrap")
    bad(tmp_path, kind)
    roots = dict(LOCK.roots)
    lock = replace(
        LOCK,
        signing=signs(tmp_path),
        components=(*LOCK.components, ("driver", "550.163.01")),
        apps=(),
        models=(),
        roots=tuple({**roots, "tools": roots["base"], ROOT: roots["base"]}.items()),
    )
    told = io.StringIO()
    places = Places(store=Store(tmp_path / "store"), environment={}, offline=True, folder=tmp_path)
    with pytest.raises(DiagnosticError) as caught:
        building.build(lock, places, Progress(stream=told, terminal=False))
    assert caught.value.diagnostics[0].rule == "KMD002"
    assert not list((tmp_path / "store" / "outputs").glob("*")) and not told.getvalue()
