"""The part of `aistack facts refresh` that reads names of files alone: for which processors, C libraries and Pythons there are wheels."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from aistack.commands import fixing
from aistack.compose.refresh_wheels import entered
from aistack.facts.catalog import Catalog
from aistack.host import wheel_index


def refresh_wheels(ids: Sequence[str], catalog: Catalog, *, root: Path, dry_run: bool, environment: Mapping[str, str], today: str) -> None:
    """Reads the wheels of what `ids` name (of everything where there is none), and writes what changed."""
    for name in [name for name in ids or sorted(catalog.wheels) if name in catalog.wheels]:
        file = root / f"recipes/wheels/{name}.yaml"
        print(f"reading the wheels of {name}", file=sys.stderr, flush=True)
        before = file.read_text(encoding="utf-8")
        after = entered(before, wheel_index.names(catalog.wheels[name].project, environment), today)
        known = set(before.split("\n"))
        added = [line for line in after.split("\n") if line not in known]
        print(f"{file.relative_to(root)}: {len(added)} lines changed" if added else f"{file.relative_to(root)}: nothing new")
        for line in added:
            print(f"  {line.strip()}")
        if after != before and not dry_run:
            fixing.write(file, before, after)
