"""What modprobe loads where its configuration has it run a command in a module's place: `install MODULE COMMAND...`, read and never run.

modprobe gives the command to a shell: https://man7.org/linux/man-pages/man5/modprobe.d.5.html. Commands after each other are followed, and
`&&` and `||` where it is known what succeeds or fails; of branches each is taken. A command that is not known may load anything.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from aistack.facts.kernel_files import module_name
from aistack.facts.kmod import Configuration, normal

OPERATOR = re.compile(r"&&|\|\||;;|[<>]+[&|]?|[;&|()]")
COMPOUND = frozenset({"(", ")", "|", "&", ";;"})
RESERVED = frozenset({"if", "then", "elif", "else", "fi", "while", "until", "do", "done", "{", "}", "!"})
BEFORE = frozenset({"exec", "command", "builtin"})
"""Words before a command that change nothing about what it loads."""
ASSIGNMENT = re.compile(r"\w+=.*", re.DOTALL)
STATUS = {"true": True, ":": True, "false": False}
NOTHING = frozenset(
    {*STATUS, "exit", "return", "echo", "printf", "logger", "test", "[", "sleep", "sync", "touch", "cat", "rm", "mkdir", "rmmod"}
)
"""Commands that load nothing."""
ENDING = ("exit", "return")
OWN_NAME = ("$MODPROBE_MODULE", "${MODPROBE_MODULE}")
"""What modprobe tells its commands; of `$CMDLINE_OPTS`, the options that it was given itself, it has put what they are in its place."""

ONLY_TELLING = frozenset("rncDRVh")
LONG_TELLING = ("--remove", "--show", "--dry-run", "--resolve-alias", "--dump-modversions", "--version", "--help")
"""modprobe's options with which it loads nothing, and how such long ones begin."""
WITH_A_WORD = ("--config", "--dirname", "--set-version", "C", "d", "S")


class Load(NamedTuple):
    """A module that a command loads; `directly` where its own `install` line is passed over."""

    module: str
    directly: bool


def loaded(settings: Configuration, name: str) -> frozenset[str] | None:
    """The modules that may be loaded where that one is asked for, without what these depend on; None: any may be.

    It is asked for as a device's module is: by its own name, whatever `alias` lines say of that. The names in commands are looked up.
    A line that asks for its own module again is taken to load it, though modprobe may give that up.
    """
    found, asked, left = set[str](), {name}, [name]
    while left:
        one = left.pop()
        command = settings.command(one)
        if command is None:
            found.add(one)
            continue
        loads = read(command, one)
        if loads is None:
            return None
        found |= {module for load in loads if load.directly or load.module == name for module in _meant(settings, load.module)}
        more = {module for load in loads if not load.directly for module in _meant(settings, load.module)} - asked
        asked |= more
        left += more
    return frozenset(found)


def called(settings: Configuration, name: str) -> frozenset[str] | None:
    """The modules that `modprobe NAME` may load, as `loaded`."""
    found = [loaded(settings, module) for module in _meant(settings, name)]
    return None if None in found else frozenset().union(*(modules for modules in found if modules))


def _meant(settings: Configuration, name: str) -> frozenset[str]:
    return settings.aliased(name) or frozenset((name,))


def read(command: str, module: str) -> frozenset[Load] | None:
    """What the command of a module's line may load; None: anything."""
    if "`" in command or "$(" in command:
        return None
    try:
        parts = list(_parts(command.replace("$CMDLINE_OPTS", "")))
    except ValueError:  # the shell finds that a quote does not end, and runs nothing
        return frozenset()
    plain = not any(operator in COMPOUND or RESERVED & set(words) for operator, words in parts)
    found: set[Load] = set()
    status: bool | None = True
    for operator, words in parts:
        if plain and ((operator == "&&" and status is False) or (operator == "||" and status is True)):
            continue
        known = operator not in ("&&", "||") or status is not None
        loads, status = _simple(words, module)
        if loads is None:
            return None
        found |= loads
        if plain and known and words and words[0] in ENDING:
            break
        if not known:
            status = None
    return frozenset(found)


def _parts(command: str) -> Iterator[tuple[str, list[str]]]:
    """The simple commands of a line, without their redirections, each with the operator before it. Raises ValueError for an open quote."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    operator, words, redirected = ";", list[str](), False
    for token in lexer:
        if token.startswith("#"):
            break
        if not OPERATOR.match(token):
            words += [] if redirected else [token]
            redirected = False
            continue
        for sign in OPERATOR.findall(token):
            redirected = sign[0] in "<>"
            if not redirected:
                yield operator, words
                operator, words = sign, []
    yield operator, words


def _simple(words: list[str], module: str) -> tuple[frozenset[Load] | None, bool | None]:
    """What one command may load (None: anything), and whether it succeeds (None: it may)."""
    while words and (words[0] in RESERVED | BEFORE or ASSIGNMENT.fullmatch(words[0])):
        words = words[1:]
    if not words:
        return frozenset(), None
    name = words[0].rpartition("/")[2]
    if words[0].startswith("/dev/"):  # `/dev/null` is often written, and cannot be run
        return frozenset(), False
    if name == "modprobe":
        return _modprobe(words[1:], module), None
    if name == "insmod":
        return _loads([word for word in words[1:] if not word.startswith("-")][:1], module, directly=True), None
    return (frozenset(), STATUS.get(name)) if name in NOTHING else (None, None)


def _modprobe(words: list[str], module: str) -> frozenset[Load] | None:
    names: list[str] = []
    directly = every = False
    left = iter(words)
    for word in left:
        if word.startswith("--"):
            if word.startswith(LONG_TELLING):
                return frozenset()
            directly |= word == "--ignore-install"
            every |= word == "--all"
            if word in WITH_A_WORD:
                next(left, None)
        elif word.startswith("-"):
            letters = re.match(r"-([^CdS]*)([CdS]?)(.*)", word, re.DOTALL)
            assert letters
            if ONLY_TELLING & set(letters[1]):
                return frozenset()
            directly |= "i" in letters[1]
            every |= "a" in letters[1]
            if letters[2] and not letters[3]:
                next(left, None)
        else:
            names.append(word)
    return _loads(names if every else names[:1], module, directly=directly)


def _loads(names: Iterable[str], module: str, *, directly: bool) -> frozenset[Load] | None:
    named = [module if name in OWN_NAME else name for name in names]
    if any("$" in name for name in named):
        return None
    return frozenset(Load(module_name(name) or normal(name), directly) for name in named)
