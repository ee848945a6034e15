"""Bills of materials: valid by the libraries' own validators, the same bytes each time, complete against the image."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.json.json_parser import parse_from_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from test_plan import APP, LOCK, MODEL
from tools_needed import needs

from aistack.compose.findings import Outcome
from aistack.compose.lock import encode
from aistack.compose.sbom import complete, documents
from aistack.facts.filesystem import Entry, Filesystem
from aistack.facts.pins import LockedPackage, LockedRoot, LockedWheel

RECIPES = Path(__file__).parent.parent / "recipes"


def package(name: str, version: str, licence: str) -> LockedPackage:
    return LockedPackage(
        name=name,
        version=version,
        arch="amd64",
        sha256=name[0] * 64,
        size=123,
        origin="trixie/main",
        filename=f"pool/{name}_{version}_amd64.deb",
        source=f"{name}-source 1:{version}",
        licence=licence,
    )


PACKAGES = (
    package("bash", "5.2.37-2+b5", "GPL-3.0-or-later AND LicenseRef-bash-permissive"),
    package("dash", "0.5.12-12", "NOASSERTION"),
    package("e2fsprogs", "1:2~rc1", "(BSD-3-Clause OR GPL-2.0-only WITH Linux-syscall-note) AND MIT"),
)
ROOT = LockedRoot(arch="amd64", os="debian-13", packages=PACKAGES)
WHEEL = LockedWheel(
    name="foo-bar", version="1.0+cpu", filename="Foo_Bar-1.0+cpu-py3-none-any.whl", sha256="f" * 64, size=5, licence="Apache-2.0 OR MIT"
)
HUB = dataclasses.replace(MODEL, id="org/hub", revision="a" * 40, licence="LicenseRef-Own", conversion=None)
SAMPLE = dataclasses.replace(
    LOCK,
    roots=(("app-chat", ROOT), ("base", ROOT)),
    apps=(dataclasses.replace(APP, wheels=(WHEEL,)),),
    models=(MODEL, HUB),
)


def read(name: str) -> Any:
    return json.loads(documents(SAMPLE)[name])


def test_one_of_each_format_for_each_image() -> None:
    images = ("base", "app-chat", "model-org--model", "model-org--hub")
    assert list(documents(SAMPLE)) == [f"{image}.{ending}" for image in images for ending in ("spdx.json", "cdx.json")]
    assert list(documents(SAMPLE, ("spdx",))) == [f"{image}.spdx.json" for image in images]


def valid(name: str, text: str, folder: Path) -> None:
    if name.endswith(".cdx.json"):
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
        assert datetime.fromisoformat(json.loads(text)["metadata"]["timestamp"]).tzinfo is not None
    else:
        (folder / name).write_text(text)
        assert validate_full_spdx_document(parse_from_file(str(folder / name)), "SPDX-2.3") == []


@pytest.mark.parametrize("name", documents(SAMPLE))
def test_every_document_is_valid(name: str, tmp_path: Path) -> None:
    valid(name, documents(SAMPLE)[name], tmp_path)


def test_the_same_lock_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock.json"
    lock.write_bytes(encode(SAMPLE))
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Pacific/Chatham", "LC_ALL": "C"}
    argv = [sys.executable, "-m", "aistack", "sbom", lock.name, "-o", "out", "--json"]
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=120)
    written = {Path(row["path"]).name: (tmp_path / row["path"]).read_text() for row in json.loads(done.stdout)["documents"]}
    assert written == {f"node.{name}": text for name, text in documents(SAMPLE).items()}
    other = documents(dataclasses.replace(SAMPLE, memory_mib=1))
    assert all(other[name] != text for name, text in documents(SAMPLE).items()), "another lock, another document"


def test_what_cyclonedx_says_of_a_package_and_a_wheel() -> None:
    document = read("app-chat.cdx.json")
    bash, _, _, wheel = document["components"]
    assert bash["purl"] == "pkg:deb/debian/bash@5.2.37-2%2Bb5?arch=amd64&distro=debian-13"
    assert bash["hashes"] == [{"alg": "SHA-256", "content": "b" * 64}]
    assert bash["licenses"] == [{"expression": PACKAGES[0].licence}]
    assert bash["supplier"] == {"name": "Debian"}
    assert bash["properties"] == [{"name": "io.aistack.size", "value": "123"}]
    assert bash["pedigree"]["ancestors"][0]["purl"].startswith("pkg:deb/debian/bash-source@1:5.2.37-2%2Bb5?arch=source")
    assert wheel["purl"].startswith("pkg:pypi/foo-bar@1.0%2Bcpu?file_name=")
    assert wheel["licenses"] == [{"expression": "Apache-2.0 OR MIT"}]
    assert (document["metadata"]["component"]["name"], document["metadata"]["component"]["version"]) == ("llama.cpp", "0.7.0")
    assert {row["ref"]: len(row.get("dependsOn", ())) for row in document["dependencies"]}["app:llama.cpp"] == 4


def test_what_spdx_says_of_a_package() -> None:
    document = read("base.spdx.json")
    rows = {row["name"]: row for row in document["packages"]}
    assert rows["bash"]["licenseDeclared"] == PACKAGES[0].licence
    assert rows["bash"]["checksums"] == [{"algorithm": "SHA256", "checksumValue": "b" * 64}]
    assert rows["bash"]["supplier"] == "Organization: Debian"
    assert rows["bash"]["sourceInfo"].startswith("built from pkg:deb/debian/bash-source@")
    assert rows["dash"]["licenseDeclared"] == "NOASSERTION"
    (own,) = document["hasExtractedLicensingInfos"]
    assert own["licenseId"] == "LicenseRef-bash-permissive" and "/usr/share/doc/bash/copyright" in own["extractedText"]
    assert document["creationInfo"]["created"] == "2020-01-01T00:00:00Z"


def test_a_converted_model_names_its_source_and_that_it_was_converted() -> None:
    document = read("model-org--model.cdx.json")
    subject = document["metadata"]["component"]
    (published,) = subject["pedigree"]["ancestors"]
    assert subject["name"] == "org/model as gguf"
    assert subject["pedigree"]["notes"] == "converted to gguf in the root `converter-gguf` of the lock by: convert"
    assert [(file["name"], file["hashes"][0]["content"]) for file in published["components"]] == [("w", "f" * 64)]
    assert "components" not in document, "the files are not in the image"
    spdx = read("model-org--model.spdx.json")
    ids = {row["name"]: row["SPDXID"] for row in spdx["packages"]}
    relations = {(row["spdxElementId"], row["relationshipType"], row["relatedSpdxElement"]) for row in spdx["relationships"]}
    assert (ids["org/model as gguf"], "GENERATED_FROM", ids["org/model"]) in relations
    assert (ids["org/model"], "CONTAINS", ids["w"]) in relations


def test_a_model_as_it_was_published() -> None:
    document = read("model-org--hub.cdx.json")
    assert document["metadata"]["component"]["purl"] == f"pkg:huggingface/org/hub@{'a' * 40}"
    assert [part["purl"] for part in document["components"]] == [f"pkg:huggingface/org/hub@{'a' * 40}#w"]
    assert [part["licenses"] for part in document["components"]] == [[{"expression": "LicenseRef-Own"}]]


def image(change: Callable[[dict[str, bytes]], object] = lambda texts: None) -> Filesystem:
    """What is in the sample's app image."""
    rows = [f"Package: {row.name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {row.version}\n" for row in PACKAGES]
    texts = {
        "/var/lib/dpkg/status": "\n".join(rows).encode(),
        "/var/lib/dpkg/info/bash.list": b"/.\n/usr/lib/python3/dist-packages/owned-1.dist-info\n",
        "/usr/lib/python3/dist-packages/owned-1.dist-info": b"",
        "/opt/app/lib/python3.13/site-packages/foo_bar-1.0+cpu.dist-info": b"",
    }
    change(texts)
    return Filesystem(entries={path: Entry(kind="file", mode=0o644, uid=0, gid=0) for path in texts}, texts=texts)


