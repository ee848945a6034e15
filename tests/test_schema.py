"""The JSON Schemas that `aistack schema` prints: every file that is shipped satisfies its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from plain_yaml import plain

from aistack.commands.schema import KINDS, schema_of
from aistack.diagnostics import DiagnosticError
from aistack.facts.document import Mapping, Scalar, parse
from aistack.host.catalog_files import read_texts

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("kind", KINDS)
def test_every_schema_is_a_schema(kind: str) -> None:
    Draft202012Validator.check_schema(schema_of(kind))


def test_every_file_of_the_catalog_satisfies_its_schema() -> None:
    validators: dict[str, Draft202012Validator] = {}
    wrong = []
    for name, text in read_texts(ROOT).items():
        root, _ = parse(text, name)
        assert isinstance(root, Mapping)
        schema = root.get("schema")
        assert isinstance(schema, Scalar)
        kind = schema.text.split("/")[1]
        validator = validators.setdefault(kind, Draft202012Validator(schema_of(kind)))
        wrong += [f"{name}: {error.json_path}: {error.message}" for error in validator.iter_errors(plain(root))]
    assert wrong == []
    kinds = {
        "accelerator",
        "branch",
        "component",
        "distribution",
        "faults",
        "framework",
        "image",
        "kernel",
        "limits",
        "model",
        "os",
        "rules",
        "terms",
        "wheels",
    }
    assert set(validators) == kinds


def test_a_kind_that_there_is_not() -> None:
    with pytest.raises(DiagnosticError) as refused:
        schema_of("modle")
    assert "did you mean `model`?" in refused.value.diagnostics[0].hints
