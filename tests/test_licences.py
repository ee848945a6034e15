"""Licences as SPDX expressions: from copyright files, from METADATA, and against a list of what is admitted."""

from __future__ import annotations

import pytest

from aistack.facts import dep5, wheel_metadata
from aistack.facts.licences import conjunction, normal, reference, references, refused
from aistack.facts.pins import UNREAD

FORMAT = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"


def copyright_file(*names: str) -> str:
    return "\n".join([FORMAT, *(f"Files: {index}/*\nCopyright: someone\nLicense: {name}\n the text\n" for index, name in enumerate(names))])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Expat", "MIT"),
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("GPL-3.0", "GPL-3.0-only"),
        ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("zlib", "Zlib"),
        ("public-domain", "LicenseRef-public-domain"),
        ("GPL-1+ or Artistic", "Artistic-1.0 OR GPL-1.0-or-later"),
        ("GPL-2+ or Artistic-2.0, and BSD-3-clause", "(Artistic-2.0 OR GPL-2.0-or-later) AND BSD-3-Clause"),
        ("GPL-2+ or Artistic-2.0 and BSD-3-clause", "Artistic-2.0 AND BSD-3-Clause OR GPL-2.0-or-later"),
        ("GPL-2 with Linux-syscall-note exception", "GPL-2.0-only WITH Linux-syscall-note"),
        ("Apache-2.0 with LLVM exception", "Apache-2.0 WITH LLVM-exception"),
        ("GPL-3+ with Autoconf exception", "LicenseRef-tool-GPL-3-plus-with-Autoconf-exception"),
        ("Libtool-exception", "LicenseRef-tool-Libtool-exception"),
        ("BSD-like (see below)", "LicenseRef-tool-BSD-like-see-below"),
        ("Apache-2.0 and/or Expat", "LicenseRef-tool-Apache-2.0-and-or-Expat"),
    ],
)
def test_short_names_of_copyright_files(name: str, expected: str) -> None:
    found = dep5.expression(copyright_file(name), "tool")
    assert found == expected
    assert normal(found) == found


def test_a_copyright_file_names_each_licence_once_and_sorted() -> None:
    text = copyright_file("GPL-2+", "Expat", "Expat or ISC", "ISC or Expat", "Expat and Zlib", "GPL-2+")
    assert dep5.expression(text, "tool") == "GPL-2.0-or-later AND (ISC OR MIT) AND MIT AND Zlib"


def test_a_header_counts_where_no_files_are_named() -> None:
    assert dep5.expression(f"{FORMAT}License: ISC\n", "tool") == "ISC"
    assert dep5.expression(f"{FORMAT}License: see below\n\nFiles: *\nCopyright: someone\nLicense: ISC\n", "tool") == "ISC"


@pytest.mark.parametrize("text", ["", "This package was debianized by somebody.\n\nLicense: GPL-2\n", FORMAT, "\x00\xff"])
def test_prose_says_nothing(text: str) -> None:
    assert dep5.expression(text, "tool") == UNREAD


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("License-Expression: MIT OR Apache-2.0", "Apache-2.0 OR MIT"),
        ("License-Expression: LicenseRef-NVIDIA-Proprietary", "LicenseRef-NVIDIA-Proprietary"),
        ("License: BSD-3-Clause\nClassifier: License :: OSI Approved :: BSD License", "BSD-3-Clause"),
        ("License: Apache License, Version 2.0\nClassifier: License :: OSI Approved :: Apache Software License", "Apache-2.0"),
        ("License: The MIT License", "MIT"),
        ("Classifier: License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License", "MIT"),
        ("License: Proprietary\nClassifier: License :: Other/Proprietary License", "LicenseRef-tool-proprietary"),
        ("License: BSD\nClassifier: License :: OSI Approved :: BSD License", UNREAD),
        ("Classifier: License :: OSI Approved :: MIT License\nClassifier: License :: OSI Approved :: BSD License", UNREAD),
        ("License: the text of a licence that is\n        written out here", UNREAD),
        ("Summary: nothing of the kind", UNREAD),
    ],
)
def test_metadata_of_wheels(said: str, expected: str) -> None:
    text = f"Metadata-Version: 2.4\nName: tool\nVersion: 1\n{said}\n\nLicense: GPL-3.0-only, says the description\n"
    assert wheel_metadata.expression(text, "tool") == expected


@pytest.mark.parametrize(
    ("expression", "admitted", "expected"),
    [
        ("MIT", {"MIT"}, ()),
        ("MIT", {"ISC"}, ("MIT",)),
        ("GPL-2.0-only OR MIT", {"MIT"}, ()),
        ("GPL-2.0-only AND MIT", {"MIT"}, ("GPL-2.0-only",)),
        ("(GPL-2.0-only OR ISC) AND MIT", {"MIT"}, ("GPL-2.0-only", "ISC")),
        ("GPL-2.0-only WITH Linux-syscall-note", {"GPL-2.0-only"}, ()),
        ("GPL-2.0-only WITH Linux-syscall-note", {"GPL-2.0-only WITH Linux-syscall-note"}, ()),
        ("GPL-2.0-only WITH Linux-syscall-note", {"MIT"}, ("GPL-2.0-only WITH Linux-syscall-note",)),
        ("GPL-2.0-or-later", {"GPL-2.0-only"}, ("GPL-2.0-or-later",)),
        ("LicenseRef-tool-own AND MIT", {"MIT", "LicenseRef-tool-own"}, ()),
    ],
)
def test_what_a_list_does_not_admit(expression: str, admitted: set[str], expected: tuple[str, ...]) -> None:
    assert refused(expression, admitted) == expected


def test_what_is_an_expression() -> None:
    assert normal("mit and (isc or zlib)") == "(ISC OR Zlib) AND MIT"
    assert [normal(text) for text in ("", "BSD", "MIT AND", "GPL-2+", "(MIT", "Autoconf-exception-2.0")] == [None] * 6
    assert conjunction([]) == UNREAD
    assert conjunction(["MIT", "no such licence"]) == UNREAD
    assert references(f"MIT AND {reference('tool', 'own one')}") == ("LicenseRef-tool-own-one",)
