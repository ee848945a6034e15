"""What no image for others should carry: traces of the builder, secrets, leftovers, and rights that nothing explains."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set

from aistack.compose import credentials, modes
from aistack.compose.checks import packages
from aistack.compose.findings import Check
from aistack.facts.byte_code import BYTE_CODE_FILE
from aistack.facts.filesystem import Entry, Filesystem

SOURCES = "/etc/apt/sources.list"
OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
NAMES = ("/etc/hostname", "/etc/hosts", "/etc/mailname")
LOCAL = re.compile(r"localhost[46]?(\.localdomain[46]?)?|ip6-(localhost|loopback|localnet|mcastprefix|all(nodes|routers|hosts))")
"""Names that every machine has."""

ALTERNATIVES = {"/etc/passwd": "/usr/lib/passwd", "/etc/group": "/usr/lib/group"}
"""Accounts, and where nss-altfiles has those of the system, as in Fedora's bootable containers: https://github.com/aperezdc/nss-altfiles."""
READ = (
    *ALTERNATIVES.values(),
    *OS_RELEASE,
    *NAMES,
    "/etc/resolv.conf",
    "/etc/machine-id",
    "/etc/passwd",
    "/etc/group",
    "/etc/shadow",
    "/etc/gshadow",
)

SET_ID: Mapping[str, str] = {
    "/usr/lib/dbus-1.0/dbus-daemon-launch-helper": "the bus, which is no root, starts services that run as others",
    "/usr/sbin/unix_chkpwd": "PAM, in a program that is no root, asks whether an account may be used",
}
"""Programs that run with more rights than their caller's, each with the reason: set-user-id, set-group-id or file capabilities."""

CACHES = (
    "/var/cache/apt/", "/var/lib/apt/lists/", "/var/cache/dnf/", "/var/cache/libdnf5/", "/var/cache/yum/", "/var/cache/apk/",
    "/var/cache/pacman/", "/var/cache/debconf/", "/var/cache/ldconfig/", "/root/.cache/", "/var/roothome/.cache/",
)  # fmt: skip
BACKUPS = re.compile(
    r".*(~|\.(dpkg|ucf)-(old|dist|new|tmp|bak|backup|remove)|\.rpm(save|new|orig)|/etc/\.pwd\.lock|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-"
    r"|/etc/.*\.(bak|orig|old|swp))"
)
SECRETS = re.compile(
    r"/etc/ssh/ssh_host_\w+_key(\.pub)?|/.*/dkms/mok\.(?:key|priv)|/var/lib/systemd/(random-seed|credential\.secret)|/boot/.*/random-seed"
    r"|/.*/\.gnupg/(?:private-keys-v1\.d/.+|secring\.gpg)|/etc/krb5\.keytab"
)
KEY_FILE = re.compile(r".*\.(?:asc|der|gpg|jks|key|p12|p8|pem|pfx|pgp|ppk)|.*/id_[a-z0-9]+")
"""What files are called that are a key and nothing else."""
NO_PASSWORD = re.compile(r"x|[!*](?![!*]*(?:\$.*|_[./0-9A-Za-z]{19}|(?=.*[./0-9A-Z])[./0-9A-Za-z]{13})$).*")
"""What no password becomes, as `*`, `!!`, `!unprovisioned` or `*LOCK*`: crypt(5). A hash behind the mark is a locked account's."""
NUMBER = re.compile("[0-9]{1,10}")
PEOPLE = (range(1000, 60000), range(65534, 1 << 32))
"""Numbers of no account of a system's: people's, nobody's, and those of other machines' namespaces.

https://www.debian.org/doc/debian-policy/ch-opersys.html#uid-and-gid-classes
"""
FREE = ("/usr/local/", "/usr/src/")
"""Folders below /usr that hold what an administrator puts there."""
LINKS: Mapping[str, str] = {
    "/etc/default/locale": "Debian's link to /etc/locale.conf, which is written when somebody chooses a language",
    "/etc/vconsole.conf": "Debian's link to /etc/default/keyboard, which is there when somebody chooses a keyboard",
}
"""Links that may lead to nothing, each with the reason."""

RUNTIME = ("/dev/", "/proc/", "/run/", "/sys/", "/tmp/", "/var/")
"""Folders that are filled when a machine runs: a link may lead there."""


def wanted(path: str) -> bool:
    """The files whose contents these checks read."""
    return path in READ or path == SOURCES or path.startswith(SOURCES + ".d/") or credentials.wanted(path)


def _files(filesystem: Filesystem) -> Iterator[tuple[str, Entry]]:
    return ((path, entry) for path, entry in sorted(filesystem.entries.items()) if entry.kind == "file")


