"""The CDI specification's own history: which of its versions brought which field."""

from __future__ import annotations

from collections.abc import Iterable

from aistack.facts.version import Scheme, newest_first

SINCE = {
    "mounts.type": "0.4.0",
    "devicenodes.hostpath": "0.5.0",
    "annotations": "0.6.0",
    "devices.annotations": "0.6.0",
    "intelrdt": "0.7.0",
    "additionalgids": "0.7.0",
    "netdevices": "1.1.0",
    "intelrdt.schemata": "1.1.0",
    "intelrdt.enablemonitoring": "1.1.0",
}
"""Fields of the specification by the release that brought them; a released version of the specification does not change."""


def since(field: str) -> str | None:
    """The version that brought a field, which is named by itself or with what is around it; None for one that was ever there."""
    words = [word for word in field.lower().replace("[]", "").split(".") if word != "containeredits"]
    return next((SINCE[".".join(words[start:])] for start in range(len(words)) if ".".join(words[start:]) in SINCE), None)


def newest(fields: Iterable[str]) -> tuple[str, str] | None:
    """The field that came last, with the version that brought it; None where all of them were ever there."""
    brought = {found: field for field in fields if (found := since(field)) is not None}
    version = next(iter(newest_first(brought, Scheme.RELEASE)), None)
    return (brought[version], version) if version is not None else None
