"""The registry: every rule, from data or from code, in one id space."""

from __future__ import annotations

from aistack.compose.rules import accelerator, app, build, licence, lifecycle, memory, model, system, vendor, wheels, wish
from aistack.compose.rules.data import as_rule
from aistack.compose.rules.situation import Of, Rule
from aistack.facts.catalog import Catalog

RECIPE_RULES: tuple[Rule, ...] = (
    *system.RULES,
    *accelerator.RULES,
    *lifecycle.RULES,
    *build.RULES,
    *app.RULES,
    *wheels.RULES,
    *model.RULES,
    *memory.RULES,
    *licence.RULES,
    *vendor.RULES,
    *wish.RULES,
)
"""Rules of modules in which some are asked of recipes."""


def code_rules() -> tuple[Rule, ...]:
    """Every rule that is a function; those of machines alone are loaded here, which a recipe's verdict does without."""
    from aistack.compose.rules import apart, cdi, dcgm, fabric, gaudi, loading, module, naming, pins, requirement, rocm, said

    modules = (said, module, naming, apart, loading, pins, requirement, fabric, cdi, dcgm, rocm, gaudi)
    return (*RECIPE_RULES, *(rule for one in modules for rule in one.RULES))


def rules(catalog: Catalog, of: Of = "both") -> tuple[Rule, ...]:
    """Every rule, sorted by its code; with `of`, those that are asked of recipes, or of snapshots."""
    found = (*(RECIPE_RULES if of == "recipe" else code_rules()), *(as_rule(rule) for rule in catalog.rules.values()))
    other = {"recipe": "snapshot", "snapshot": "recipe"}.get(of)
    return tuple(sorted((rule for rule in found if rule.of != other), key=lambda rule: rule.code))


def find(catalog: Catalog, wanted: str) -> Rule | None:
    """The rule of that code (`NV101`) or name (`cuda-driver-minimum`), None where there is none."""
    return next((rule for rule in rules(catalog) if wanted in (rule.code, rule.name)), None)
