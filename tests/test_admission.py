"""`aistack check --licences`: everything in a lock that a site's list does not admit is named, in words and with its place."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from test_golden import run
from test_sbom import HUB, SAMPLE, WHEEL

from aistack.commands.judging import stack_of
from aistack.commands.lock import lock_path, write
from aistack.compose import seal
from aistack.compose.lock import Lock
from aistack.diagnostics import ExitCode

RECIPE = """\
schema: aistack/recipe/v1
name: node
arch: amd64
os: debian-13
kernel: {flavor: cloud}
accelerator: {product: cpu/x86-64}
apps:
  chat:
    framework: {llama.cpp: ">=0.7"}
    models: [sentence-transformers/all-MiniLM-L6-v2]
    port: 8000
"""

EXPECTED = """\
error[LC201]: package bash 5.2.37-2+b5: `GPL-3.0-or-later`, `LicenseRef-bash-permissive` are not admitted
 --> {folder}/node.yaml:4:5
  |
4 | os: debian-13
  |     ^^^^^^^^^
  |
  = why: its licence: GPL-3.0-or-later AND LicenseRef-bash-permissive
  = hint: admit them under `allow:` of {folder}/site.yaml
  = hint: look at it, then add `bash: REASON` under `except:` of {folder}/site.yaml

error[LC201]: model sentence-transformers/all-MiniLM-L6-v2: `LicenseRef-Own` is not admitted
  --> {folder}/node.yaml:10:14
   |
10 |     models: [sentence-transformers/all-MiniLM-L6-v2]
   |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = why: its licence: LicenseRef-Own
   = hint: admit it under `allow:` of {folder}/site.yaml
   = hint: look at it, then add `sentence-transformers/all-MiniLM-L6-v2: REASON` under `except:` of {folder}/site.yaml

unknown[LC202]: package dash 0.5.12-12: its licence is not known
 --> {folder}/node.yaml:4:5
  |
4 | os: debian-13
  |     ^^^^^^^^^
  |
  = hint: look at it, then add `dash: REASON` under `except:` of {folder}/site.yaml

"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe with its lock, whose packages and model are those of the sample."""
    (tmp_path / "node.yaml").write_text(RECIPE)
    _, stack, _ = stack_of(tmp_path / "node.yaml", os.environ)
    model = dataclasses.replace(HUB, id="sentence-transformers/all-MiniLM-L6-v2")
    lock: Lock = dataclasses.replace(SAMPLE, models=(model,), wish=seal.wish(stack))
    write(lock, lock_path(tmp_path / "node.yaml"))
    return tmp_path


def check(folder: Path, text: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *more: str) -> tuple[int, str]:
    (folder / "site.yaml").write_text(f"schema: aistack/licences/v1\n{text}")
    code, out, _ = run(["check", f"{folder}/node.yaml", "--licences", f"{folder}/site.yaml", *more], capfd, monkeypatch)
    return code, out


def test_what_is_not_admitted_is_named(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out = check(folder, "allow: [MIT, GPL-2.0-only]\n", capfd, monkeypatch)
    assert (code, out) == (ExitCode.NO, EXPECTED.format(folder=folder))


def test_what_is_admitted_by_name_is_not(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    by_name = "allow: [MIT, GPL-2.0-only, LicenseRef-Own]\nexcept: {bash: its source is offered, dash: read by hand}\n"
    assert check(folder, by_name, capfd, monkeypatch, "--strict") == (ExitCode.OK, "")


def test_what_nobody_has_read_fails_only_if_it_must(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "allow: [MIT, GPL-2.0-only, GPL-3.0-or-later, LicenseRef-Own, LicenseRef-bash-permissive]\n"
    assert check(folder, text, capfd, monkeypatch)[0] == ExitCode.OK
    code, out = check(folder, text, capfd, monkeypatch, "--strict")
    assert code == ExitCode.UNABLE
    assert out.startswith("unknown[LC202]: package dash")


def test_a_wheel_is_named_where_its_framework_is_asked_for(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out = check(folder, "allow: [GPL-2.0-only]\n", capfd, monkeypatch)
    assert code == ExitCode.NO
    assert f"error[LC201]: wheel {WHEEL.name} {WHEEL.version}: `Apache-2.0`, `MIT` are not admitted" in out
    assert f"{folder}/node.yaml:9:" in out
