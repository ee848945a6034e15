"""Options of kernel modules: which values the kernel refuses, and that a driver which would get one is not loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from images_read import Files
from kernel_samples import at, driver_module
from test_checks import base, judged

from aistack.compose.findings import Outcome
from aistack.facts.filesystem import Filesystem
from aistack.facts.module_parameters import refuses

__all__ = ["base"]
CONF, KARGS = "/etc/modprobe.d/more.conf", "/usr/lib/bootc/kargs.d/90.toml"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("int", "0 1 -1 +7 0x1F 0X1f 017 2147483647 -2147483648"),
        ("uint", "0 0xffffffff 4294967295 +1"),
        ("byte", "0 255 0xff"),
        ("short", "-32768 32767"),
        ("ullong", f"18446744073709551615 0x{'0' * 5000}1 {'0' * 5000}7"),
        ("hexint", "ff 0xff 08"),
        ("bool", "1 0 y n Y N yes no on off true false"),
        ("bint", "1 no"),
        ("charp", "anything 1,2"),
        ("array of int", "1 1,2,-3"),
        ("array of charp", "a,b"),
        ("timeout", "off 1"),
        ("", "1"),
    ],
)
def test_what_the_kernel_takes(kind: str, values: str) -> None:
    assert [value for value in values.split() if refuses(kind, value)] == []
    assert not refuses("bool", None) and not refuses("timeout", None)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("int", ["yes", "", "1,2", "08", "0x", "0xg", "1 ", "1k", "2147483648", "-2147483649", "0xffffffff", None]),
        ("uint", ["-1", "4294967296", "on", "9" * 5000, f"0x{'f' * 5000}"]),
        ("long", ["9223372036854775808", "-9223372036854775809", f"-{'9' * 5000}"]),
        ("ullong", ["18446744073709551616", "1" + "0" * 20]),
        ("byte", ["256", "-1"]),
        ("hexint", ["xyz", "0x"]),
        ("bool", ["", "2", "o", "ok", "maybe"]),
        ("invbool", ["x"]),
        ("array of int", ["1,", "a", None]),
        ("charp", [None]),
    ],
)
def test_what_the_kernel_refuses(kind: str, values: list[str | None]) -> None:
    assert [value for value in values if not refuses(kind, value)] == []


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({CONF: b"options nvidia NVreg_EnableMSI=yes\n"}, "NVreg_EnableMSI=yes"),  # by the line's $CMDLINE_OPTS
        ({CONF: b"options nvidia-current NVreg_EnableMSI=yes\n"}, "NVreg_EnableMSI=yes"),
        ({CONF: b"options nvidia_current on NVreg-EnableMSI\n"}, "NVreg-EnableMSI"),
        ({CONF: b"alias gpu nvidia-current\noptions gpu NVreg_DeviceFileMode=-1\n"}, "NVreg_DeviceFileMode=-1"),
        ({CONF: b"options nvidia NVreg_EnableMSI=1 NVreg_EnableMSI=on NVreg_EnableMSI=0\n"}, "NVreg_EnableMSI=on"),
        ({KARGS: b'kargs = ["nvidia-current.NVreg_EnableMSI=yes"]\n'}, "NVreg_EnableMSI=yes"),
        ({KARGS: b'kargs = ["nvidia.on=maybe"]\n'}, "on=maybe"),
    ],
)
def test_a_driver_with_such_an_option_is_named(files: Files, word: str, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, files)["driver-enabled"]
    said = f"nvidia_current is not loaded with the option {word}: that is of the type"
    assert (finding.outcome, said in finding.message) == (Outcome.NO, True), finding.message


@pytest.mark.parametrize(
    "text",
    [
        b'options nvidia NVreg_EnableMSI="1" on NVreg_DeviceFileMode=0660 NVreg_RegistryDwords="A=1;B=2 C=3"\n',
        b"options nvidia NVreg_Unknown=yes\n",  # which the kernel passes over
        b"options nvidia-uvm NVreg_EnableMSI=yes\noptions ext4 a=b\n",
        b"options gpu NVreg_EnableMSI=yes\n",
    ],
)
def test_other_options_are_the_administrators(text: bytes, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, {CONF: text})["driver-enabled"]
    assert (finding.outcome, finding.message) == (Outcome.YES, finding.message)


@pytest.mark.parametrize("name", ["nvidia(", "nvidia[", "nvidia+", "nvidia\\"])
def test_a_module_may_be_called_anything(name: str, base: Filesystem, tmp_path: Path) -> None:
    files = {**at(f"kernel/own/{name}.ko", driver_module()), CONF: f"options {name} NVreg_EnableMSI=yes\n".encode()}
    finding = judged(base, tmp_path, files)["driver-enabled"]
    said = f"{name} is not loaded with the option NVreg_EnableMSI=yes"
    assert (finding.outcome, said in finding.message) == (Outcome.NO, True), finding.message


def test_options_of_a_name_that_the_line_does_not_pass_on_are_none(base: Filesystem, tmp_path: Path) -> None:
    text = b"blacklist nouveau\ninstall nvidia modprobe -i nvidia-current\nalias nvidia-uvm nvidia-current-uvm\n"
    line: Files = {"/etc/modprobe.d/nvidia.conf": text}
    assert judged(base, tmp_path, {**line, CONF: b"options nvidia NVreg_EnableMSI=yes\n"})["driver-enabled"].outcome is Outcome.YES
