"""The rule about Intel Gaudi's software, whose parts are of one release."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.between import GAUDI_PROGRAMS, GAUDI_RELEASE
from aistack.compose.rules.situation import Finding, Path, Situation, code_rule
from aistack.diagnostics import Severity
from aistack.facts.snapshot import Snapshot, seen_frameworks
from aistack.facts.version import agree

MATRIX = "https://docs.habana.ai/en/latest/Support_Matrix/Support_Matrix.html"


def release(text: str | None) -> str | None:
    """`1.19.0` of `1.19.0-2427ed8`, `Gaudi-1.19.0`, `1.19.0.561` or `hl-1.19.0-fw-57.0.0`; None where no release stands in it."""
    found = re.search(r"(?<![\d.])(\d+\.\d+(?:\.\d+)?)", text or "")
    return found[1] if found else None


def parts(snapshot: Snapshot) -> Iterator[tuple[str, str, Path]]:
    """(what it is, its release, where it is told) of each part whose release is told; the driver first."""
    driver, image, toolkit = snapshot.driver, snapshot.image, snapshot.toolkit
    spi = driver.firmware.spi or ""
    firmware = spi if "fw" in spi or GAUDI_RELEASE.match(spi) else None
    told: list[tuple[str, str | None, Path]] = [
        ("the driver", driver.version, ("driver", "version")),
        ("the driver's module", driver.module.version, ("driver", "module", "version")),
        ("the firmware", firmware, ("driver", "firmware", "spi")),
        ("the software", toolkit.gaudi, ("toolkit", "gaudi")),
        ("the image", image.gaudi, ("image", "gaudi")),
    ]
    for name, seen in seen_frameworks(snapshot).items():
        for text, field in ((seen.build, "build"), (seen.version, "version")):
            built = re.search(r"(?:gaudi|synapse|habana|hpu)[-_.]?\d", (text or "").lower())
            if built or (field == "version" and name.lower().startswith(GAUDI_PROGRAMS)):
                told.append((f"the build of {name}", (text or "")[built.start() if built else 0 :], ("frameworks", name, field)))
    for what, text, path in told:
        found = release(text)
        if found is not None:
            yield what, found, path


def _one_release(situation: Situation) -> Iterator[Finding]:
    """Gaudi's driver, firmware, software and the frameworks' builds must be of one release.

    Intel tests and publishes them together, and a program of one release does not acquire devices through a driver of another. What follows
    the release, like `-2427ed8` or `-526`, is a build and does not count. Where only the last number differs, Intel's own programs do not
    even warn; some such pairs run (1.21.0 on 1.21.2), one is known not to (GD105), so that is a warning.
    """
    seen = situation.seen
    if situation.text("vendor") != "intel" and not (seen.toolkit.gaudi or seen.image.gaudi):
        return
    told = list(parts(seen))
    for what, found, path in told[1:]:
        first, reference, at = told[0]
        if agree(found, reference) is False:
            yield Finding(
                severity=Severity.WARNING if found.split(".")[:2] == reference.split(".")[:2] else None,
                message=f"{what} is of Gaudi release {found}, but {first} of {reference}",
                path=path,
                label=f"must be {reference}",
                also=((at, f"release {reference}"),),
                hints=(f"take the image or the packages of release {reference}, or upgrade driver and firmware to {found} first",),
            )
            return


RULES = (
    code_rule(
        _one_release,
        "GD101",
        "gaudi-one-release",
        "stack",
        of="snapshot",
        topics=("gaudi-one-version",),
        source=(MATRIX,),
        checked="2026-11-22",
    ),
)