def judged(filesystem: Filesystem, names: tuple[str, ...] = ("app-chat.spdx.json", "app-chat.cdx.json")) -> tuple[Outcome, str]:
    found = complete.check(filesystem, {name: text for name, text in documents(SAMPLE).items() if name in names})
    return found.outcome, found.message


def test_a_complete_bill() -> None:
    assert judged(image()) == (Outcome.YES, "4 packages and wheels, each named by app-chat.cdx.json, app-chat.spdx.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda texts: texts.update({"/var/lib/dpkg/status": texts["/var/lib/dpkg/status"].replace(b"dash", b"ash")}), "deb ash 0.5.12-12"),
        (lambda texts: texts.update({"/usr/lib/python3/dist-packages/more-2.dist-info": b""}), "does not name pypi more 2"),
        (
            lambda texts: texts.pop("/opt/app/lib/python3.13/site-packages/foo_bar-1.0+cpu.dist-info"),
            "names pypi foo-bar 1.0+cpu, which is not",
        ),
    ],
    ids=["another package", "a wheel that nobody locked", "a wheel is missing"],
)
def test_an_incomplete_bill(change: Callable[[dict[str, bytes]], object], said: str) -> None:
    outcome, message = judged(image(change))
    assert outcome is Outcome.NO
    assert said in message


