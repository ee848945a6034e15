"""YAML text as nodes that remember their places; scalars stay the text that was written.

Nothing is guessed from a scalar: `12.10` is the text "12.10", `on` is the text "on". Duplicate keys, anchors, aliases,
merges and tags are errors. Reading the file (and saying that it is not UTF-8) is the caller's work.

Nodes are built from the parser's events, one after the other, so that a file nested a million deep costs a diagnostic and
not the stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field

import yaml

from aistack.diagnostics import Diagnostic, Label, Place, Severity
from aistack.values import dataclass

SIZE_LIMIT = 1 << 20
"""A file of more characters is refused: no file of ours comes near, and the parser's memory grows with it."""

DEPTH_LIMIT = 64
"""Lists and mappings inside each other; our deepest file needs 8."""

# What YAML does not allow, the characters that YAML takes for line ends and editors do not (places would be wrong), and the byte
# order mark inside the text. The ranges are few and short on purpose: compiling wide ones costs a cold start ten milliseconds.
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")

_HINTS = (
    ("cannot start any token", "indent with spaces; quote a value that begins with a sign such as `@`, `%` or a backquote"),
    ("mapping values are not allowed", "quote a value that holds a colon and a space; one key per line, all equally indented"),
    ("could not find expected ':'", "write `key: value`, with a space after the colon"),
    ("did not find expected ',' or", "a `{` or `[` is not closed, or a comma is missing"),
    ("did not find expected key", "keys of one mapping start in the same column"),
    ("did not find expected '-' indicator", "items of one list start in the same column, each with `- `"),
    ("unexpected end of stream", "a quote is not closed"),
)


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


LINE_END = re.compile("\r\n|\n|\r")


def split_lines(text: str) -> list[str]:
    """The text's lines without their ends, counted as places count them (LF, CRLF and CR end a line, nothing else does)."""
    return LINE_END.split(text.removeprefix("\ufeff"))


def replaced(text: str, place: Place, replacement: str) -> str:
    """The text with other words at a place of it; all else, comments and line ends included, stays as it is."""
    start = _offset(text, place)
    return text[:start] + replacement + text[start + place.length :]


def added(text: str, root: Node, path: tuple[str | int, ...], value: str) -> str | None:
    """The text with a value under keys that it has not all yet, before the last entry of what has room for them; None where nothing has.

    `root` is what `parse` made of the text; all else in it stays as it is.
    """
    node, keys = root, list(path)
    while isinstance(node, Mapping) and keys and (inner := node.get(str(keys[0]))) is not None:
        node = inner
        keys.pop(0)
    if not isinstance(node, Mapping) or not node.entries or not keys:
        return None
    *outer, last = (str(key) for key in keys)
    entry = "".join(f"{key}: {{" for key in outer) + f"{last}: {value}" + "}" * len(outer)
    before = node.entries[-1][0].place
    start = _offset(text, before)
    if text[_offset(text, node.place)] == "{":
        between = ", "
    elif split_lines(text[:start])[-1].strip(" -"):
        return None  # a key that is written in an uncommon way, after `?`
    else:
        end = LINE_END.search(text)
        between = (end[0] if end else "\n") + " " * (before.column - 1)
    return text[:start] + entry + between + text[start:]


def _offset(text: str, place: Place) -> int:
    start = 1 if text.startswith("\ufeff") else 0
    for _ in range(place.line - 1):
        end = LINE_END.search(text, start)
        assert end is not None
        start = end.end()
    return start + place.column - 1


