"""What a Python source and its byte code say of themselves. Values only; the file's form is in PEP 552."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aistack.values import dataclass

BYTE_CODE_FILE = re.compile(r"(.*)/__pycache__/([^/]+)\.cpython-(\d+)(?:\.opt-\d)?\.pyc")
"""The folder of the source, its name without `.py`, and the Python: PEP 3147."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteCode:
    """A file of byte code: the `magic` number of its Python and, where it is run whatever became of the source, that one's `source_hash`.

    `damage` says why Python cannot load it; empty where it can, or where that is not known of its Python.
    """

    magic: int
    source_hash: bytes = b""
    damage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonSource:
    """A source, as its `hashes` by the magic numbers of the Pythons that may compile it."""

    hashes: Mapping[int, bytes]
