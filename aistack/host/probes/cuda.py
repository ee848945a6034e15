"""What the CUDA driver itself can do on each of its devices: context, memory, a small program with a checked answer, copies both ways.

A program of its own (`python3 -m aistack.host.probes.cuda LEVEL [ADDRESS [PART]]`), because a driver in trouble may hang or end the
process that asks it. It needs the driver's library alone, and NVML for parts and a link's speed: the program that runs on the device is
PTX, which every driver compiles for the device that it has. Where a device is split (MIG), CUDA shows a program not all that there is, but
what it is told to (https://docs.nvidia.com/datacenter/tesla/mig-user-guide/mig-device-names.html). The answer is then `apart`: the places
(ADDRESS, PART) for which this program is to be started again, with what is known of each.
It prints JSON objects, one a line: where each device is (`asking`), then `devices` with what was found there, which is known when the
next one hangs. A step that failed is told with the driver's own name for the error, and the other devices are still asked.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

LIBRARY = "libcuda.so.1"
MIB = 1 << 20
WORDS = 1 << 16
"""Words of the small program's answer, each of which is compared with what this processor computes."""

COPY_BYTES = 256 * MIB
UNLISTED = 64 * MIB
"""More of a device's memory than is in use where no program is on it, and less than a program's context takes."""

ROUNDS, COPIES = 2, 3
"""Copies of one round are started one behind the other and waited for together: starting and waiting cost as much as some of them take."""

LEVELS = {"quick": 0.0, "standard": 0.1, "thorough": 0.9}
"""Part of the device's free memory that is filled and read back, by the level of the check."""

LINK = {"pcie.generation": "compute.pcie-generation", "pcie.lanes": "compute.pcie-lanes"}
"""What the device's link to the host is read as while it works and the link cannot sleep."""

PATTERNS = (0x00000000, 0xFFFFFFFF, 0xA5A5A5A5)

WALK = b"""\
    mov.u32 %a, %ctaid.x;
    mov.u32 %b, %ntid.x;
    mov.u32 %c, %tid.x;
    mad.wide.u32 %i, %a, %b, 0;
    cvt.u64.u32 %at, %c;
    add.u64 %i, %i, %at;
    mov.u32 %a, %nctaid.x;
    mul.wide.u32 %step, %a, %b;
again:
    setp.ge.u64 %done, %i, %count;
    @%done bra end;
    cvt.u32.u64 %index, %i;
    call (%v), value, (%index, %seed);
    shl.b64 %at, %i, 2;
    add.u64 %at, %words, %at;
"""
"""How both kernels come to the words, each of them one in `%step`: its index in `%i`, its value in `%v`, its address in `%at`."""

# Both kernels walk over `count` words in a grid of any size. A word's value is made of its own index, so that a wrong address shows too:
# value(i) = (i * 2654435761) xor (i >> 7) xor seed xor f(i), where f(i) = 6561 * (i mod 1000) + 3280 is made by eight steps of
# x = 3 x + 1 in single precision, exact in each step.
PTX = b"""
.version 6.0
.target sm_50
.address_size 64

.func (.reg .u32 %value) value (.reg .u32 %index, .reg .u32 %seed)
{
    .reg .u32 %r<5>;
    .reg .f32 %f<3>;
    mul.lo.u32 %r0, %index, 2654435761;
    shr.u32 %r1, %index, 7;
    xor.b32 %r0, %r0, %r1;
    xor.b32 %r0, %r0, %seed;
    rem.u32 %r2, %index, 1000;
    cvt.rn.f32.u32 %f0, %r2;
    mov.f32 %f1, 0f40400000;
    mov.f32 %f2, 0f3F800000;
    fma.rn.f32 %f0, %f0, %f1, %f2;
    fma.rn.f32 %f0, %f0, %f1, %f2;
    fma.rn.f32 %f0, %f0, %f1, %f2;
    fma.rn.f32 %f0, %f0, %f1, %f2;
    fma.rn.f32 %f0, %f0, %f1, %f2;
    fma.rn.f32 %f0, %f0, %f1, %f2;
    fma.rn.f32 %f0, %f0, %f1, %f2;
    fma.rn.f32 %f0, %f0, %f1, %f2;
    cvt.rzi.u32.f32 %r3, %f0;
    xor.b32 %value, %r0, %r3;
    ret;
}

.visible .entry fill (.param .u64 words, .param .u64 count, .param .u32 seed)
{
    .reg .u64 %words, %count, %i, %step, %at;
    .reg .u32 %seed, %a, %b, %c, %index, %v;
    .reg .pred %done;
    ld.param.u64 %words, [words];
    ld.param.u64 %count, [count];
    ld.param.u32 %seed, [seed];
    cvta.to.global.u64 %words, %words;
<walk>
    st.global.u32 [%at], %v;
    add.u64 %i, %i, %step;
    bra again;
end:
    ret;
}

.visible .entry compare (.param .u64 words, .param .u64 count, .param .u32 seed, .param .u64 wrong)
{
    .reg .u64 %words, %count, %wrong, %i, %step, %at;
    .reg .u32 %seed, %a, %b, %c, %index, %v, %seen;
    .reg .pred %done, %same;
    ld.param.u64 %words, [words];
    ld.param.u64 %count, [count];
    ld.param.u32 %seed, [seed];
    ld.param.u64 %wrong, [wrong];
    cvta.to.global.u64 %words, %words;
    cvta.to.global.u64 %wrong, %wrong;
<walk>
    ld.volatile.global.u32 %seen, [%at];
    setp.eq.u32 %same, %seen, %v;
    @%same bra next;
    red.global.add.u64 [%wrong], 1;
next:
    add.u64 %i, %i, %step;
    bra again;
end:
    ret;
}
\0""".replace(b"<walk>\n", WALK)


