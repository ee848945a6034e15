"""`aistack why`: how a component's version came about, and what spoke against the newer ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence

from aistack.compose.assemble import choices
from aistack.compose.judge import Judgement
from aistack.compose.stack import Choice, Rejection
from aistack.diagnostics import Diagnostic, ExitCode, Severity, refuse
from aistack.facts.decode import closest
from aistack.report.text import printable

SCHEMA = "aistack/why/v1"


def why(wanted: str, judgement: Judgement, *, as_json: bool) -> ExitCode:
    """Prints the story of one component (`vllm`, `chat/torch`, `driver`), or of all of an app's (`chat`).

    Raises DiagnosticError (exit 1) with what is wrong with the recipe, or for a component that the stack has not.
    """
    if judgement.resolution.violations or judgement.resolution.given:
        raise refuse(*(found for found in judgement.diagnostics if found.severity is Severity.ERROR))
    known = choices(judgement.resolution)
    found = tuple(choice for choice in known if wanted in (choice.component, f"{choice.app}/{choice.component}", choice.app))
    if not found:
        names = list(dict.fromkeys(name for choice in known for name in (choice.app, choice.component) if name))
        guess = closest(wanted, names)
        hints = ((f"did you mean `{guess}`?",) if guess else ()) + ("it has: " + ", ".join(f"`{name}`" for name in names),)
        message = f"the stack has no component `{wanted}`"
        raise refuse(Diagnostic(rule="CLI005", name="component-unknown", severity=Severity.ERROR, message=message, hints=hints))
    if as_json:
        items = [dataclasses.asdict(choice) for choice in found]
        print(json.dumps({"schema": SCHEMA, "component": wanted, "choices": items}, indent=2, ensure_ascii=False))
    else:
        for choice in found:
            for line in story(choice, known):
                print(printable(line))
    return ExitCode.OK


def story(choice: Choice, known: Sequence[Choice]) -> Iterator[str]:
    """The choice in lines of text; `known` are all choices, for what pulls a component in."""
    where = f" (app `{choice.app}`)" if choice.app else ""
    yield f"{choice.component} {choice.version}{where}"
    for sentence in choice.why:
        yield f"  because {sentence}"
    for rejections in _runs(choice.rejected):
        yield f"  not {_versions(rejections)}: {rejections[0].rule} `{rejections[0].name}`"
        yield f"    {rejections[0].version}: {rejections[0].reason}"
    if choice.rejected:
        yield f"  so {choice.version} is the newest that fits; `aistack explain {choice.rejected[0].rule}` tells about the rule"
    for pulled in known:
        if (
            pulled is not choice
            and pulled.app == choice.app
            and any(f"{choice.component} {choice.version}" in reason for reason in pulled.why)
        ):
            yield f"  it brings {pulled.component} {pulled.version}"


def _runs(rejected: Sequence[Rejection]) -> list[list[Rejection]]:
    """Rejections in their order, those that follow one another for one rule and one reason together."""
    runs: list[list[Rejection]] = []
    for rejection in rejected:
        if runs and runs[-1][0].rule == rejection.rule and _gist(runs[-1][0]) == _gist(rejection):
            runs[-1].append(rejection)
        else:
            runs.append([rejection])
    return runs


def _gist(rejection: Rejection) -> str:
    """The reason without the sentence that differs from release to release."""
    return rejection.reason.split(": ", 1)[0]


def _versions(rejections: Sequence[Rejection]) -> str:
    if len(rejections) == 1:
        return rejections[0].version
    return f"{rejections[0].version} to {rejections[-1].version} ({len(rejections)} releases)"
