"""YAML with places, and hostile YAML: whatever the text is, the answer is nodes or diagnostics, never an exception."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aistack.diagnostics import Place
from aistack.facts.document import DEPTH_LIMIT, SIZE_LIMIT, Mapping, Node, Scalar, Sequence, parse, place_of, places, split_lines

FILE = "recipe.yaml"


def read(text: str) -> Node:
    root, problems = parse(text, FILE)
    assert root is not None
    assert problems == ()
    return root


def found(text: str) -> list[tuple[str, int, int, int]]:
    """(code, line, column, length) of every problem."""
    _, problems = parse(text, FILE)
    assert all(problem.place is not None and problem.place.file == FILE for problem in problems)
    return [(problem.rule, problem.place.line, problem.place.column, problem.place.length) for problem in problems if problem.place]


def test_scalars_stay_the_text_that_was_written() -> None:
    root = read("a: 12.10\nb: 550.144.03\nc: on\nd: 0x10\ne: 1_000\nf: 2026-11-22\ng: '12'\nh: ~\ni: null\nj:\nk: 'null'\n")
    assert isinstance(root, Mapping)
    texts = {key.text: value.text for key, value in root if isinstance(value, Scalar)}
    expected = ["12.10", "550.144.03", "on", "0x10", "1_000", "2026-11-22", "12", "~", "null", "", "null"]
    assert texts == dict(zip("abcdefghijk", expected, strict=True))
    nothing = {key.text for key, value in root if isinstance(value, Scalar) and value.is_null}
    assert nothing == {"h", "i", "j"}


@pytest.mark.parametrize(
    ("text", "path", "line", "column", "length"),
    [
        ("a: {b: [1, 'x y']}\n", ("a", "b", 1), 1, 12, 5),
        ("\ufeffa: 1\n", ("a",), 1, 4, 1),
        ("a:\r\n  b: yes\r\n", ("a", "b"), 2, 6, 3),
        ("a:\r  b: yes\r", ("a", "b"), 2, 6, 3),
        ("日本: 大事\n", ("日本",), 1, 5, 2),
        ("a: 😀😀 x\n", ("a",), 1, 4, 4),
        ("a:\tx\n", ("a",), 1, 4, 1),
        ("a: |\n  text\nb: 1\n", ("b",), 3, 4, 1),
        ("a: one\n  two\n", ("a",), 1, 4, 3),
        ("a:\n  b:\n    c: 1\n", ("a", "b"), 2, 3, 1),
        ("a: 1\n", ("a", "b"), 1, 4, 1),
        ("a: [1]\n", ("a", 3), 1, 1, 1),
        ("# only\n---\na: 1\n", ("a",), 3, 4, 1),
    ],
)
def test_places(text: str, path: tuple[str | int, ...], line: int, column: int, length: int) -> None:
    assert place_of(read(text), path) == Place(file=FILE, line=line, column=column, length=length)


def test_places_of_everything_agree_with_place_of() -> None:
    root = read("a: {b: [1, {c: 2}]}\nd:\n  - e\n  -\n")
    for path, place in places(root).items():
        assert place_of(root, path) == place
    assert len(places(root)) == 9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", [("DOC003", 3, 1, 1)]),
        ("a: {b: 1, b: 2, b: 3}\n", [("DOC003", 1, 11, 1), ("DOC003", 1, 17, 1)]),
        ("a: &x 1\nb: *x\nc: {<<: {d: 1}}\n", [("DOC004", 1, 4, 4), ("DOC004", 2, 4, 2), ("DOC004", 3, 5, 2)]),
        ("a: *nowhere\n", [("DOC004", 1, 4, 8)]),
        ("a: !!str 1\nb: !python/object:os.system x\n", [("DOC005", 1, 4, 7), ("DOC005", 2, 4, 26)]),
        ("a: 1\n---\nb: 2\n---\nc: 3\n", [("DOC006", 2, 1, 3)]),
        ("--- a\n...\n--- b\n", [("DOC006", 3, 1, 3)]),
        ("? [1]\n: 2\n", [("DOC007", 1, 3, 1)]),
        ("", [("DOC002", 1, 1, 1)]),
        ("# nothing\n\n", [("DOC002", 1, 1, 1)]),
        ("a:\n\tb: 1\n", [("DOC001", 2, 1, 1)]),
        ("a: [1, 2\n", [("DOC001", 1, 9, 1)]),
        ("a: 'x\n", [("DOC001", 1, 6, 1)]),
        ("a: b: c\n", [("DOC001", 1, 5, 1)]),
        ("a: @x\n", [("DOC001", 1, 4, 1)]),
        ("%YAML 3.0\n---\na: 1\n", [("DOC001", 1, 1, 1)]),
        ("a: 1\nb: \x00\n", [("DOC009", 2, 4, 1)]),
        ("a: \x85x\n", [("DOC009", 1, 4, 1)]),
        ("a: \u2028x\n", [("DOC009", 1, 4, 1)]),
        ("a: \ud800\n", [("DOC009", 1, 4, 1)]),
        ("a: \x1b[31m\n", [("DOC009", 1, 4, 1)]),
    ],
)
def test_problems_have_their_places(text: str, expected: list[tuple[str, int, int, int]]) -> None:
    assert found(text) == expected


def test_one_document_with_its_marks_is_well() -> None:
    assert found("---\na: 1\n...\n") == []
    assert found("# comment with --- in it\n---\na: '---'\n") == []


def test_the_first_of_two_equal_keys_is_pointed_at() -> None:
    _, (problem,) = parse("a: 1\nb: 2\na: 3\n", FILE)
    assert [label.place.line for label in problem.labels] == [1]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[{", "[[1],"])
def test_deep_nesting_is_a_diagnostic(opening: str) -> None:
    started = time.monotonic()
    root, problems = parse(opening * (SIZE_LIMIT // len(opening) - 1), FILE)
    assert root is None
    assert [problem.rule for problem in problems] == ["DOC010"]
    assert time.monotonic() - started < 5


def test_depth_limit_is_exact() -> None:
    assert found("[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT) == []
    assert [code for code, *_ in found("[" * (DEPTH_LIMIT + 1) + "]" * (DEPTH_LIMIT + 1))] == ["DOC010"]


def test_a_bomb_of_aliases_stays_small() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    root, problems = parse("\n".join(lines), FILE)
    assert root is not None
    assert len(places(root)) < 200
    assert {problem.rule for problem in problems} == {"DOC004"}


def test_a_large_file_is_refused() -> None:
    assert found("a: " + "x" * SIZE_LIMIT) == [("DOC008", 1, 1, 1)]


def test_many_keys_take_no_square_of_time() -> None:
    started = time.monotonic()
    root, problems = parse("".join(f"key{number}: {number}\n" for number in range(40_000)), FILE)
    assert isinstance(root, Mapping)
    assert len(root.entries) == 40_000
    assert problems == ()
    assert time.monotonic() - started < 10


yaml_like = st.text(alphabet=st.sampled_from(list("ab:- \n\t[]{},'\"#&*!|>%@?~<.0\r\ufeff日\x00\x85")), max_size=60)


@given(st.text() | yaml_like)
@example("?")
@example("? ? ? a")
@example("- - - a\n -")
@example("a: |\n")
@example("'")
@example("!<")
@example("%TAG ! x")
def test_any_text_gives_nodes_or_diagnostics(text: str) -> None:
    root, problems = parse(text, FILE)
    assert root is not None or problems
    lines = split_lines(text)
    for problem in problems:
        assert problem.place is not None
        assert 1 <= problem.place.line <= len(lines)
        assert 1 <= problem.place.column <= len(lines[problem.place.line - 1]) + 1
    if root is not None and not problems:
        for place in places(root).values():
            assert place.column - 1 + place.length <= max(len(lines[place.line - 1]), place.column)


@given(
    st.recursive(
        st.text(alphabet="abc 12.:", max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=3),
    )
)
def test_what_json_writes_is_read_back(value: object) -> None:
    import json

    def plain(node: Node) -> object:
        if isinstance(node, Mapping):
            return {key.text: plain(inner) for key, inner in node}
        return [plain(item) for item in node.items] if isinstance(node, Sequence) else node.text

    assert plain(read(json.dumps(value))) == value