def value(index: int, seed: int) -> int:
    """The word that the device has to write at `index`: what the PTX above computes, computed here."""
    return (index * 2654435761 ^ index >> 7 ^ seed ^ 6561 * (index % 1000) + 3280) & 0xFFFFFFFF


class CudaError(Exception):
    """A call that the driver refused: which, and the driver's name for why."""


class Driver:
    """The driver's library; each call raises CudaError unless it succeeded."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(LIBRARY)
        self("cuInit", 0)

    def __call__(self, name: str, *arguments: Any) -> None:
        code = getattr(self.library, name)(*arguments)
        if code:
            said = ctypes.c_char_p()
            self.library.cuGetErrorName(code, ctypes.byref(said))
            raise CudaError(f"{name}: {(said.value or b'error').decode()} ({code})")

    def number(self, name: str, *arguments: Any) -> int:
        """The integer that a call writes through its first argument."""
        found = ctypes.c_int()
        self(name, ctypes.byref(found), *arguments)
        return found.value

    def text(self, name: str, device: int, size: int = 64) -> str:
        """The text that a call writes for a device."""
        buffer = ctypes.create_string_buffer(size)
        self(name, buffer, size, device)
        return buffer.value.decode(errors="replace")


@contextmanager
def context(driver: Driver, device: int) -> Iterator[None]:
    """The device's primary context, current while inside."""
    handle = ctypes.c_void_p()
    driver("cuDevicePrimaryCtxRetain", ctypes.byref(handle), device)
    try:
        driver("cuCtxSetCurrent", handle)
        yield
    finally:
        driver.library.cuDevicePrimaryCtxRelease_v2(device)


