"""Recipes: what is read, what is refused, and that the JSON Schema says the same."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from plain_yaml import plain

from aistack.compose.recipe import RANGE, Allowance, KernelWish, Recipe, SourceWish, range_problem, read
from aistack.facts.document import Node, parse, place_of
from aistack.facts.schema import schema
from aistack.facts.version import Scheme

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted((ROOT / "recipes").glob("*.yaml"))
SCHEMA = Draft202012Validator(schema(Recipe, title="recipe"))

WHOLE = """\
schema: aistack/recipe/v1
name: whole
arch: amd64
os: debian-13
kernel: {flavor: generic, version: 6.12}
accelerator: {product: nvidia/l4, count: 2}
driver: {version: "550.*", flavor: open}
apps:
  chat:
    framework: {vllm: ">=0.11, <0.20"}
    models: [Qwen/Qwen3-8B]
    args: {max-model-len: 32768, trust: true, plain: }
    environment: {OMP_NUM_THREADS: 4}
    port: 8000
  free: {framework: {nginx: }}
node: {ssh: none, time-zone: America/Argentina/Buenos_Aires, follow: "registry.example:5000/l4:stable", window: "Sat,Sun 22:00..06:00"}
sources:
  - {kind: apt, os: debian-13, uri: "http://archive.example/debian", suites: [trixie], components: [main]}
allow:
  - {rule: NV140, because: lab node, until: 2027-01-31}
