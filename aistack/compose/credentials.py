"""Passwords and tokens in an image: in the files where programs keep them, in its settings, and in the commands that its history tells.

What is told names the place, never the secret. Variables, paths and words that everybody writes are none: they say where one comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from aistack.compose.checks.cmdline import arguments
from aistack.compose.findings import Finding, answer, some
from aistack.facts.filesystem import Filesystem

IN_ADDRESS = r"://(?P<user>[^/\s:@]*):(?!(?P=user)@)(?P<value>[^/\s@$]+)@"
"""A password in an address, but for one that is its user's name: that is a service's first one, as everybody knows it."""
TOKEN = (
    r"\b(?P<value>hf_[A-Za-z0-9]{30,}|gh[oprsu]_[A-Za-z0-9]{36}|github_pat_\w{22,}|glpat-[\w-]{20}|npm_[A-Za-z0-9]{36}|nvapi-[\w-]{40,}"
    r"|xox[abprs]-[\w-]{20,}|sk-(?=[\w-]*\d)[\w-]{32,})"
)
"""Forms that only tokens have: Hugging Face's, GitHub's, GitLab's, npm's, NVIDIA's, Slack's and others' as their issuers write them."""
BEARER = r"\bBearer +(?=\S*\d)(?P<value>[\w.~+/-]{20,})"
ASSIGNED = (
    r"\b(?!\w*PUBLIC)\w*(?:TOKEN|SECRET(?:_KEY(?:_BASE)?)?|API_?KEY|ACCESS_KEY|PRIVATE_KEY|(?P<word>PASSWORD|PASSWD))[\"']?[ =:]+[\"']?"
    r"(?=[^\s\"']*\d)(?=[^\s\"']*[A-Za-z])(?P<value>(?(word)[^\s\"'$]{8,}|[^\s\"'$]{16,}))"
)
"""A variable that is called like a secret, with a value that looks like one: letters and digits, 16 characters, of a password 8."""
KEY = r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----(?:\s|\\n)*(?P<value>[A-Za-z0-9+/]{16})"
CREDENTIAL = (
    r"\b(?i:set_?credential(?:_binary)?)=[\"']?(?!passwd\.)[\w.-]*(?i:token|secret|passw|passphrase|api[-_.]?key|private)[\w.-]*:"
    r"(?P<value>[^\s\"',]{8,})"
)
"""A credential for units that is called like a secret, in a unit or among the kernel's arguments: systemd.exec(5), systemd(1)."""
FORMS = tuple(re.compile(form) for form in (IN_ADDRESS, TOKEN, BEARER, ASSIGNED, KEY, CREDENTIAL))

HASH = r"\$(?:[1256y]|2[abxy]|7|gy|sha1|argon2\w*)\$"
"""How what crypt(5) makes of a password begins."""
NONE = re.compile(
    rf"(?!{HASH})"
    r"[$<{%`].*|[~.]{0,2}/.*|\[.*\]|@\w+@|__\w+__|\w+://.*|(?:arn|env|file|vault):.*|.*/secrets?/.*|.*\.(?:crt|json|key|p12|pem|txt)"
    r"|.*(?:change[-_]?(?:it|me|this)|default|dummy|example|insert|placeholder|redacted|replace|sample|your[-_]|12345678|([\w*])\1{4}).*"
    r"|(?:admin|demo|guest|none|null|pass|passwd|p[a@]ssw[o0]rd|root|secret|test|token|user)[-_]?\d{0,4}!?|x{3,}|[!*.-]+",
    re.IGNORECASE,
)
"""What stands in a secret's place and is none: a variable or a template, a path or an address, and words that everybody writes there."""

