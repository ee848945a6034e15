"""Licences as SPDX expressions: what makes a text one, how several become one, and which parts of one a list does not admit.

A licence that SPDX does not name is `LicenseRef-…` (SPDX 2.3, annex D). Parsing is done by `license-expression`, which only locking,
building and `check --licences` have: it is imported when it is needed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable
from typing import Any

from aistack.facts.pins import UNREAD

REFERENCE = re.compile(r"LicenseRef-[A-Za-z0-9.-]+")


def normal(text: str) -> str | None:
    """A text as a valid SPDX expression in its normal form, None where it is none: a name that SPDX does not know makes it none."""
    node = parsed(text)
    return None if node is None else _text(node)


def conjunction(texts: Iterable[str]) -> str:
    """All of these expressions at once, each part once and sorted; NOASSERTION where there is none, or one is not valid."""
    wanted = sorted(set(texts))
    node = parsed(" AND ".join(f"({text})" for text in wanted)) if wanted else None
    return UNREAD if node is None else _text(node)


def reference(owner: str, name: str) -> str:
    """A name for a licence of which only its owner has the text: `LicenseRef-OWNER-NAME`."""
    words = (re.sub(r"[^A-Za-z0-9.]+", "-", part.replace("+", "-plus")).strip("-") or "unnamed" for part in (owner, name))
    return f"LicenseRef-{'-'.join(words)}"


def references(text: str) -> tuple[str, ...]:
    """The licences in an expression that SPDX does not name."""
    return tuple(sorted(set(REFERENCE.findall(text))))


def refused(text: str, admitted: Collection[str]) -> tuple[str, ...]:
    """The licences that keep a valid expression from being admitted, none where it is: of `OR` one side is enough.

    A licence `WITH` an exception is admitted as such, or where the licence itself is: an exception only adds permissions.
    """
    return tuple(sorted(set(_refused(parsed(text), admitted))))


def _refused(node: Any, admitted: Collection[str]) -> list[str]:
    licensing = _licensing()
    if isinstance(node, licensing.OR):
        sides = [_refused(side, admitted) for side in node.args]
        return [] if any(not side for side in sides) else [name for side in sides for name in side]
    if isinstance(node, licensing.AND):
        return [name for part in node.args for name in _refused(part, admitted)]
    name = node.render()
    return [] if {name, name.partition(" WITH ")[0]} & set(admitted) else [name]


@functools.cache
def parsed(text: str) -> Any:
    """The expression as `license-expression` holds it, None where it is not valid."""
    from license_expression import ExpressionError, ExpressionParseError

    licensing = _licensing()
    try:
        node = licensing.parse(text, strict=False)
    except (ExpressionError, ExpressionParseError):
        return None
    if node is None or any(not REFERENCE.fullmatch(name) for name in licensing.unknown_license_keys(node)):
        return None
    if any(getattr(symbol, "is_exception", False) for symbol in licensing.license_symbols(node, decompose=False)):
        return None  # an exception is no licence
    return node.flatten() if isinstance(node, (licensing.AND, licensing.OR)) else node


def _text(node: Any) -> str:
    """The expression with the sides of each `AND` and `OR` sorted, and each once; `AND` binds more tightly, so `OR` has brackets."""
    licensing = _licensing()
    if not isinstance(node, (licensing.AND, licensing.OR)):
        return str(node.render())
    parts = sorted({_text(part) for part in node.args})
    if isinstance(node, licensing.OR):
        return " OR ".join(parts)
    return " AND ".join(f"({part})" if " OR " in part and len(parts) > 1 else part for part in parts)


@functools.cache
def _licensing() -> Any:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()