def parse(text: str, file: str) -> tuple[Node | None, tuple[Diagnostic, ...]]:
    """Compose YAML text into nodes; `file` is the name used in places.

    Returns (root, problems), the problems sorted by place. Text that cannot be read on (syntax, size, depth, control characters)
    gives no root; duplicate keys and other forbidden constructs are all reported, beside a root that ignores them.
    Columns count characters from 1; a byte order mark does not count.
    """
    text = text.removeprefix("\ufeff")
    start = Place(file=file, line=1, column=1)
    if len(text) > SIZE_LIMIT:
        message = f"the file is too large: {len(text)} characters, at most {SIZE_LIMIT} are read"
        return None, (_problem("DOC008", "yaml-size", message, start, hints=("is this the file that you meant?",)),)
    if unwanted := _UNWANTED.search(text):
        lines = split_lines(text[: unwanted.start()])
        place = Place(file=file, line=len(lines), column=len(lines[-1]) + 1)
        message = f"character U+{ord(unwanted.group()):04X} is not allowed in YAML text here"
        return None, (_problem("DOC009", "yaml-character", message, place, hints=("remove it, or save the file as UTF-8 text",)),)
    reader = _Reader(file, split_lines(text))
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if not reader.take(event):
                break
    except yaml.MarkedYAMLError as error:
        reader.problems.append(reader.syntax(error))
        reader.stopped = True
    except yaml.YAMLError as error:
        reader.problems.append(_problem("DOC001", "yaml-syntax", f"not valid YAML: {error}", start))
        reader.stopped = True
    if reader.root is None and not reader.stopped and not reader.problems:
        reader.problems.append(_problem("DOC002", "yaml-empty", "the file is empty", start))
    problems = tuple(sorted(reader.problems, key=lambda found: (found.place or start, found.rule, found.message)))
    return (None if reader.stopped else reader.root), problems


def place_of(root: Node, path: tuple[str | int, ...]) -> Place:
    """The place of the value at `path` (keys and list indexes); where the path ends early, the place of the last key reached."""
    place, node = root.place, root
    for step in path:
        if isinstance(node, Mapping) and isinstance(step, str):
            key, value = node.key(step), node.get(step)
            if key is None or value is None:
                return place
            node = value
            place = key.place if isinstance(value, Mapping | Sequence) else value.place
        elif isinstance(node, Sequence) and isinstance(step, int) and 0 <= step < len(node.items):
            node = node.items[step]
            place = node.place
        else:
            return place
    return place


