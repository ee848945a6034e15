"""What systemd starts of an image: which file a unit is, what masks it, what is added to it, and what of all that one target starts.

systemd.unit(5) has the folders, the names of drop-ins and the dependencies, kernel-command-line(7) what the kernel's arguments say.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Set
from functools import cached_property

from aistack.compose.checks.cmdline import arguments
from aistack.facts.filesystem import Filesystem
from aistack.values import dataclass

FOLDERS = tuple(
    f"{root}/systemd/{name}"
    for root, name in (
        ("/etc", "system.control"),
        ("/etc", "system"),
        ("/usr/local/lib", "system"),
        ("/usr/lib", "system"),
        ("/lib", "system"),
    )
)
"""Where a system's units lie in an image; the first with a name counts."""
SETTING = re.compile(r"^[ \t]*(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", re.MULTILINE)
NOTHING = "/dev/null"
DEFAULT, RESCUE, EMERGENCY = "default.target", "rescue.target", "emergency.target"
SHELLS = (RESCUE, EMERGENCY)
"""Where a system ends as one shell for whoever sits there."""
WORDS = {
    **dict.fromkeys(("1", "s", "S", "-s", "single", "rescue"), RESCUE),
    **dict.fromkeys(("-b", "emergency"), EMERGENCY),
    **dict.fromkeys(("2", "3", "4"), "multi-user.target"),
    "5": "graphical.target",
}
"""Arguments that choose what is started, beside `systemd.unit=`."""
REQUIRING, WANTING = {"Requires", "BindsTo", "Requisite"}, {"Wants", "Upholds"}
EARLY = "sysinit.target"
"""What every unit but targets needs by itself, unless it has no default dependencies."""
READ = re.compile(rf"(?:{'|'.join(FOLDERS)})/(?:[^/]+\.d/)?[^/]+\.(?:conf|mount|path|service|socket|swap|target|timer)")


def wanted(path: str) -> bool:
    """The files that are read for it."""
    return bool(READ.fullmatch(path))


@dataclass(frozen=True, kw_only=True)
class Units:
    """The units of an image, as its systemd sees them when it starts; what generators make then is not known."""

    filesystem: Filesystem

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """The kernel's arguments."""
        return arguments(self.filesystem)

    def file(self, name: str) -> str:
        """The file that counts for a unit; empty where there is none."""
        return next((path for folder in FOLDERS if self.filesystem.kind(path := f"{folder}/{name}")), "")

    def called(self, name: str) -> str:
        """The unit that a name is for: another's, where its file is a link to that one's name."""
        for _ in range(9):
            path = self.file(name)
            target = self.filesystem.entries[path].target if path and self.filesystem.kind(path) == "link" else ""
            other = target.rpartition("/")[2]
            if not target or target == NOTHING or other == name:
                break
            name = other
        return name

    def masked(self, name: str) -> str:
        """What masks a unit, in words; empty where nothing does."""
        path, said = self.file(name), [word.removeprefix("systemd.mask=") for word in self.arguments if word.startswith("systemd.mask=")]
        if name in said or name.removesuffix(".service") in said:
            return f"the kernel's arguments mask {name}"
        return f"{path} masks {name}" if path and self._is_nothing(path) else ""

    def drop_ins(self, name: str) -> dict[str, str]:
        """The files that are added to a unit, by their paths: for it, for all that begin as it does up to a dash, for all of its kind."""
        stem, _, kind = name.rpartition(".")
        begins = [f"{stem[: match.end()]}.{kind}" for match in re.finditer("-", stem)]
        instance = [re.sub(r"@.*$", "@", stem) + f".{kind}"] if "@" in stem else []
        found: dict[str, str] = {}
        for called in (name, *instance, *reversed(begins), kind):
            for folder in FOLDERS:
                for path in self._below(f"{folder}/{called}.d"):
                    found.setdefault(path.rpartition("/")[2], path)
        return {path: self.filesystem.text(path) or "" for path in sorted(found.values())}

    def settings(self, name: str) -> list[tuple[str, str]]:
        """What a unit's file and its drop-ins say, in order."""
        path = self.file(name)
        texts = ((self.filesystem.text(path) or "") if path else "", *self.drop_ins(name).values())
        return [found for text in texts for found in settings(text)]

    def linked(self, name: str, folder: str) -> dict[str, str]:
        """The units that a unit's `.wants` or `.requires` gives it, each with the link that counts; one to nothing takes it back."""
        found: dict[str, str] = {}
        for place in FOLDERS:
            for path in self._below(f"{place}/{name}.{folder}", ""):
                found.setdefault(path.rpartition("/")[2], path)
        return {unit: path for unit, path in found.items() if not self._is_nothing(path)}

    @property
    def first(self) -> str:
        """The unit that a system starts: the kernel's arguments' last word for it, else the default target."""
        said = DEFAULT
        for word in self.arguments:
            said = word.partition("=")[2] if word.startswith("systemd.unit=") else WORDS.get(word, said)
        return said

    @cached_property
    def started(self) -> frozenset[str]:
        """All units that the first one starts. What needs a masked one is not among them."""
        return self.starts(self.first)

    def starts(self, first: str) -> frozenset[str]:
        """All units that one starts, itself among them; none where it cannot be started."""
        able, asked, left = set[str](), set[str](), [first]
        while left:
            name = self.called(left.pop())
            if name in asked:
                continue
            asked.add(name)
            needed = [*self._needed(name, able)]
            if not any(map(self.masked, needed)):
                able.update(needed)
                left += (*needed, *self._wants(name))
        return frozenset(able)

    def why_not(self, name: str) -> str:
        """What masks a unit, or one that it needs to be started; empty where nothing does."""
        return next((masked for one in self._needed(name, set()) if (masked := self.masked(one))), "")

    def _needed(self, name: str, but: Set[str]) -> Iterator[str]:
        """A unit and all that it needs, the nearest first; not those of `but`, nor what only they need."""
        seen, left = set(but), deque([self.called(name)])
        while left:
            name = left.popleft()
            if name not in seen:
                seen.add(name)
                yield name
                left += map(self.called, self._needs(name))

    def _needs(self, name: str) -> tuple[str, ...]:
        said = self.settings(name)
        own = [unit for key, value in said if key in REQUIRING for unit in value.split()]
        default = all(value.lower() not in ("no", "false", "0", "off") for key, value in said if key == "DefaultDependencies")
        early = (EARLY,) if default and self.file(name) and name.endswith((".service", ".timer", ".socket", ".path")) else ()
        return (*own, *self.linked(name, "requires"), *early)

    def _wants(self, name: str) -> tuple[str, ...]:
        own = [unit for key, value in self.settings(name) if key in WANTING for unit in value.split()]
        return (*own, *self.linked(name, "wants"))

    def _is_nothing(self, path: str) -> bool:
        """Whether a unit's file, or a link for one, is empty or leads to nothing on purpose."""
        end = self.filesystem.resolved(path)
        return end == NOTHING or (self.filesystem.kind(end) == "file" and not self.filesystem.entries[end].size)

    def _below(self, folder: str, ending: str = ".conf") -> Iterator[str]:
        return (path for path in self._folders.get(folder, ()) if path.endswith(ending))

    @cached_property
    def _folders(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in sorted(self.filesystem.entries):
            if path.startswith(FOLDERS):
                found.setdefault(path.rpartition("/")[0], []).append(path)
        return found


def settings(text: str) -> list[tuple[str, str]]:
    """The settings of a unit's file, in order, comments left out."""
    return SETTING.findall(text.replace("\\\n", " "))