SHOWN = re.compile(
    r"/(?:usr|opt)/(?:.*/)?(?:doc|dummyserver|examples?|fixtures|Templates|testdata|testing|tests?)/.*"
    r"|/usr/share/(?:.*/)?[^/]*snakeoil[^/]*"
    r"|/(?:.*/)?(?:(?:site|dist)-packages/(?:.*/)?(?:examples?|fixtures|testing|tests?)|lib/python3[^/]*/test)/.*"
)
"""Documentation and tests, whose keys and passwords everybody has and nobody trusts."""
MADE_ANEW = re.compile(
    r"/etc/ssh/ssh_host_.*|/etc/ssl/private/ssl-cert-snakeoil\.key|/etc/pki/tls/private/localhost\.key|/etc/munge/munge\.key"
)
"""Keys that packages make up when they are installed: who deletes them has the machine make its own."""

_ROOTS = r"(?:/etc|/usr/(?:local/)?lib|/lib)"
_HOME = r"/(?!usr/)(?:.*/)?"
ENVIRONMENTS = re.compile(
    rf"{_ROOTS}/systemd/.*\.(?:conf|mount|service|socket|swap|timer)|{_ROOTS}/environment\.d/.+"
    r"|(?:/usr/share|/etc|.*/\.config)/containers/systemd/.+"
    r"|/etc/(?:environment|profile|bash\.bashrc|bashrc|csh\.cshrc|zsh/[^/]+)|/etc/(?:conf\.d|default|profile\.d|sysconfig)/.+"
    rf"|{_HOME}\.(?:bash_login|bash_profile|bashrc|profile|zprofile|zshenv|zshrc|config/(?:environment\.d|fish|systemd/user)/.+)"
    rf"|{_HOME}(?:\.(?:ash|bash|python|zsh)_history|\.env|[^/]*\.env)"
)
"""Where programs, services and shells get their variables from, and what was typed into shells."""
ADDRESSES = re.compile(
    r"/etc/apt/(?:sources\.list(?:\.d/.+)?|apt\.conf(?:\.d/.+)?)|/etc/(?:dnf/dnf|pacman|pip|yum)\.conf"
    r"|/etc/(?:pacman\.d|yum\.repos\.d|zypp/repos\.d)/.+"
    r"|/etc/(?:gitconfig|wgetrc)|.*/\.(?:curlrc|gitconfig|git-credentials|wgetrc|config/git/config|git/config)"
    r"|.*/\.(?:config/)?pip/pip\.conf"
    r"|/etc/uv/uv\.toml|.*/\.config/uv/uv\.toml"
)
"""Where programs have the addresses of what they fetch, and of the proxies that they ask."""
ARGUMENTS = r"/usr/lib/bootc/kargs\.d/.+|/(?:etc|usr/lib)/kernel/cmdline"
CREDSTORE = r"/(?:etc|usr/lib|usr/local/lib)/credstore/"
"""Where the kernel's arguments are, which every program may read on a node, and credentials for units: systemd.exec(5)."""
CLOUD = r"/etc/cloud/cloud\.cfg(?:\.d/.+)?|/var/lib/cloud/seed/.+"
COMMENT = re.compile(r"^[ \t]*(?:[#;]|//[ \t]*Acquire\b).*$", re.MULTILINE)

