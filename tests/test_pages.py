"""One id space: every code that the program can print has one name and a page."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

from aistack.commands.explain import explanations
from aistack.facts.pages import PAGES
from aistack.host.catalog_files import load_catalog

PACKAGE = Path(__file__).resolve().parent.parent / "aistack"
CODE = re.compile(r"[A-Z]{2,6}[0-9]{3}")
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+|wrong-type")


@cache
def used() -> dict[tuple[str, str], str]:
    """(code, name) of every call that is given both as literals, and one place where it stands."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "pages.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            values = [*node.args, *(keyword.value for keyword in node.keywords)]
            texts = [value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else "" for value in values]
            for code, name in pairwise(texts):
                if CODE.fullmatch(code):
                    assert NAME.fullmatch(name), f"{path}:{node.lineno}: {code} is not followed by its name"
                    found[code, name] = f"{path.relative_to(PACKAGE)}:{node.lineno}"
    return found


def test_every_code_has_one_name_and_a_page() -> None:
    explained = {(page.code, page.name) for page in explanations(load_catalog())}
    missing = {where: pair for pair, where in used().items() if pair not in explained}
    assert missing == {}, "write their pages in facts/pages.py"


def test_every_page_is_of_a_code_that_is_used() -> None:
    known = set(used())
    assert [page.code for page in PAGES if (page.code, page.name) not in known] == []


def test_no_code_and_no_name_twice() -> None:
    pages = explanations(load_catalog())
    assert [code for code, count in Counter(page.code for page in pages).items() if count > 1] == []
    assert [name for name, count in Counter(page.name for page in pages).items() if count > 1] == []
