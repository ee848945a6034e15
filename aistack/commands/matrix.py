"""`aistack matrix`: which models run on an accelerator with which releases, by the rules of `check`."""

from __future__ import annotations

import sys
from pathlib import Path

from aistack.commands import naming, writing
from aistack.compose.grid import Question
from aistack.compose.matrix import matrix
from aistack.diagnostics import Diagnostic, ExitCode, Severity, refuse
from aistack.facts.catalog import Catalog
from aistack.report import matrix as shown


def show(wanted: str | None, question: Question, *, catalog: Catalog, today: str, as_json: bool, output: Path | None) -> ExitCode:
    """Prints or writes the matrix of one accelerator, or (None) of all; exit 1 where the catalog has no framework for it."""
    products = naming.accelerators(wanted, catalog) if wanted else tuple(catalog.accelerators.values())
    grids = list(matrix(catalog, today, sorted(products, key=lambda product: product.id), question))
    if not grids:
        message = f"the catalog has no framework with builds for {products[0].id}"
        hints = ("`aistack list frameworks` shows what each runs on",)
        raise refuse(Diagnostic(rule="CLI007", name="matrix-empty", severity=Severity.ERROR, message=message, hints=hints))
    if output is not None:
        writing.write(output, shown.page(grids, question, today).encode())
    if as_json:
        sys.stdout.write(shown.as_json(grids, question, today))
    elif output is None:
        for line in shown.lines(grids) if wanted else shown.summary(grids):
            print(line)
    sys.stdout.flush()
    cells = sum(grid.size for grid in grids)
    print(f"{cells} combinations judged" + (f", written to {output}" if output else ""), file=sys.stderr)
    return ExitCode.OK
