"""What files name is there: programs in units and udev's rules, and the files that CDI lends to containers.

systemd.service(5), udev(7), and https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from aistack.compose.findings import Check
from aistack.facts.filesystem import Filesystem
from aistack.values import dataclass

UNITS = tuple(f"{root}/systemd/{kind}/" for root in ("/etc", "/usr/lib", "/usr/local/lib") for kind in ("system", "user"))
UNIT = re.compile(r".*\.(?:service|socket|mount|swap|conf)")
SETTING = re.compile(r"^[ \t]*(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", re.MULTILINE)
COMMAND = re.compile(r"([@\-:+!|]*)\"?([^\s\"]*).*")
EXEC = re.compile(r"Exec(?:Condition|StartPre|Start|StartPost|Reload|Stop|StopPre|StopPost)")
START, STARTING = "ExecStart", re.compile(r"Exec(?:Condition|StartPre|Start)")
CONDITIONS = ("ConditionPathExists", "ConditionFileIsExecutable", "ConditionPathIsDirectory", "ConditionFileNotEmpty")
PULLS = {"Also", "BindsTo", "OnFailure", "OnSuccess", "Requires", "Requisite", "Service", "Sockets", "Unit", "Upholds", "Wants"}
MASK = "/dev/null"
SYSTEMD_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

RULES = tuple(f"{folder}/udev/rules.d/" for folder in ("/etc", "/usr/lib", "/usr/local/lib", "/lib"))
PROGRAM = re.compile(r'\b(?:RUN(?:\{program\})?\+?:?=|PROGRAM[=!]?=|IMPORT\{program\}[=!]?=)\s*"((?:\\.|[^"\\])*)"')
TEST = re.compile(r'\bTEST(?:\{[0-7]+\})?=="([^"]+)"')
UDEV_PATH = ("/usr/lib/udev", "/lib/udev")

CDI_FILE = (".json", ".yaml")
CDI_VERSION, CDI_KIND = (
    re.compile(r"(?:0\.[1-9]\d*|1\.\d+)\.\d+"),
    re.compile(r"[A-Za-z](?:[\w.-]*[A-Za-z0-9])?/[A-Za-z](?:[\w.-]*[A-Za-z0-9])?"),
)
"""What names specifications, which versions there are, and what a kind of devices is called: a vendor and a class."""
CDI = ("/etc/cdi/", "/usr/share/cdi/", "/usr/lib/cdi/", "/var/run/cdi/", "/run/cdi/")
MADE = ("/dev/", "/proc/", "/run/", "/sys/", "/tmp/", "/var/")
"""Folders that are filled when a machine runs."""


def wanted(path: str) -> bool:
    """The files that these checks read."""
    return (path.startswith(UNITS) and bool(UNIT.fullmatch(path))) or path.startswith((*RULES, *CDI))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a unit's file runs: the setting, the characters before the program, and the program as it is named there."""

    path: str
    setting: str
    before: str
    program: str


def started_programs(filesystem: Filesystem) -> Iterator[Command]:
    """The programs of the units that something starts or may enable, and whose conditions hold."""
    texts = {path: (filesystem.text(path) or "").replace("\\\n", " ") for path in sorted(filesystem.texts) if path.startswith(UNITS)}
    started = {_unit(name) for name in _started(filesystem, texts)}
    for path, text in texts.items():
        settings, name = SETTING.findall(text), _unit(re.sub(r"\.d/[^/]+$", "", path))
        guards = [value.lstrip("|") for key, value in settings if key in CONDITIONS]
        skipped = any(not guard.startswith("!") and not _exists(filesystem, guard, ()) for guard in guards)
        if skipped or name not in started or any(filesystem.resolved(folder + name) == MASK for folder in UNITS):
            continue
        for key, value in settings:
            command = COMMAND.fullmatch(value)
            if EXEC.fullmatch(key) and command:
                yield Command(path=path, setting=key, before=command[1], program=command[2])


def needed_programs(said: Iterable[tuple[str, str]]) -> list[str]:
    """The programs that a unit needs to start, by its settings and those of its drop-ins: an empty one takes back what was said before.

    One with `-` before it may fail, but for the first that a unit runs all of whose own may: without it, nothing of the unit happens.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for key, value in said:
        command = COMMAND.fullmatch(value)
        if STARTING.fullmatch(key) and command:
            found[key] = [*found.get(key, ()), (command[1], command[2])] if value else []
    needed = {key: [program for before, program in every if "-" not in before] for key, every in found.items()}
    needed[START] = needed.get(START) or [program for _, program in found.get(START, ())[:1]]
    return [program for every in needed.values() for program in every]


def _units(filesystem: Filesystem) -> list[str]:
    return [
        f"{command.path}: {command.setting} names {command.program}, which {problem}"
        for command in started_programs(filesystem)
        if "-" not in command.before and (problem := unfit(filesystem, command.program, SYSTEMD_PATH))
    ]


def _started(filesystem: Filesystem, texts: Mapping[str, str]) -> Iterator[str]:
    """The units that something starts, or somebody may enable: they are told by links, by each other, and by udev's rules."""
    for path, entry in filesystem.entries.items():
        if entry.kind == "link" and path.startswith(UNITS):
            yield from (path, entry.target)
    for path, text in texts.items():
        if "[Install]" in text:
            yield path
        for key, value in SETTING.findall(text):
            yield from value.split() if key in PULLS else ()
    for path in filesystem.texts:
        if path.startswith(RULES):
            yield from re.findall(r"[\w@.-]+\.service", filesystem.text(path) or "")


