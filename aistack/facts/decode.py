"""Nodes to frozen dataclasses, by the types' own annotations; every problem is collected, each with its place.

A class that is read from YAML is an ordinary frozen dataclass. What may stand in its fields:

| annotation | what is read |
| --- | --- |
| `str` | the text as it was written (`12.10` stays `12.10`); `true` and `false` need quotes |
| `int`, `float`, `bool` | whole number, decimal number, `true` or `false`; never quoted |
| `datetime.date` | `2026-11-22` |
| `Literal["a", "b"]`, a `StrEnum` | one of the words |
| `tuple[T, ...]`, `tuple[A, B]` | a list |
| `Mapping[str, T]` | a mapping with free keys; an ordinary dict comes out, in the file's order |
| another dataclass | a mapping with known keys |
| `T` or None | T, or nothing written |
| `A` or `B` | told apart by shape: one kind of word, one of list, one of mapping |

A class with `OPEN = True` may hold more keys than it has fields (each is told as `info`), one with `DASHES = False` has keys with
underscores. `Annotated` adds to each: a plain string describes the field in the schema, `Text` and `Number` narrow values, `Key` names
the key where it is not the field's name with dashes. JSON Schema comes from the same types (facts/schema.py).
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import re
import types
import typing
from collections.abc import Callable
from collections.abc import Mapping as AnyMapping
from enum import StrEnum
from typing import Any, TypeVar

from aistack.diagnostics import Diagnostic, Place, Severity
from aistack.facts.document import Mapping, Node, Scalar, Sequence
from aistack.values import dataclass

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Narrows `str`: `pattern` must match the whole text; `what` names the thing in messages, `example` shows one.

    `check` returns what is wrong with the text, or None (for what a pattern cannot say). `loose` allows `true` and `false`
    without quotes as well, for values that are handed on as text.
    """

    pattern: str | None = None
    what: str = "text"
    example: str | None = None
    check: Callable[[str], str | None] | None = None
    loose: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """Narrows `int` and `float`: both ends are allowed values."""

    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """The key in the file, where it is not the field's name with dashes for underscores."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a dataclass as files know it; `kind` still carries its `Annotated` parts."""

    name: str
    key: str
    kind: Any
    required: bool
    about: str | None


def decode(kind: type[Value], node: Node, at: Place | None = None) -> tuple[Value | None, tuple[Diagnostic, ...]]:
    """A value of the dataclass `kind` from a node: (value, infos) or (None, problems), sorted by place.

    `at` is where a missing key is reported; without it that is the first line of the node.
    To find the place of a value later, ask `document.place_of(root, path)` with the keys that lead to it.
    """
    problems: list[Diagnostic] = []
    value = _decode(kind, (), node, at or node.place, "", problems)
    ordered = tuple(sorted(problems, key=lambda found: (found.place or node.place, found.rule, found.message)))
    return (None if _errors(problems) else typing.cast(Value, value)), ordered


def _errors(problems: list[Diagnostic]) -> int:
    return sum(problem.severity is Severity.ERROR for problem in problems)


@functools.cache
def fields_of(kind: Any) -> tuple[Field, ...]:
    """The fields of a dataclass in their order, with the keys that files use."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found = []
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        _, extras = unwrap(hint)
        own = field.name.replace("_", "-") if getattr(kind, "DASHES", True) else field.name
        key = next((extra.name for extra in extras if isinstance(extra, Key)), own)
        about = next((extra for extra in extras if isinstance(extra, str)), None)
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        found.append(Field(name=field.name, key=key, kind=hint, required=required, about=about))
    return tuple(found)


def unwrap(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """(the bare type, what `Annotated` added to it; the outermost first)."""
    extras: list[Any] = []
    while typing.get_origin(kind) is typing.Annotated:
        kind, *more = typing.get_args(kind)
        extras = [*extras, *reversed(more)]
    return kind, tuple(extras)


def choices_of(kind: Any) -> tuple[str, ...] | None:
    """The words that a `Literal` or a `StrEnum` allows; None for any other type."""
    if typing.get_origin(kind) is typing.Literal:
        return tuple(str(word) for word in typing.get_args(kind))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return tuple(member.value for member in kind)
    return None


def closest(word: str, known: typing.Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be, or None; case does not count."""
    return next(iter(nearest(word, known, most=1)), None)