"""


def node_of(text: str) -> Node:
    root, problems = parse(text, "recipe.yaml")
    assert problems == ()
    assert root is not None
    return root


def codes(text: str) -> list[tuple[str, int]]:
    recipe, problems = read(node_of(text))
    assert (recipe is None) is bool(problems)
    return [(problem.rule, problem.place.line) for problem in problems if problem.place]


def test_a_whole_recipe() -> None:
    root = node_of(WHOLE)
    recipe, problems = read(root)
    assert problems == ()
    assert recipe is not None
    assert recipe.kernel == KernelWish(flavor="generic", version="6.12")
    assert recipe.apps["chat"].framework_id == "vllm"
    assert recipe.apps["chat"].framework_range == ">=0.11, <0.20"
    assert recipe.apps["chat"].args == {"max-model-len": "32768", "trust": "true", "plain": None}
    assert recipe.apps["free"].framework_range is None
    assert recipe.apps["free"].port is None
    assert recipe.node.time_zone == "America/Argentina/Buenos_Aires"
    uri = "http://archive.example/debian"
    assert recipe.sources == (SourceWish(kind="apt", os="debian-13", uri=uri, suites=("trixie",), components=("main",)),)
    assert recipe.allow == (Allowance(rule="NV140", because="lab node", until=datetime.date(2027, 1, 31)),)
    assert place_of(root, ("apps", "chat", "models", 0)).line == 11
    assert list(SCHEMA.iter_errors(plain(root))) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes(path: Path) -> None:
    root = node_of(path.read_text())
    recipe, problems = read(root)
    assert problems == ()
    assert recipe is not None
    assert recipe.name == path.stem
    assert list(SCHEMA.iter_errors(plain(root))) == []


def test_the_schema_is_valid_and_speaks() -> None:
    Draft202012Validator.check_schema(schema(Recipe, title="recipe"))

    def properties(found: Any) -> Any:
        if isinstance(found, dict):
            for name, value in found.get("properties", {}).items():
                yield name, value
            for value in found.values():
                yield from properties(value)

    undescribed = [name for name, value in properties(SCHEMA.schema) if not value.get("description")]
    assert undescribed == []


BAD = [
    ("name: whole", "name: Whole", ("DOC024", 2)),
    ("name: whole", "name: whole-", ("DOC024", 2)),
    ("name: whole", "name: ../etc", ("DOC024", 2)),
    ("name: whole", f"name: {'a' * 64}", ("DOC024", 2)),
    ("arch: amd64", "arch: x86", ("DOC024", 3)),
    ("os: debian-13", "os: Debian 13", ("DOC024", 4)),
    ("os: debian-13", "", ("DOC022", 1)),
    ("version: 6.12", "version: latest", ("DOC024", 5)),
    ("version: 6.12", "version: '6.*.1'", ("DOC024", 5)),
    ("version: 6.12", "version: '>=6.12,'", ("DOC024", 5)),
    ("version: 6.12", "version: '~=6.12'", ("DOC024", 5)),
    ("version: 6.12", "version: [6.12]", ("DOC023", 5)),
    ("count: 2", "count: 0", ("DOC024", 6)),
    ("count: 2", "count: 2.0", ("DOC023", 6)),
    ("count: 2", "count: '2'", ("DOC023", 6)),
    ("nvidia/l4", "l4", ("DOC024", 6)),
    ("flavor: open", "flavor: free", ("DOC024", 7)),
    ('"550.*"', "550.x", ("DOC024", 7)),
    ("flavor: open", "signing: {key: 'pkcs11:token=a?pin-value=1234', certificate: a.pem}", ("DOC024", 7)),
    ("{vllm:", "{VLLM:", ("DOC024", 10)),
    ("[Qwen/Qwen3-8B]", "[Qwen3-8B]", ("DOC024", 11)),
    ("[Qwen/Qwen3-8B]", "[../../etc]", ("DOC024", 11)),
    ("max-model-len: 32768", "--max-model-len: 32768", ("DOC024", 12)),
    ("trust: true", "trust: {a: b}", ("DOC023", 12)),
    ("OMP_NUM_THREADS: 4", "OMP-NUM: 4", ("DOC024", 13)),
    ("port: 8000", "port: 65536", ("DOC024", 14)),
    ("port: 8000", "health: health", ("DOC024", 14)),
    ("port: 8000", "command: vllm serve", ("DOC023", 14)),
    ("port: 8000", "image: team/app:1", ("DOC024", 14)),
    ("port: 8000", "image: app", ("DOC024", 14)),
    ("port: 8000", "image: https://registry.example/app", ("DOC024", 14)),
    ("port: 8000", "image: user:secret@registry.example/app", ("DOC024", 14)),
    ("port: 8000", "image: registry.example/app@sha256:12", ("DOC024", 14)),
    ("port: 8000", "ports: [8000]", ("DOC021", 14)),
    ("ssh: none", "ssh: password", ("DOC024", 16)),
    (":stable", "", ("DOC024", 16)),
    ("registry.example:5000/", "", ("DOC024", 16)),
    ("22:00..06:00", "22:00-06:00", ("DOC024", 16)),
    ("Sat,Sun", "Samstag", ("DOC024", 16)),
    ("kind: apt", "kind: dnf", ("DOC024", 18)),
    ("http://archive", "http://user:secret@archive", ("DOC024", 18)),
    ("until: 2027-01-31", "until: 31.1.2027", ("DOC024", 20)),
    ("because: lab node", "because: ''", ("DOC024", 20)),
    ("rule: NV140, ", "", ("DOC022", 20)),
]


@pytest.mark.parametrize(("old", "new", "expected"), BAD, ids=[f"{new or old}"[:30] for old, new, _ in BAD])
def test_both_refuse(old: str, new: str, expected: tuple[str, int]) -> None:
    assert WHOLE.count(old) >= 1
    text = WHOLE.replace(old, new, 1)
    assert codes(text) == [expected]
    # `2.0` is a whole number to JSON Schema; a number in quotes is ours to refuse and the schema's too.
    assert new == "count: 2.0" or list(SCHEMA.iter_errors(plain(node_of(text)))) != []


@pytest.mark.parametrize(
    "image",
    [
        "registry.example/team/app",
        "localhost/app:1",
        "localhost:5000/app",
        "host:5000/a/b-c.d__e:V1.2-x",
        f"10.0.0.1/app:1@sha256:{'a' * 64}",
    ],
)
def test_an_image_may_stand_alone_or_beside_a_framework(image: str) -> None:
    text = WHOLE.replace("framework: {nginx: }", f"image: {image}").replace("port: 8000", f"image: {image}")
    root = node_of(text)
    recipe, problems = read(root)
    assert recipe is not None, problems
    assert (recipe.apps["free"].image, recipe.apps["free"].framework_id, recipe.apps["free"].framework_range) == (image, "", None)
    assert (recipe.apps["chat"].image, recipe.apps["chat"].framework_id) == (image, "vllm")
    assert list(SCHEMA.iter_errors(plain(root))) == []
    assert codes(WHOLE.replace("free: {framework: {nginx: }}", "free: {port: 80}")) == [("REC001", 15)]


SOURCES = [
    ("{kind: pip}", [("REC006", 18)]),
    ("{kind: pip, uri: 'https://a.example', suites: [x], signed-by: k}", [("REC007", 18), ("REC007", 18)]),
    ("{kind: apt, signed-by: k, suites: [trixie]}", [("REC006", 18)]),
    ("{kind: apt, uri: 'https://a.example', suites: [./]}", [("REC006", 18)]),
    ("{kind: apt, uri: 'https://a.example', suites: [/], signed-by: k, components: [main]}", [("REC007", 18)]),
    ("{kind: apt, os: debian-14, packages: [podman]}", [("REC006", 18)]),
    ("{kind: apt, os: debian-14, packages: [podman], apps: [free]}", [("REC007", 18)]),
    ("{kind: apt, packages: [podman=5.4.2+ds1-2+b2], apps: [free]}", []),
    ("{kind: apt, suites: [trixie-backports], apps: [fre]}", [("REC008", 18)]),
    ("{kind: apt, suites: ['a b']}", [("DOC024", 18)]),
    ("{kind: apt, packages: ['--option']}", [("DOC024", 18)]),
]


@pytest.mark.parametrize(("source", "expected"), SOURCES, ids=[source[:40] for source, _ in SOURCES])
def test_sources_say_what_counts(source: str, expected: list[tuple[str, int]]) -> None:
    assert codes("\n".join(f"  - {source}" if "archive.example" in line else line for line in WHOLE.splitlines())) == expected


def test_contradictions_are_found_together() -> None:
    text = WHOLE.replace("accelerator: {product: nvidia/l4, count: 2}", "").replace("{nginx: }", "{nginx: , vllm: }, port: 8000")
    assert codes(text) == [("REC004", 7), ("REC001", 15), ("REC003", 15)]


@pytest.mark.parametrize(
    "text",
    ["6.12.*", ">=0.11", "550.144.03", "1.26.3-3+deb13u1", ">=0.11,<0.20", "!=2.5.0", "6.12.107+deb13-cloud-amd64", "7.3~rc7", "2:1.0"],
)
def test_ranges(text: str) -> None:
    assert range_problem()(text) is None


@given(st.text(alphabet="0123456789.*<>=!,~^ ab-+", max_size=12))
def test_the_check_of_ranges_and_their_pattern_agree(text: str) -> None:
    assert (range_problem()(text) is None) is bool(re.fullmatch(RANGE, text.strip()))


@given(st.text(alphabet="0123456789.*<>=!,ab-+~", max_size=12), st.sampled_from(list(Scheme)))
def test_any_range_is_judged_without_an_exception(text: str, scheme: Scheme) -> None:
    said = range_problem(scheme)(text)
    assert said is None or said


lines = WHOLE.splitlines()


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(0, len(lines) - 1), st.sampled_from(["drop", "twice", "tab", "brace", "colon", "null", "cut"])), max_size=4
    )
)
def test_damaged_recipes_give_diagnostics(damages: list[tuple[int, str]]) -> None:
    changed = list(lines)
    for number, how in damages:
        line = changed[number]
        changed[number] = {
            "drop": "",
            "twice": f"{line}\n{line}",
            "tab": f"\t{line}",
            "brace": line.replace("{", "[", 1),
            "colon": line.replace(":", "", 1),
            "null": line.split(":")[0] + ":",
            "cut": line[: len(line) // 2],
        }[how]
    root, problems = parse("\n".join(changed), "recipe.yaml")
    if root is None:
        assert problems
        return
    recipe, more = read(root)
    assert (recipe is None) is bool(more)


def test_a_key_by_another_word_is_told_once() -> None:
    """`reason` for `because`: one diagnostic that joins what is missing with what is unknown."""
    text = WHOLE.replace("because: lab node", "reason: lab node")
    assert [code for code, _ in codes(text)] == ["DOC021"]
