"""What programs can do on each of AMD's devices, through ROCm's runtime: memory, a program with a checked answer, copies both ways.

A program of its own (`python3 -m aistack.host.probes.hsa LEVEL`), because a runtime in trouble may hang or end the process that asks it.
What runs on the device is the runtime's own program for filling memory, which it has for each architecture that it knows: a compute queue
runs it, and nothing has to be compiled. It prints one JSON object; where the runtime is not on the machine, `untried` says so.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from aistack.host.probes.sysfs import generation, lanes

LIBRARY = "libhsa-runtime64.so.1"
MIB = 1 << 20
WORDS = 1 << 16
"""Words of the small program's answer, each of which is compared."""

CHUNK = 64 * MIB
COPY_BYTES = 256 * MIB
COPIES = 5
LEVELS = {"quick": 0.0, "standard": 0.01, "thorough": 0.25}
"""Part of the device's free memory that is filled and read back, by the level: all comes over the bus, and a processor compares it."""

PATTERNS = (0x00000000, 0xFFFFFFFF, 0xA5A5A5A5)

NAME, DEVICE, BDFID, DOMAIN, FREE = 0, 17, 0xA006, 0xA00F, 0xA015
"""What is asked of an agent: HSA_AGENT_INFO_NAME and _DEVICE, HSA_AMD_AGENT_INFO_BDFID, _DOMAIN and _MEMORY_AVAIL."""
GPU = 1
SEGMENT, FLAGS, ALLOCATABLE = 0, 1, 5
"""What is asked of a pool of memory: HSA_AMD_MEMORY_POOL_INFO_SEGMENT, _GLOBAL_FLAGS and _RUNTIME_ALLOC_ALLOWED."""
FINE, COARSE = 2, 4
LESS = 2

EACH = ctypes.CFUNCTYPE(c_int, c_uint64, c_void_p)
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "hsa_init": (),
    "hsa_status_string": (c_int, c_void_p),
    "hsa_iterate_agents": (EACH, c_void_p),
    "hsa_agent_get_info": (c_uint64, c_int, c_void_p),
    "hsa_amd_agent_iterate_memory_pools": (c_uint64, EACH, c_void_p),
    "hsa_amd_memory_pool_get_info": (c_uint64, c_int, c_void_p),
    "hsa_amd_memory_pool_allocate": (c_uint64, c_size_t, c_uint32, c_void_p),
    "hsa_amd_memory_pool_free": (c_void_p,),
    "hsa_amd_agents_allow_access": (c_uint32, c_void_p, c_void_p, c_void_p),
    "hsa_amd_memory_fill": (c_void_p, c_uint32, c_size_t),
    "hsa_amd_memory_async_copy": (c_void_p, c_uint64, c_void_p, c_uint64, c_size_t, c_uint32, c_void_p, c_uint64),
    "hsa_signal_create": (c_int64, c_uint32, c_void_p, c_void_p),
    "hsa_signal_wait_scacquire": (c_uint64, c_int, c_int64, c_uint64, c_int),
    "hsa_signal_destroy": (c_uint64,),
}
"""The functions of hsa.h and hsa_ext_amd.h that are called; agents, pools and signals are structures of one 64-bit number."""


class HsaError(Exception):
    """A call that the runtime refused: which, and the runtime's name for why."""


class Runtime:
    """ROCm's runtime; each call raises HsaError unless it succeeded."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(LIBRARY)
        for name, types in SIGNATURES.items():
            getattr(self.library, name).argtypes = types
        self.library.hsa_signal_wait_scacquire.restype = c_int64
        self("hsa_init")

    def __call__(self, name: str, *arguments: Any) -> None:
        if code := getattr(self.library, name)(*arguments):
            said = ctypes.c_char_p()
            self.library.hsa_status_string(code, ctypes.byref(said))
            raise HsaError(f"{name}: {(said.value or b'error').decode(errors='replace').partition(':')[0]} ({code:#x})")

    def number(self, name: str, handle: int, what: int) -> int:
        """A number that is asked of an agent or a pool."""
        found = c_uint64()
        self(name, handle, what, ctypes.byref(found))
        return found.value

    def listed(self, name: str, *arguments: Any) -> list[int]:
        """What a function that walks over agents or pools comes by."""
        found: list[int] = []

        def each(handle: int, _: Any) -> int:
            found.append(handle)
            return 0

        self(name, *arguments, EACH(each), None)
        return found

    def pool(self, agent: int, flag: int) -> int:
        """The agent's pool of memory with that flag, in which programs may have some."""
        for pool in self.listed("hsa_amd_agent_iterate_memory_pools", agent):
            segment, flags, allowed = (self.number("hsa_amd_memory_pool_get_info", pool, what) for what in (SEGMENT, FLAGS, ALLOCATABLE))
            if segment == 0 and flags & flag and allowed:
                return pool
        raise HsaError("hsa_amd_agent_iterate_memory_pools: no pool of memory for programs")


