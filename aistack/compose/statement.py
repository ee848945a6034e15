"""What the checks of an image found, as an in-toto statement: what policies read, and what is attached to an image when it is pushed.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and
https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md. There is no time in it: equal images give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from aistack.compose.findings import Finding, Outcome

TYPE = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
FINDINGS = "urn:aistack:verify:v1"
"""The extension with every finding in full: the predicate itself knows names only."""


def statement(images: Mapping[str, str], held: Mapping[str, Sequence[Finding]], *, version: str, lock: str | None, strict: bool) -> str:
    """The statement on images (name → manifest digest); `held` are the findings by what they are about (`system`, `app-chat`).

    A system image alone is enough for its apps' findings: it binds them by digest. `lock` is the identity that it was held against,
    `version` that of aistack. What could not be told is among the warnings, as is a `no` that does not condemn.
    """
    passed, warned, failed = list[str](), list[str](), list[str]()
    for about, findings in held.items():
        for finding in findings:
            condemned = finding.condemns(strict=strict)
            into = passed if finding.outcome is Outcome.YES else failed if condemned else warned
            into.append(f"{about}/{finding.name}")
    configuration: list[dict[str, Any]] = [{"uri": f"pkg:pypi/aistack@{version}"}]
    if lock is not None:
        configuration.append({"name": "lock", "digest": {"sha256": lock.removeprefix("sha256:")}})
    predicate = {
        "result": "FAILED" if failed else "WARNED" if warned else "PASSED",
        "configuration": configuration,
        "passedTests": passed,
        "warnedTests": warned,
        "failedTests": failed,
        FINDINGS: {about: [asdict(finding) for finding in findings] for about, findings in held.items()},
    }
    subject = [{"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}} for name, digest in images.items()]
    return json.dumps({"_type": TYPE, "subject": subject, "predicateType": PREDICATE, "predicate": predicate}, indent=2) + "\n"
