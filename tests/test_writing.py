"""Files that the user names to be written: kept, replaced or written to by what they are, and never one of those that are read."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fleet_samples import Maker

from aistack.commands import fixing, writing
from aistack.commands import lock as locking
from aistack.commands.verify import verify
from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts.catalog import Catalog

ROOT = Path(__file__).resolve().parent.parent


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    file, other = tmp_path / "page", tmp_path / "other"
    writing.write(file, b"one")
    file.chmod(0o640)
    os.link(file, other)
    writing.write(file, b"two")
    assert (file.read_bytes(), other.read_bytes(), file.stat().st_mode & 0o777) == (b"two", b"one", 0o640)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "page"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link_and_what_it_leads_to_is_replaced(tmp_path: Path, there: bool) -> None:
    (tmp_path / "far").mkdir()
    target, first, second = tmp_path / "far/target", tmp_path / "first", tmp_path / "second"
    if there:
        target.write_bytes(b"old")
    first.symlink_to("far/target")
    second.symlink_to(first)
    writing.write(second, b"new")
    assert second.is_symlink() and first.is_symlink() and target.read_bytes() == b"new"
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.symlink_to(two)
    two.symlink_to(one)
    with pytest.raises(OSError, match="symbolic links"):
        writing.write(one, b"x")
    assert one.is_symlink() and two.is_symlink()


def test_a_pipe_and_a_device_are_written_to(tmp_path: Path) -> None:
    pipe, link, read = tmp_path / "pipe", tmp_path / "null", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    writing.write(pipe, b"text" * 50_000)
    reader.join(10)
    assert read == [b"text" * 50_000] and pipe.is_fifo()
    link.symlink_to("/dev/null")
    writing.write(link, b"text")
    assert link.is_symlink() and Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/thread-self/fd/1", "link"])
def test_what_is_open_is_written_to_where_it_stands(tmp_path: Path, name: str) -> None:
    """A file that a shell appends to keeps what it had, and gets what comes after."""
    file = tmp_path / "log"
    file.write_bytes(b"before\n")
    (tmp_path / "link").symlink_to("/dev/stdout")
    code = f"from pathlib import Path; from aistack.commands import writing; writing.write(Path({name!r}), b'page\\n'); print('after')"
    with file.open("ab") as stream:
        subprocess.run(
            [sys.executable, "-c", code], stdout=stream, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=60
        )
    assert file.read_bytes() == b"before\npage\nafter\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "log"]


def fleet(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aistack", "report", "fleet", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def reports(tmp_path: Path, catalog: Catalog) -> Path:
    for name in ("n0", "n1"):
        (tmp_path / f"{name}.json").write_text(Maker(catalog).text(name, {}))
    return tmp_path


@pytest.mark.parametrize("kind", ["itself", "./", "link", "hard link"])
def test_a_report_is_not_replaced_by_the_page(reports: Path, kind: str) -> None:
    before, output = (reports / "n1.json").read_bytes(), {"itself": "n1.json", "./": "./n1.json"}.get(kind, "page.html")
    if kind == "link":
        (reports / output).symlink_to("n1.json")
    if kind == "hard link":
        (reports / output).hardlink_to(reports / "n1.json")
    said = fleet("n0.json", "gone.json", "n1.json", "-o", output, folder=reports)
    assert said.returncode == 1 and "CLI008" in said.stderr and "n1.json" in said.stderr
    assert (reports / "n1.json").read_bytes() == before


def test_a_page_goes_to_standard_output_and_to_a_device(reports: Path) -> None:
    said = fleet("n0.json", "n1.json", "-o", "/dev/stdout", folder=reports)
    assert said.returncode == 0 and said.stdout.startswith("<!doctype html>") and said.stdout.endswith("</html>\n")
    assert fleet("n0.json", "-o", "/dev/null", folder=reports).returncode == 0 and Path("/dev/null").is_char_device()


def test_a_statement_takes_the_place_of_no_recipe_and_no_lock(tmp_path: Path) -> None:
    recipe = tmp_path / "a.yaml"
    files = (recipe, locking.lock_path(recipe), locking.lock_path(recipe, with_models=False))
    for file in files:
        file.write_text("text")
        with pytest.raises(DiagnosticError) as caught:
            verify(str(recipe), statement=file, without_models=False, as_json=False)
        assert caught.value.diagnostics[0].rule == "CLI008" and caught.value.exit_code is ExitCode.NO and file.read_text() == "text"


def test_a_fixed_recipe_stays_where_its_link_leads(tmp_path: Path) -> None:
    recipe, link = tmp_path / "a.yaml", tmp_path / "link.yaml"
    recipe.write_text("before")
    recipe.chmod(0o600)
    link.symlink_to(recipe)
    fixing.write(link, "before", "after")
    assert link.is_symlink() and recipe.read_text() == "after" and recipe.stat().st_mode & 0o777 == 0o600
