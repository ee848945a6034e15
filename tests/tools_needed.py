"""Tools that a test cannot do without."""

from __future__ import annotations

import os

import pytest

from aistack.host import process


def needs(*tools: str) -> None:
    """Skip a test, visibly, on a machine that lacks a tool; in CI, where everything must be there, fail it."""
    missing = [tool for tool in tools if process.find(tool) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