KEPT: tuple[tuple[re.Pattern[str], tuple[re.Pattern[str], ...]], ...] = (
    (ENVIRONMENTS, FORMS),
    (re.compile(f"{ARGUMENTS}|{CREDSTORE}.+"), FORMS),
    (ADDRESSES, tuple(re.compile(form) for form in (IN_ADDRESS, TOKEN))),
    *(
        (re.compile(path), (re.compile(content, re.MULTILINE),))
        for path, content in (
            (r".*/\.netrc|/etc/apt/auth\.conf(?:\.d/[^/]+)?", r"^[^#\n]*\bpassword\s+(?P<value>\S+)"),
            (r"/etc/(?:yum|dnf/dnf)\.conf|/etc/yum\.repos\.d/.+", r"^[ \t]*(?:proxy_)?password[ \t]*=[ \t]*(?P<value>\S+)"),
            (
                r".*/\.docker/config\.json|.*/(?:containers|docker)/auth\.json",
                r'"(?:auth|identitytoken|registrytoken)"\s*:\s*"(?P<value>[^"]+)',
            ),
            (r".*/\.aws/credentials", r"^[ \t]*aws_(?:secret_access_key|session_token)[ \t]*=[ \t]*(?P<value>\S+)"),
            (r".*/gcloud/application_default_credentials\.json", r'"refresh_token"\s*:\s*"(?P<value>[^"]+)'),
            (r".*/\.pypirc", r"^[ \t]*password[ \t]*[=:][ \t]*(?P<value>\S+)"),
            (r".*/\.npmrc|/(?:usr/(?:local/)?)?etc/npmrc", r":_(?:authToken|auth|password)[ \t]*=[ \t]*[\"']?(?P<value>[^\s\"']+)"),
            (
                r".*/\.kube/config|/etc/kubernetes/[^/]+\.(?:conf|kubeconfig)"
                r"|/etc/rancher/k3s/k3s\.yaml|/var/lib/kubelet/(?:.*/)?kubeconfig",
                r"\b(?:token|password|client-key-data)[\"']?:[ \t]*[\"']?(?P<value>[^\s\"',}]+)",
            ),
            (r".*/\.?huggingface/(?:token|stored_tokens)", r"\b(?P<value>hf_\w+)"),
            (r"/etc/rancher/(?:k3s|rke2)/config\.yaml(?:\.d/.+)?", r"^[ \t]*(?:agent-)?token[\"']?:[ \t]*[\"']?(?P<value>[^\s\"'#]+)"),
            (r"/var/lib/rancher/(?:k3s|rke2)/server/(?:agent-|node-)?token", r"(?P<value>\S+)"),
            (
                r"/(?:etc|usr/lib)/NetworkManager/system-connections/.+",
                r"^[ \t]*(?:psk|pin|wep-key\d|(?:\w+-)*password)[ \t]*=[ \t]*(?P<value>\S+)",
            ),
            (r"/etc/netplan/.+|/(?:usr/)?lib/netplan/.+", r"\b(?:password|private-key-password)[\"']?:[ \t]*[\"']?(?P<value>[^\s\"'#,}]+)"),
            (r"/etc/wpa_supplicant/.+", r"^[ \t]*(?:psk|password|private_key_passwd)=\"?(?P<value>[^\s\"]+)"),
            (r"/var/lib/iwd/.+", r"^[ \t]*(?:Passphrase|PreSharedKey)[ \t]*=[ \t]*(?P<value>\S+)"),
            (r"/etc/ppp/(?:chap|pap)-secrets", r"^[ \t]*[^\s#]\S*[ \t]+\S+[ \t]+\"?(?P<value>[^\s\"]+)"),
            (CLOUD, r"\b(?:(?:hashed_|plain_text_)?passwd|password)[\"']?:[ \t]+[\"']?(?!R(?:ANDOM)?\b)(?P<value>[^\s\"'#,}]+)"),
            (
                CLOUD,
                r"\bchpasswd:[ \t]*\n(?:[ \t]+\S.*\n|[ \t]*\n)*?[ \t]+(?:- +)?[a-z_][\w.-]*:(?!R(?:ANDOM)?\b)(?P<value>[^\s:]\S*)",
            ),
            (r"/etc/sssd/(?:sssd\.conf|conf\.d/.+)", r"^[ \t]*ldap_default_authtok[ \t]*=[ \t]*(?P<value>\S+)"),
            (r"/etc/(?:nslcd|ldap|pam_ldap|libnss-ldap)\.conf|/etc/ldap/ldap\.conf", r"^[ \t]*(?:root)?bindpw[ \t]+(?P<value>\S+)"),
            (r".*/\.ngc/config", r"^[ \t]*apikey[ \t]*=[ \t]*(?P<value>\S+)"),
            (
                r".*/\.?rclone\.conf",
                r"(?:^[ \t]*(?!ask_)\w*(?:pass\w*|secret\w*|key)[ \t]*=[ \t]*|\"(?:access|refresh)_token\"\s*:\s*\")(?P<value>[^\s\"]+)",
            ),
            (r".*/\.?kaggle/kaggle\.json", r'"key"\s*:\s*"(?P<value>[^"]+)'),
            (r".*/\.config/gh/hosts\.yml", r"\boauth_token:[ \t]*(?P<value>\S+)"),
            (r".*/\.azure/(?:msal_token_cache|accessTokens)\.json", r'"(?:secret|accessToken|refreshToken)"\s*:\s*"(?P<value>[^"]+)'),
            (ARGUMENTS, r"\brd\.iscsi\.(?:in\.)?password=(?P<value>[^\s\"',]+)"),
            (rf"{CREDSTORE}(?!passwd\.)[^/]*(?i:token|secret|passw|passphrase|api[-_.]?key|private)[^/]*", r"(?P<value>\S+)"),
            (r"/etc/wireguard/.+|/etc/systemd/network/.+", r"^[ \t]*(?:PrivateKey|PresharedKey)[ \t]*=[ \t]*(?P<value>[A-Za-z0-9+/]{43}=)"),
            (r"/etc/wireguard/.*priv[^/]*", r"^(?P<value>[A-Za-z0-9+/]{43}=)$"),
            (r"/etc/munge/munge\.key|/(?:etc|var)/(?:.*/)?slurm[^/]*/(?:.*/)?(?:jwt(?:_hs256)?|slurm)\.key", r"(?P<value>[\S\s]+)"),
        )
    ),
)
"""Files in which programs keep them, and the forms that one has there."""


