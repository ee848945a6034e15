"""Documents as an editor's YAML library reads them (the core schema of YAML 1.2), for comparing with JSON Schemas."""

from __future__ import annotations

import json
from typing import Any

from aistack.facts.document import Mapping, Node, Scalar, Sequence


def plain(found: Node) -> Any:
    """A node as Python values: what is quoted is text, the rest is what it looks like."""
    if isinstance(found, Mapping):
        return {key.text: plain(value) for key, value in found}
    if isinstance(found, Sequence):
        return [plain(item) for item in found.items]
    assert isinstance(found, Scalar)
    if found.is_null:
        return None
    if found.quoted:
        return found.text
    try:
        return json.loads(found.text)
    except ValueError:
        return found.text
