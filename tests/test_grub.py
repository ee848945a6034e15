"""The menu that the program writes, its boot counting walked through by a shell, and GRUB's environment block."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from aistack.compose.render import grub as text
from aistack.diagnostics import DiagnosticError
from aistack.host import grub

ENTRY = """\
title Debian GNU/Linux 13 (trixie) it's {number} (ostree:0)
version {number}
options root=UUID=1 rw systemd.mount-extra=UUID=2:/boot:ext4:rw ostree=/ostree/boot.1/aistack/c/{number}
linux /ostree/aistack-c/vmlinuz-{number}
initrd /ostree/aistack-c/initramfs-{number}.img
"""


def menu(tmp_path: Path, entries: int) -> str:
    program = tmp_path / "grub-config"
    program.write_text(text.SCRIPT)
    folder = tmp_path / "loader.1" / "entries"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, entries + 1):
        (folder / f"ostree-{number}.conf").write_text(ENTRY.format(number=number))
    target = folder.parent / "grub.cfg"
    subprocess.run(["sh", str(program), "-o", str(target)], check=True)
    return target.read_text()


def test_the_newest_entry_is_first_and_whole(tmp_path: Path) -> None:
    written = menu(tmp_path, 11)
    titles = [line for line in written.splitlines() if line.startswith("menuentry")]
    assert titles[0] == "menuentry 'Debian GNU/Linux 13 (trixie) its 11 (ostree:0)' --unrestricted {"
    assert len(titles) == 11
    assert "  linux /ostree/aistack-c/vmlinuz-11 root=UUID=1 rw systemd.mount-extra=UUID=2:/boot:ext4:rw ostree=" in written
    assert "  initrd /ostree/aistack-c/initramfs-11.img\n}" in written


def test_a_single_entry_is_not_counted(tmp_path: Path) -> None:
    assert "boot_counter" not in menu(tmp_path, 1)
    assert "boot_counter" in menu(tmp_path, 2)


def test_no_entry_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        menu(tmp_path, 0)
    assert not (tmp_path / "loader.1" / "grub.cfg").exists()


def start(counter: str) -> tuple[str, str]:
    """What one start does: the counter that is saved and the entry that is chosen. GRUB's words are close to a shell's."""
    words = text.COUNTING.replace("set boot_counter=", "boot_counter=").replace("set default=", "default=")
    words = words.replace("$prefix/grubenv", __file__)  # any file that is not empty
    shell = (
        f"insmod() {{ :; }}; load_env() {{ boot_counter={counter}; }}; save_env() {{ saved=$boot_counter; }}\ndefault=0; saved=unchanged\n"
    )
    done = subprocess.run(
        ["sh", "-euc", f'{shell}boot_counter=\n{words}\necho "$saved $default"'], capture_output=True, text=True, check=True
    )
    saved, chosen = done.stdout.split()
    return saved, chosen


def test_every_start_takes_one_try_and_then_the_confirmed_entry_stays() -> None:
    walked = []
    counter = "3"
    for _ in range(6):
        counter, chosen = start(counter)
        walked.append((counter, chosen))
    assert walked == [("2", "0"), ("1", "0"), ("0", "0"), ("-1", "1"), ("-1", "1"), ("-1", "1")]


def test_without_a_counter_nothing_is_written() -> None:
    assert start("") == ("unchanged", "0")


def test_a_damaged_counter_leads_to_the_confirmed_entry() -> None:
    assert start("nonsense") == ("-1", "1")


def test_the_environment_block_is_read_written_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    path.write_bytes(grub.write_environment({"other": "a\\b"}))
    inode = path.stat().st_ino
    assert (path.stat().st_size, grub.counter(path)) == (1024, None)
    grub.set_counter(3, path)
    assert grub.counter(path) == 3
    assert grub.read_environment(path.read_bytes()) == {"boot_counter": "3", "other": "a\\b"}
    grub.set_counter(None, path)
    assert grub.counter(path) is None
    assert (path.stat().st_ino, path.stat().st_size) == (inode, 1024)
    with pytest.raises(ValueError, match="4 tries"):
        grub.set_counter(4, path)


@pytest.mark.parametrize("data", [b"", b"# GRUB Environment Block\n", b"x" * 1024])
def test_a_damaged_block_is_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    path.write_bytes(data)
    with pytest.raises(DiagnosticError, match="damaged"):
        grub.counter(path)


def test_a_full_block_is_refused() -> None:
    with pytest.raises(DiagnosticError, match="1024 bytes"):
        grub.write_environment({"a": "x" * 1000})