def _unit(name: str) -> str:
    """The file of a unit, given as a path or as an instance (`getty@tty1.service`)."""
    return re.sub(r"@[^.]*\.", "@.", name.rpartition("/")[2])


def _rules(filesystem: Filesystem) -> list[str]:
    wrong = []
    for path in sorted(path for path in filesystem.texts if path.startswith(RULES)):
        for line in (filesystem.text(path) or "").replace("\\\n", " ").splitlines():
            if line.lstrip().startswith("#") or any(not _exists(filesystem, test, ()) for test in TEST.findall(line)):
                continue
            programs = (value.split()[0].strip("'") for value in PROGRAM.findall(line) if value.split())
            wrong += [f"{path} names {one}, which {problem}" for one in programs if (problem := unfit(filesystem, one, UDEV_PATH))]
    return wrong


def _exists(filesystem: Filesystem, path: str, folders: Iterable[str]) -> bool:
    """Whether something is there, or may be: what is made later, or has variables in its name, cannot be told."""
    return _untold(path) or any(filesystem.kind(place) for place in _places(filesystem, path, folders))


def unfit(filesystem: Filesystem, program: str, folders: Iterable[str]) -> str:
    """Why a program cannot be run, wherever it is looked for; empty where it can, or where that cannot be told."""
    if _untold(program):
        return ""
    found = [entry for place in _places(filesystem, program, folders) if (entry := filesystem.entries.get(place))]
    files = [entry for entry in found if entry.kind == "file"]
    whole = [entry for entry in files if entry.mode & 0o111]
    if not whole:
        return "may be executed by nobody" if files else "is no file" if found else "is not there"
    missing = [entry.interpreter for entry in whole if not _exists(filesystem, entry.interpreter, ())]
    return f"is a script for {missing[0]}, which is not there" if len(missing) == len(whole) else ""


def _untold(path: str) -> bool:
    return not path or bool(re.search(r"[%$]", path)) or path.startswith(MADE)


def _places(filesystem: Filesystem, path: str, folders: Iterable[str]) -> list[str]:
    return [filesystem.resolved(place) for place in ([path] if path.startswith("/") else [f"{folder}/{path}" for folder in folders])]


def _cdi(filesystem: Filesystem) -> list[str]:
    wrong = []
    for path in sorted(path for path in filesystem.texts if path.startswith(CDI) and path.endswith(CDI_FILE)):
        try:
            specification = yaml.safe_load(filesystem.text(path) or "")
            named = sorted(set(_host_paths(specification)))
        except (yaml.YAMLError, AttributeError, TypeError, ValueError, RecursionError) as error:
            wrong.append(f"{path} is no specification of CDI: {' '.join(str(error).split())}")
            continue
        wrong += (f"{path} {problem}, and is not read" for problem in _refused(specification))
        wrong += [f"{path} lends {file}, which is not there" for file in named if not _exists(filesystem, file, ())]
    return wrong


def _refused(specification: Mapping[str, Any]) -> Iterator[str]:
    """What of a specification's own words makes every program refuse the whole."""
    version, kind, devices = (specification.get(key) for key in ("cdiVersion", "kind", "devices"))
    if not CDI_VERSION.fullmatch(str(version)):
        yield f"says the version {version} (cdiVersion)"
    if not CDI_KIND.fullmatch(str(kind)):
        yield f"says the kind {kind}"
    if not devices or any(device.get("name") in (None, "") for device in devices):
        yield "names no device" if not devices else "has a device without a name"


def _host_paths(specification: Any) -> Iterator[str]:
    """The files that a specification mounts, and the programs that it runs; devices are made when the machine runs."""
    for part in (specification, *specification.get("devices", ())):
        edits = part.get("containerEdits") or {}
        yield from (str(mount.get("hostPath", "")) for mount in edits.get("mounts") or ())
        yield from (str(hook.get("path", "")) for hook in edits.get("hooks") or ())


CHECKS = (
    Check(
        name="unit-programs", description="every program that a unit starts is there, and can be run", look=_units, fatal=False, kernel=True
    ),
    Check(
        name="udev-programs",
        description="every program that a udev rule runs is there, and can be run",
        look=_rules,
        fatal=False,
        kernel=True,
    ),
    Check(name="cdi-files", description="everything that CDI lends to containers is there", look=_cdi, kernel=True),
)