def _caches(filesystem: Filesystem) -> list[str]:
    return [path for path, _ in _files(filesystem) if path.startswith(CACHES)]


def _backups(filesystem: Filesystem) -> list[str]:
    return [path for path, _ in _files(filesystem) if BACKUPS.fullmatch(path)]


def _builder(filesystem: Filesystem) -> list[str]:
    wrong = []
    for path in NAMES:
        for line in (filesystem.text(path) or "").splitlines():
            words = line.partition("#")[0].split()
            names = words[1:] if path == "/etc/hosts" else words
            wrong += [f"{path} names `{name}`" for name in names if not LOCAL.fullmatch(name)]
    if filesystem.kind("/etc/resolv.conf") == "file" and filesystem.entries["/etc/resolv.conf"].size:
        wrong.append("/etc/resolv.conf is the builder's")
    return wrong


def _sources(filesystem: Filesystem) -> list[str]:
    texts = ((path, filesystem.text(path) or "") for path in (SOURCES, *filesystem.below(SOURCES + ".d")))
    return [f"{path} leads to the builder's disk" for path, text in texts if re.search(r"^[^#]*\b(file|copy):", text, re.MULTILINE)]


def _identity(filesystem: Filesystem) -> list[str]:
    wrong = list(_secrets(filesystem))
    for path, inside in sorted(filesystem.initramfs.items()):
        wrong += [f"{path}: {problem}" for problem in _secrets(inside)]
    if (filesystem.text("/etc/machine-id") or "").strip() not in ("", "uninitialized"):
        wrong.append("/etc/machine-id names a machine")
    return wrong


def _secrets(filesystem: Filesystem) -> Iterator[str]:
    known = packages.unchanged(filesystem) if filesystem.keys or filesystem.keys_below else frozenset[str]()
    yield from (f"{path} is a private key" for path in filesystem.keys if not _is_shown(path, known))
    for path in filesystem.keys_below:
        if path not in filesystem.keys and not _is_shown(path, known) and not credentials.MADE_ANEW.fullmatch(path):
            yield f"{path} is a private key, in a lower layer"
    yield from credentials.kept(filesystem)
    yield from (f"{path} is a secret, or one machine's" for path, entry in _files(filesystem) if entry.size and SECRETS.fullmatch(path))


def _is_shown(path: str, known: Set[str]) -> bool:
    """Whether everybody has a key: of documentation and tests, or in a program or text that is as its package brought it."""
    compiled = BYTE_CODE_FILE.fullmatch(path)
    source = f"{compiled[1]}/{compiled[2]}.py" if compiled else path
    return bool(credentials.SHOWN.fullmatch(source)) or (source in known and not KEY_FILE.fullmatch(source))


def _passwords(filesystem: Filesystem) -> list[str]:
    wrong = []
    for path in ("/etc/shadow", "/etc/gshadow", "/etc/passwd"):
        for line in (filesystem.text(path) or "").splitlines():
            name, _, rest = line.partition(":")
            password = rest.partition(":")[0]
            locked = NO_PASSWORD.fullmatch(password) or (not password and path == "/etc/gshadow")
            if not locked:
                wrong.append(f"{path}: {name} {'needs no password' if not password else 'has a password'}")
    wrong += credentials.for_accounts(filesystem)
    return wrong


def _set_id(filesystem: Filesystem) -> list[str]:
    wrong = []
    for path, entry in _files(filesystem):
        rights = {"set-user-id": entry.mode & 0o4000, "set-group-id": entry.mode & 0o2000, "file capabilities": entry.capabilities}
        if any(rights.values()) and path not in SET_ID:
            wrong.append(f"{path} has {' and '.join(name for name, has in rights.items() if has)}")
    return wrong


def _writable(filesystem: Filesystem) -> list[str]:
    mask = {"file": 0o0002, "directory": 0o1002}  # in a folder with the sticky bit everyone has their own files alone
    writable = (path for path, entry in filesystem.entries.items() if entry.mode & mask.get(entry.kind, 0) == 0o0002)
    return [f"{path} may be written by everyone" for path in sorted(writable)]


def _system_owners(filesystem: Filesystem) -> list[str]:
    return [
        f"{path} belongs to {entry.uid}:{entry.gid}, which is no account of the system's"
        for path, entry in sorted(filesystem.entries.items())
        if path.startswith("/usr/") and not path.startswith(FREE) and any(one in ids for one in (entry.uid, entry.gid) for ids in PEOPLE)
    ]


