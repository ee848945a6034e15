"""Python's byte code is read without being loaded: whole or not, of its source or not, in every form that Pythons write."""

from __future__ import annotations

import ast
import importlib.util
import io
import marshal
from pathlib import Path
from random import Random

import pytest
from images_read import compiled

from aistack.facts.byte_code import ByteCode
from aistack.host.binaries.byte_code import ENDING, FORMS, HEADER, KEYED, byte_code, python_source

MODULES = sorted(Path(ast.__file__).parent.glob("[a-d]*.py"))
CODE = b"\xe3%s\xe9\x01\0\0\0\xa9\x02N\xda\x01ar\1\0\0\0r\2\0\0\0\xf3\0\0\0\0z\3abcl\xfe\xff\xff\xff\1\0\1\0F\1\0\0\0%s"
"""A code object: numbers, eight objects (a number, two in a tuple, references, bytes, texts, a long number), a line, and what ends it."""


def read(data: bytes) -> ByteCode | None:
    return byte_code("a", io.BytesIO(data), len(data))


def damage(data: bytes) -> str:
    found = read(data)
    assert found
    return found.damage


def test_what_python_compiles_is_whole_and_cut_off_it_is_not() -> None:
    random = Random(1)
    for module in MODULES:
        source = module.read_bytes()
        data = compiled(source)
        found = read(data)
        assert found == ByteCode(magic=found.magic if found else 0, source_hash=importlib.util.source_hash(source))
        assert python_source("a", io.BytesIO(source), 0).hashes[found.magic] == found.source_hash
        assert damage(data[: random.randrange(HEADER.size, len(data))]) == "it ends too early"


@pytest.mark.parametrize("magic", FORMS)
def test_each_python_has_its_form(magic: int) -> None:
    first, _, between, last = FORMS[magic]
    body = CODE % (bytes(first), b"N" * last)
    head = HEADER.pack(magic | ENDING, 0, b"")
    assert between == 4 and len(KEYED) == 4
    assert damage(head + body) == ""
    assert damage(head + body + b"more") == ""  # as marshal takes it
    assert damage(head + body[:-1]) == "it ends too early"
    assert damage(head + body.replace(b"r\2", b"r\7")) == "it refers to what it does not have"
    assert damage(head + body.replace(b"N\xda", b"?\xda")) == "it holds what is no part of a program"
    assert damage(head + body.replace(b"\xa9\x02", b"\xa8\xff\xff\xff\xff")) != ""
    assert damage(head + bytes(99)) != ""
    assert damage(head + b"N") == "it holds no program"


def test_what_python_passes_over_is_none() -> None:
    code = marshal.dumps(compile("a = 1", "a", "exec"))
    assert read(b"") is None
    assert read(HEADER.pack(3571 | ENDING, 1, b"")[:-1]) is None
    assert read(HEADER.pack(3571 | ENDING, 4, b"") + code) is None
    assert read(b"not byte code at all") is None
    assert read(HEADER.pack(9999 | ENDING, 1, b"12345678") + b"?") == ByteCode(magic=9999, source_hash=b"12345678")  # of a later Python
    assert read(HEADER.pack(9999 | ENDING, 3, b"12345678") + b"?") == ByteCode(magic=9999)  # looked at before it is run
