"""Options and arguments that several verbs have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use what the store holds and no network.")]
ModelsFrom = Annotated[
    Path | None,
    typer.Option("--models-from", metavar="DIR", exists=True, file_okay=False, help="Take models from DIR/ORG/NAME; the digests decide."),
]
WithoutModels = Annotated[bool, typer.Option("--without-models", help="Build everything that needs no weights.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", readable=False, help="The recipe.")]
FirmwareName = Annotated[Literal["uefi", "uefi-secure", "bios"], typer.Option("--firmware", help="How the machine starts.")]


def _reference(text: str) -> str:
    if not re.fullmatch(r"docker://[^/]+/.+|oci:[^:]+:.+", text):
        raise typer.BadParameter(f"{text} is neither docker://HOST/NAME:TAG nor oci:FOLDER:TAG")
    return text


Reference = Annotated[str, typer.Option("--to", metavar="REFERENCE", help="docker://HOST/NAME:TAG or oci:FOLDER:TAG", callback=_reference)]
