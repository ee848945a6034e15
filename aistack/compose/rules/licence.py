"""Rules about licences: what may be built, but not passed on to others as one likes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.rules.accelerator import PRODUCT
from aistack.compose.rules.situation import Finding, Situation, code_rule
from aistack.diagnostics import Severity


def _driver(situation: Situation) -> Iterator[Finding]:
    """A driver that is not free software limits who may be given the base that holds it.

    Debian keeps such packages in its component non-free; their copyright files hold the vendor's terms.
    """
    driver = situation.driver
    terms = situation.catalog.terms.get(driver.licence or "") if driver else None
    if driver is not None and terms is not None:
        yield Finding(
            message=f"driver {driver.version} is under the {terms.name}: {terms.limit}",
            path=("driver",) if situation.wish.driver else PRODUCT,
            place=f"terms/{terms.id}",
        )


def _model(situation: Situation) -> Iterator[Finding]:
    """A model's licence may limit what its image is used for, and to whom and how it is passed on.

    A build for one's own use is rarely touched. Whoever pushes the image to others reads the licence first. Where no document confirms
    which licence it is, or its terms are not in the catalog, the answer is `unknown`.
    """
    part = situation.part
    for index, (_, model) in enumerate(part.models if part else ()):
        for name in re.findall(r"[A-Za-z0-9.-]+", model.licence) if model else ():
            terms = situation.catalog.terms.get(name)
            if model is None or part is None or (terms is None and not name.startswith("LicenseRef-")):
                continue
            said = f"the {terms.name}: {terms.limit}" if terms else f"`{name}`, whose terms are not in the catalog"
            recalled = "licence" in model.recalled
            yield Finding(
                severity=Severity.UNKNOWN if recalled or terms is None else Severity.WARNING,
                message=f"`{model.id}` is under {said}",
                path=(*part.path, "models", index),
                why=("no document confirms that this is the model's licence",) if recalled else (),
                place=f"terms/{name}" if terms else f"models/{model.id}",
            )


RULES = (
    code_rule(_driver, "LC101", "driver-licence", "node", "driver", severity=Severity.WARNING),
    code_rule(_model, "LC102", "model-licence", "app", severity=Severity.WARNING),
)
