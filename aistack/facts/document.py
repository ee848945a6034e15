"""YAML text as nodes that remember their places; scalars stay the text that was written.

Nothing is guessed from a scalar: `12.10` is the text "12.10", `on` is the text "on". Duplicate keys, anchors, aliases,
merges and tags are errors. Reading the file is the caller's work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from aistack.diagnostics import Diagnostic, Fix, Place, Severity


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value, as written (quotes removed); `quoted` tells `null` from `"null"`."""

    text: str
    place: Place
    quoted: bool = False

    @property
    def is_null(self) -> bool:
        """Whether nothing was written (empty, `~` or `null`, unquoted)."""
        return not self.quoted and self.text in ("", "~", "null")


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list of nodes."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys (scalars with their own places) and their nodes, in the file's order."""

    entries: tuple[tuple[Scalar, Node], ...]
    place: Place

    def get(self, key: str) -> Node | None:
        """The node under `key`, or None."""
        return next((node for name, node in self.entries if name.text == key), None)

    def key(self, key: str) -> Scalar | None:
        """The key's own scalar (its place underlines the key), or None."""
        return next((name for name, _ in self.entries if name.text == key), None)

    def __iter__(self) -> Iterator[tuple[Scalar, Node]]:
        return iter(self.entries)


Node = Scalar | Sequence | Mapping


def parse(text: str, file: str) -> tuple[Node | None, tuple[Diagnostic, ...]]:
    """Compose YAML text into nodes; `file` is the name used in places.

    Returns (root, problems). A syntax error gives (None, one problem); duplicate keys and other forbidden constructs are
    reported with their places, all of them, beside a root that ignores them.
    """
    try:
        root = yaml.compose(text, Loader=yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file=file, line=(mark.line if mark else 0) + 1, column=(mark.column if mark else 0) + 1)
        why = (f"{error.context}",) if error.context else ()
        return None, (_problem("DOC001", "yaml-syntax", f"not valid YAML: {error.problem}", place, why),)
    except yaml.YAMLError as error:
        return None, (_problem("DOC001", "yaml-syntax", f"not valid YAML: {error}", Place(file=file, line=1, column=1)),)
    if root is None:
        return None, (_problem("DOC002", "yaml-empty", "the file is empty", Place(file=file, line=1, column=1)),)
    problems = list(_forbidden(text, file))
    return _convert(root, file, problems, set()), tuple(
        sorted(problems, key=lambda found: found.place or Place(file=file, line=0, column=0))
    )


def _forbidden(text: str, file: str) -> Iterator[Diagnostic]:
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        mark = event.start_mark
        assert mark is not None
        place = Place(file=file, line=mark.line + 1, column=mark.column + 1)
        if isinstance(event, yaml.AliasEvent):
            yield _problem(
                "DOC004",
                "yaml-anchor",
                f"alias `*{event.anchor}`: write the value out",
                place,
                ("a recipe is understood alone, line by line",),
            )
        elif isinstance(event, yaml.NodeEvent) and event.anchor:
            yield _problem(
                "DOC004",
                "yaml-anchor",
                f"anchor `&{event.anchor}`: write the value out where it is needed",
                place,
                ("a recipe is understood alone, line by line",),
            )
        if (
            isinstance(event, (yaml.ScalarEvent, yaml.SequenceStartEvent, yaml.MappingStartEvent))
            and event.tag
            and event.tag.startswith(("!", "tag:"))
        ):
            yield _problem("DOC005", "yaml-tag", f"tag `{event.tag}` is not used here", place)
        if (
            isinstance(event, yaml.DocumentStartEvent)
            and event.explicit
            and mark.line > 0
            and text.splitlines()[mark.line].startswith("---")
            and "\n---" in "\n" + "\n".join(text.splitlines()[: mark.line])
        ):
            yield _problem("DOC006", "yaml-documents", "more than one document in the file", place)


def _convert(node: yaml.Node, file: str, problems: list[Diagnostic], seen: set[int]) -> Node:
    mark, end = node.start_mark, node.end_mark
    assert mark is not None and end is not None
    length = max(1, end.column - mark.column) if end.line == mark.line else 1
    place = Place(file=file, line=mark.line + 1, column=mark.column + 1, length=length)
    if id(node) in seen:
        return Scalar("", place, True)
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        return Scalar(node.value, place, node.style is not None)
    if isinstance(node, yaml.SequenceNode):
        return Sequence(tuple(_convert(item, file, problems, seen) for item in node.value), place)
    entries: list[tuple[Scalar, Node]] = []
    first: dict[str, Scalar] = {}
    for key_node, value_node in node.value:
        key = _convert(key_node, file, problems, seen)
        if not isinstance(key, Scalar):
            problems.append(_problem("DOC007", "yaml-key", "a key must be one word", key.place))
            continue
        if key.text == "<<" and not key.quoted:
            problems.append(_problem("DOC004", "yaml-anchor", "merge key `<<`: write the values out", key.place))
            continue
        if key.text in first:
            problems.append(
                _problem(
                    "DOC003",
                    "yaml-duplicate-key",
                    f"`{key.text}` is given twice",
                    key.place,
                    (f"first given at line {first[key.text].place.line}",),
                    (Fix(text="remove one of the two"),),
                )
            )
            continue
        first[key.text] = key
        entries.append((key, _convert(value_node, file, problems, seen)))
    return Mapping(tuple(entries), place)


def _problem(rule: str, name: str, message: str, place: Place, why: tuple[str, ...] = (), fixes: tuple[Fix, ...] = ()) -> Diagnostic:
    return Diagnostic(rule=rule, name=name, severity=Severity.ERROR, message=message, place=place, why=why, fixes=fixes)
