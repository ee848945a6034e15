"""The arithmetic of memory, on numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aistack.compose.memory import fit, fraction, in_node, node_memory_mib, visible
from aistack.facts.capability import covers
from aistack.facts.catalog import GIB, Catalog


def test_qwen3_8b_on_one_l4(catalog: Catalog) -> None:
    found = fit(catalog.models["Qwen/Qwen3-8B"], catalog.accelerators["nvidia/l4"], context=32768, parallel=1, fraction=0.9)
    assert found is not None
    # 8 190 735 360 parameters x 2 bytes; 2 x 36 layers x 8 heads x 128 x 2 bytes = 147 456 bytes a token
    assert (found.weights, found.cache) == (16_381_470_720, 147_456 * 32_768)
    assert found.available == int(int(24 * GIB * 0.97 * 15 / 16) * 0.9)
    assert found.available < found.least  # 19.76 of 19.64 GiB
    again = fit(catalog.models["Qwen/Qwen3-8B"], catalog.accelerators["nvidia/l4"], context=found.longest_context, parallel=1, fraction=0.9)
    assert again is not None and again.comfortable <= again.available
    longer = fit(
        catalog.models["Qwen/Qwen3-8B"], catalog.accelerators["nvidia/l4"], context=found.longest_context + 2, parallel=1, fraction=0.9
    )
    assert longer is not None and longer.comfortable > longer.available


def test_parallel_shares_the_cache_among_kv_heads_only(catalog: Catalog) -> None:
    model, product = catalog.models["Qwen/Qwen3-8B"], catalog.accelerators["nvidia/h100-sxm-80gb"]
    one, eight, sixteen = (fit(model, product, context=1000, parallel=parallel, fraction=0.9) for parallel in (1, 8, 16))
    assert one and eight and sixteen
    assert eight.cache * 8 == one.cache
    assert sixteen.cache == eight.cache
    assert sixteen.weights == one.weights // 16


@pytest.mark.parametrize(
    ("product", "read"),
    [("l4", 22.03), ("t4", 14.56), ("a10", 22.18), ("l40", 44.40), ("l40s", 44.53), ("gb10", 121.69), ("jetson-orin-nano-8gb", 7.45)],
)
def test_no_more_memory_than_programs_read(product: str, read: float, catalog: Catalog) -> None:
    found = visible(catalog.accelerators[f"nvidia/{product}"])
    assert found is not None and 0.98 < found / (read * GIB) <= 1


def test_error_correction_takes_its_part_where_memory_has_no_chips_for_it(catalog: Catalog) -> None:
    product = replace(catalog.accelerators["nvidia/a40"], memory_bytes=None)
    assert visible(product) == int(48 * GIB * 0.97 * 15 / 16)
    assert visible(replace(product, ecc=None)) == int(48 * GIB * 0.97)


def test_the_part_that_a_release_takes(catalog: Catalog) -> None:
    vllm, none = catalog.frameworks["vllm"], catalog.frameworks["llama.cpp"]
    assert [fraction(vllm, version) for version in ("0.19.1", "0.20.0", "0.33.0", None, "main")] == [0.9, 0.92, 0.92, 0.9, 0.9]
    assert fraction(none, "1") is None


def test_unknown_is_none(catalog: Catalog) -> None:
    model, product = catalog.models["Qwen/Qwen3-8B"], catalog.accelerators["nvidia/l4"]
    assert visible(replace(product, memory_gib=None)) is None
    assert fit(model, replace(product, memory_gib=None), context=1, parallel=1, fraction=0.9) is None
    assert fit(replace(model, weights_bytes=None), product, context=1, parallel=1, fraction=0.9) is None


def test_where_models_stay(catalog: Catalog) -> None:
    """An accelerator without memory of its own has what the processor has, less what firmware keeps."""
    assert [in_node(catalog.accelerators[f"nvidia/{name}"]) for name in ("gb10", "jetson-t5000", "l4", "gh200-96gb")] == [
        True,
        True,
        False,
        False,
    ]
    assert in_node(None)
    assert visible(catalog.accelerators["nvidia/jetson-orin-nx-16gb"]) == int(16 * GIB * 0.93)


def test_memory_of_a_node(catalog: Catalog) -> None:
    framework = replace(catalog.frameworks["llama.cpp"], memory_mib=512)
    model = catalog.models["sentence-transformers/all-MiniLM-L6-v2"]
    # 768 + 512 + 1.3 x 87 MiB, in steps of 256
    assert node_memory_mib(((framework, (model,)),), on_processor=True) == 1536
    assert node_memory_mib(((framework, (model,)),), on_processor=False) == 1280
    assert node_memory_mib((), on_processor=True) == 768


@pytest.mark.parametrize(
    ("built", "capability", "runs"),
    [
        (("8.0", "9.0"), "8.9", True),
        (("8.0", "9.0"), "9.0", True),
        (("9.0a",), "9.0", True),
        (("7.5", "8.6"), "8.0", False),
        (("7.5", "12.0+PTX"), "12.1", True),
        (("7.5", "10.0+PTX"), "12.0", None),
        (("12.0+PTX",), "10.0", False),
        (("8.0", "9.0"), "10.0", False),
        (("10.0a",), "10.3", False),
        (("10.0f",), "10.3", True),
        (("12.0a", "8.0+PTX"), "12.1", None),
        (("9.0a+PTX",), "10.0", False),
        (("8.0", "8.6"), "8.7", False),
        (("8.7",), "8.9", False),
        (("8.7",), "8.7", True),
    ],
)
def test_compute_capabilities(built: tuple[str, ...], capability: str, runs: bool | None) -> None:
    assert covers(built, capability) is runs
