"""The menu that the program writes, its boot counting walked through by a shell, and GRUB's environment block."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from aistack.compose.render import grub as text
from aistack.diagnostics import DiagnosticError
from aistack.host import grub
from aistack.host.grub import Trial

ENTRY = """\
title Debian GNU/Linux 13 (trixie) it's {number} (ostree:0)
version {number}
options root=UUID=1 {arguments} systemd.mount-extra=UUID=2:/boot:ext4:rw ostree=/ostree/boot.1/aistack/c/{number}
linux /ostree/aistack-c/vmlinuz-{number}
initrd /ostree/aistack-c/initramfs-{number}.img
"""


def menu(root: Path, entries: int, arguments: str = "rw") -> str:
    """The menu of a sysroot in `root` with that many deployments, called `c0ffee1.0` and so on, laid out as OSTree does."""
    root.mkdir(exist_ok=True)
    program = root / "grub-config"
    program.write_text(text.SCRIPT)
    folder = root / "boot/loader.1/entries"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, entries + 1):
        (folder / f"ostree-{number}.conf").write_text(ENTRY.format(number=number, arguments=arguments))
        (root / f"ostree/deploy/aistack/deploy/c0ffee{number}.0").mkdir(parents=True)
        link = root / f"ostree/boot.1/aistack/c/{number}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../../../deploy/aistack/deploy/c0ffee{number}.0")
    target = folder.parent / "grub.cfg"
    subprocess.run(["sh", str(program), "-o", str(target)], check=True)
    return target.read_text()


def test_the_newest_entry_is_first_and_whole(tmp_path: Path) -> None:
    written = menu(tmp_path, 11)
    titles = [line for line in written.splitlines() if line.startswith("menuentry")]
    assert titles[0] == "menuentry 'Debian GNU/Linux 13 (trixie) its 11 (ostree:0)' --unrestricted {"
    assert len(titles) == 11
    lines = [line for line in written.splitlines() if line.startswith("  linux ")]
    assert lines[0] == (
        "  linux /ostree/aistack-c/vmlinuz-11 root=UUID=1 rw systemd.mount-extra=UUID=2:/boot:ext4:rw "
        "ostree=/ostree/boot.1/aistack/c/11 $on_trial"
    )
    assert not [line for line in lines[1:] if "$" in line]
    assert "  initrd /ostree/aistack-c/initramfs-11.img\n}" in written


def test_a_single_entry_is_not_counted(tmp_path: Path) -> None:
    one = menu(tmp_path / "one", 1)
    assert "boot_counter" not in one and "fallback" not in one
    assert 'if [ "${trial}" = "c0ffee2.0" ]; then' in menu(tmp_path / "two", 2)


@pytest.mark.parametrize("missing", ["boot/loader.1/entries/ostree-1.conf", "ostree/boot.1/aistack/c/1"])
def test_no_entry_or_one_that_leads_nowhere_is_an_error_and_writes_nothing(missing: str, tmp_path: Path) -> None:
    menu(tmp_path, 1)
    target = tmp_path / "boot/loader.1/grub.cfg"
    target.unlink()
    (tmp_path / missing).unlink()
    assert subprocess.run(["sh", str(tmp_path / "grub-config"), "-o", str(target)], capture_output=True).returncode != 0
    assert not target.exists()


def start(counter: str, trial: str = "@FIRST@") -> tuple[str, str, bool]:
    """What one start does: the counter that is saved, the entry that is chosen, and whether its kernel hears of the trial.

    The fallback, for what cannot be loaded, is always the other entry. GRUB's words are close to a shell's.
    """
    words = text.COUNTING
    for name in ("boot_counter", "default", "fallback", "on_trial"):
        words = words.replace(f"set {name}=", f"{name}=")
    words = words.replace("$prefix/grubenv", __file__)  # any file that is not empty
    shell = f"""
    insmod() {{ :; }}
    load_env() {{ boot_counter={counter} trial={trial}; }}
    save_env() {{ saved=$boot_counter; }}
    default=0 saved=unchanged fallback=none boot_counter= trial= on_trial=
    {words}
    echo "$saved $default $fallback $on_trial"
    """
    done = subprocess.run(["sh", "-euc", shell], capture_output=True, text=True, check=True)
    saved, chosen, fallback, *told = done.stdout.split()
    assert {chosen, fallback} == {"0", "1"}
    assert told in ([], ["aistack.trial", "rd.shell=0", "rd.emergency=reboot"])
    return saved, chosen, bool(told)


def test_every_start_takes_one_try_and_then_the_entry_below_stays() -> None:
    walked = []
    counter = "3"
    for _ in range(6):
        counter, chosen, told = start(counter)
        walked.append((counter, chosen, told))
    assert walked[:3] == [("2", "0", True), ("1", "0", True), ("0", "0", True)]
    assert walked[3:] == [("-1", "1", False)] * 3


@pytest.mark.parametrize("counter", ["", "0", "3", "-1"])
def test_only_the_deployment_on_trial_is_counted(counter: str) -> None:
    assert start(counter, trial="another.0") == ("unchanged", "0", False)
    assert start(counter, trial="") == ("unchanged", "0", False)


def test_a_damaged_counter_leads_to_the_entry_below() -> None:
    assert start("nonsense") == ("-1", "1", False)


def test_the_environment_block_is_read_written_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    path.write_bytes(grub.write_environment({"other": "a\\b"}))
    inode = path.stat().st_ino
    assert (path.stat().st_size, grub.trial(path)) == (1024, None)
    wanted = Trial(deployment=f"{'c' * 64}.0", tries=3)
    grub.set_trial(wanted, path)
    assert grub.trial(path) == wanted
    assert grub.read_environment(path.read_bytes()) == {"boot_counter": "3", "trial": wanted.deployment, "other": "a\\b"}
    assert path.read_bytes().index(wanted.deployment.encode()) + 66 < 512, "both in the sector that a disk writes as one"
    grub.set_trial(None, path)
    assert grub.read_environment(path.read_bytes()) == {"other": "a\\b"}
    assert (path.stat().st_ino, path.stat().st_size) == (inode, 1024)
    with pytest.raises(ValueError, match="4 tries"):
        grub.set_trial(replace(wanted, tries=4), path)


@pytest.mark.parametrize("counter", [{}, {"boot_counter": "-1"}, {"boot_counter": "nonsense"}])
def test_a_trial_without_a_number_has_fallen_back(counter: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    path.write_bytes(grub.write_environment({"trial": "c0ffee.0", **counter}))
    assert grub.trial(path) == Trial(deployment="c0ffee.0", tries=grub.FALLEN_BACK)


DAMAGED = [b"", b"# GRUB Environment Block\n", b"x" * 1024, b"x" * 100, grub.write_environment({"trial": "c0ffee.0"}) + b"#"]


@pytest.mark.parametrize("data", DAMAGED)
def test_a_damaged_block_is_named(data: bytes) -> None:
    with pytest.raises(DiagnosticError, match="damaged"):
        grub.read_environment(data)


@pytest.mark.parametrize("data", [None, *DAMAGED, grub.write_environment({"trial": "c0ffee.0"}).replace(b"c", b"\xff")])
def test_a_block_that_cannot_be_read_counts_nothing_and_the_next_trial_mends_it(data: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    if data is not None:
        path.write_bytes(data)
    assert grub.trial(path) is None
    wanted = Trial(deployment="c0ffee.1", tries=2)
    grub.set_trial(wanted, path)
    assert grub.trial(path) == wanted
    assert grub.read_environment(path.read_bytes()) == {"trial": "c0ffee.1", "boot_counter": "2"}
    assert [one.name for one in tmp_path.iterdir()] == ["grubenv"]


def test_a_full_block_is_refused() -> None:
    with pytest.raises(DiagnosticError, match="1024 bytes"):
        grub.write_environment({"a": "x" * 1000})
