"""The programs that building and booting need: what each is for, and the package that brings it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aistack.host import process
from aistack.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program on PATH, or a file at one of `paths`; `package` is Debian's and Ubuntu's name."""

    name: str
    package: str
    purpose: str
    paths: tuple[str, ...] = ()

    def found(self) -> bool:
        """Whether this machine has it."""
        if self.paths:
            return any(Path(path).exists() for path in self.paths)
        return process.find(self.name) is not None


TOOLS = (
    Tool(name="apt-get", package="apt", purpose="lock and fetch packages"),
    Tool(name="mmdebstrap", package="mmdebstrap", purpose="unpack locked packages into a root"),
    Tool(name="bwrap", package="bubblewrap", purpose="run a step inside a throw-away root"),
    Tool(name="unshare", package="util-linux", purpose="rootless builds"),
    Tool(name="newuidmap", package="uidmap", purpose="rootless builds"),
    Tool(name="zstd", package="zstd", purpose="compress image layers"),
    Tool(name="podman", package="podman", purpose="load images for local use"),
    Tool(name="skopeo", package="skopeo", purpose="move images"),
    Tool(name="qemu-system-x86_64", package="qemu-system-x86", purpose="boot tests"),
    Tool(name="qemu-img", package="qemu-utils", purpose="disk images"),
    Tool(
        name="OVMF",
        package="ovmf",
        purpose="boot tests by UEFI",
        paths=("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_CODE.fd"),
    ),
    Tool(name="ssh", package="openssh-client", purpose="log in to a booted node"),
    Tool(
        name="debian-archive-keyring",
        package="debian-archive-keyring",
        purpose="check the signatures of Debian's package lists",
        paths=("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"),
    ),
)


def missing(tools: Sequence[Tool] = TOOLS) -> tuple[Tool, ...]:
    """The tools that this machine lacks."""
    return tuple(tool for tool in tools if not tool.found())
