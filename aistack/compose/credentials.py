"""Passwords and tokens in an image: in the files where programs keep them, in its settings, and in the commands that its history tells.

What is told names the place, never the secret. Variables, paths and words in a secret's place are none: they say where one comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from aistack.compose.findings import Finding, answer, some
from aistack.facts.filesystem import Filesystem

IN_ADDRESS = r"://[^/\s:@$]+:[^/\s@$]+@"
TOKEN = (
    r"\b(?:hf_[A-Za-z0-9]{30,}|gh[oprsu]_[A-Za-z0-9]{36}|github_pat_\w{22,}|glpat-[\w-]{20}|npm_[A-Za-z0-9]{36}|nvapi-[\w-]{40,}"
    r"|xox[abprs]-[\w-]{20,}|sk-[\w-]{32,})|\bBearer +[\w.~+/-]{20,}"
)
"""Forms that only tokens have: Hugging Face's, GitHub's, GitLab's, npm's, NVIDIA's, Slack's and others' as their issuers write them."""
ASSIGNED = (
    r"\b\w*(?:TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY)[\"']?[ =:]+[\"']?"
    r"(?=[^\s\"']*\d)(?=[^\s\"']*[A-Za-z])[^\s\"'$<{/%][^\s\"'$]{15,}"
)
"""A variable that is called like a secret, with a value that looks like one: 16 characters, letters and digits."""
SECRET = re.compile(f"{IN_ADDRESS}|{TOKEN}|{ASSIGNED}")

KEPT: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = tuple(
    (re.compile(path), re.compile(content, re.MULTILINE))
    for path, content in (
        (r".*/\.netrc|/etc/apt/auth\.conf(?:\.d/[^/]+)?", r"^[^#\n]*\bpassword\s+\S"),
        (r".*/\.git-credentials|/etc/pip\.conf|.*/\.(?:config/)?pip/pip\.conf", rf"^[^#;\n]*{IN_ADDRESS}"),
        (r".*/\.docker/config\.json|.*/(?:containers|docker)/auth\.json", r'"(?:auth|identitytoken|registrytoken)"\s*:\s*"[^"]'),
        (r".*/\.aws/credentials", r"^\s*aws_(?:secret_access_key|session_token)\s*=\s*\S"),
        (r".*/\.pypirc", r"^\s*password\s*[=:]\s*\S"),
        (r".*/\.kube/config", r"^[^#\n]*\b(?:token|password|client-key-data):\s*\S"),
        (r".*/\.?huggingface/(?:token|stored_tokens)", r"\bhf_\w"),
        (r"/(?!usr/).*(?:/\.(?:ash|bash|python|zsh)_history|\.env)", SECRET.pattern),
    )
)
"""Files in which programs keep them, and what such a file has when there is one in it."""


def wanted(path: str) -> bool:
    """The files whose contents are read for this alone."""
    return any(place.fullmatch(path) for place, _ in KEPT)


def kept(filesystem: Filesystem) -> Iterator[str]:
    """What files keep, those too that a later layer deletes or replaces: whoever has the image has all of its layers."""
    for path in sorted(filesystem.texts.keys() | filesystem.texts_below.keys()):
        if _holds(path, filesystem.texts.get(path, b"")):
            yield f"{path} holds a password or a token"
        elif any(_holds(path, content) for content in filesystem.texts_below.get(path, ())):
            yield f"{path} holds a password or a token, in a lower layer"


def _holds(path: str, content: bytes) -> bool:
    text = content.decode(errors="replace")
    return any(place.fullmatch(path) and secret.search(text) for place, secret in KEPT)


def settings(environment: Iterable[tuple[str, str]], history: Sequence[str]) -> Finding:
    """The check of what an image's configuration says: the variables that it sets, and the commands that made its layers."""
    wrong = [f"the variable {name} holds a secret" for name, value in environment if SECRET.search(f"{name}={value}")]
    wrong += [f"command {number} of its history holds a secret" for number, text in enumerate(history, 1) if SECRET.search(text)]
    return answer("no-secret-settings", not wrong, "no password and no token in its settings and its history", some(wrong))
