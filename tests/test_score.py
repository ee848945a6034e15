"""The published error rate of the rules holds: documented failures are found for their reason, and what works is never called broken."""

from __future__ import annotations

from pathlib import Path

import pytest
import score

from aistack.compose.rules import rules
from aistack.facts.catalog import Catalog

FILES = sorted(score.FOLDER.glob("*.yaml"))
TOPICS = {
    *(
        "module-user-mismatch",
        "module-built-for-other-kernel",
        "driver-kernel-build",
        "compiler-mismatch",
        "headers-or-precompiled-missing",
    ),
    *("accelerator-driver-support-window", "module-flavor", "fabric", "gsp-firmware", "competing-driver", "secure-boot-signature"),
    *("initramfs-module", "image-cuda-requirement", "architecture-not-in-build", "framework-pins", "precision-or-quantization"),
    *("memory-fit", "amdgpu-dkms-kernel", "rocm-driver-window", "gfx-not-in-build", "cdi", "dcgm", "peermem-or-ofed"),
    *("gaudi-one-version", "toolkit-dropped-architecture", "recipe-arch-agreement", "package-arch", "glibc-floor", "runtime-minimum"),
}
"""What failures are filed under."""


LEAST = {"blind-2": 0.80, "blind-3": 0.86}
"""Recall below what is aimed at. Those in the blind ones were collected without sight of the rules: they show what is still missing,
and the number may only grow."""


@pytest.fixture(scope="module")
def about(catalog: Catalog) -> dict[str, tuple[str, ...]]:
    return {rule.code: rule.topics for rule in rules(catalog)}


KNOWN_GOOD = score.FOLDER / "known-good.yaml"
"""More than a thousand cases, most of them mutations."""


@pytest.mark.parametrize(
    "file", [pytest.param(file, id=file.stem, marks=[pytest.mark.slow] if file == KNOWN_GOOD else []) for file in FILES]
)
def test_the_rate_of_errors(file: Path, catalog: Catalog, about: dict[str, tuple[str, ...]]) -> None:
    judged = [score.judge(case, catalog, about) for case in score.cases([file])]
    errors = [one for one in judged if one.expected == "error"]
    assert [one.id for one in judged if one.expected == "ok" and one.reported == "error"] == []
    assert sum(one.reported == "error" and one.reasoned for one in errors) >= LEAST.get(file.stem, 0.95) * len(errors)


@pytest.mark.slow
def test_a_part_of_what_works_is_never_called_broken(catalog: Catalog, about: dict[str, tuple[str, ...]]) -> None:
    working = [case for case in score.cases([KNOWN_GOOD]) if case["expected"] == "ok"][::5]
    assert len(working) > 20
    assert [case["id"] for case in working if score.judge(case, catalog, about).reported == "error"] == []


def test_every_topic_has_rules_and_every_rule_one_of_the_topics(about: dict[str, tuple[str, ...]]) -> None:
    assert {topic for topics in about.values() for topic in topics} == TOPICS


def test_every_case_names_its_source_and_its_topics() -> None:
    for case in (case for file in FILES for case in score.cases([file]) if "/" not in case["id"] or "source" in case):
        assert case["source"] and set([case["topic"]] if isinstance(case["topic"], str) else case["topic"]) <= TOPICS, case["id"]
        assert case["expected"] in ("error", "warning", "ok")
