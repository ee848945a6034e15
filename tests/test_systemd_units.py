"""What systemd starts of an image, where many units need each other."""

from __future__ import annotations

from pathlib import Path

from images_read import Files, read

from aistack.compose.checks.systemd import Units

FOLDER = "/usr/lib/systemd/system"


def units(folder: Path, files: Files) -> Units:
    """Those of an image with these files."""
    return Units(filesystem=read(folder, [files]))


def test_units_that_need_each_other_in_layers_are_each_asked_once(tmp_path: Path) -> None:
    files: Files = {}
    for layer in range(40):
        needs = b"[Unit]\nRequires=%s\n" % b" ".join(b"%s%d.target" % (name, layer + 1) for name in (b"a", b"b"))
        files |= {f"{FOLDER}/{name}{layer}.target": needs for name in "ab"}
    found = units(tmp_path / "whole", files)
    assert found.why_not("a0.target") == "" and {"a0.target", "b39.target"} <= found.starts("a0.target")
    masked = units(tmp_path / "masked", {**files, f"{FOLDER}/b39.target": "/dev/null"})
    assert masked.why_not("a0.target") == f"{FOLDER}/b39.target masks b39.target"
    assert masked.starts("a0.target") == frozenset()


def test_a_long_chain_of_units_is_followed_to_its_end(tmp_path: Path) -> None:
    files: Files = {f"{FOLDER}/a{number}.target": b"[Unit]\nRequires=a%d.target\n" % (number + 1) for number in range(600)}
    found = units(tmp_path, {**files, f"{FOLDER}/a600.target": b"[Unit]\nRequires=a0.target\n"})
    assert found.why_not("a0.target") == "" and len(found.starts("a0.target")) == 601


def test_what_is_wanted_and_cannot_be_started_keeps_nothing_else_from_starting(tmp_path: Path) -> None:
    files: Files = {
        f"{FOLDER}/first.target": b"[Unit]\nWants=one.target two.target\n",
        f"{FOLDER}/one.target": b"[Unit]\nRequires=gone.target\n",
        f"{FOLDER}/two.target": b"[Unit]\n",
        "/etc/systemd/system/gone.target": "/dev/null",
    }
    assert units(tmp_path, files).starts("first.target") == {"first.target", "two.target"}
