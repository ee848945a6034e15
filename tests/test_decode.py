"""Decoding by types: values, and every problem with its place, why and hint."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from plain_yaml import plain

from aistack.diagnostics import Diagnostic
from aistack.facts.decode import Key, Number, Text, closest, decode
from aistack.facts.document import Node, parse
from aistack.facts.schema import schema


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


Name = Annotated[str, Text(pattern="[a-z][a-z0-9-]*", what="a name", example="chat")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """A thing inside."""

    port: Annotated[int | None, Number(minimum=1, maximum=65535), "where it listens"] = None
    time_zone: str = "UTC"
    from_: Annotated[str | None, Key("from")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    """A thing with one of everything."""

    schema: Literal["test/v1"]
    version: Annotated[str, "kept as text"]
    size: Literal["small", "large"] = "small"
    colour: Colour = Colour.RED
    parts: Mapping[Name, Inner] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    pair: tuple[str, int] | None = None
    until: datetime.date | None = None
    ratio: Annotated[float, Number(minimum=0)] = 1.0
    on: bool = False
    either: str | tuple[str, ...] | Inner = ""
    count_or_word: int | str = 0


def node(text: str) -> Node:
    root, problems = parse(text, "f")
    assert problems == ()
    assert root is not None
    return root


VALIDATOR = Draft202012Validator(schema(Outer, title="test"))
HEAD = "schema: test/v1\nversion: 12.10\n"


def good(text: str) -> Outer:
    value, problems = decode(Outer, node(HEAD + text))
    assert problems == ()
    assert value is not None
    return value


def problems_of(text: str) -> tuple[Diagnostic, ...]:
    value, problems = decode(Outer, node(text))
    assert value is None
    assert problems
    return problems


def told(text: str) -> list[tuple[str, int, int, str]]:
    return [(found.rule, found.place.line, found.place.column, found.message) for found in problems_of(text) if found.place]


def test_values() -> None:
    value = good(
        "size: large\ncolour: green\nparts: {a: {port: 80, time-zone: Europe/Berlin, from: x}, b: {}}\nwords: [1.10, on, '3']\n"
        "pair: [x, -3]\nuntil: 2027-01-31\nratio: 2.50\non: true\neither: {port: 1}\ncount-or-word: x\n"
    )
    assert value == Outer(
        schema="test/v1",
        version="12.10",
        size="large",
        colour=Colour.GREEN,
        parts={"a": Inner(port=80, time_zone="Europe/Berlin", from_="x"), "b": Inner()},
        words=("1.10", "on", "3"),
        pair=("x", -3),
        until=datetime.date(2027, 1, 31),
        ratio=2.5,
        on=True,
        either=Inner(port=1),
        count_or_word="x",
    )
    assert isinstance(value.colour, Colour)
    assert good("either: [a]").either == ("a",)
    assert good("count-or-word: 7").count_or_word == 7
    assert good("pair:\nuntil: ~\n").pair is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("siz: small\n", ("DOC021", 3, 1, "unknown key `siz`")),
        ("parts: {a: {tim-zone: x}}\n", ("DOC021", 3, 13, "unknown key `tim-zone` in `parts.a`")),
        ("size: medium\n", ("DOC024", 3, 7, "`medium` is not a known value of `size`")),
        ("colour: Red\n", ("DOC024", 3, 9, "`Red` is not a known value of `colour`")),
        ("parts: [a]\n", ("DOC023", 3, 8, "`parts` must be a mapping, not a list")),
        ("parts: {A: {}}\n", ("DOC024", 3, 9, "the key must be a name, not `A`")),
        ("parts:\n  a:\n", ("DOC023", 4, 3, "`parts.a` is empty, but must be a mapping")),
        ("parts: {a: {port: 0}}\n", ("DOC024", 3, 19, "`parts.a.port` is `0`, but must be between 1 and 65535")),
        ("parts: {a: {port: 080}}\n", ("DOC023", 3, 19, "`parts.a.port` must be a whole number, not `080`")),
        ("parts: {a: {port: 1e3}}\n", ("DOC023", 3, 19, "`parts.a.port` must be a whole number, not `1e3`")),
        ("parts: {a: {port: 0x50}}\n", ("DOC023", 3, 19, "`parts.a.port` must be a whole number, not `0x50`")),
        ("parts: {a: {port: ٣}}\n", ("DOC023", 3, 19, "`parts.a.port` must be a whole number, not `٣`")),
        ("words: one\n", ("DOC023", 3, 8, "`words` must be a list, not `one`")),
        ("words:\n  a: b\n", ("DOC023", 3, 1, "`words` must be a list, not a mapping")),
        ("words: [a, [b]]\n", ("DOC023", 3, 12, "`words[1]` must be text, not a list")),
        ("pair: [a]\n", ("DOC023", 3, 7, "`pair` must hold 2 values, not 1")),
        ("until: 2027-02-30\n", ("DOC024", 3, 8, "`2027-02-30` is not a date")),
        ("until: 20270131\n", ("DOC024", 3, 8, "`20270131` is not a date")),
        ("until: tomorrow\n", ("DOC024", 3, 8, "`tomorrow` is not a date")),
        ("ratio: .5\n", ("DOC023", 3, 8, "`ratio` must be a number, not `.5`")),
        ("ratio: nan\n", ("DOC023", 3, 8, "`ratio` must be a number, not `nan`")),
        ("ratio: -1\n", ("DOC024", 3, 8, "`ratio` is `-1`, but must be at least 0")),
        ("on: yes\n", ("DOC023", 3, 5, "`on` must be `true` or `false`, not `yes`")),
        ("words: [a, true]\n", ("DOC023", 3, 12, "`words[1]` must be text, not `true`")),
        ("on: 'true'\n", ("DOC023", 3, 5, "`on` must be `true` or `false`, not `true`")),
        ("size:\n", ("DOC023", 3, 1, "`size` is empty, but must be `small` or `large`")),
    ],
)
def test_one_problem(text: str, expected: tuple[str, int, int, str]) -> None:
    assert told(HEAD + text) == [expected]


def test_all_problems_at_once_in_their_order() -> None:
    found = told("siz: small\nversion: [1]\nparts: {a: {port: x, y: z}}\non: maybe\n")
    expected = [("DOC022", 1), ("DOC021", 1), ("DOC023", 2), ("DOC023", 3), ("DOC021", 3), ("DOC023", 4)]
    assert [(rule, line) for rule, line, _, _ in found] == expected


def test_a_misspelt_key_is_not_missing_as_well() -> None:
    assert [(rule, message) for rule, _, _, message in told("schema: test/v1\nverson: 1\n")] == [("DOC021", "unknown key `verson`")]


def test_hints() -> None:
    assert problems_of(HEAD + "siz: small\n")[0].hints == ("did you mean `size`?",)
    assert problems_of(HEAD + "qqq: small\n")[0].hints[0].startswith("known keys: `schema`, `version`")
    assert problems_of(HEAD + "colour: Red\n")[0].hints == ("did you mean `red`?", "allowed: `red`, `green`")
    assert problems_of(HEAD + "on: 'true'\n")[0].hints == ("remove the quotes",)
    assert problems_of("schema: test/v1\n")[0].why == ("`version`: kept as text",)


def test_closest_is_the_same_every_time_and_ignores_case() -> None:
    assert closest("NVIDIA/L4", ["nvidia/l40", "nvidia/l4"]) == "nvidia/l4"
    assert closest("zzz", ["nvidia/l4"]) is None


@pytest.mark.parametrize("text", ["x", "[]", "''", "~"])
def test_the_root_must_be_a_mapping(text: str) -> None:
    root = node(text)
    value, problems = decode(Outer, root)
    assert value is None
    assert [found.rule for found in problems] == ["DOC023"]


def test_numbers_of_any_length_are_no_trap() -> None:
    # Python refuses to convert very long numbers; that must be a diagnostic.
    assert [found.rule for found in problems_of(HEAD + f"parts: {{a: {{port: {'9' * 5000}}}}}\n")] == ["DOC023"]


def test_the_schema_describes_what_decode_reads() -> None:
    made = schema(Outer, title="test")
    Draft202012Validator.check_schema(made)
    assert made["required"] == ["schema", "version"]
    assert made["additionalProperties"] is False
    assert made["description"] == "A thing with one of everything."
    assert made["properties"]["version"] == {"type": ["string", "number"], "description": "kept as text"}
    assert made["properties"]["colour"] == {"enum": ["red", "green"]}
    assert made["$defs"]["Inner"]["properties"]["port"]["description"] == "where it listens"
    assert set(made["$defs"]["Inner"]["properties"]) == {"port", "time-zone", "from"}
    assert made["properties"]["parts"]["propertyNames"] == {"pattern": "^(?:[a-z][a-z0-9-]*)$"}


words = st.sampled_from(["test/v1", "12.10", "small", "red", "a", "1", "70000", "true", "on", "2027-01-31", "2.5", "-1", "~", "'1'", "x y"])
keys = st.sampled_from(
    ["schema", "version", "size", "colour", "parts", "words", "pair", "until", "ratio", "on", "either", "port", "a", "B", "from"]
)
nodes = st.recursive(
    words,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(keys, inner, max_size=6).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"
        )
    ),
    max_leaves=12,
)


@given(nodes)
def test_any_node_gives_a_value_or_diagnostics(text: str) -> None:
    value, problems = decode(Outer, node(text))
    assert (value is None) is bool(problems)
    for problem in problems:
        assert problem.place is not None
        assert problem.message


@example({"words": "[true]"})
@given(st.dictionaries(keys.filter(lambda key: key not in ("schema", "version")), nodes, max_size=4))
def test_schema_and_decode_agree(entries: dict[str, str]) -> None:
    """What decode accepts the schema accepts too: an editor underlines nothing that aistack would read."""
    root = node("{schema: test/v1, version: 12.10" + "".join(f", {key}: {value}" for key, value in entries.items()) + "}")
    value, _ = decode(Outer, root)
    if value is not None:
        assert list(VALIDATOR.iter_errors(plain(root))) == []
