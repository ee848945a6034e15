"""Which update engine a node has."""

from __future__ import annotations

from pathlib import Path

from aistack.node.deployments import Deployments
from aistack.node.deployments.ostree import OstreeDeployments


def chosen(root: Path) -> Deployments:
    """The engine of the node at `root`."""
    return OstreeDeployments(root=root)
