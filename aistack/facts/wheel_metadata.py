"""The licence of a Python wheel, from its METADATA: what it declares, never what its name suggests.

`License-Expression` is SPDX already (core metadata 2.4). Before it, classifiers and free text were used; of those only what has one meaning
counts: `BSD License` and `Apache Software License` name no version, and say nothing.
"""

from __future__ import annotations

import re
from email.parser import HeaderParser

from aistack.facts import licences
from aistack.facts.pins import UNREAD

CLASSIFIERS = {
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
    "Boost Software License 1.0 (BSL-1.0)": "BSL-1.0",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "Universal Permissive License (UPL)": "UPL-1.0",
    "Zero-Clause BSD (0BSD)": "0BSD",
}
"""The last parts of classifiers that have one meaning."""

WORDS = {
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "2-clause bsd": "BSD-2-Clause",
    "3-clause bsd": "BSD-3-Clause",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "mit license": "MIT",
    "mpl 2.0": "MPL-2.0",
}
"""What authors write in the field `License`, in lower case without commas, where it means one licence."""

PROPRIETARY = "Other/Proprietary License"


def expression(text: str, name: str) -> str:
    """The SPDX expression that a METADATA file declares, NOASSERTION where it declares none that has one meaning.

    A licence of the maker's own, which the classifiers call proprietary, is `LicenseRef-NAME-proprietary`, after the wheel's `name`.
    """
    said = HeaderParser().parsestr(text)
    classifiers = {line.rpartition(" :: ")[2] for line in said.get_all("Classifier", []) if line.startswith("License :: ")}
    field = re.sub(r"[\s,]+", " ", said.get("License") or "").strip()
    for words in (said.get("License-Expression"), field, WORDS.get(field.lower().removeprefix("the "))):
        if words and (found := licences.normal(words)):
            return found
    if classifiers == {PROPRIETARY}:
        return licences.reference(name, "proprietary")
    (only,) = classifiers if len(classifiers) == 1 else ("",)
    return CLASSIFIERS.get(only, UNREAD)
