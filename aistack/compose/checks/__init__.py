"""Checks of what in an image must fit together: kernel and modules, the driver's parts, libraries, and files that name files.

All are pure: they judge what `host.inspect` read. Each holds for any image; what a lock promises is given as `Expected`.
"""

from __future__ import annotations

import re
from functools import partial

from aistack.compose.checks import (
    architecture,
    certificates,
    claims,
    cmdline,
    containers,
    driver,
    indexes,
    initramfs,
    kernel,
    layers,
    leftovers,
    libraries,
    masks,
    packages,
    references,
    systemd,
)
from aistack.compose.checks.expected import Expected
from aistack.compose.findings import Check

TEXTS = re.compile(
    r"(?:/etc|(?:/usr)?/lib|/usr/local/lib)/.*\.conf"
    r"|/etc/modules|/etc/ld(?:\.so\.cache|-musl-\w+\.path)"
    r"|(?:/usr)?/lib/modules/[^/]+/(?:config|modules\.(?:(?:dep|alias)(?:\.bin)?|order)|modules\.builtin\.modinfo)|/boot/config-.*"
)


def wanted(path: str) -> bool:
    """The files whose contents these checks read as text."""
    settings = bool(TEXTS.fullmatch(path)) or cmdline.wanted(path) or systemd.wanted(path)
    settings = settings or containers.wanted(path) or certificates.wanted(path)
    return path == initramfs.INIT or settings or references.wanted(path) or packages.wanted(path)


def checks(expected: Expected) -> tuple[Check, ...]:
    """Every check, with what is expected of the image."""
    return (
        *kernel.CHECKS,
        architecture.check(expected),
        *indexes.CHECKS,
        *initramfs.CHECKS,
        Check(
            name="driver-versions",
            description="what programs need of the accelerator's driver is there, and every part of it of one version",
            look=partial(driver.versions, expected=expected),
            kernel=True,
        ),
        Check(
            name="module-firmware",
            description="the firmware that modules ask for is there",
            look=partial(driver.firmware, expected=expected),
            kernel=True,
        ),
        Check(
            name="driver-rivals",
            description="no other module takes the accelerator",
            look=partial(claims.rivals, expected=expected),
            kernel=True,
        ),
        Check(
            name="driver-enabled",
            description="nothing keeps the accelerator's driver from being loaded",
            look=partial(claims.disabled, expected=expected),
            kernel=True,
        ),
        *libraries.CHECKS,
        *references.CHECKS,
        *masks.CHECKS,
        *containers.CHECKS,
        *certificates.CHECKS,
        *leftovers.CHECKS,
        *packages.CHECKS,
        *layers.CHECKS,
    )