@contextmanager
def memory(driver: Driver, size: int, *, host: bool = False) -> Iterator[ctypes.c_void_p]:
    """Memory of the device, or of the host where the device can reach it."""
    pointer = ctypes.c_void_p()
    driver("cuMemAllocHost_v2" if host else "cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
    try:
        yield pointer
    finally:
        (driver.library.cuMemFreeHost if host else driver.library.cuMemFree_v2)(pointer)


def launch(driver: Driver, function: ctypes.c_void_p, arguments: Sequence[Any], *, words: int) -> None:
    """Run a kernel over `words` words and wait for its end."""
    pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(argument) for argument in arguments))
    blocks = min((words + 255) // 256, 1 << 14)
    driver("cuLaunchKernel", function, blocks, 1, 1, 256, 1, 1, 0, None, pointers, None)
    driver("cuCtxSynchronize")


def functions(driver: Driver) -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
    """The two kernels, compiled by the driver for the current device."""
    module, fill, compare = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    driver("cuModuleLoadData", ctypes.byref(module), PTX)
    driver("cuModuleGetFunction", ctypes.byref(fill), module, b"fill")
    driver("cuModuleGetFunction", ctypes.byref(compare), module, b"compare")
    return fill, compare


def small_answer(driver: Driver, fill: ctypes.c_void_p) -> int:
    """How many words of a small program's answer differ from what this processor computes."""
    answer = (ctypes.c_uint32 * WORDS)()
    seed = 0x5EED
    with memory(driver, 4 * WORDS) as words:
        launch(driver, fill, (ctypes.c_uint64(words.value or 0), ctypes.c_uint64(WORDS), ctypes.c_uint32(seed)), words=WORDS)
        driver("cuMemcpyDtoH_v2", answer, words, ctypes.c_size_t(4 * WORDS))
    return sum(seen != value(index, seed) for index, seen in enumerate(answer))


def wrong_words(driver: Driver, kernels: tuple[ctypes.c_void_p, ctypes.c_void_p], size: int) -> int:
    """Words that did not keep what was written into `size` bytes of the device's memory, over all patterns."""
    fill, compare = kernels
    count, zero, found = ctypes.c_uint64(size // 4), ctypes.c_uint64(0), ctypes.c_uint64(0)
    with memory(driver, size) as words, memory(driver, 8) as wrong:
        driver("cuMemcpyHtoD_v2", wrong, ctypes.byref(zero), ctypes.c_size_t(8))
        start = ctypes.c_uint64(words.value or 0)
        for pattern in PATTERNS:
            launch(driver, fill, (start, count, ctypes.c_uint32(pattern)), words=count.value)
            arguments = (start, count, ctypes.c_uint32(pattern), ctypes.c_uint64(wrong.value or 0))
            launch(driver, compare, arguments, words=count.value)
        driver("cuMemcpyDtoH_v2", ctypes.byref(found), wrong, ctypes.c_size_t(8))
    return found.value


def copies(driver: Driver) -> tuple[dict[str, float], bool]:
    """The best of a few rounds of copies each way, in GB/s (10^9 bytes): to the device, from it, and inside it (bytes read and written).

    No rates where too little of the device's memory is free for it. Beside them, whether somebody else took or left memory meanwhile.
    """
    if free_bytes(driver) < 3 * COPY_BYTES:
        return {}, False
    size = ctypes.c_size_t(COPY_BYTES)
    with memory(driver, COPY_BYTES) as here, memory(driver, COPY_BYTES) as there, memory(driver, COPY_BYTES, host=True) as host:
        ctypes.memset(host, 0x5A, COPY_BYTES)
        free, rates, is_shared = free_bytes(driver), {}, False
        for name, call, target, source, bytes_each in (
            ("copies.to-device-gbps", "cuMemcpyHtoD_v2", here, host, 1),
            ("copies.from-device-gbps", "cuMemcpyDtoH_v2", host, here, 1),
            ("copies.inside-gbps", "cuMemcpyDtoD_v2", there, here, 2),
        ):
            rates[name] = round(bytes_each * _best(driver, call, target, source, size), 2)
            is_shared = is_shared or abs(free_bytes(driver) - free) > UNLISTED
    return rates, is_shared


def _best(driver: Driver, call: str, target: ctypes.c_void_p, source: ctypes.c_void_p, size: ctypes.c_size_t) -> float:
    seconds = []
    for _ in range(ROUNDS):
        driver("cuCtxSynchronize")
        start = time.perf_counter()
        for _ in range(COPIES):
            driver(call, target, source, size)
        driver("cuCtxSynchronize")
        seconds.append(time.perf_counter() - start)
    return COPIES * size.value / min(seconds) / 1e9


def told(address: str, names: Mapping[str, str]) -> dict[str, Any]:
    """What NVML tells of a device, beside this program, under these names by its own; nothing where it does not."""
    try:
        from aistack.host.probes import nvidia  # without NVML everything else can be tried
    except ImportError:
        return {}
    found = nvidia.reading("NVML", partial(nvidia.some, address, list(names))).get("value", {})
    return {names[name]: value for name, value in found.items()}


class Others:
    """Who else is on a device, or a part of it: at most, as they may come and go."""

    def __init__(self, found: dict[str, Any], part: str | None) -> None:
        """Look, and keep in `found` how many programs NVML lists, and whether somebody whom it does not list has memory."""
        self._found, self._place = found, (found["pci.address"], part)
        self._ours: int | None = None
        self._before = self._listed()
        self._keep(self._before)

    def look_beside(self, *, is_first: bool = False) -> None:
        """Look while this program has memory of the device; the first such look finds under which number it is listed itself."""
        listed = self._listed()
        if is_first:
            self._ours = number_of_ours(self._before, listed)
        self._keep(listed, is_listed=self._ours is not None)

    def look_after(self) -> None:
        """Look when this program has none any more."""
        self._keep(self._listed())

    def _listed(self) -> Sequence[int] | None:
        listed: Sequence[int] | None = self._ask("processes")
        return listed

    def _keep(self, listed: Sequence[int] | None, *, is_listed: bool = True) -> None:
        if listed is not None:
            others = sum(number != self._ours for number in listed)
            self._found["compute.programs"] = max(self._found.get("compute.programs", 0), others)
        size = self._ask("unlisted") if is_listed else None
        if size is not None:
            self._found["compute.unlisted"] = self._found.get("compute.unlisted", False) or size > UNLISTED

    def _ask(self, name: str) -> Any:
        try:
            from aistack.host.probes import nvidia  # without NVML everything else can be tried
        except ImportError:
            return None
        return nvidia.reading("NVML", partial(getattr(nvidia, name), *self._place)).get("value")


def number_of_ours(before: Sequence[int] | None, beside: Sequence[int] | None) -> int | None:
    """Under which number NVML lists this program, of those that came when its context did; None where it does not list it.

    In a container some drivers tell the number that it has there and some the machine's, and some list nothing
    (https://github.com/NVIDIA/nvidia-docker/issues/1483, https://github.com/NVIDIA/open-gpu-kernel-modules/pull/614).
    """
    came = [number for number in beside or () if number not in (before or ())]
    return os.getpid() if os.getpid() in came else next(iter(came), None)


def apart() -> Any:
    """Where a device is split, what this program is to be started for, one by one; nothing where none is, or NVML does not tell."""
    try:
        from aistack.host.probes import nvidia
    except ImportError:
        return ()
    return nvidia.reading("NVML", nvidia.apart).get("value", ())


def show(*place: str) -> Any:
    """Have CUDA show this program one device alone, or one part of it; why it cannot be told to."""
    from aistack.host.probes import nvidia

    name = nvidia.reading("nvmlDeviceGetUUID", partial(nvidia.uuid, *place))
    os.environ["CUDA_VISIBLE_DEVICES"] = name.get("value", "")
    return name.get("error")


def free_bytes(driver: Driver) -> int:
    """Free memory of the current device."""
    free, whole = ctypes.c_size_t(), ctypes.c_size_t()
    driver("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(whole))
    return free.value


def examine(driver: Driver, ordinal: int, level: str, part: str | None = None) -> dict[str, Any]:
    """Everything about one device, or the part of it that this program is shown, by the names of docs/node.md.

    `compute.error` is the step that failed, what came before it is kept.
    """
    found: dict[str, Any] = {}
    others: Others | None = None
    start = time.perf_counter()
    try:
        device = driver.number("cuDeviceGet", ordinal)
        found["pci.address"] = driver.text("cuDeviceGetPCIBusId", device).lower()
        say({"asking": found["pci.address"]})
        others = Others(found, part)
        with context(driver, device):
            found["compute.context-seconds"] = round(time.perf_counter() - start, 3)
            kernels = functions(driver)
            free = free_bytes(driver)
            found["compute.free-mib"] = free // MIB
            found["compute.wrong-answers"] = small_answer(driver, kernels[0])
            others.look_beside(is_first=True)
            rates, is_shared = copies(driver)
            found |= rates
            others.look_beside()
            if is_shared or abs(free_bytes(driver) - free) > UNLISTED:
                found["compute.unlisted"] = True
            found |= told(found["pci.address"], LINK)
            size = int(free_bytes(driver) * LEVELS[level]) // MIB * MIB
            if size:
                found["compute.wrong-words"] = wrong_words(driver, kernels, size)
            if LEVELS[level]:
                found["compute.tested-mib"] = size // MIB
    except CudaError as error:
        found["compute.error"] = str(error)
    if others is not None:
        others.look_after()
    found["compute.seconds"] = round(time.perf_counter() - start, 3)
    return found


def say(part: dict[str, Any]) -> None:
    """Print a part of the answer at once."""
    print(json.dumps(part), flush=True)


def main(arguments: Sequence[str]) -> int:
    """Print what was found on every device; the exit code is 0 whatever was found, 2 for a wrong word."""
    level, *place = arguments or [""]
    if level not in LEVELS or len(place) > 2:
        print(f"usage: python3 -m aistack.host.probes.cuda {'|'.join(LEVELS)} [ADDRESS [PART]]", file=sys.stderr)
        return 2
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if not place and (found := apart()):
        say({"apart": found})
        return 0
    if place and (error := show(*place)):
        say({"error": error})
        return 0
    try:
        driver = Driver()
        for ordinal in range(driver.number("cuDeviceGetCount")):
            say({"devices": [examine(driver, ordinal, level, *place[1:])]})
    except (OSError, AttributeError) as error:
        say({"error": f"LibraryUnusable: {error}"})
    except CudaError as error:
        say({"error": str(error)})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
