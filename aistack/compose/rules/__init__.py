"""The registry: every rule, from data or from code, in one id space."""

from __future__ import annotations

from aistack.compose.rules import (
    accelerator,
    app,
    build,
    cdi,
    dcgm,
    fabric,
    gaudi,
    licence,
    lifecycle,
    loading,
    memory,
    model,
    module,
    pins,
    requirement,
    rocm,
    system,
    wish,
)
from aistack.compose.rules.data import as_rule
from aistack.compose.rules.situation import Rule
from aistack.facts.catalog import Catalog

CODE_RULES: tuple[Rule, ...] = (
    *system.RULES,
    *accelerator.RULES,
    *module.RULES,
    *loading.RULES,
    *lifecycle.RULES,
    *build.RULES,
    *app.RULES,
    *pins.RULES,
    *model.RULES,
    *memory.RULES,
    *licence.RULES,
    *wish.RULES,
    *requirement.RULES,
    *fabric.RULES,
    *cdi.RULES,
    *dcgm.RULES,
    *rocm.RULES,
    *gaudi.RULES,
)


def rules(catalog: Catalog) -> tuple[Rule, ...]:
    """Every rule, sorted by its code."""
    found = (*CODE_RULES, *(as_rule(rule, catalog) for rule in catalog.rules.values()))
    return tuple(sorted(found, key=lambda rule: rule.code))


def find(catalog: Catalog, wanted: str) -> Rule | None:
    """The rule of that code (`NV101`) or name (`cuda-driver-minimum`), None where there is none."""
    return next((rule for rule in rules(catalog) if wanted in (rule.code, rule.name)), None)
