"""The parts of NVIDIA's driver where nothing is wrong: copies in the place of links, a driver without CUDA, one that is mounted later.

And the services of switches, which are of its version or not.
"""

from __future__ import annotations

from pathlib import Path

import elf_samples
import pytest
from images_read import STATUS, Files, folder, healthy, read
from kernel_samples import DRIVER, FOLDER, KERNEL, LIBRARIES, at, driver, program
from test_checks import AHEAD, base, judged
from test_checks_silent import CUDA, LIBRARY

from aistack.compose.checks.expected import Expected
from aistack.compose.findings import Outcome
from aistack.compose.verify import verify_image
from aistack.facts.filesystem import Filesystem

__all__ = ["base"]

PLAIN: Files = {
    f"{LIBRARIES}/libcuda.so.1": CUDA,
    f"{LIBRARIES}/libnvidia-api.so.1": LIBRARY,
    f"{LIBRARIES}/libnvidia-cfg.so.1": elf_samples.binary(behind=b"\x00535.54.14\x00525.60.13\0"),
    f"{LIBRARIES}/libnvidia-container.so.1": elf_samples.binary(behind=b"\x00418.30\0"),
    f"{LIBRARIES}/libnvidia-nvvm.so.{DRIVER}": elf_samples.binary(behind=b"\x00535.54.14\0"),
    f"/usr/lib/i386-linux-gnu/libnvidia-nvvm.so.{DRIVER}": elf_samples.binary(machine=3),
    "/usr/lib/i386-linux-gnu/libnvidia-nvvm.so.4": elf_samples.binary(machine=3),
    "/usr/lib/own/libnvidia-nvvm.so.4": LIBRARY,
}


def test_a_library_that_is_a_file_in_the_place_of_a_link_may_be_the_drivers_own(base: Filesystem, tmp_path: Path) -> None:
    """And of what lies elsewhere, or says no version or several, it is not known that it is another driver's."""
    finding = judged(base, tmp_path, PLAIN)["driver-versions"]
    assert (finding.outcome, finding.message) == (Outcome.YES, finding.message)


def test_a_driver_without_its_compiler_of_ptx_is_named_though_no_lock_wants_it(base: Filesystem, tmp_path: Path) -> None:
    """Where there are CUDA's library and that for readings; a driver that serves no CUDA has none."""
    without: Files = {f"{LIBRARIES}/.wh.libnvidia-ptxjitcompiler.so.{DRIVER}": b""}
    finding = judged(base, tmp_path, without, expected=Expected())["driver-versions"]
    assert (finding.outcome, finding.message) == (Outcome.NO, f"there is no libnvidia-ptxjitcompiler.so.{DRIVER}")
    host: Files = {**without, f"{LIBRARIES}/.wh.libcuda.so.{DRIVER}": b"", f"{LIBRARIES}/.wh.libcuda.so.1": b""}
    assert judged(base, tmp_path, host, expected=Expected())["driver-versions"].outcome is Outcome.YES


def test_a_driver_that_serves_no_cuda_needs_nothing_for_it(base: Filesystem, tmp_path: Path) -> None:
    """Such as a virtualization host's, of an image that promises nothing: neither CUDA's library nor the module for its memory."""
    without: Files = {f"{FOLDER}/updates/dkms/.wh.nvidia-current-uvm.ko": b"", f"{LIBRARIES}/.wh.libcuda.so.1": b""}
    assert judged(base, tmp_path, without, expected=Expected())["driver-versions"].outcome is Outcome.NO
    host: Files = {**without, f"{LIBRARIES}/.wh.libcuda.so.{DRIVER}": b""}
    assert judged(base, tmp_path, host, expected=Expected())["driver-versions"].outcome is Outcome.YES


def test_a_kernel_without_the_driver_is_named_whoever_made_the_image(base: Filesystem, tmp_path: Path) -> None:
    """Whether programs have libraries or not, and also where the modules are those of a kernel that is not there any more."""
    unserved: Files = {f"{LIBRARIES}/.wh.{name}.so.{DRIVER}": b"" for name in ("libcuda", "libnvidia-ml")}
    for more in ({}, unserved):
        finding = judged(base, tmp_path, AHEAD, more, expected=Expected())["driver-versions"]
        assert (finding.outcome, finding.message) == (Outcome.NO, "/usr/lib/modules/7.3.4 has a kernel, and no module of the driver")
    gone: Files = {**AHEAD, f"{FOLDER}/.wh.vmlinuz": b""}
    assert "7.3.4 has a kernel, and no module of the driver" in judged(base, tmp_path, gone, expected=Expected())["driver-versions"].message


