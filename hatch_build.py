"""Puts the compiled catalog and the example recipes into the wheel; an editable install reads the source tree's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CatalogHook(BuildHookInterface[Any]):
    """Called by hatchling when it builds a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the catalog and name the files that the wheel gets beside the package's modules."""
        if version == "editable":
            return
        root = Path(self.root)
        sys.path.insert(0, str(root))
        from aistack.host.catalog_files import COMPILED, RECIPES, REFERENCE_ENDING, REFERENCES, compile_catalog

        folder = Path(self.directory) / "catalog"
        folder.mkdir(parents=True, exist_ok=True)
        compiled = folder / "catalog.json"
        compiled.write_bytes(compile_catalog(root))
        include = build_data["force_include"]
        include[str(compiled)] = f"aistack/{COMPILED}"
        for recipe in sorted((root / "recipes").glob("*.yaml")):
            include[str(recipe)] = f"aistack/{RECIPES}/{recipe.name}"
        for recorded in sorted((root / "models").rglob(f"*{REFERENCE_ENDING}")):
            include[str(recorded)] = f"aistack/{REFERENCES}/{recorded.relative_to(root / 'models').as_posix()}"
