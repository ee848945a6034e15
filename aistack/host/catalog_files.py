"""Where the catalog lies: compiled inside an installed package, or as YAML beside a checkout's package.

The YAML of a checkout is compiled once and kept in the user's cache under the digest of every text and of the code that
compiles, so what is loaded is never older than what is written.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from aistack.diagnostics import DiagnosticError, unable
from aistack.facts import catalog as catalog_types
from aistack.facts import catalog_text, data_rules, decode, document, faults, images, limits, systems, version, wheel_tags
from aistack.facts.catalog import Catalog

FOLDERS = ("accelerators", "models", "recipes/os", "recipes/frameworks", "recipes/images", "recipes/wheels", "licences")
REFERENCES, REFERENCE_ENDING = "catalog/models", ".embedding.json"
COMPILED = "catalog/catalog.json"
"""The compiled catalog in an installed package, beside its modules."""
RECIPES = "catalog/recipes"
"""The example recipes in an installed package."""


def package() -> Path:
    """The folder of the aistack package."""
    return Path(__file__).resolve().parent.parent


def load_catalog(environment: Mapping[str, str] | None = None) -> Catalog:
    """The catalog of this installation; DiagnosticError where there is none, or where a checkout's YAML is wrong."""
    compiled = package() / COMPILED
    root = package().parent
    if is_checkout(root):
        return _from_checkout(root, os.environ if environment is None else environment)
    try:
        return catalog_text.load(compiled.read_bytes())
    except FileNotFoundError as error:
        hint = "install it again: `pip install --force-reinstall aistack`"
        raise unable("CT010", "catalog-missing", f"this installation has no catalog at `{compiled}`", hints=(hint,)) from error


def is_checkout(root: Path) -> bool:
    """Whether the folder above the package is a source tree with the catalog's YAML in it."""
    return (root / "pyproject.toml").is_file() and all((root / folder).is_dir() for folder in FOLDERS)


def read_texts(root: Path) -> dict[str, str]:
    """Every YAML text of the catalog below `root`, by its name relative to it."""
    found = {}
    for top in FOLDERS:
        for folder, _, names in os.walk(root / top):
            for name in names:
                if name.endswith(".yaml"):
                    path = f"{folder}/{name}"
                    with open(path, "rb") as file:  # noqa: PTH123  # hundreds of times at every start
                        found[path.removeprefix(f"{root}/")] = file.read().decode("utf-8")
    return {name: found[name] for name in sorted(found)}


def example_recipes() -> tuple[Path, ...]:
    """The recipes that come with aistack, by name: a checkout's, or those in the installed package."""
    root = package().parent
    return tuple(sorted((root / "recipes" if is_checkout(root) else package() / RECIPES).glob("*.yaml")))


def reference(model: str) -> Path | None:
    """The recorded answer of a model (`ORG/NAME`), a JSON file beside its facts; None where none was recorded."""
    root = package().parent
    folder = root / "models" if is_checkout(root) else package() / REFERENCES
    path = folder / f"{model}{REFERENCE_ENDING}"
    return path if path.is_file() else None


def compile_catalog(root: Path) -> bytes:
    """The compiled catalog of a source tree; DiagnosticError with every problem in the YAML."""
    return catalog_text.dump(_compile(read_texts(root)))


def catalog_bytes() -> bytes:
    """The compiled catalog of this installation, as it is put into a wheel or a node's image."""
    return catalog_text.dump(load_catalog())


def _compile(texts: Mapping[str, str]) -> Catalog:
    catalog, problems = catalog_text.compile_texts(texts)
    if problems:
        raise DiagnosticError(problems)
    return catalog


def _from_checkout(root: Path, environment: Mapping[str, str]) -> Catalog:
    texts = read_texts(root)
    kept = _cache(environment) / f"{_key(texts)}.json"
    try:
        return catalog_text.load(kept.read_bytes())
    except FileNotFoundError:
        pass
    catalog = _compile(texts)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as unfinished:
            unfinished.write(catalog_text.dump(catalog))
        Path(unfinished.name).replace(kept)
        for old in sorted(kept.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-8]:
            old.unlink(missing_ok=True)
    except OSError:
        pass  # a cache that cannot be written only costs time
    return catalog


def _cache(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "aistack" / "catalog"


def _key(texts: Mapping[str, str]) -> str:
    """The digest of the texts and of the modules that turn them into a catalog."""
    digest = hashlib.sha256(catalog_text.identity(texts).encode())
    for module in (catalog_types, systems, images, data_rules, faults, limits, catalog_text, decode, document, version, wheel_tags):
        assert module.__file__ is not None
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()