def nearest(word: str, known: typing.Iterable[str], most: int = 3) -> tuple[str, ...]:
    """The known words that `word` may have been meant to be, the nearest first; case does not count."""
    import difflib  # an import that only a mistake has to pay for

    folded = {name.lower(): name for name in sorted(known, reverse=True)}
    return tuple(folded[name] for name in difflib.get_close_matches(word.lower(), folded, n=most, cutoff=0.6))


def _decode(kind: Any, outer: tuple[Any, ...], node: Node, at: Place, where: str, problems: list[Diagnostic]) -> Any:
    """The value, or None after adding to `problems`; `at` is the place of the key that holds the node, `where` its name."""
    bare, extras = unwrap(kind)
    extras = (*outer, *extras)
    origin = typing.get_origin(bare)
    if origin in (types.UnionType, typing.Union):
        return _decode_union(bare, extras, node, at, where, problems)
    if dataclasses.is_dataclass(bare):
        return _decode_class(typing.cast(Any, bare), node, at, where, problems)
    if origin is tuple:
        return _decode_list(bare, node, at, where, problems)
    if origin in (dict, AnyMapping):
        return _decode_mapping(bare, node, at, where, problems)
    if not isinstance(node, Scalar) or node.is_null:
        problems.append(_wrong_type(_described(bare, extras), node, at, where))
        return None
    return _decode_word(bare, extras, node, where, problems)


def _decode_union(kind: Any, extras: tuple[Any, ...], node: Node, at: Place, where: str, problems: list[Diagnostic]) -> Any:
    options = typing.get_args(kind)
    if isinstance(node, Scalar) and node.is_null and types.NoneType in options:
        return None
    open_class = next((option for option in options if getattr(unwrap(option)[0], "OPEN", False)), None)
    if isinstance(node, Scalar) and node.is_null and open_class is not None:
        return unwrap(open_class)[0]()
    options = tuple(option for option in options if option is not types.NoneType)
    fitting = [option for option in options if _shape(option) is type(node)]
    if not fitting:
        if len(options) == 1:
            return _decode(options[0], extras, node, at, where, problems)
        described = " or ".join(_described(*unwrap(option)) for option in options)
        problems.append(_wrong_type(described, node, at, where))
        return None
    # Of several kinds of words the first that fits is taken, so a union names the narrower kind first.
    for option in fitting[:-1]:
        trial: list[Diagnostic] = []
        value = _decode(option, extras, node, at, where, trial)
        if not _errors(trial):
            problems += trial
            return value
    return _decode(fitting[-1], extras, node, at, where, problems)


def _shape(kind: Any) -> type[Any]:
    bare, _ = unwrap(kind)
    origin = typing.get_origin(bare)
    if origin in (types.UnionType, typing.Union):
        return _shape(typing.get_args(bare)[0])
    if dataclasses.is_dataclass(bare) or origin in (dict, AnyMapping):
        return Mapping
    return Sequence if origin is tuple else Scalar


def _decode_class(kind: type[Any], node: Node, at: Place, where: str, problems: list[Diagnostic]) -> Any:
    fields = fields_of(typing.cast(Any, kind))
    if getattr(kind, "OPEN", False) and isinstance(node, Scalar) and node.is_null:
        return kind()  # a block with nothing in it says nothing
    if not isinstance(node, Mapping):
        keys = ", ".join(f"`{field.key}`" for field in fields)
        problems.append(_wrong_type("a mapping", node, at, where, hints=(f"it has the keys {keys}",)))
        return None
    before = _errors(problems)
    known = {field.key: field for field in fields}
    written = {key.text for key, _ in node}
    values: dict[str, Any] = {}
    meant: set[str] = set()
    for key, value in node:
        field = known.get(key.text)
        if field is None:
            guess = closest(key.text, known.keys() - written) or getattr(kind, "OTHER_WORDS", {}).get(key.text)
            if guess:
                meant.add(guess)
            if getattr(kind, "OPEN", False):
                problems.append(_not_read(key, value, guess, where))
                continue
            hint = f"did you mean `{guess}`?" if guess else "known keys: " + ", ".join(f"`{name}`" for name in known)
            inside = f" in `{where}`" if where else ""
            problems.append(_problem("DOC021", "unknown-key", f"unknown key `{key.text}`{inside}", key.place, hints=(hint,)))
            continue
        if getattr(kind, "OPEN", False) and isinstance(value, Scalar) and value.is_null and not field.required:
            continue
        values[field.name] = _decode(field.kind, (), value, key.place, _join(where, key.text), problems)
    for field in fields:
        if field.required and field.key not in written and field.key not in meant:
            inside = f"`{where}` lacks" if where else "missing"
            why = (f"`{field.key}`: {field.about}",) if field.about else ()
            problems.append(_problem("DOC022", "missing-key", f"{inside} the key `{field.key}`", at, why=why))
    return kind(**values) if _errors(problems) == before else None


