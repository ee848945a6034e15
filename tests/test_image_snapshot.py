"""An image as a snapshot: what its files say, judged as a machine is; and what the checks found as an in-toto statement."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import elf_samples
import pytest
import yaml
from images_read import DIGEST, LOCK, Files, healthy, read, written
from judged_snapshots import judged
from kernel_samples import DRIVER, FOLDER, KERNEL, LIBRARIES, NVIDIA, OTHER_CLAIM, at, driver, driver_module, initramfs
from test_accelerator_code import SITE, TORCH, library, nvidia
from test_verifying import own_store

from aistack.commands import verify as verb
from aistack.compose import image_snapshot
from aistack.compose.findings import Finding, Outcome
from aistack.compose.lock import LockedAccelerator
from aistack.compose.statement import FINDINGS, statement
from aistack.diagnostics import ExitCode, Severity
from aistack.facts.catalog import Catalog
from aistack.host import oci
from aistack.host.store import Store

__all__ = ["own_store"]
STATUS = "Package: {}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {}\n\n"
PACKAGES = {"libc6": "2.41-12+deb13u1", "podman": "5.4.2+ds1-2+b1", "nvidia-container-toolkit": "1.18.0-1", "dash": "0.5.12-12"}
ON_L4 = dataclasses.replace(LOCK, accelerator=LockedAccelerator(product="nvidia/l4", count=2))
PROPRIETARY = [("version", DRIVER), ("alias", OTHER_CLAIM), ("license", "NVIDIA")]  # the open ones do not compile for that kernel


def node() -> Files:
    status = "".join(STATUS.format(name, version) for name, version in PACKAGES.items()).encode()
    config = at("config", b'CONFIG_DRM=m\nCONFIG_CC_VERSION_TEXT="x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0"\n')
    return {**healthy(), **driver(), **at(NVIDIA, driver_module(more=PROPRIETARY)), **config, "/usr/lib/sysimage/dpkg/status": status}


def shown(tmp_path: Path, *layers: Files, catalog: Catalog, **how: Any) -> dict[str, Any]:
    how = {"lock": ON_L4, "bootable": True, "arch": "amd64", "environment": {}, "reference": "", **how}
    return image_snapshot.snapshot(read(tmp_path, layers), catalog, **how)


def rules(document: dict[str, Any], catalog: Catalog) -> list[str]:
    """The errors of the judge, who reads what is printed."""
    text = yaml.safe_dump({name: block for name, block in document.items() if name != "schema"}, sort_keys=False)
    return [found.rule for found in judged(text, catalog) if found.severity is Severity.ERROR]


def test_a_node_says_what_it_has_and_the_judge_has_nothing_against_it(tmp_path: Path, catalog: Catalog) -> None:
    document = shown(tmp_path, node(), catalog=catalog)
    assert document["accelerator"] == {"product": "nvidia/l4", "count": 2}
    assert document["platform"] == {
        "os": "debian-13",
        "glibc": "2.41",
        "kernel": KERNEL,
        "cmdline": "quiet",
        "blacklist": ["nouveau"],
        "kernel_config": {**dict.fromkeys((f"CONFIG_{name}" for name in image_snapshot.SETTINGS), "n"), "CONFIG_DRM": "m"},
        "kernel_compiler": "gcc-14.2",
        "module_signature": "none",
        "arch": "amd64",
    }
    module = {"version": DRIVER, "flavor": "proprietary", "built_for": KERNEL}
    assert document["driver"] == {"version": DRIVER, "module": module, "gsp_firmware": DRIVER}
    assert document["fabric"] == {"manager": {"state": "absent"}}
    assert document["runtime"] == {"podman": "5.4.2", "container_toolkit": "1.18.0"}
    assert rules(document, catalog) == []


def test_a_node_of_another_maker_says_the_same(tmp_path: Path, catalog: Catalog) -> None:
    """Its kernel lies in /boot, and CUDA's libraries for older drivers are not its driver's."""
    moved = {path.replace(f"{FOLDER}/vmlinuz", f"/boot/vmlinuz-{KERNEL}"): content for path, content in node().items()}
    compat: Files = {"/usr/local/cuda-12.8/compat/libcuda.so.570.124.06": elf_samples.binary(behind=b"\x00570.124.06\0")}
    told = shown(tmp_path, moved, compat, catalog=catalog, bootable=False, lock=None)
    assert told == shown(tmp_path, node(), catalog=catalog, lock=None)


def beside(version: str, *, modules: bool = True) -> Files:
    """The node's kernel again, of another version; without `modules` only what says that it is one."""
    kept = {path: data for path, data in node().items() if path.startswith(FOLDER) and path != f"{FOLDER}/vmlinuz"}
    magic = f"{version} SMP mod_unload modversions"
    return {
        f"/usr/lib/modules/{version}/vmlinuz": elf_samples.kernel(version),
        **({path.replace(FOLDER, f"/usr/lib/modules/{version}"): data for path, data in kept.items()} if modules else {}),
        **({f"/usr/lib/modules/{version}/{NVIDIA}": driver_module(more=PROPRIETARY, vermagic=magic)} if modules else {}),
    }