def _owners(filesystem: Filesystem) -> list[str] | str:
    known = []
    for path, more in ALTERNATIVES.items():
        texts = [text for one in (path, more) if (text := filesystem.text(one)) is not None]
        if not texts:
            return f"there is no {path} to tell owners by"
        lines = (line.split(":") for text in texts for line in text.splitlines())
        known.append({int(fields[2]) for fields in lines if len(fields) > 2 and NUMBER.fullmatch(fields[2])})
    users, groups = known
    strange = (path for path, entry in sorted(filesystem.entries.items()) if entry.uid not in users or entry.gid not in groups)
    return [f"{path} belongs to {filesystem.entries[path].uid}:{filesystem.entries[path].gid}, whom nobody knows" for path in strange]


def _links(filesystem: Filesystem) -> list[str]:
    wrong = []
    for folder in ("/etc", "/usr/lib/systemd"):
        for path in filesystem.below(folder):
            if filesystem.kind(path) == "link":
                end = filesystem.resolved(path)
                if not filesystem.kind(end) and not end.startswith(RUNTIME) and path not in LINKS:
                    wrong.append(f"{path} leads to nothing ({filesystem.entries[path].target})")
    return wrong


def _os_release(filesystem: Filesystem) -> list[str] | str:
    if not filesystem.kind("/etc"):
        return "there is no /etc: this is no operating system's root"
    text = next((text for path in OS_RELEASE if (text := filesystem.text(path)) is not None), None)
    if text is None:
        return ["there is no os-release"]
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    broken = [
        f"os-release: `{line}` is no setting" for line in lines if not re.fullmatch(r"[A-Z_0-9]+=(\"[^\"]*\"|'[^']*'|[^\s\"']*)", line)
    ]
    names = {line.partition("=")[0] for line in lines if line.partition("=")[2].strip("\"'")}
    return broken + [f"os-release does not say {name}" for name in ("ID", "PRETTY_NAME") if name not in names]


def _byte_code(filesystem: Filesystem) -> list[str]:
    pythons = {match[1] + match[2] for path in filesystem.entries if (match := re.fullmatch(r"/.*/bin/python(\d)\.(\d+)", path))}
    wrong = []
    for path in filesystem.entries:
        if match := BYTE_CODE_FILE.fullmatch(path):
            source = f"{match[1]}/{match[2]}.py"
            if source not in filesystem.entries:
                wrong.append(f"{path} has no source")
            elif match[3] not in pythons:
                wrong.append(f"{path} is for a Python that is not there")
            elif problem := _of_byte_code(filesystem, filesystem.resolved(path), filesystem.resolved(source)):
                wrong.append(f"{path} {problem}")
    return sorted(wrong)


def _of_byte_code(filesystem: Filesystem, path: str, source: str) -> str:
    """What Python would stumble over, or run in a source's place."""
    code = filesystem.byte_code.get(path)
    if code is None or code.damage:
        return f"cannot be loaded: {code.damage}" if code else ""
    hashes = filesystem.sources[source].hashes if source in filesystem.sources else {}
    is_other = code.source_hash and hashes.get(code.magic, code.source_hash) != code.source_hash
    return f"is run in the place of {source}, and was compiled from another" if is_other else ""


TIDY = (
    Check(name="no-package-cache", description="no package cache", look=_caches, fatal=False),
    Check(name="no-backups", description="no file that a package manager or an editor set aside", look=_backups, fatal=False),
    Check(name="no-builder", description="no name and no resolver of the machine that built it", look=_builder, fatal=False),
    Check(name="package-sources", description="no package source on the builder's disk", look=_sources, fatal=False),
    Check(name="no-identity", description="no private key, no machine id, no seed, no credential", look=_identity),
    Check(name="no-password", description="no account with a password, or without the need of one", look=_passwords),
    Check(name="set-id", description="no program with more rights than are accounted for", look=_set_id, fatal=False),
    Check(name="no-world-writable", description="nothing that everyone may write", look=_writable),
    Check(name="modes", description="programs may be executed, and what all programs need may be read", look=modes.wrong, fatal=False),
    Check(
        name="system-owners",
        description="what lies in /usr belongs to accounts of the system",
        look=_system_owners,
        fatal=False,
        kernel=True,
    ),
    Check(name="owners", description="every file belongs to a known user and group", look=_owners, fatal=False),
    Check(name="links", description="every link in /etc and in systemd's folders leads somewhere", look=_links, fatal=False),
    Check(name="os-release", description="os-release says which system it is", look=_os_release, fatal=False),
    Check(name="byte-code", description="Python's byte code is whole, of its source and for its Python", look=_byte_code, fatal=False),
)
"""Asked of every image, whoever built it."""
