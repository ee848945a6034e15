"""Kernel modules and kernels, read from their files.

What a module needs and offers stands in its symbols and in sections that only the kernel reads: `__versions`, `__ksymtab` and its
neighbours. How they are laid out: include/linux/module.h, module_symbol.h and kernel/module/internal.h of the kernel's source.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

from aistack.facts.kernel_files import Export, Module, Signature
from aistack.host.binaries.elf import DamagedError, Object, parts, text

RELOCATABLE = "ET_REL"
UNDEFINED, ABSOLUTE = 0, 0xFFF1
WEAK = 2
SYMBOL, RELOCATION = "IBBHQQ", "QQq"
FROM_COMPILER = frozenset(("", "_GLOBAL_OFFSET_TABLE_"))
"""Undefined symbols that the kernel passes over."""

LAYOUT = "module_layout"
"""Not a symbol that is used, but what the kernel holds the module's own structures against."""

GPL_ONLY = 1
"""The bit in `__kflagstab`, which kernels since 7.0 have in the place of a table of symbols of their own."""

TABLES = ("__ksymtab", "__ksymtab_gpl")
EXPORT_SECTIONS = frozenset((*TABLES, "__kcrctab", "__kcrctab_gpl", "__kflagstab", "__ksymtab_strings"))
SECTIONS = EXPORT_SECTIONS | {
    ".modinfo", ".gnu.linkonce.this_module", ".symtab", ".strtab", "__versions", "__version_ext_crcs", "__version_ext_names",
    *(f".rela{table}" for table in TABLES),
}  # fmt: skip
NEWEST = 12
WIDTHS = {8: 4, 12: 4, 16: 8, 24: 8}
"""The bytes of a word by those of a record of `__ksymtab`: a value, a name and, since 5.4, a namespace."""

Target = Callable[[str, int, int], int | None]
"""Where in the table of names a word points that is named by its table, its place there and its width in bytes; None: nowhere."""

SIGNED = b"~Module signature appended~\n"
TRAILER = 12
PKCS7 = 2


def module(data: bytes) -> Module:
    """The module in a file that is not compressed. Raises DamagedError, or ELFError, for a file that is none."""
    found = parts(data, SECTIONS)
    if found.kind != RELOCATABLE:
        raise DamagedError("it is no relocatable file, as modules are")
    if ".gnu.linkonce.this_module" not in found.sections:
        raise DamagedError("it is no kernel module")
    said: dict[str, list[str]] = {}
    for line in found.bytes(".modinfo").split(b"\0"):
        key, _, value = line.decode(errors="replace").partition("=")
        said.setdefault(key, []).append(value)
    symbols = list(found.records(".symtab", SYMBOL))
    needs, weak = _needs(found, symbols)
    one = {key: values[-1] for key, values in said.items()}
    return Module(
        digest=hashlib.sha256(data).hexdigest(),
        machine=found.machine,
        size=len(found.bytes(".gnu.linkonce.this_module")),
        name=one.get("name", ""),
        version=one.get("version", ""),
        source_version=one.get("srcversion", ""),
        vermagic=one.get("vermagic", "").strip(),
        licence=one.get("license", ""),
        in_tree=one.get("intree") == "Y",
        depends=tuple(name for name in one.get("depends", "").split(",") if name),
        aliases=tuple(said.get("alias", ())),
        soft_dependencies=tuple(said.get("softdep", ())),
        firmware=tuple(said.get("firmware", ())),
        imports=tuple(said.get("import_ns", ())),
        parameters=tuple((name, kind) for name, colon, kind in (one.partition(":") for one in said.get("parmtype", ())) if colon),
        signature=signature(data),
        needs=needs,
        weak=weak,
        exports=exports(found, _relocated(found, symbols)),
    )


def _needs(found: Object, symbols: list[tuple[Any, ...]]) -> tuple[dict[str, int | None], frozenset[str]]:
    """The undefined symbols with the CRCs that the module states for them, and those that are weak."""
    names = found.bytes(".strtab")
    undefined = {sys.intern(text(names, name)): info >> 4 == WEAK for name, info, _, section, *_ in symbols if section == UNDEFINED}
    crcs = dict(_versions(found))
    needs = {name: crcs.get(name) for name in undefined if name not in FROM_COMPILER}
    needs |= {name: crcs[name] for name in crcs if name == LAYOUT}
    return needs, frozenset(name for name in needs if undefined.get(name))


def _versions(found: Object) -> Iterator[tuple[str, int]]:
    for crc, name in found.records("__versions", "Q56s"):
        yield name.rstrip(b"\0").decode(errors="replace"), crc
    names = found.bytes("__version_ext_names").split(b"\0")
    for name, (crc,) in zip(names, found.records("__version_ext_crcs", "I"), strict=False):
        yield name.decode(errors="replace"), crc


def _relocated(found: Object, symbols: list[tuple[Any, ...]]) -> Target:
    targets = {
        (table, offset): symbols[info >> 32][4] + addend
        for table in TABLES
        for offset, info, addend in found.records(f".rela{table}", RELOCATION)
    }
    return lambda table, place, width: targets.get((table, place))


def exports(found: Object, target: Target) -> dict[str, Export]:
    """What a module or a kernel exports."""
    names, flags = found.bytes("__ksymtab_strings"), found.bytes("__kflagstab")

    def name(table: str, place: int, width: int) -> str:
        start = target(table, place, width)
        return "" if start is None else sys.intern(text(names, start))

    exported = {}
    for table in TABLES:
        crcs = [crc for (crc,) in found.records(table.replace("ksymtab", "kcrctab"), "I")]
        length = len(found.bytes(table))
        count = length and (len(crcs) or len(flags) or length // NEWEST)
        width = WIDTHS.get(length // count) if count else 0
        if width is None:
            raise DamagedError(f"its {table} has {length} bytes for {count} symbols")
        for number in range(count):
            place = number * (length // count) + width
            exported[name(table, place, width)] = Export(
                crc=crcs[number] if crcs else None,
                gpl=bool(flags[number] & GPL_ONLY) if flags else table.endswith("_gpl"),
                namespace=name(table, place + width, width) if length == 3 * width * count else "",
            )
    return exported


def signature(data: bytes) -> Signature | None:
    """The signature at the end of a module, None without one; raises DamagedError where it cannot be read.

    https://docs.kernel.org/admin-guide/module-signing.html has its form.
    """
    if not data.endswith(SIGNED):
        return None
    from asn1crypto import cms

    end = len(data) - len(SIGNED)
    *_, kind, _, _, length = struct.unpack(">BBBBB3xI", data[end - TRAILER : end])
    if kind != PKCS7:
        return Signature()
    try:
        signed = cms.ContentInfo.load(data[end - TRAILER - length : end - TRAILER])
        (signer,) = signed["content"]["signer_infos"]
        who, algorithm = signer["sid"].chosen, signer["digest_algorithm"]["algorithm"].native
        named = signer["sid"].name == "issuer_and_serial_number"
        signs_all = algorithm in hashlib.algorithms_guaranteed and not signer["signed_attrs"]  # the kernel's own build adds no attributes
        return Signature(
            signer=str(who["issuer"].native.get("common_name", "")) if named else "",
            key=f"{who['serial_number'].native:x}" if named else who.native.hex(),
            algorithm=algorithm,
            digest=hashlib.new(algorithm, data[: end - TRAILER - length]).digest() if signs_all else b"",
            value=signer["signature"].native,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedError(f"its signature cannot be read: {error}") from error