def wanted(path: str) -> bool:
    """The files whose contents are read for this alone."""
    return WANTED.fullmatch(path) is not None


WANTED = re.compile("|".join(f"(?:{place.pattern})" for place, _ in KEPT))


def kept(filesystem: Filesystem) -> Iterator[str]:
    """What files keep, those too that a later layer deletes or replaces: whoever has the image has all of its layers."""
    for path in sorted(filesystem.texts.keys() | filesystem.texts_below.keys()):
        if not WANTED.fullmatch(path) or SHOWN.fullmatch(path):
            continue
        if _holds(path, filesystem.texts.get(path, b"")):
            yield f"{path} holds a password or a token"
        elif not MADE_ANEW.fullmatch(path) and any(_holds(path, content) for content in filesystem.texts_below.get(path, ())):
            yield f"{path} holds a password or a token, in a lower layer"


ACCOUNT = re.compile(r"passwd\.(?:hashed|plaintext)-password\.(?P<name>[^/:]+)")
SET = re.compile(r"^systemd\.set_credential(?:_binary)?=(?P<name>[^:]+):(?P<value>.+)$")


def for_accounts(filesystem: Filesystem) -> Iterator[str]:
    """Accounts that get a password by a credential when the system starts first: systemd.system-credentials(7)."""
    said = [
        (path, path.rpartition("/")[2], content.decode(errors="replace"))
        for path, content in sorted(filesystem.texts.items())
        if re.match(CREDSTORE, path)
    ]
    told = (SET.fullmatch(word.strip('"')) for word in arguments(filesystem))
    said += [("a kernel argument", found["name"], found["value"]) for found in told if found]
    for where, name, value in said:
        if (account := ACCOUNT.fullmatch(name)) and not re.match(r"\s*(?:[!*]|$)", value):
            yield f"{where} gives {account['name']} a password"


def _holds(path: str, content: bytes) -> bool:
    text = COMMENT.sub("", content.decode(errors="replace"))
    return any(place.fullmatch(path) and _secret(text, forms) for place, forms in KEPT)


def _secret(text: str, forms: Iterable[re.Pattern[str]] = FORMS) -> bool:
    return any(not NONE.fullmatch(found["value"]) for form in forms for found in form.finditer(text))


def settings(environment: Iterable[tuple[str, str]], history: Sequence[str]) -> Finding:
    """The check of what an image's configuration says: the variables that it sets, and the commands that made its layers."""
    wrong = [f"the variable {name} holds a secret" for name, value in environment if _secret(f"{name}={value}")]
    wrong += [f"command {number} of its history holds a secret" for number, text in enumerate(history, 1) if _secret(text)]
    return answer("no-secret-settings", not wrong, "no password and no token in its settings and its history", some(wrong))
