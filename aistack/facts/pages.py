"""Explanation pages of the codes that no rule owns: reading files, finding tools, fetching, building, the command line.

Rules of the catalog and of compose explain themselves. A test compares this table with the codes that stand in the source.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """What `aistack explain CODE` says; the first line of `text` is the summary."""

    code: str
    name: str
    text: str


READING = (
    Page(
        "DOC001",
        "yaml-syntax",
        """The text is not YAML.
The place is where the parser gave up; the mistake often stands a little before it: a bracket or a quote that is not closed,
a tab in the indentation, a missing space after a colon. Nothing else is judged until the text can be read.""",
    ),
    Page("DOC002", "yaml-empty", "The file holds nothing but white space and comments."),
    Page(
        "DOC003",
        "yaml-duplicate-key",
        """A key stands twice in one mapping.
YAML readers differ in which of the two they take, so neither is taken.""",
    ),
    Page(
        "DOC004",
        "yaml-anchor",
        """Anchors, aliases and merge keys are not used.
A file is understood alone, line by line; a value that is meant twice is written twice.""",
    ),
    Page(
        "DOC005",
        "yaml-tag",
        """Tags such as `!!str` are not used.
Values are read as the text that was written: `12.10` stays `12.10` and `on` stays `on`, so there is nothing to force.""",
    ),
    Page("DOC006", "yaml-documents", "A file holds one document; a second `---` line begins another."),
    Page("DOC007", "yaml-key", "A key is one word, not a list or a mapping."),
    Page(
        "DOC008",
        "yaml-size",
        """The file is larger than any file of ours could be.
It is refused before it is read whole, so that a wrong path costs no memory.""",
    ),
    Page(
        "DOC009",
        "yaml-character",
        """The text holds a character that YAML does not allow, or that YAML takes for a line end and editors do not.
A file that was saved in another encoding than UTF-8, or that is no text at all, often shows itself so.""",
    ),
    Page("DOC010", "yaml-depth", "Lists and mappings stand deeper inside each other than in any file of ours."),
    Page("DOC011", "file-missing", "There is no file of that name."),
    Page("DOC012", "file-denied", "The file is there but cannot be opened; nothing is known about what it holds."),
    Page("DOC013", "not-utf8", "Files are read as UTF-8; a byte stands there that no UTF-8 text has."),
    Page(
        "DOC021",
        "unknown-key",
        """A key that this kind of file does not have.
Unknown keys are errors, not ignored: a misspelt key would otherwise be a wish that silently did not count.
`aistack schema KIND` prints every key with its meaning, for people and for editors.""",
    ),
    Page("DOC022", "missing-key", "A key without which the file cannot be understood is not there."),
    Page(
        "DOC023",
        "wrong-type",
        """A value of another shape is expected: one value, a list, a mapping, a number.
Numbers and `true`/`false` are written without quotes.""",
    ),
    Page("DOC024", "bad-value", "The value has the right shape, but is not one that is allowed there."),
    Page(
        "REC001",
        "one-framework",
        """An app runs one framework.
`framework:` is a mapping with one entry, its name and the versions that are welcome: `framework: {vllm: ">=0.11"}`.""",
    ),
    Page("REC002", "model-twice", "An app lists one model twice. Ids of models are compared without case, as the hub does."),
    Page("REC003", "port-twice", "Two apps want one TCP port of the node."),
    Page(
        "REC004",
        "driver-without-accelerator",
        """The recipe names a driver, but no accelerator that it would drive.
Whoever wants the driver wants a device: without `accelerator:` no check would ever look for it.""",
    ),
    Page("REC010", "snapshot-not-judged", "The file describes an existing machine; this version reads such files but does not judge them."),
    Page("REC011", "schema-unknown", "The first key, `schema:`, says what a file is and in which version of its form."),
    Page("REC012", "stack-incomplete", "No rule speaks against the recipe, but the catalog lacks a fact without which it cannot be built."),
    Page("CLI001", "kind-unknown", "The command line names a kind of thing that there is not."),
    Page("CLI002", "page-unknown", "There is no rule or code of that name; `aistack explain` lists all."),
    Page("CLI003", "list-unknown", "`aistack list` knows accelerators, models, frameworks, os, rules and recipes."),
    Page("CLI004", "id-unknown", "The catalog has no entry of that id; `aistack list KIND` lists the ids."),
    Page("CLI005", "component-unknown", "The recipe's stack has no component of that name; the message lists those that it has."),
    Page("CT001", "catalog-schema", "A file in the catalog's folders begins with `schema:`, which says what it is."),
    Page("CT002", "catalog-name", "A catalog file is named after the id in it, so that each fact has one place."),
    Page("CT003", "catalog-twice", "Two data rules have one id: codes are never used twice."),
    Page("CT010", "catalog-missing", "This installation has no catalog, so nothing can be judged; it was damaged or built wrongly."),
)

PAGES = READING
