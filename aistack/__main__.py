"""`python -m aistack`."""

from aistack.cli import main

main()
