"""Fault codes: each once, complete, and whose fault it is by the vendor's document."""

from __future__ import annotations

from itertools import pairwise

import pytest

from aistack.facts.catalog import Catalog


def test_codes_are_complete_and_ascend(catalog: Catalog) -> None:
    assert set(catalog.faults) == {"nvidia/xids", "nvidia/sxids", "amd/messages"}
    for kind in catalog.faults.values():
        assert all(before.code < after.code for before, after in pairwise(kind.faults)), kind.id  # type: ignore[operator]  # of one type each
        for fault in kind.faults:
            assert fault.name and fault.action.endswith("."), (kind.id, fault.code)


def test_every_code_of_nvidias_catalogue_that_a_product_since_ampere_has(catalog: Catalog) -> None:
    """NVIDIA's catalogue of Xids marks these as applying to A100, H100, B100 or GB200."""
    apply = {8, 11, 13, 14, 25, 31, 32, *range(37, 42), *range(43, 47), 48, 54, 60, 62, 63, 64, *range(66, 73), *range(74, 81)}
    apply |= {*range(82, 87), 88, 89, *range(92, 111), *range(119, 122), *range(126, 138), *range(139, 152), *range(154, 173)}
    assert apply <= {fault.code for fault in catalog.faults["nvidia/xids"].faults}


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        ("application", (8, 13, 31, 43, 68, 69, 137)),
        ("driver", (46, 78, 119, 120)),
        ("hardware", (48, 54, 64, 94, 95, 110, 140, 171, 172)),
        ("link", (32, 74, 136, 149)),
        ("notice", (14, 45, 63, 92, 121, 154)),
        ("unclear", (62, 79, 109, 143, 158)),
    ],
)
def test_whose_fault_an_xid_is(kind: str, codes: tuple[int, ...], catalog: Catalog) -> None:
    xids = catalog.faults["nvidia/xids"]
    found = {code: xids.fault(code) for code in codes}
    assert {code: fault.kind for code, fault in found.items() if fault} == dict.fromkeys(codes, kind)


def test_whose_fault_an_sxid_is(catalog: Catalog) -> None:
    sxids = catalog.faults["nvidia/sxids"]
    found = {code: sxids.fault(code) for code in (11012, 11013, 20034, 23001, 10004)}
    kinds = {11012: "notice", 11013: "hardware", 20034: "link", 23001: "link", 10004: "notice"}
    assert {code: fault.kind for code, fault in found.items() if fault} == kinds


def test_an_unknown_code_is_unknown(catalog: Catalog) -> None:
    assert catalog.faults["nvidia/xids"].fault(9999) is None
