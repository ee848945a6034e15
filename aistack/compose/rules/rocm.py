"""The rule about AMD's architectures and what programs were compiled for; AMD's matrices are data (accelerators/amd/stack.yaml)."""

from __future__ import annotations

from collections.abc import Iterator

from aistack.compose.rules.situation import Finding, Path, Situation, code_rule
from aistack.facts.gfx import covers
from aistack.facts.snapshot import Words, listed, seen_frameworks


def _gfx_in_build(situation: Situation) -> Iterator[Finding]:
    """What a program was compiled for must include the accelerator's own architecture.

    Machine code for `gfx1030` runs on no other architecture, not even on its sisters (`gfx1031`); only a build for a generic target
    (`gfx10-3-generic`) covers a family. Without it, the first kernel fails with "invalid device function". HSA_OVERRIDE_GFX_VERSION can
    make the runtime take a sister's code, which nobody supports.
    """
    gfx = situation.value("gfx")
    if gfx is None:
        return
    built: list[tuple[str, Words | None, Path]] = [("the image", situation.seen.image.arch_list, ("image", "arch_list"))]
    built += [(name, one.arch_list, ("frameworks", name, "arch_list")) for name, one in seen_frameworks(situation.seen).items()]
    for what, words, path in built:
        targets = [word.partition(":")[0].lower() for word in listed(words) or ()]
        if not any(target.startswith("gfx") for target in targets) or gfx.text is None or covers(targets, gfx.text):
            continue
        yield Finding(
            message=f"{what} has no code for {gfx.text}",
            path=path,
            label=f"lacks {gfx.text}",
            also=((gfx.path, "named here"),),
            hints=(f"use a build for {gfx.text}, or compile one with that target",),
        )


RULES = (
    code_rule(
        _gfx_in_build,
        "GX101",
        "gfx-in-build",
        "stack",
        of="snapshot",
        topics=("gfx-not-in-build",),
        source=("https://rocm.docs.amd.com/en/latest/compatibility/compatibility-matrix.html",),
        checked="2026-11-26",
    ),
)