def test_of_several_kernels_the_newest_is_told_with_its_own_modules(tmp_path: Path, catalog: Catalog) -> None:
    """Newest by its numbers, not by its letters: 6.1 comes before 6.12, and -50 after -9."""
    document = shown(tmp_path, node(), beside("6.1.0-50-amd64"), beside("6.1.0-9-amd64"), catalog=catalog)
    assert document == shown(tmp_path, node(), catalog=catalog)
    found = image_snapshot.kernels(read(tmp_path, [node(), beside("6.1.0-50-amd64"), beside("6.1.0-9-amd64"), beside("own")]))
    assert [tree.version for tree in found] == [KERNEL, "6.1.0-50-amd64", "6.1.0-9-amd64", "own"]
    ahead = shown(tmp_path, node(), beside("6.120.1", modules=False), catalog=catalog)
    assert ahead["platform"]["kernel"] == "6.120.1"
    assert "MO103" in rules(ahead, catalog)  # the modules that there are were built for the other


@pytest.mark.system
def test_that_there_are_other_kernels_is_told_beside_the_snapshot(
    tmp_path: Path, own_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = Store(tmp_path / "elsewhere")
    made = oci.write_image(elsewhere, [written(elsewhere, files) for files in (node(), beside("6.1.0-50-amd64"))], arch="amd64")
    layout = oci.export_layout(elsewhere, {"one": made}, tmp_path / "layout")
    assert verb.snapshot(f"oci:{layout}:one", as_json=False) is ExitCode.OK
    out, err = capsys.readouterr()
    assert yaml.safe_load(out)["platform"]["kernel"] == KERNEL
    assert f"there are several kernels: {KERNEL}, 6.1.0-50-amd64; the snapshot is of the first" in err


def test_parts_of_a_driver_are_compared_by_their_numbers(tmp_path: Path, catalog: Catalog) -> None:
    """550.163.01 is newer than 550.90.07; firmware counts that the module asks for."""
    older = "550.90.07"
    files: Files = {
        f"{LIBRARIES}/libcuda.so.{older}": elf_samples.binary(soname="libcuda.so.1", behind=f"\0{older}\0".encode()),
        f"/usr/lib/firmware/nvidia/{older}/gsp_ga10x.bin": elf_samples.firmware(older),
        "/usr/lib/firmware/nvidia/570.124.06/gsp_ga10x.bin": elf_samples.firmware("570.124.06"),
    }
    told = shown(tmp_path, node(), files, catalog=catalog)["driver"]
    assert (told["version"], told["gsp_firmware"]) == (DRIVER, DRIVER)


def test_the_judge_finds_what_does_not_fit(tmp_path: Path, catalog: Catalog) -> None:
    newer = "550.90.07"
    other: Files = {
        f"{LIBRARIES}/.wh.libcuda.so.{DRIVER}": b"",
        f"{LIBRARIES}/libcuda.so.{newer}": elf_samples.binary(soname="libcuda.so.1", behind=f"\0{newer}\0".encode()),
    }
    document = shown(tmp_path, node(), other, catalog=catalog)
    assert document["driver"]["version"] == newer
    assert "MO101" in rules(document, catalog)
    inside = at("initramfs.img", initramfs({NVIDIA: driver_module(more=[("version", newer), ("alias", OTHER_CLAIM)])}))
    document = shown(tmp_path / "inside", node(), inside, catalog=catalog)
    assert document["driver"]["initramfs_version"] == newer
    assert rules(document, catalog) != []
    free: Files = {"/etc/modprobe.d/nvidia.conf": b"", "/usr/lib/modprobe.d/nouveau.conf": b""}
    assert shown(tmp_path / "free", node(), free, catalog=catalog)["platform"]["blacklist"] == []


def test_a_container_says_what_its_programs_were_built_for(tmp_path: Path, catalog: Catalog) -> None:
    files: Files = {
        f"{SITE}/torch-2.10.0.dist-info/RECORD": b"",
        f"{SITE}/torch/version.py": b"__version__ = '2.10.0+cu128'\ncuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n",
        TORCH: library(nvidia("8.0", "9.0a")),
        f"{SITE}/vllm-0.19.1.dist-info/RECORD": b"",
        f"{SITE}/sums-1.0.dist-info/RECORD": b"",
        "/usr/lib/python3/dist-packages/torch-2.6.0.egg-info/PKG-INFO": b"",
        "/usr/local/cuda-12.8/compat/libcuda.so.570.124.06": b"",
    }
    how = {"bootable": False, "lock": None, "environment": {"CUDA_VERSION": "12.8.1", "NVIDIA_REQUIRE_CUDA": "cuda>=12.8"}}
    document = shown(tmp_path, files, catalog=catalog, reference="example.org/a:1", **how)
    assert document["image"] == {
        "arch": "amd64",
        "ref": "example.org/a:1",
        "cuda": "12.8.1",
        "requires": "cuda>=12.8",
        "cuda_compat": "570.124.06",
    }
    torch = {"version": "2.10.0", "build": "cu128", "arch_list": ["8.0", "9.0a"]}
    assert document["frameworks"] == {"torch": torch, "vllm": {"version": "0.19.1"}}
    assert "platform" not in document and rules(document, catalog) == []
    volta = {**document, "accelerator": {"product": "nvidia/v100-16gb"}}
    assert rules(volta, catalog) != []


def finding(name: str, outcome: Outcome, **how: Any) -> Finding:
    return Finding(name=name, outcome=outcome, message="words", **how)


@pytest.mark.parametrize(
    ("findings", "strict", "result", "lists"),
    [
        ([finding("a", Outcome.YES)], True, "PASSED", (["system/a"], [], [])),
        ([finding("a", Outcome.YES), finding("b", Outcome.UNKNOWN)], True, "WARNED", (["system/a"], ["system/b"], [])),
        ([finding("a", Outcome.NO, fatal=False)], False, "WARNED", ([], ["system/a"], [])),
        ([finding("a", Outcome.NO, fatal=False)], True, "FAILED", ([], [], ["system/a"])),
        ([finding("a", Outcome.NO, accepted="so it is")], True, "WARNED", ([], ["system/a"], [])),
    ],
)
def test_the_statement_has_three_outcomes(
    findings: list[Finding], strict: bool, result: str, lists: tuple[list[str], list[str], list[str]]
) -> None:
    text = statement({"image": DIGEST}, {"system": findings}, version="1.0", lock="sha256:" + "2" * 64, strict=strict)
    document = json.loads(text)
    assert (document["_type"], document["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://in-toto.io/attestation/test-result/v0.1",
    )
    assert document["subject"] == [{"name": "image", "digest": {"sha256": "1" * 64}}]
    parts = {"base": DIGEST, "app-a": "sha256:" + "3" * 64}
    both = json.loads(statement(parts, {"base": findings, "app-a": []}, version="1.0", lock=None, strict=strict))
    assert {one["name"]: one["digest"]["sha256"] for one in both["subject"]} == {"base": "1" * 64, "app-a": "3" * 64}
    predicate = document["predicate"]
    assert predicate["result"] == result
    assert (predicate["passedTests"], predicate["warnedTests"], predicate["failedTests"]) == lists
    assert predicate["configuration"] == [{"uri": "pkg:pypi/aistack@1.0"}, {"name": "lock", "digest": {"sha256": "2" * 64}}]
    assert [one["message"] for one in predicate[FINDINGS]["system"]] == ["words"] * len(findings)
    assert text == statement({"image": DIGEST}, {"system": findings}, version="1.0", lock="sha256:" + "2" * 64, strict=strict)
