"""The settings of containers' programs: read as those read them, and leading to what is there.

containers.conf(5), containers-storage.conf(5), containers-registries.conf(5) and containers-policy.json(5); a file that is none keeps
every container from being started.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

from aistack.compose.findings import Check
from aistack.facts.filesystem import Filesystem

SETTINGS = re.compile(
    r"/(?:etc|usr/share)/containers/(?:containers|registries|storage)\.conf"
    r"|/(?:etc|usr/share)/containers/(?:containers|registries)\.conf\.d/[^/]+\.conf"
)
POLICIES = ("/etc/containers/policy.json", "/usr/share/containers/policy.json")
OWN_POLICY = re.compile(r".*/\.config/containers/policy\.json")
"""Where the policy is without which no image is fetched or run, the first counting, and where a user's own is. Only newer podman
looks at the second: containers-policy.json(5)."""
PODMAN = tuple(f"{folder}/podman" for folder in ("/usr/bin", "/usr/local/bin", "/bin"))
MADE = re.compile(r"/(?:etc|run|var)/.*")
"""Where specifications of CDI are put when a machine runs."""


def wanted(path: str) -> bool:
    """The files that this check reads."""
    return path in POLICIES or bool(SETTINGS.fullmatch(path))


def _settings(filesystem: Filesystem) -> list[str]:
    wrong = []
    for path in sorted(path for path in filesystem.texts if SETTINGS.fullmatch(path)):
        try:
            said = tomllib.loads(filesystem.texts[path].decode())
        except (ValueError, RecursionError) as error:
            wrong.append(f"{path} is no TOML: {error}")
            continue
        wrong += (f"{path} {problem}" for problem in _lost(filesystem, said))
    return [*wrong, *_policy(filesystem)]


def _policy(filesystem: Filesystem) -> Iterator[str]:
    """What is wrong with the policy by which podman takes images."""
    path = next((path for path in POLICIES if filesystem.kind(path)), "")
    if not path or filesystem.kind(filesystem.resolved(path)) != "file":
        there = any(filesystem.kind(filesystem.resolved(program)) == "file" for program in PODMAN)
        if there and not any(map(OWN_POLICY.fullmatch, filesystem.entries)):
            yield f"{path or POLICIES[0]} {'leads to no file' if path else 'is not there'}, and without a policy podman takes no image"
    elif (text := filesystem.text(path)) is not None:
        try:
            policy = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield f"{path} is no JSON: {error}"
        else:
            if not isinstance(policy, dict) or not policy.get("default"):
                yield f"{path} has no default"


def _lost(filesystem: Filesystem, said: dict[str, Any]) -> Iterator[str]:
    """What settings of the engine's name that is not there."""
    engine = said.get("engine")
    if not isinstance(engine, dict):
        return
    runtime, folders = engine.get("runtime"), engine.get("cdi_spec_dirs")
    if isinstance(runtime, str) and runtime.startswith("/") and not filesystem.kind(filesystem.resolved(runtime)):
        yield f"has the runtime {runtime}, which is not there"
    folders = [folder for folder in folders if isinstance(folder, str)] if isinstance(folders, list) else []
    if folders and not any(MADE.fullmatch(f"{folder}/") or filesystem.kind(filesystem.resolved(folder)) for folder in folders):
        yield f"has CDI looked for in {', '.join(folders)} alone, which is not there"


CHECKS = (
    Check(
        name="container-settings", description="the settings of podman can be read, and lead to what is there", look=_settings, kernel=True
    ),
)
