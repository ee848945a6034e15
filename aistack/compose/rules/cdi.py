"""Rules about a CDI specification: the file by which a container engine gives devices and driver libraries to a container."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from aistack.compose.rules.situation import Finding, Path, Situation, code_rule
from aistack.facts.cdi import since
from aistack.facts.snapshot import SeenPart, listed
from aistack.facts.version import Scheme, VersionFormatError, agree, key

SPECIFICATION = "https://github.com/cncf-tags/container-device-interface/blob/05ae4b5bb730a036cb3f79477bd6676eea4a8c83/SPEC.md"
GUIDE = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/cdi-support.html"
CHECKED = "2026-11-26"
AT: Path = ("runtime", "cdi")

STANDARD = ("/usr/lib64", "/usr/lib", "/lib64", "/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")
"""Where the toolkit looks for the driver's libraries by itself."""


def _cdi(situation: Situation) -> SeenPart | None:
    part = situation.seen.runtime.get("cdi")
    return part if isinstance(part, SeenPart) else None


def _fields(situation: Situation) -> Iterator[Finding]:
    """A CDI specification must name at least the version that has all of its fields.

    Readers refuse one whose fields are newer than its `cdiVersion`, and one with a field that they do not know. The device is then
    "unresolvable", though its file is there.
    """
    cdi = _cdi(situation)
    if cdi is None or cdi.spec_version is None:
        return
    for field in listed(cdi.fields) or ():
        needed = since(field)
        try:
            too_old = needed is not None and key(cdi.spec_version, Scheme.RELEASE) < key(needed, Scheme.RELEASE)
        except VersionFormatError:
            return
        if too_old:
            yield Finding(
                message=f"the CDI specification names version {cdi.spec_version}, but uses `{field}`, which came with {needed}",
                path=(*AT, "spec_version"),
                label=f"needs {needed} or newer",
                also=(((*AT, "fields"), "used here"),),
                hints=("generate the specification anew: `nvidia-ctk cdi generate` names the least version that fits",),
            )


def _stale(situation: Situation) -> Iterator[Finding]:
    """A CDI specification holds for the driver release that it was generated for.

    It mounts libraries by their full names (`libcuda.so.580.65.06`), which an upgrade of the driver replaces; containers then do not
    start, or start without the driver. Toolkit 1.18 and newer regenerate it by the service nvidia-cdi-refresh; before, that is up to the
    administrator.
    """
    cdi = _cdi(situation)
    user, module = situation.seen.driver.version, situation.seen.driver.module.version
    driver, where = user or module, ("driver", "version") if user else ("driver", "module", "version")
    if cdi is None or driver is None:
        return
    mounted = [found[1] for mount in listed(cdi.mounts) or () if (found := re.search(r"\.so\.(\d{3}(?:\.\d+){1,2})$", mount))]
    for version, name in [(cdi.driver, "driver"), *((one, "mounts") for one in mounted)]:
        if version is not None and agree(version, driver) is False:
            yield Finding(
                message=f"the CDI specification was generated for driver {version}, but {driver} is installed",
                path=(*AT, name),
                label=f"must be {driver}",
                also=((where, f"driver {driver}"),),
                hints=("`nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml`, or restart nvidia-cdi-refresh.service",),
            )
            return


def _mounts(situation: Situation) -> Iterator[Finding]:
    """Every file that a CDI specification mounts must be on the host, or the container does not start."""
    cdi = _cdi(situation)
    if cdi is None or cdi.mounts is None or cdi.host_libraries is None:
        return
    there = listed(cdi.host_libraries) or ()
    names = {PurePosixPath(library).name for library in there}
    missing = [
        mount for mount in listed(cdi.mounts) or () if ".so" in mount and mount not in there and PurePosixPath(mount).name not in names
    ]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        yield Finding(
            message=f"the CDI specification mounts {missing[0]}{more}, which the host does not have",
            path=(*AT, "mounts"),
            label="not on the host",
            also=(((*AT, "host_libraries"), "what the host has"),),
            hints=("generate the specification anew after each change of the driver",),
        )


def _devices(situation: Situation) -> Iterator[Finding]:
    """A device that a container asks for must be in a CDI specification, under its full name.

    Which names there are depends on how the specification was generated: by index, by UUID, and `all`. The toolkit's specification for
    management containers (`management.nvidia.com/gpu`) offers `all` alone, so a single device of that kind is never resolved.
    """
    cdi = _cdi(situation)
    if cdi is None:
        return
    offered = listed(cdi.devices)
    for wanted in listed(cdi.requested) or ():
        kind, _, name = wanted.partition("=")
        management = kind == "management.nvidia.com/gpu" and name not in ("", "all") and offered is None
        if management or (offered is not None and wanted not in offered):
            yield Finding(
                message=f"no CDI specification offers {wanted}",
                path=(*AT, "requested"),
                label=f"offered: {'management.nvidia.com/gpu=all' if management else ', '.join(offered or ()) or 'nothing'}",
                source="https://github.com/NVIDIA/nvidia-container-toolkit/issues/1239" if management else GUIDE,
                checked=CHECKED,
                hints=(
                    ("ask for nvidia.com/gpu devices in workloads; those of management.nvidia.com are for the operator's own containers",)
                    if management
                    else ("`nvidia-ctk cdi list` shows what is offered; generate the specification with the wanted --device-name-strategy",)
                ),
            )


def _search_path(situation: Situation) -> Iterator[Finding]:
    """The toolkit must be told where the driver's libraries lie, if that is no standard place.

    `nvidia-ctk cdi generate` finds the driver's version, but not libcuda.so, on systems that keep it elsewhere (Container-Optimized OS,
    Talos, snaps), and writes no specification.
    """
    cdi, place = _cdi(situation), situation.seen.driver.lib_path
    if cdi is None or place is None or cdi.library_search_path is None:
        return
    told = [path.rstrip("/") for word in listed(cdi.library_search_path) or () for path in word.split(":")]
    if place.rstrip("/") not in (*STANDARD, *told):
        yield Finding(
            message=f"the driver's libraries lie in {place}, where the CDI specification was not told to look",
            path=(*AT, "library_search_path"),
            label=f"needs {place}",
            also=((("driver", "lib_path"), "they lie here"),),
            hints=(f"`nvidia-ctk cdi generate --library-search-path={place}` (toolkit 1.15 and newer)",),
        )


TOPICS = ("cdi",)

RULES = (
    code_rule(
        _fields, "CD101", "cdi-fields", "stack", of="snapshot", topics=("cdi", "runtime-minimum"), source=(SPECIFICATION,), checked=CHECKED
    ),
    code_rule(_stale, "CD102", "cdi-driver", "stack", of="snapshot", topics=TOPICS, source=(GUIDE,), checked=CHECKED),
    code_rule(_mounts, "CD103", "cdi-mounts", "stack", of="snapshot", topics=TOPICS, source=(GUIDE,), checked=CHECKED),
    code_rule(
        _devices,
        "CD104",
        "cdi-devices",
        "stack",
        of="snapshot",
        topics=TOPICS,
        source=(
            GUIDE,
            "https://github.com/NVIDIA/nvidia-container-toolkit/issues/1239",
        ),
        checked=CHECKED,
    ),
    code_rule(
        _search_path,
        "CD105",
        "cdi-library-path",
        "stack",
        of="snapshot",
        topics=TOPICS,
        source=("https://github.com/NVIDIA/nvidia-container-toolkit/issues/735",),
        checked=CHECKED,
    ),
)
