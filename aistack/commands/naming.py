"""The things of the catalog that a verb's arguments name, or the diagnostic that says what was probably meant."""

from __future__ import annotations

from aistack.diagnostics import Diagnostic, DiagnosticError, Severity, refuse
from aistack.facts.catalog import Accelerator, Catalog, Model
from aistack.facts.decode import closest


def accelerators(wanted: str, catalog: Catalog) -> tuple[Accelerator, ...]:
    """The product of that name, or all that a less exact name may mean; raises DiagnosticError (exit 1) where there is none."""
    product = catalog.accelerator(wanted)
    found = (product,) if product else catalog.family(wanted)
    if not found:
        raise _unknown(f"accelerator `{wanted}` is not in the catalog", wanted, [*catalog.accelerators], "accelerators")
    return found


def model(wanted: str, catalog: Catalog) -> Model:
    """The model of that id; raises DiagnosticError (exit 1) where there is none."""
    found = catalog.model(wanted)
    if found is None:
        raise _unknown(f"model `{wanted}` is not in the catalog", wanted, [*catalog.models], "models")
    return found


def _unknown(message: str, wanted: str, known: list[str], kind: str) -> DiagnosticError:
    guess = closest(wanted, known)
    hint = f"did you mean `{guess}`?" if guess else f"`aistack list {kind}` shows what is known"
    return refuse(Diagnostic(rule="CLI004", name="id-unknown", severity=Severity.ERROR, message=message, hints=(hint,)))
