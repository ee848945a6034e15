"""An inventory as CycloneDX 1.6 JSON, by cyclonedx-python-lib."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from aistack.compose.sbom.inventory import CREATED, Inventory, Kind, Part
from aistack.facts.pins import UNREAD

if TYPE_CHECKING:
    from cyclonedx.model.component import Component, Pedigree

SIZE = "io.aistack.size"
"""A property: bytes of the file, for which the format has no place of its own."""


def document(inventory: Inventory) -> str:
    """The document's text."""
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Pedigree
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    parts = [_component(part) for part in inventory.parts]
    if inventory.origin:  # the files are the ancestor's: what they became has digests that no lock knows
        pedigree = Pedigree(ancestors=[_component(inventory.origin, parts=parts)], notes=inventory.conversion)
        subject, parts = _component(inventory.subject, pedigree=pedigree), []
    else:
        subject = _component(inventory.subject)
    metadata = BomMetaData(component=subject, timestamp=datetime.fromisoformat(CREATED))
    bom = Bom(components=parts, serial_number=inventory.serial, metadata=metadata)
    bom.register_dependency(subject, parts)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1) + "\n"


def _component(part: Part, *, parts: Iterable[Component] = (), pedigree: Pedigree | None = None) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType, Pedigree
    from cyclonedx.model.contact import OrganizationalEntity
    from cyclonedx.model.license import LicenseExpression

    types = {
        Kind.OS: ComponentType.OPERATING_SYSTEM,
        Kind.APP: ComponentType.CONTAINER,
        Kind.MODEL: ComponentType.MACHINE_LEARNING_MODEL,
        Kind.LIBRARY: ComponentType.LIBRARY,
        Kind.FILE: ComponentType.FILE,
    }
    if part.source:
        pedigree = Pedigree(ancestors=[Component(name=part.source.name, version=part.source.version, purl=part.source)])
    return Component(
        name=part.name,
        version=part.version,
        type=types[part.kind],
        bom_ref=part.ref,
        supplier=OrganizationalEntity(name=part.supplier) if part.supplier else None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=part.sha256)] if part.sha256 else (),
        licenses=[] if part.licence == UNREAD else [LicenseExpression(part.licence)],
        purl=part.purl,
        properties=[Property(name=SIZE, value=str(part.size))] if part.size is not None else (),
        pedigree=pedigree,
        components=parts,
    )