def _decode_list(kind: Any, node: Node, at: Place, where: str, problems: list[Diagnostic]) -> Any:
    arguments = typing.get_args(kind)
    endless = len(arguments) == 2 and arguments[1] is Ellipsis
    if not isinstance(node, Sequence):
        hints = ("write `[value]`, or one `- value` per line",) if isinstance(node, Scalar) and not node.is_null else ()
        problems.append(_wrong_type("a list", node, at, where, hints=hints))
        return None
    if not endless and len(arguments) != len(node.items):
        message = f"{_subject(where)} must hold {len(arguments)} values, not {len(node.items)}"
        problems.append(_problem("DOC023", "wrong-type", message, node.place))
        return None
    kinds = [arguments[0]] * len(node.items) if endless else arguments
    return tuple(
        _decode(inner, (), item, item.place, f"{where}[{index}]", problems)
        for index, (inner, item) in enumerate(zip(kinds, node.items, strict=True))
    )


def _decode_mapping(kind: Any, node: Node, at: Place, where: str, problems: list[Diagnostic]) -> Any:
    key_kind, value_kind = typing.get_args(kind)
    if not isinstance(node, Mapping):
        problems.append(_wrong_type("a mapping", node, at, where))
        return None
    bare, extras = unwrap(key_kind)
    values: dict[Any, Any] = {}
    for key, value in node:
        name = _decode_word(bare, extras, key, _join(where, key.text), problems, is_key=True)
        decoded = _decode(value_kind, (), value, key.place, _join(where, key.text), problems)
        if name is not None:
            values[name] = decoded
    return values


def _decode_word(bare: Any, extras: tuple[Any, ...], node: Scalar, where: str, problems: list[Diagnostic], is_key: bool = False) -> Any:
    text = node.text
    if choices := choices_of(bare):
        if text in choices:
            return bare(text) if isinstance(bare, type) else text
        guess = closest(text, choices)
        listed = ", ".join(f"`{choice}`" for choice in choices)
        hints = ((f"did you mean `{guess}`?",) if guess else ()) + (f"allowed: {listed}",) if len(choices) > 1 else ()
        message = f"`{text}` is not a known value of {_subject(where)}" if len(choices) > 1 else f"{_subject(where)} must be {listed}"
        problems.append(_problem("DOC024", "bad-value", message, node.place, hints=hints))
        return None
    if bare is str:
        return _decode_text(extras, node, where, problems, is_key)
    if bare is datetime.date:
        try:
            # Python reads more forms of ISO 8601 than we write.
            if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
                return datetime.date.fromisoformat(text)
        except ValueError:
            pass
        problems.append(_problem("DOC024", "bad-value", f"`{text}` is not a date", node.place, hints=("write it like `2027-01-31`",)))
        return None
    pattern = {bool: "true|false", int: "-?(0|[1-9][0-9]*)", float: r"-?(0|[1-9][0-9]*)(\.[0-9]+)?"}.get(bare)
    if pattern is None:
        raise TypeError(f"{bare!r} cannot be decoded")
    if not re.fullmatch(pattern, text) or (node.quoted and not is_key) or len(text) > 40:
        quoted = re.fullmatch(pattern, text) is not None and len(text) <= 40
        problems.append(_wrong_type(_described(bare, extras), node, node.place, where, hints=("remove the quotes",) if quoted else ()))
        return None
    if bare is bool:
        return text == "true"
    number = bare(text)
    for limit in (extra for extra in extras if isinstance(extra, Number)):
        if (limit.minimum is not None and number < limit.minimum) or (limit.maximum is not None and number > limit.maximum):
            message = f"{_subject(where)} is `{text}`, but must be {_limits(limit)}"
            problems.append(_problem("DOC024", "bad-value", message, node.place))
            return None
    return number


