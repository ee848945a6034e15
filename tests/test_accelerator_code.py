"""What an app's libraries hold for accelerators: read from fat binaries as compilers make them, held against the node's product."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from pathlib import Path

import elf_samples
import pytest
from images_read import Files, read
from test_verify import APP

from aistack.compose.checks import code
from aistack.compose.checks.code import Wanted
from aistack.compose.findings import Finding, Outcome
from aistack.compose.lock import LockedAccelerator
from aistack.facts import fatbin, gfx
from aistack.facts.catalog import Catalog
from aistack.facts.fatbin import DeviceCode
from aistack.facts.pins import LockedWheel
from aistack.host.binaries import contents

SITE = "/opt/app/lib/python3.13/site-packages"
TORCH, VLLM, MLA = f"{SITE}/torch/lib/libtorch_cuda.so", f"{SITE}/vllm/_C.abi3.so", f"{SITE}/vllm/_flashmla_C.abi3.so"
GGML, ROCBLAS = "/usr/lib/x86_64-linux-gnu/ggml/backends0/libggml-hip.so", "/usr/lib/x86_64-linux-gnu/librocblas.so.4.4"


def nvidia(*targets: str, times: int = 1) -> bytes:
    """Containers as fatbinary makes them, of code for those targets (`9.0a`, `8.0+PTX`)."""
    entries = b""
    for target in targets:
        plain = target.removesuffix("+PTX")
        flags = 0x11 | sum(flag for flag, letter in fatbin.SUFFIXES.items() if plain.endswith(letter))
        kind, number = (1 if plain != target else 2), int(plain.rstrip("af").replace(".", ""))
        entries += fatbin.ENTRY.pack(kind, 0x101, 64, 24, 0, 0, 8, 1, number, flags) + b"machine code, or as such"
    return (fatbin.CONTAINER.pack(0xBA55ED50, 1, 16, len(entries)) + entries) * times


def amd(*targets: str) -> bytes:
    """A bundle as clang makes it."""
    names = ["host-x86_64-unknown-linux-gnu-", *(f"hipv4-amdgcn-amd-amdhsa--{target}" for target in targets)]
    heads = b"".join(struct.pack("<QQQ", 4096, 0, len(name)) + name.encode() for name in names)
    return fatbin.BUNDLE + struct.pack("<Q", len(names)) + heads


def library(*parts: bytes) -> bytes:
    return elf_samples.binary(behind=b"".join(parts))


def judged(tmp_path: Path, files: Files, wanted: Wanted) -> dict[str, Finding]:
    return {finding.name: finding for finding in code.judge(read(tmp_path, [files]), wanted)}


def on(catalog: Catalog, product: str, *wheels: str, framework: str = "vllm") -> Wanted:
    locked = tuple(LockedWheel(name=name, version="1", filename="a.whl", sha256="b" * 64, size=1) for name in wheels)
    app = dataclasses.replace(APP, framework=framework, wheels=locked)
    found = code.wanted(catalog, LockedAccelerator(product=product, count=1), app)
    assert found is not None
    return found


def test_the_catalog_says_what_must_hold_code_and_for_what(catalog: Catalog) -> None:
    served = on(catalog, "nvidia/l4", "torch", "vllm", "six")
    assert (served.target, served.required) == ("sm_89", ("torch/lib/libtorch_cuda.so", "vllm/_C*.so"))
    assert on(catalog, "nvidia/l4", "numpy", framework="sums").required == ()
    packaged = on(catalog, "amd/mi210", framework="llama.cpp")
    assert (packaged.target, packaged.required) == ("gfx90a", ("ggml/backends*/libggml-hip.so", "librocblas.so.*"))
    assert on(catalog, "amd/mi300x", "torch", "vllm").main == ()  # those are CUDA's files
    assert code.wanted(catalog, LockedAccelerator(product="cpu/x86-64", count=1), APP) is code.wanted(catalog, None, APP) is None


NO, YES, UNKNOWN = Outcome.NO, Outcome.YES, Outcome.UNKNOWN
L4 = Wanted(
    product="nvidia/l4", target="sm_89", main=("torch/lib/libtorch_cuda.so", "vllm/_C*.so"), required=("torch/lib/libtorch_cuda.so",)
)
H100 = dataclasses.replace(L4, product="nvidia/h100-sxm-80gb", target="sm_90")
B200 = dataclasses.replace(L4, product="nvidia/b200", target="sm_100")
MI300X = Wanted(product="amd/mi300x", target="gfx942", main=("librocblas.so.*",), required=("librocblas.so.*",))


@pytest.mark.parametrize(
    ("wanted", "files", "outcome", "said"),
    [
        (L4, {TORCH: library(nvidia("8.0", "8.6", "9.0"))}, YES, "1 libraries hold code"),
        (L4, {TORCH: library(nvidia("8.9"))}, YES, TORCH),
        (H100, {TORCH: library(nvidia("8.0+PTX"))}, YES, "only PTX, which the driver compiles when the program starts"),
        (L4, {TORCH: library(nvidia("7.5", "9.0"))}, NO, f"{TORCH} is for 7.5, 9.0, not for sm_89"),
        (L4, {TORCH: library(nvidia("9.0+PTX"))}, NO, "is for 9.0+PTX"),
        (H100, {TORCH: library(nvidia("9.0a"))}, YES, TORCH),
        (B200, {TORCH: library(nvidia("9.0a", "9.0a+PTX"))}, NO, "is for 9.0a+PTX"),
        (B200, {TORCH: library(nvidia("10.0f"))}, YES, TORCH),
        (H100, {TORCH: library(nvidia("8.0", "8.6", times=8), nvidia("9.0a"))}, NO, "is for 8.0, 8.6, not for sm_90"),
        (L4, {TORCH: library(nvidia("9.0", times=9), nvidia("5.2+PTX"))}, NO, "is for 9.0, not"),
        (L4, {TORCH: library(nvidia("8.0")), VLLM: library(nvidia("9.0"))}, NO, f"{VLLM} is for 9.0"),
        (L4, {TORCH: library(b"nothing")}, NO, "no torch/lib/libtorch_cuda.so holds any code for accelerators"),
        (L4, {}, NO, "no torch/lib/libtorch_cuda.so holds any code for accelerators"),
        (dataclasses.replace(L4, target=""), {TORCH: library(nvidia("8.0"))}, UNKNOWN, "what compilers call nvidia/l4"),
        (MI300X, {ROCBLAS: library(amd("gfx90a", "gfx942:sramecc+:xnack-"))}, YES, ROCBLAS),
        (MI300X, {ROCBLAS: library(amd("gfx9-4-generic"))}, YES, ROCBLAS),
        (MI300X, {ROCBLAS: library(amd("gfx90a", "gfx9-generic"))}, NO, "is for gfx9-generic, gfx90a, not for gfx942"),
        (MI300X, {ROCBLAS: library(b"CCOB\2\0\1\0")}, UNKNOWN, f"compressed as a whole in {ROCBLAS}"),
        (MI300X, {ROCBLAS: library(nvidia("9.0"))}, NO, "no librocblas.so.* holds any code for accelerators"),
    ],
)
def test_main_libraries_must_hold_code_for_the_accelerator(
    wanted: Wanted, files: Files, outcome: Outcome, said: str, tmp_path: Path
) -> None:
    found = judged(tmp_path, files, wanted)
    assert list(found) == [code.NAME]
    assert (found[code.NAME].outcome, found[code.NAME].message) == (outcome, found[code.NAME].message)
    assert said in found[code.NAME].message


@pytest.mark.parametrize(
    ("wanted", "files", "outcome", "said"),
    [
        (
            L4,
            {MLA: library(nvidia("9.0a")), GGML: library(nvidia("10.0a"))},
            NO,
            "none of 2 libraries with code for accelerators is for sm_89: ",
        ),
        (MI300X, {GGML: library(amd("gfx90a"))}, NO, f"{GGML} is for gfx90a"),
        (L4, {MLA: library(nvidia("9.0a", times=9), nvidia("5.2+PTX"))}, UNKNOWN, f"save for single kernels in {MLA}"),
        (MI300X, {GGML: library(amd("gfx90a")), ROCBLAS: library(b"CCOB\2\0\1\0")}, UNKNOWN, f"compressed as a whole in {ROCBLAS}"),
        (L4, {MLA: library(nvidia("9.0a")), GGML: library(nvidia("8.0"))}, YES, "none of a known framework for sm_89"),
        (L4, {MLA: library(nvidia("9.0a")), GGML: library(nvidia("5.2+PTX"))}, YES, "none of a known framework for sm_89"),
    ],
)
def test_an_app_whose_framework_is_not_known_must_have_some_code_for_the_accelerator(
    wanted: Wanted, files: Files, outcome: Outcome, said: str, tmp_path: Path
) -> None:
    found = judged(tmp_path, files, dataclasses.replace(wanted, main=("torch/lib/libtorch_cuda.so",), required=()))
    assert (found[code.NAME].outcome, found[code.NAME].message) == (outcome, found[code.NAME].message)
    assert said in found[code.NAME].message
    assert (code.BESIDE in found) is (outcome is YES)


def test_kernels_for_single_products_are_told_and_borne(tmp_path: Path) -> None:
    files: Files = {TORCH: library(nvidia("8.0")), MLA: library(nvidia("9.0a", "10.0a"))}
    beside = judged(tmp_path, files, L4)[code.BESIDE]
    assert f"nothing for sm_89 in 1 of 2 libraries: {MLA} is for 9.0a, 10.0a" in beside.message
    assert not beside.condemns(strict=True)
    one_kernel: Files = {TORCH: library(nvidia("8.0")), MLA: library(nvidia("9.0a", times=9), nvidia("8.0"))}
    assert code.BESIDE not in judged(tmp_path, one_kernel, L4)


def test_who_has_no_such_code_is_silent(tmp_path: Path) -> None:
    plain = dataclasses.replace(L4, required=())
    assert judged(tmp_path, {"/usr/lib/x86_64-linux-gnu/libsums.so": library(b"CCOB\0\0")}, plain) == {}
    other: Files = {f"{SITE}/bits/lib_rocm.so": library(amd("gfx90a")), TORCH: library(nvidia("8.0"))}
    assert list(judged(tmp_path, other, L4)) == [code.NAME]  # another vendor's build beside


def test_large_libraries_are_read_as_they_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "LARGE", 1 << 10)
    monkeypatch.setattr(contents, "CHUNK", 100)
    files: Files = {TORCH: library(bytes(3000), nvidia("8.0", "9.0", times=50)), ROCBLAS: library(bytes(3000), amd("gfx90a"))}
    found = read(tmp_path, [files, {f"{SITE}/torch/lib/.wh.libtorch_cuda.so": b""}], read(tmp_path, [files]))
    assert found.code == {ROCBLAS: DeviceCode(usual=("gfx90a",))}
    assert read(tmp_path, [files]).code[TORCH] == DeviceCode(usual=("8.0", "9.0"))
    assert found.entries[ROCBLAS].md5 == hashlib.md5(files[ROCBLAS]).hexdigest()  # type: ignore[arg-type]  # bytes


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_pieces_do_not_matter(size: int) -> None:
    whole = b"x" * 50 + nvidia("7.0", "9.0a+PTX", "10.0f", "9.0", times=3) + b"y" * 9 + nvidia("5.2+PTX") + amd("gfx90a")
    pieces = (whole[start : start + size] for start in range(0, len(whole), size))
    assert fatbin.read(pieces) == DeviceCode(usual=("5.2+PTX", "7.0", "9.0", "9.0a+PTX", "10.0f"))


def test_a_generic_target_covers_its_family_alone() -> None:
    assert gfx.covers(("gfx11-generic",), "gfx1103") and not gfx.covers(("gfx11-generic", "gfx9-generic"), "gfx942")