def test_without_a_bill_or_a_database_it_cannot_tell() -> None:
    assert judged(image(), ())[0] is Outcome.UNKNOWN
    assert judged(image(lambda texts: texts.pop("/var/lib/dpkg/status")))[0] is Outcome.UNKNOWN


@pytest.mark.system
def test_a_built_image_and_its_bill_agree(tmp_path: Path) -> None:
    """The web appliance, built with the real tools: every package of both images is in both documents, and nothing else."""
    needs("mmdebstrap", "zstd")
    shutil.copy(RECIPES / "web-appliance.yaml", tmp_path)

    def aistack(*arguments: str) -> Any:
        argv = [sys.executable, "-m", "aistack", *arguments, "--json"]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=2400, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout)

    built = {row["title"]: row for row in aistack("build", "web-appliance.yaml", "--only", "verify")["artifacts"]}
    findings = aistack("verify", "web-appliance.yaml", "--statement", str(tmp_path / "statement.json"))["findings"]
    stated = (tmp_path / "statement.json").read_text()
    assert stated == (Path(built["verify web-appliance"]["where"]) / "verify.intoto.json").read_text()
    digest = built["system-image web-appliance"]["where"].removeprefix("sha256:")
    assert json.loads(stated)["subject"] == [{"name": "image", "digest": {"sha256": digest}}]
    outcomes = {name: [one for one in found if one["name"] == "sbom-complete"] for name, found in findings.items()}
    assert {name: one["outcome"] for name, (one,) in outcomes.items()} == {"system": "yes", "app-web": "yes"}
    folder = Path(built["sbom web-appliance"]["where"])
    for file in folder.glob("*.spdx.json"), folder.glob("*.cdx.json"):
        for path in file:
            valid(path.name, path.read_text(), tmp_path)
    written = aistack("sbom", "web-appliance.yaml", "--format", "cyclonedx")["documents"]
    assert {Path(row["path"]).name for row in written} == {f"web-appliance.{path.name}" for path in folder.glob("*.cdx.json")}
    lock = json.loads((tmp_path / "web-appliance.lock.json").read_text())
    licences = [package["licence"] for name, root in lock["roots"] if name == "base" for package in root["packages"]]
    assert sum(licence != "NOASSERTION" for licence in licences) > 0.8 * len(licences)