def _decode_text(extras: tuple[Any, ...], node: Scalar, where: str, problems: list[Diagnostic], is_key: bool) -> str | None:
    limits = [extra for extra in extras if isinstance(extra, Text)]
    if node.text in ("true", "false") and not (node.quoted or is_key or any(limit.loose for limit in limits)):
        hint = f"quote it where text is meant: `'{node.text}'`"
        problems.append(_wrong_type(_described(str, extras), node, node.place, where, hints=(hint,)))
        return None
    for limit in limits:
        wrong = limit.check(node.text) if limit.check else None
        if wrong is not None or (limit.pattern is not None and not re.fullmatch(limit.pattern, node.text)):
            hints = (f"for example `{limit.example}`",) if limit.example else ()
            subject = "the key" if is_key else _subject(where)
            found = f"`{_short(node.text)}`" if node.text.strip() else "empty"
            message = f"{subject} must be {limit.what}, not {found}"
            problems.append(_problem("DOC024", "bad-value", message, node.place, why=(wrong,) if wrong else (), hints=hints))
            return None
    return node.text


def _described(bare: Any, extras: tuple[Any, ...]) -> str:
    if choices := choices_of(bare):
        return " or ".join(f"`{choice}`" for choice in choices)
    if dataclasses.is_dataclass(bare):
        return "a mapping"
    named = {str: "text", int: "a whole number", float: "a number", bool: "`true` or `false`", datetime.date: "a date like `2027-01-31`"}
    what = next((extra.what for extra in extras if isinstance(extra, Text)), None)
    return what or named.get(bare) or {Mapping: "a mapping", Sequence: "a list", Scalar: "one value"}[_shape(bare)]


def _wrong_type(wanted: str, node: Node, at: Place, where: str, *, hints: tuple[str, ...] = ()) -> Diagnostic:
    found = {Mapping: "a mapping", Sequence: "a list"}.get(type(node))
    place = node.place
    if isinstance(node, Scalar):
        found = "empty" if node.is_null else f"`{_short(node.text)}`"
        place = at if node.is_null else place
    elif node.place.line != at.line:
        place = at  # of a block under a key the key is what a person looks at
    verb = "is empty, but must be" if found == "empty" else "must be"
    tail = "" if found == "empty" else f", not {found}"
    return _problem("DOC023", "wrong-type", f"{_subject(where)} {verb} {wanted}{tail}", place, hints=hints)


def _not_read(key: Scalar, value: Node, guess: str | None, where: str) -> Diagnostic:
    """Of a whole block under a misspelt name it is a warning: what is in it was meant to be judged."""
    severity = Severity.WARNING if guess and isinstance(value, Mapping) else Severity.INFO
    message = f"`{_join(where, key.text)}` is not read: no rule asks for it"
    hints = (f"did you mean `{guess}`?",) if guess else ()
    return Diagnostic(rule="DOC025", name="key-not-read", severity=severity, message=message, place=key.place, hints=hints)


def _limits(limit: Number) -> str:
    if limit.minimum is not None and limit.maximum is not None:
        return f"between {limit.minimum:g} and {limit.maximum:g}"
    return f"at least {limit.minimum:g}" if limit.minimum is not None else f"at most {limit.maximum:g}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "…"


def _subject(where: str) -> str:
    return f"`{where}`" if where else "the file"


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _problem(rule: str, name: str, message: str, place: Place, *, why: tuple[str, ...] = (), hints: tuple[str, ...] = ()) -> Diagnostic:
    return Diagnostic(rule=rule, name=name, severity=Severity.ERROR, message=message, place=place, why=why, hints=hints)
