"""How often the rules are right: every case under tests/incidents/ judged as `aistack check` does, and counted by topic.

    python tests/score.py [--cases FILE…] [--misses]

A case is a snapshot with the verdict that it deserves (`error`, `warning`, `ok`) and the topics that decide it. Recall of verdicts is the
share of errors that are reported as errors; recall of reasons the share in which an error is about one of the case's topics; a false
alarm is an `ok` that is reported as an error. Warnings on cases that work are counted apart. A known-good stack comes with mutations:
single changes (dotted path to new value) each of which must turn it into an error; they are cases of their own.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aistack.compose.judge_snapshot import judge_snapshot
from aistack.compose.rules import rules
from aistack.diagnostics import Diagnostic, Severity
from aistack.facts.catalog import Catalog
from aistack.facts.decode import decode
from aistack.facts.document import parse, places
from aistack.facts.snapshot import Snapshot
from aistack.host.catalog_files import load_catalog

FOLDER = Path(__file__).parent / "incidents"
TODAY = "2026-11-26"
ORDER = (Severity.ERROR, Severity.WARNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A case and what was said of it; `reported` is `error`, `warning` or `ok`."""

    id: str
    expected: str
    topics: tuple[str, ...]
    reported: str
    reasoned: bool
    said: tuple[Diagnostic, ...]


def cases(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The cases of all files, each followed by its mutations."""
    for file in files:
        for case in yaml.load(file.read_text(), Loader=yaml.CSafeLoader):
            yield case
            for number, mutation in enumerate(case.get("mutations", ()), start=1):
                changed = copy.deepcopy(case["snapshot"])
                for path, value in mutation["set"].items():
                    *folders, last = path.split(".")
                    block = changed
                    for folder in folders:
                        block = block.setdefault(folder, {})
                    block[last] = value
                yield {"id": f"{case['id']}/{number}", "expected": "error", "topic": mutation["topic"], "snapshot": changed}


def judge(case: dict[str, Any], catalog: Catalog, about: Mapping[str, tuple[str, ...]]) -> Judged:
    """What the rules say of one case, from the text of its snapshot on."""
    root, problems = parse(yaml.dump(case["snapshot"], Dumper=yaml.CSafeDumper, sort_keys=False), case["id"])
    assert root is not None, problems
    snapshot, more = decode(Snapshot, root)
    assert snapshot is not None, more
    said = judge_snapshot(snapshot, catalog, places(root), TODAY)
    topics = case["topic"] if isinstance(case["topic"], list) else [case["topic"]]
    reported = next((severity for severity in ORDER if any(found.severity is severity for found in said)), None)
    deciding = [found for found in said if found.severity is reported]
    return Judged(
        id=case["id"],
        expected=case["expected"],
        topics=tuple(topics),
        reported=reported.value if reported else "ok",
        reasoned=any(set(about[found.rule]) & set(topics) for found in deciding),
        said=said,
    )


def share(part: int, whole: int) -> str:
    """`31 of 34 (91 %)`."""
    return f"{part} of {whole} ({100 * part / whole:.0f} %)" if whole else "none"


def table(judged: Sequence[Judged]) -> str:
    """The figures as Markdown: one line for each topic, and all together."""
    by_topic: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        for topic in one.topics:
            by_topic[topic].append(one)
    lines = ["| topic | errors found | for the right reason | false alarms | warnings on what works |", "| --- | --- | --- | --- | --- |"]
    for topic, ones in [*sorted(by_topic.items()), ("**all**", list(judged))]:
        errors, fine = [one for one in ones if one.expected == "error"], [one for one in ones if one.expected == "ok"]
        found = [one for one in errors if one.reported == "error"]
        cells = (
            share(len(found), len(errors)),
            share(sum(one.reasoned for one in found), len(errors)),
            share(sum(one.reported == "error" for one in fine), len(fine)),
            share(sum(one.reported == "warning" for one in fine), len(fine)),
        )
        lines.append(f"| {topic} | {' | '.join(cells)} |")
    return "\n".join(lines)


def wrong(judged: Iterable[Judged]) -> list[Judged]:
    """The cases in which the verdict or the reason is not the deserved one; a warning where `ok` was deserved is not among them."""
    return [
        one
        for one in judged
        if (one.expected == "error" and not (one.reported == "error" and one.reasoned))
        or (one.expected == "ok" and one.reported == "error")
        or (one.expected == "warning" and one.reported != "warning")
    ]


def main() -> None:
    """Print the table, and with --misses each case that was judged wrongly with what was said."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=Path, nargs="*", default=sorted(FOLDER.glob("*.yaml")))
    parser.add_argument("--misses", action="store_true")
    given = parser.parse_args()
    catalog = load_catalog(os.environ)
    about = {rule.code: rule.topics for rule in rules(catalog)}
    everything: list[Judged] = []
    for file in given.cases:
        judged = [judge(case, catalog, about) for case in cases([file])]
        everything += judged
        print(f"## {file.name}\n\n{table(judged)}\n")
    for one in wrong(everything) if given.misses else ():
        print(f"\n{one.id}: {one.expected} ({', '.join(one.topics)}), reported {one.reported}", file=sys.stderr)
        for found in one.said:
            print(f"    {found.severity}[{found.rule}] {found.message}", file=sys.stderr)


if __name__ == "__main__":
    main()
