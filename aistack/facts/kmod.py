"""What modprobe goes by: its configuration, and the indexes that depmod writes from the modules. Formats of kmod, read as text or bytes.

https://man7.org/linux/man-pages/man5/modprobe.d.5.html, https://man7.org/linux/man-pages/man5/modules.dep.5.html. The form of the indexes
that end in `.bin` is told in kmod's libkmod/libkmod-index.c.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from aistack.values import dataclass

CONFIGURATION = ("/etc/modprobe.d/", "/run/modprobe.d/", "/usr/local/lib/modprobe.d/", "/usr/lib/modprobe.d/", "/lib/modprobe.d/")
SEARCH = ("updates", "built-in")
"""The folders in which depmod looks first for a module of a name, where its configuration says nothing; `built-in` are all others."""

NUMBER = struct.Struct(">I")
INDEX = b"\xb0\x07\xf4\x57"
PREFIX, VALUES, CHILDREN, PLACE = 1 << 31, 1 << 30, 1 << 29, (1 << 28) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """modprobe's lines: modules that are not loaded for a device (`blacklist`), and the commands that are run instead of loading.

    `options` are a module's, in order; `before` what is loaded before a module, if it can be (`softdep MODULE pre: ...`). The names in
    `install` and `before` may be patterns of modules (`nvidia*`). `aliases` are patterns of names and devices, each with its module.
    """

    blacklist: frozenset[str]
    install: Mapping[str, str]
    options: Mapping[str, tuple[str, ...]]
    before: Mapping[str, frozenset[str]]
    aliases: tuple[tuple[str, str], ...] = ()

    def command(self, name: str) -> str | None:
        """What is run instead of loading that module."""
        return next((command for pattern, command in self.install.items() if fnmatchcase(name, pattern)), None)

    def aliased(self, name: str) -> frozenset[str]:
        """The modules that stand for a name or a device, all of them; none where no alias is for it, and the indexes count."""
        return frozenset(module for pattern, module in self.aliases if fnmatchcase(name, pattern))

    def loaded_before(self, name: str) -> frozenset[str]:
        """What is loaded before that module."""
        return frozenset().union(*(others for pattern, others in self.before.items() if fnmatchcase(name, pattern)))


def configuration(texts: Iterable[str]) -> Configuration:
    """The lines of those files; of two `install` for a module the first counts."""
    blacklist, install = set[str](), dict[str, str]()
    options, before = dict[str, tuple[str, ...]](), dict[str, frozenset[str]]()
    aliases: list[tuple[str, str]] = []
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            match line.split():
                case ["blacklist", name, *_]:
                    blacklist.add(normal(name))
                case ["alias", pattern, name, *_]:
                    aliases.append((normal(pattern), normal(name)))
                case ["install", name, first, *more]:
                    install.setdefault(normal(name), " ".join((first, *more)))
                case ["options", name, *words]:
                    options[normal(name)] = (*options.get(normal(name), ()), *words)
                case ["softdep", name, *words]:
                    before[normal(name)] = before.get(normal(name), frozenset()) | set(_before(words))
    return Configuration(blacklist=frozenset(blacklist), install=install, options=options, before=before, aliases=tuple(aliases))


def _before(words: Iterable[str]) -> Iterator[str]:
    """The modules after `pre:`, to the end or to `post:`."""
    wanted = False
    for word in words:
        if word in ("pre:", "post:"):
            wanted = word == "pre:"
        elif wanted:
            yield normal(word)


def normal(name: str) -> str:
    """A module's name, or an alias, as kmod compares them: `_` for `-`, but not in a set of characters (`[0-9]`)."""
    if "[" not in name:
        return name.replace("-", "_")
    return re.sub(r"\[[^]]*\]|-", lambda found: "_" if found[0] == "-" else found[0], name)


def dependencies(lines: Iterable[str]) -> dict[str, frozenset[str]]:
    """The lines of `modules.dep`: a module's path, and the paths of all that it needs."""
    found = {}
    for line in lines:
        path, colon, needed = line.partition(":")
        if colon:
            found[path] = frozenset(needed.split())
    return found


def aliases(lines: Iterable[str]) -> frozenset[tuple[str, str]]:
    """The lines of `modules.alias`: what a device or another name looks like, and the module for it."""
    words = (line.split() for line in lines)
    return frozenset((word[1], word[2]) for word in words if len(word) == 3 and word[0] == "alias")


def index(data: bytes) -> Iterator[tuple[str, str]]:
    """The keys of an index that ends in `.bin`, each with its values. Raises ValueError where it is damaged."""
    if data[:4] != INDEX:
        raise ValueError("it is no index of kmod's")
    try:
        yield from _node(data, _number(data, 8), "")
    except (IndexError, RecursionError, ValueError, struct.error) as error:
        raise ValueError("it is damaged") from error


def _node(data: bytes, place: int, key: str) -> Iterator[tuple[str, str]]:
    flags, place = place, place & PLACE
    if flags & PREFIX:
        end = data.index(b"\0", place)
        key, place = key + data[place:end].decode(), end + 1
    if flags & CHILDREN:
        first, last = data[place], data[place + 1]
        place += 2
        for number in range(first, last + 1):
            child = _number(data, place)
            if child:
                yield from _node(data, child, key + chr(number))
            place += 4
    if flags & VALUES:
        count, place = _number(data, place), place + 4
        for _ in range(count):
            end = data.index(b"\0", place + 4)
            yield key, data[place + 4 : end].decode()
            place = end + 1


def _number(data: bytes, place: int) -> int:
    return int(NUMBER.unpack_from(data, place)[0])


def built_in_aliases(data: bytes) -> Iterator[tuple[str, str]]:
    """The aliases in `modules.builtin.modinfo`, each with its module, as `aliases` has them."""
    for line in data.decode(errors="replace").split("\0"):
        name, _, alias = line.partition(".alias=")
        if alias:
            yield alias, normal(name)


def built_in(data: bytes) -> frozenset[str]:
    """The modules that `modules.builtin.modinfo` describes."""
    return frozenset(normal(line.partition(".")[0]) for line in data.decode(errors="replace").split("\0") if "." in line.partition("=")[0])
