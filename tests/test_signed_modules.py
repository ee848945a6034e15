"""Modules that a lock's certificate answers for: the key counts, and neither a name nor a signature that is of something else."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
from images_read import LOCK, healthy, read
from kernel_samples import FOLDER, NVIDIA, at, driver, driver_module

from aistack.commands import verifying
from aistack.compose.checks.signing import NAME
from aistack.compose.findings import Outcome
from aistack.compose.verify import verify_base
from aistack.facts.pins import Signing
from aistack.host import signing
from aistack.host.store import Store

pytestmark = pytest.mark.slow

KINDS = {"rsa": "rsa:2048", "ec": "ec -pkeyopt ec_paramgen_curve:P-384"}


def signer(folder: Path, name: str, kind: str = "rsa") -> Signing:
    """A key of its own, for the same name."""
    argv = f"openssl req -new -x509 -nodes -subj /CN=modules -days 30 -keyout {name}.key -out {name}.pem -newkey {KINDS[kind]}"
    subprocess.run(argv.split(), cwd=folder, check=True, capture_output=True)
    return Signing(key=f"{name}.key", certificate=(folder / f"{name}.pem").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_is_signed_with_the_locks_key_or_condemned(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, ours, theirs = Store(tmp_path / "keys"), signer(tmp_path, "ours", kind), signer(tmp_path, "theirs", kind)
    lock = dataclasses.replace(LOCK, signing=ours)
    modules = {path: data for path, data in driver().items() if path.startswith(f"{FOLDER}/updates/")}
    signed = {path: signing.sign(store, data, ours, tmp_path) for path, data in modules.items()}
    moved = signed[f"{FOLDER}/{NVIDIA}"].removeprefix(modules[f"{FOLDER}/{NVIDIA}"])
    cases = {
        "": signed[f"{FOLDER}/{NVIDIA}"],
        f"{NVIDIA} is not signed, and": driver_module(),
        f"{NVIDIA} is signed by modules, and not with the key of": signing.sign(store, driver_module(), theirs, tmp_path),
        f"{NVIDIA} is signed by modules, and": driver_module(more=[("alias", "other")]) + moved,
    }
    for number, (said, module) in enumerate(cases.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = read(folder, [{**healthy(), **driver(), **signed, f"{FOLDER}/{NVIDIA}": module}])
        with monkeypatch.context() as patch:
            patch.setenv("PATH", "")  # no program is started for it
            proved = verifying.signed(found, lock)
        (finding,) = (one for one in verify_base(found, lock, proved) if one.name == NAME)
        assert finding.outcome is (Outcome.NO if said else Outcome.YES), finding.message
        assert said in finding.message


@pytest.mark.parametrize("damage", [0, 1, 40, 400, 700])
def test_what_the_key_of_a_damaged_certificate_signed_is_unknown(damage: int, tmp_path: Path) -> None:
    """Neither a yes nor a crash; but what nobody signed was not signed with it."""
    ours = signer(tmp_path, "ours")
    damaged = ours.certificate[:damage] + ours.certificate[damage + 10 :] if damage else ""
    lock = dataclasses.replace(LOCK, signing=dataclasses.replace(ours, certificate=damaged))
    modules = {path: data for path, data in driver().items() if path.startswith(f"{FOLDER}/updates/")}
    signed = {path: signing.sign(Store(tmp_path / "keys"), data, ours, tmp_path) for path, data in modules.items()}
    for more, outcome, said in (({}, Outcome.UNKNOWN, "cannot be told: "), (at(NVIDIA, driver_module()), Outcome.NO, "is not signed, and")):
        folder = tmp_path / outcome
        folder.mkdir()
        found = read(folder, [{**healthy(), **driver(), **signed, **more}])
        (finding,) = (one for one in verify_base(found, lock, verifying.signed(found, lock)) if one.name == NAME)
        assert finding.outcome is outcome, finding.message
        assert said in finding.message