@contextmanager
def memory(runtime: Runtime, pool: int, size: int, reached_by: int | None = None) -> Iterator[int]:
    """Memory of a pool, by its address; `reached_by` is another agent that may use it."""
    pointer = c_void_p()
    runtime("hsa_amd_memory_pool_allocate", pool, size, 0, ctypes.byref(pointer))
    try:
        if reached_by is not None:
            runtime("hsa_amd_agents_allow_access", 1, ctypes.byref(c_uint64(reached_by)), None, pointer)
        yield pointer.value or 0
    finally:
        runtime.library.hsa_amd_memory_pool_free(pointer)


class Gpu:
    """One device and the host's memory beside it."""

    def __init__(self, runtime: Runtime, agent: int, host: int) -> None:
        self.runtime, self.agent, self.host = runtime, agent, host
        self.pool, self.host_pool = runtime.pool(agent, COARSE), runtime.pool(host, FINE)

    def here(self, size: int) -> Any:
        """Memory of the device."""
        return memory(self.runtime, self.pool, size)

    def beside(self, size: int) -> Any:
        """Memory of the host that the device reaches."""
        return memory(self.runtime, self.host_pool, size, self.agent)

    def fill(self, address: int, word: int, size: int) -> None:
        """Run the runtime's program that writes one word all over some memory of the device."""
        self.runtime("hsa_amd_memory_fill", address, word, size // 4)

    def copy(self, target: int, source: int, size: int, ends: tuple[int, int]) -> None:
        """Copy and wait for the end; `ends` are the agents whose memory target and source are."""
        signal = c_uint64()
        self.runtime("hsa_signal_create", 1, 0, None, ctypes.byref(signal))
        try:
            self.runtime("hsa_amd_memory_async_copy", target, ends[0], source, ends[1], size, 0, None, signal)
            if self.runtime.library.hsa_signal_wait_scacquire(signal, LESS, 1, c_uint64(-1), 0) < 0:
                raise HsaError("hsa_amd_memory_async_copy: the copy failed")
        finally:
            self.runtime.library.hsa_signal_destroy(signal)

    def free_bytes(self) -> int:
        """Free memory of the device."""
        return self.runtime.number("hsa_agent_get_info", self.agent, FREE)


def small_answer(gpu: Gpu) -> int:
    """How many words of two small programs' answers are wrong: the second writes into the middle of what the first wrote."""
    size, wrong = 4 * WORDS, 0
    with gpu.here(size) as words, gpu.beside(size) as answer:
        for pattern in PATTERNS:
            inner = pattern ^ 0x5EED5EED
            gpu.fill(words, pattern, size)
            gpu.fill(words + size // 4, inner, size // 2)
            gpu.copy(answer, words, size, (gpu.host, gpu.agent))
            wrong += _differ(answer, _words(pattern, WORDS // 4) + _words(inner, WORDS // 2) + _words(pattern, WORDS // 4))
    return wrong


def wrong_words(gpu: Gpu, size: int) -> int:
    """Words that did not keep what was written into `size` bytes of the device's memory, over all patterns; each part has its own word."""
    wrong = 0
    same = ctypes.CDLL(None).memcmp
    same.argtypes = (c_void_p, c_void_p, c_size_t)
    with gpu.here(size) as words, gpu.beside(CHUNK) as part:
        seen = (c_uint32 * (CHUNK // 4)).from_address(part)
        for pattern in PATTERNS:
            for number in range(size // CHUNK):
                gpu.fill(words + number * CHUNK, pattern ^ number, CHUNK)
            for number in range(size // CHUNK):
                gpu.copy(part, words + number * CHUNK, CHUNK, (gpu.host, gpu.agent))
                if seen[0] != pattern ^ number or same(part, part + 4, CHUNK - 4):  # each word is the one before it
                    expected = _words(pattern ^ number, WORDS)
                    wrong += sum(_differ(part + at, expected) for at in range(0, CHUNK, len(expected)))
    return wrong


def _words(word: int, count: int) -> bytes:
    return word.to_bytes(4, sys.byteorder) * count


def _differ(place: int, expected: bytes) -> int:
    """How many words there are not the expected ones; only where something differs are they looked at one by one."""
    found = ctypes.string_at(place, len(expected))
    return 0 if found == expected else sum(one != other for one, other in zip(array("I", found), array("I", expected), strict=True))


def copies(gpu: Gpu) -> dict[str, float]:
    """The best of a few copies each way, in GB/s (10^9 bytes), as in probes/cuda.py; nothing where there is too little memory for it."""
    if gpu.free_bytes() < 3 * COPY_BYTES:
        return {}
    with gpu.here(COPY_BYTES) as here, gpu.here(COPY_BYTES) as there, gpu.beside(COPY_BYTES) as host:
        ctypes.memset(host, 0x5A, COPY_BYTES)
        rates = {
            "copies.to-device-gbps": _best(gpu, here, host, (gpu.agent, gpu.host)),
            "copies.from-device-gbps": _best(gpu, host, here, (gpu.host, gpu.agent)),
            "copies.inside-gbps": 2 * _best(gpu, there, here, (gpu.agent, gpu.agent)),
        }
    return {name: round(rate, 2) for name, rate in rates.items()}


def _best(gpu: Gpu, target: int, source: int, ends: tuple[int, int]) -> float:
    seconds = []
    for _ in range(COPIES):
        start = time.perf_counter()
        gpu.copy(target, source, COPY_BYTES, ends)
        seconds.append(time.perf_counter() - start)
    return COPY_BYTES / min(seconds) / 1e9


def address(runtime: Runtime, agent: int) -> str:
    """The PCI address of a device; the parts of one that is split share it."""
    place, domain = (runtime.number("hsa_agent_get_info", agent, what) for what in (BDFID, DOMAIN))
    return f"{domain:04x}:{place >> 8 & 0xFF:02x}:{place >> 3 & 0x1F:02x}.0"


def link(device: Path) -> dict[str, int]:
    """The device's link to the host while it works and the link cannot sleep; nothing where the kernel does not tell."""
    try:
        found = {"generation": generation(device, "current_link_speed"), "lanes": lanes(device, "current_link_width")}
    except (OSError, ValueError, KeyError, IndexError):
        return {}
    return {f"compute.pcie-{name}": value for name, value in found.items()}


def examine(runtime: Runtime, agent: int, host: int, level: str) -> dict[str, Any]:
    """Everything about one device, by the names of docs/node.md; `compute.error` is the step that failed, what came before it is kept."""
    found: dict[str, Any] = {}
    start = time.perf_counter()
    try:
        found["pci.address"] = address(runtime, agent)
        say({"asking": found["pci.address"]})
        gpu = Gpu(runtime, agent, host)
        found["compute.free-mib"] = gpu.free_bytes() // MIB
        found["compute.wrong-answers"] = small_answer(gpu)
        found |= copies(gpu)
        found |= link(Path("/sys/bus/pci/devices") / found["pci.address"])
        size = int(gpu.free_bytes() * LEVELS[level]) // CHUNK * CHUNK
        if LEVELS[level] and not size and gpu.free_bytes() >= 2 * CHUNK:
            size = CHUNK
        if size:
            found["compute.wrong-words"] = wrong_words(gpu, size)
        if LEVELS[level]:
            found["compute.tested-mib"] = size // MIB
    except HsaError as error:
        found["compute.error"] = str(error)
    found["compute.seconds"] = round(time.perf_counter() - start, 3)
    return found


def targets() -> list[str] | None:
    """The architectures that the runtime knows: their names stand in the library that was loaded. It passes over devices of others."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    file = next((line.split(maxsplit=5)[-1] for line in lines if "/libhsa-runtime64.so" in line), None)
    if file is None:
        return None
    return sorted(name.decode() for name in set(re.findall(rb"(gfx[0-9a-f]{3,4})\0", Path(file).read_bytes())))


def say(part: dict[str, Any]) -> None:
    """Print a part of the answer at once: the rest may hang."""
    print(json.dumps(part), flush=True)


def main(arguments: Sequence[str]) -> int:
    """Print what was found on every device; the exit code is 0 whatever was found, 2 for a wrong word."""
    if len(arguments) != 1 or arguments[0] not in LEVELS:
        print(f"usage: python3 -m aistack.host.probes.hsa {'|'.join(LEVELS)}", file=sys.stderr)
        return 2
    try:
        runtime = Runtime()
        agents = runtime.listed("hsa_iterate_agents")
        kinds = {agent: runtime.number("hsa_agent_get_info", agent, DEVICE) for agent in agents}
        host = next((agent for agent in agents if kinds[agent] != GPU), None)
        if host is None:
            raise HsaError("hsa_iterate_agents: the runtime knows no processor")
        say({"devices": [], "targets": targets()})
        for agent in (agent for agent in agents if kinds[agent] == GPU):
            say({"devices": [examine(runtime, agent, host, arguments[0])]})
    except OSError as error:
        say({"untried": f"this machine has no runtime of ROCm's that can be asked: {error}"})
    except AttributeError as error:
        say({"error": f"LibraryUnusable: {error}"})
    except HsaError as error:
        say({"error": str(error)})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