def test_a_kernel_that_needs_no_driver_is_none_without_it(base: Filesystem, tmp_path: Path) -> None:
    """One whose folder has nothing left but links, one to fall back on, one that has the driver too, and any where nobody put a driver."""
    older = {path.replace("7.3.4", "6.1.0-50-amd64"): data for path, data in AHEAD.items()}
    assert judged(base, tmp_path, older)["driver-versions"].outcome is Outcome.YES
    left: Files = {"/usr/lib/modules/7.3.4/build": "/usr/src", "/usr/lib/modules/7.3.4/kernel": folder("/")}
    assert judged(base, tmp_path, left)["driver-versions"].outcome is Outcome.YES
    both = {path.replace(FOLDER, "/usr/lib/modules/7.3.4"): data for path, data in driver().items() if path.startswith(FOLDER)}
    assert judged(base, tmp_path, {**both})["driver-versions"].outcome is Outcome.YES
    found = verify_image(read(tmp_path, [healthy(), AHEAD]), bootable=True)
    assert [one.outcome for one in found if one.name == "driver-versions"] == [Outcome.YES]


def test_what_a_containers_runtime_left_of_a_nodes_driver_is_no_damage(tmp_path: Path) -> None:
    """Empty files, over which it mounts the node's own again."""
    left: Files = {f"{LIBRARIES}/libcuda.so.{DRIVER}": b"", "/usr/bin/nvidia-smi": b""}

    def wrong(*more: Files) -> bool:
        found = verify_image(read(tmp_path, [left, *more]), bootable=False)
        return any(finding.name == "readable-binaries" and finding.outcome is Outcome.NO for finding in found)

    assert not wrong()
    assert wrong({"/usr/bin/nvidia-smi": b"text"})
    assert wrong(at("vmlinuz", elf_samples.kernel(KERNEL)))


def package(name: str, version: str) -> Files:
    """dpkg's database with one package more."""
    text = f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n"
    return {"/usr/lib/sysimage/dpkg/status": STATUS + text.encode()}


def service(name: str, *versions: str) -> Files:
    """A program that says those versions."""
    return {f"/usr/bin/{name}": program(behind=b"".join(f"\0{version}\0".encode() for version in versions))}


OTHER, RELEASE = "535.104.05", f"{DRIVER[:3]}.54.14"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (package("nvidia-fabricmanager-535", f"{OTHER}-1"), f"nvidia-fabricmanager-535 is of {OTHER}-1, the driver is {DRIVER}"),
        (package("nvidia-fabricmanager-550", f"{RELEASE}-0ubuntu0.24.04.1"), f"is of {RELEASE}-0ubuntu0.24.04.1, the driver is {DRIVER}"),
        (package("nvidia-fabric-manager", f"1:{OTHER}-1"), f"nvidia-fabric-manager is of 1:{OTHER}-1"),
        (service("nv-fabricmanager", OTHER), f"/usr/bin/nv-fabricmanager is of {OTHER}, the driver is {DRIVER}"),
        (service("nv-fabricmanager", RELEASE), f"/usr/bin/nv-fabricmanager is of {RELEASE}"),
        (service("nvidia-imex", OTHER), f"/usr/bin/nvidia-imex is of {OTHER}"),
        (package("nvidia-imex-535", f"{OTHER}-1"), f"nvidia-imex-535 is of {OTHER}-1"),
        ({f"{LIBRARIES}/libnvidia-nscq.so.{OTHER}": LIBRARY}, f"libnvidia-nscq.so.{OTHER} is of {OTHER}"),
    ],
)
def test_a_service_of_switches_of_another_version_is_named(files: Files, said: str, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, files)["driver-versions"]
    assert (finding.outcome, said in finding.message) == (Outcome.NO, True), finding.message


@pytest.mark.parametrize(
    "files",
    [
        package("nvidia-fabricmanager-550", f"{DRIVER}-1"),
        package("nvidia-imex-550", f"{RELEASE}-1"),
        package("nvidia-fabricmanager-dev-535", f"{OTHER}-1"),
        {**service("nv-fabricmanager", DRIVER, OTHER), **service("nvidia-imex", RELEASE)},
        service("nv-fabricmanager"),
        service("nv-fabricmanager", OTHER, RELEASE),  # of which is its own it cannot be told
        {
            "/usr/lib/sysimage/dpkg/status": STATUS
            + f"Package: nvidia-imex\nStatus: deinstall ok config-files\nVersion: {OTHER}\n\n".encode()
        },
    ],
)
def test_a_service_of_switches_of_the_drivers_version_is_good(files: Files, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, files)["driver-versions"]
    assert (finding.outcome, finding.message) == (Outcome.YES, finding.message)
