"""`python -m aistack`: the same as `aistack`."""

from __future__ import annotations

from aistack.cli import main

main()