def places(root: Node) -> dict[tuple[str | int, ...], Place]:
    """Every path of the document with its place: the value's own, or the key's where the value is a list or a mapping."""
    found: dict[tuple[str | int, ...], Place] = {(): root.place}
    waiting: list[tuple[tuple[str | int, ...], Node]] = [((), root)]
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, Mapping):
            for key, value in node:
                found[(*path, key.text)] = key.place if isinstance(value, Mapping | Sequence) else value.place
                waiting.append(((*path, key.text), value))
        elif isinstance(node, Sequence):
            for index, item in enumerate(node.items):
                found[(*path, index)] = item.place
                waiting.append(((*path, index), item))
    return found


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come; `key` waits for its value, `ignored` says that the value is not wanted."""

    place: Place
    is_mapping: bool
    items: list[Node] = field(default_factory=list)
    entries: list[tuple[Scalar, Node]] = field(default_factory=list)
    first: dict[str, Scalar] = field(default_factory=dict)
    key: Scalar | None = None
    ignored: bool = False


@dataclass(slots=True)
class _Reader:
    """Builds nodes from events; `stopped` says that the document cannot be used at all."""

    file: str
    lines: list[str]
    problems: list[Diagnostic] = field(default_factory=list)
    root: Node | None = None
    stopped: bool = False
    _stack: list[_Open] = field(default_factory=list)
    _documents: int = 0

    def take(self, event: yaml.Event) -> bool:
        """Use one event; False means that there is no sense in reading on."""
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                hint = "keep one document in each file: remove the `---` line and what follows it"
                self.problems.append(
                    _problem("DOC006", "yaml-documents", "a second document starts here", self._place(event), hints=(hint,))
                )
                return False
        elif isinstance(event, yaml.AliasEvent):
            self._no_anchor(f"alias `*{event.anchor}`: write the value out", event)
            self._add(Scalar("", self._place(event), True))
        elif isinstance(event, yaml.NodeEvent):
            return self._node(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            done = self._stack.pop()
            self._add(Mapping(tuple(done.entries), done.place) if done.is_mapping else Sequence(tuple(done.items), done.place))
        return True

    def _node(self, event: yaml.NodeEvent) -> bool:
        place = self._place(event)
        if event.anchor:
            self._no_anchor(f"anchor `&{event.anchor}`: write the value out where it is needed", event)
        tag = getattr(event, "tag", None)
        if tag:
            hint = "remove it; quote the value where it must be text"
            self.problems.append(_problem("DOC005", "yaml-tag", f"tag `{tag}` is not used here", place, hints=(hint,)))
        if isinstance(event, yaml.ScalarEvent):
            self._add(Scalar(event.value, place, event.style is not None and event.style != ""))
            return True
        if len(self._stack) >= DEPTH_LIMIT:
            self.problems.append(_too_deep(place))
            self.stopped = True
            return False
        self._stack.append(_Open(place, isinstance(event, yaml.MappingStartEvent)))
        return True

    def _add(self, node: Node) -> None:
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1]
        if not parent.is_mapping:
            parent.items.append(node)
        elif parent.key is None:
            parent.ignored = not self._key(parent, node)
            parent.key = node if isinstance(node, Scalar) else Scalar("", node.place, True)
        else:
            if not parent.ignored:
                parent.entries.append((parent.key, node))
            parent.key = None

    def _key(self, parent: _Open, key: Node) -> bool:
        if not isinstance(key, Scalar):
            self.problems.append(_problem("DOC007", "yaml-key", "a key must be one word, not a list or a mapping", key.place))
            return False
        if key.text == "<<" and not key.quoted:
            self.problems.append(_problem("DOC004", "yaml-anchor", "merge key `<<`: write the values out", key.place, why=_ALONE))
            return False
        if earlier := parent.first.get(key.text):
            message = f"`{key.text}` is given twice"
            label = Label(place=earlier.place, text="first given here")
            hints = ("remove one of the two",)
            self.problems.append(_problem("DOC003", "yaml-duplicate-key", message, key.place, labels=(label,), hints=hints))
            return False
        parent.first[key.text] = key
        return True

    def _no_anchor(self, message: str, event: yaml.Event) -> None:
        self.problems.append(_problem("DOC004", "yaml-anchor", message, self._place(event), why=_ALONE))

    def _place(self, event: yaml.Event) -> Place:
        mark, end = event.start_mark, event.end_mark
        if mark is None or end is None:
            return Place(file=self.file, line=1, column=1)
        if mark.line >= len(self.lines):  # nothing was written, and the parser looked for it behind the end
            return Place(file=self.file, line=len(self.lines), column=len(self.lines[-1]) + 1)
        length = 1
        if end.line == mark.line:
            length = max(1, end.column - mark.column)
        elif isinstance(event, yaml.ScalarEvent):
            length = max(1, len(self.lines[mark.line].rstrip()) - mark.column)
        return Place(file=self.file, line=mark.line + 1, column=mark.column + 1, length=length)

    def syntax(self, error: yaml.MarkedYAMLError) -> Diagnostic:
        """A syntax error, at the place where the parser gave up, with a label where the construct began."""
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        if line >= len(self.lines) or (line == len(self.lines) - 1 and not self.lines[line] and line > 0):
            # The parser stands behind the end of the text: the last line that holds something is what a person looks at.
            line = max((number for number, text in enumerate(self.lines) if text.strip()), default=0)
            column = len(self.lines[line])
        place = Place(file=self.file, line=line + 1, column=column + 1)
        labels: tuple[Label, ...] = ()
        if error.context and error.context_mark and error.context_mark is not mark:
            began = Place(file=self.file, line=error.context_mark.line + 1, column=error.context_mark.column + 1)
            labels = (Label(place=began, text=error.context),) if began != place else ()
        problem = str(error.problem or "cannot be read")
        if "nesting depth" in problem:  # libyaml has a limit of its own since PyYAML 6.0.4, and reads ahead of the events
            return _too_deep(place)
        hints = tuple(hint for sign, hint in _HINTS if sign in problem)
        if "\t" in self.lines[line][: column + 1] and not self.lines[line][:column].strip():
            hints = ("indent with spaces: YAML does not allow tabs",)
        return _problem("DOC001", "yaml-syntax", f"not valid YAML: {problem}", place, labels=labels, hints=hints)


def _too_deep(place: Place) -> Diagnostic:
    return _problem("DOC010", "yaml-depth", f"lists and mappings are nested more than {DEPTH_LIMIT} deep", place)


_ALONE = ("a file is understood alone, line by line",)


def _problem(
    rule: str,
    name: str,
    message: str,
    place: Place,
    *,
    why: tuple[str, ...] = (),
    labels: tuple[Label, ...] = (),
    hints: tuple[str, ...] = (),
) -> Diagnostic:
    return Diagnostic(rule=rule, name=name, severity=Severity.ERROR, message=message, place=place, why=why, labels=labels, hints=hints)
