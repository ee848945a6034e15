"""Which update engine a node has."""

from __future__ import annotations

from pathlib import Path

from aistack.host import process
from aistack.host.probes.reading import inside
from aistack.node.deployments import Deployments
from aistack.node.deployments.bootc import BootcDeployments
from aistack.node.deployments.ostree import OstreeDeployments
from aistack.node.first_gate import lock_text, read_lock

OURS = ("debian", "ubuntu")
"""How the ids of systems begin whose images are laid down by our own import, a bootc that somebody added beside it or not."""


def chosen(root: Path) -> Deployments:
    """bootc where the node was booted from OSTree, has it, and its lock is of no system of ours; else OSTree."""
    lock = read_lock(lock_text(root))
    ours = lock is None or lock.os.partition("-")[0] in OURS
    if not ours and inside(root, "/run/ostree-booted").exists() and process.find("bootc"):
        return BootcDeployments(root=root)
    return OstreeDeployments(root=root)
