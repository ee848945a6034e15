"""An inventory as SPDX 2.3 JSON, by spdx-tools.

Files of a model are packages of one file: what SPDX calls a file needs a SHA-1, which no lock has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from aistack.compose.sbom.inventory import CREATED, Inventory, Kind, Part
from aistack.facts.licences import parsed, references
from aistack.facts.pins import UNREAD


def document(inventory: Inventory) -> str:
    """The document's text."""
    from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter
    from spdx_tools.spdx.model import Actor, ActorType, CreationInfo, Document, ExtractedLicensingInfo

    everything = (inventory.subject, *((inventory.origin,) if inventory.origin else ()), *inventory.parts)
    own = {name: part for part in reversed(everything) for name in references(part.licence)}
    made = Document(
        creation_info=CreationInfo(
            spdx_version="SPDX-2.3",
            spdx_id="SPDXRef-DOCUMENT",
            name=inventory.image,
            document_namespace=inventory.serial.urn,
            creators=[Actor(ActorType.TOOL, "aistack")],
            created=datetime.fromisoformat(CREATED).replace(tzinfo=None),
            document_comment=f"made from the lock {inventory.lock}; the time is the same for every lock",
        ),
        packages=[_package(part, inventory.conversion if part is inventory.subject else None) for part in everything],
        relationships=list(_relationships(inventory)),
        extracted_licensing_info=[ExtractedLicensingInfo(name, _where(part), name) for name, part in sorted(own.items())],
    )
    converter = DocumentConverter()  # type: ignore[no-untyped-call]
    return json.dumps(converter.convert(made), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _id(part: Part) -> str:
    return f"SPDXRef-{hashlib.sha256(part.ref.encode()).hexdigest()[:32]}"


def _package(part: Part, comment: str | None) -> Any:
    from spdx_tools.spdx.model import (
        Actor,
        ActorType,
        Checksum,
        ChecksumAlgorithm,
        ExternalPackageRef,
        ExternalPackageRefCategory,
        Package,
        PackagePurpose,
        SpdxNoAssertion,
    )

    purposes = {Kind.OS: "OPERATING_SYSTEM", Kind.APP: "CONTAINER", Kind.MODEL: "OTHER", Kind.LIBRARY: "INSTALL", Kind.FILE: "FILE"}
    purl = [ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", part.purl.to_string())] if part.purl else []
    return Package(
        spdx_id=_id(part),
        name=part.name,
        version=part.version,
        download_location=SpdxNoAssertion(),
        file_name=part.file,
        files_analyzed=False,
        supplier=Actor(ActorType.ORGANIZATION, part.supplier) if part.supplier else SpdxNoAssertion(),
        checksums=[Checksum(ChecksumAlgorithm.SHA256, part.sha256)] if part.sha256 else [],
        source_info=f"built from {part.source.to_string()}" if part.source else None,
        license_declared=SpdxNoAssertion() if part.licence == UNREAD else parsed(part.licence),
        comment=comment,
        external_references=purl,
        primary_package_purpose=PackagePurpose[purposes[part.kind]],
    )


def _relationships(inventory: Inventory) -> Iterator[Any]:
    from spdx_tools.spdx.model import Relationship, RelationshipType

    yield Relationship("SPDXRef-DOCUMENT", RelationshipType.DESCRIBES, _id(inventory.subject))
    holder = inventory.origin or inventory.subject
    if inventory.origin:
        yield Relationship(_id(inventory.subject), RelationshipType.GENERATED_FROM, _id(inventory.origin), inventory.conversion)
    for part in inventory.parts:
        yield Relationship(_id(holder), RelationshipType.CONTAINS, _id(part))


def _where(part: Part) -> str:
    """In place of a text that a lock does not hold: where it stands."""
    if part.source:
        return f"The text is in /usr/share/doc/{part.name}/copyright, and in the source package {part.source.name}."
    if part.kind is Kind.LIBRARY:
        return f"The text is in the dist-info folder of {part.file}."
    return f"The text is published with {part.name}."
