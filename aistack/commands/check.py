"""`aistack check`: judges recipes and snapshots, and says of every other file of ours what can be said about it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aistack.commands import kinds
from aistack.commands.reading import read_text, text_for_snippet, with_keys
from aistack.compose import recipe as recipes
from aistack.compose.recipe import Recipe
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Severity
from aistack.facts.decode import closest, decode
from aistack.facts.document import Mapping as MappingNode
from aistack.facts.document import Node, Scalar, parse, place_of
from aistack.report.text import colour_wanted

if TYPE_CHECKING:
    from aistack.facts.snapshot import Snapshot

SNAPSHOT = kinds.SNAPSHOT

Judge = Callable[[Recipe, Node], tuple[Diagnostic, ...]]
"""What the rules say about a recipe that was read without a problem."""

JudgeSeen = Callable[["Snapshot", Node], tuple[Diagnostic, ...]]
"""The same about a snapshot."""


def check(
    paths: Sequence[Path],
    *,
    output: Literal["text", "json", "sarif"] = "text",
    strict: bool = False,
    locked: bool = False,
    fix: bool = False,
    environment: Mapping[str, str],
    licences: Path | None = None,
) -> ExitCode:
    """Prints what was found in all files; exit 0 when every recipe can be built.

    Findings go to stdout, the summary to stderr. With `strict`, warnings and unknowns fail too; with `locked`, so does a recipe
    without its lock. With `fix`, the best proved fix is made in each file that has one, and the file is judged again. `licences` is
    a site's list of licences, against which the locks beside the recipes are held.
    """

    found: list[Diagnostic] = []
    exit_codes: list[ExitCode] = []
    site = None
    if licences is not None:
        from aistack.commands.admitting import read_list

        site = read_list(licences)

    def judge(path: Path, recipe: Recipe, root: Node) -> tuple[Diagnostic, ...]:
        from aistack.commands.judging import judge_source  # a file that cannot be read needs no rules

        judged = judge_source(recipe, root, environment)
        found = [*judged.diagnostics, *(site(path, recipe, root, judged.stack) if site else ())]
        if locked and judged.stack is not None:
            from aistack.commands.lock import not_current

            found += not_current(path, judged.stack)
        return tuple(found)

    def seen(snapshot: Snapshot, root: Node) -> tuple[Diagnostic, ...]:
        from aistack.commands.judging import judge_seen

        return judge_seen(snapshot, root, environment)

    for path in dict.fromkeys(paths):
        try:
            judged = _judged(path, partial(check_text, file=str(path), judge=partial(judge, path), seen=seen), fix=fix)
            exit_codes.append(verdict(judged, strict=strict))
            found += judged
        except DiagnosticError as error:
            exit_codes.append(error.exit_code)
            found += error.diagnostics
    # "no" outweighs "could not tell": it would stay a no whatever else came to light.
    exit_code = next((code for code in (ExitCode.NO, ExitCode.UNABLE) if code in exit_codes), ExitCode.OK)
    if output == "json":
        from aistack.report import json

        sys.stdout.write(json.render(found, ok=exit_code is ExitCode.OK))
        return exit_code
    if output == "sarif":
        from aistack.commands.explain import explanations
        from aistack.host.catalog_files import load_catalog
        from aistack.report import sarif

        texts = {page.code: page.text for page in explanations(load_catalog(environment))}
        sys.stdout.write(sarif.render(found, texts.get))
        return exit_code
    from aistack.report import terminal

    sys.stdout.write(terminal.render(found, text_for_snippet, colour=colour_wanted(sys.stdout, environment)))
    sys.stdout.flush()
    print(f"{terminal.summary(found)} in {len(paths)} file{'s' * (len(paths) != 1)}", file=sys.stderr)
    return exit_code


def _judged(path: Path, judge: Callable[[str], tuple[Diagnostic, ...]], *, fix: bool) -> tuple[Diagnostic, ...]:
    """What is found in a file; with `fix`, in what is left of it when the best proved fix was made."""
    text = read_text(path)
    found = judge(text)
    if fix:
        from aistack.commands import fixing

        mended = fixing.best(text, found)
        if mended is not None:
            made, after = mended
            found = judge(after)
            fixing.write(path, text, after)
            line = next((f"{change.place.line}: " for change in made.changes if change.place), "")
            print(f"{path}:{line or ' '}{made.text}", file=sys.stderr)
    return found


def verdict(found: Sequence[Diagnostic], *, strict: bool) -> ExitCode:
    """What the findings mean for the exit code."""
    severities = {diagnostic.severity for diagnostic in found}
    if Severity.ERROR in severities or (strict and Severity.WARNING in severities):
        return ExitCode.NO
    if strict and Severity.UNKNOWN in severities:
        return ExitCode.UNABLE
    return ExitCode.OK


def check_text(text: str, file: str, judge: Judge, seen: JudgeSeen) -> tuple[Diagnostic, ...]:
    """Everything that is wrong with one file; its `schema` says what it is.

    A file without one is judged as a snapshot where its keys are those of a snapshot, and read as a recipe otherwise.
    """
    root, problems = parse(text, file)
    if root is None:
        return problems
    schema = root.get("schema") if isinstance(root, MappingNode) else None
    kind = schema.text if isinstance(schema, Scalar) else recipes.SCHEMA
    if isinstance(root, MappingNode) and root.key("schema") is None:
        if (unlike := kinds.unlike_anything(root)) is not None:
            return (*problems, unlike)
        if kinds.is_like_a_snapshot(root):
            problems, root, kind = (*problems, kinds.schema_missing(root)), kinds.with_schema(root, SNAPSHOT), SNAPSHOT
    if kind == SNAPSHOT:
        from aistack.facts.snapshot import Snapshot

        snapshot, more = decode(Snapshot, root)
        if snapshot is None or any(problem.severity is Severity.ERROR for problem in problems):
            return (*problems, *more)
        return (*problems, *more, *seen(snapshot, root))
    if kind == recipes.SCHEMA:
        recipe, more = recipes.read(root)
        if recipe is None or problems:
            return (*problems, *more)
        return judge(with_keys(recipe, root, Path(file).parent), root)
    from aistack.compose import admission
    from aistack.facts.catalog_text import KINDS

    if kind == admission.SCHEMA:
        from aistack.host import python_parts

        python_parts.require()
        return (*problems, *admission.read(root)[1])
    if kind in KINDS:
        return (*problems, *decode(KINDS[kind][0], root)[1])
    return (*problems, _unknown_schema(kind, root, (recipes.SCHEMA, SNAPSHOT, admission.SCHEMA, *KINDS)))


LOCK = "aistack/lock/v1"


def _unknown_schema(kind: str, root: Node, known: tuple[str, ...]) -> Diagnostic:
    guess = closest(kind, known)
    if kind == LOCK:
        hint = "a lock is judged with its recipe: `aistack check RECIPE --locked`"
    else:
        hint = f"did you mean `{guess}`?" if guess else f"a recipe begins with `schema: {recipes.SCHEMA}`"
    place = place_of(root, ("schema",))
    message = f"`{kind}` is no kind of file that this version reads"
    return Diagnostic(rule="REC011", name="schema-unknown", severity=Severity.ERROR, message=message, place=place, hints=(hint,))
