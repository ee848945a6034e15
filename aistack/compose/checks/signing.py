"""Who signed the modules, and whether the kernel would load those that nobody did.

https://docs.kernel.org/admin-guide/module-signing.html; with Secure Boot, distributions' kernels are locked down and refuse what is not
signed with a key that they know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from aistack.compose.checks.cmdline import arguments
from aistack.compose.checks.expected import Expected, Signed
from aistack.compose.checks.tree import NO_KERNEL, Tree, setting, trees
from aistack.compose.findings import Finding, Outcome, some
from aistack.facts.filesystem import Filesystem
from aistack.facts.kernel_files import Module

NAME = "module-signers"
FORCED = ("CONFIG_MODULE_SIG_FORCE", "CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY", "CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY")
SECURE_BOOT = "CONFIG_LOCK_DOWN_IN_EFI_SECURE_BOOT"
"""A setting of distributions' kernels, which then refuse what nobody signed."""
FORCING = ("module.sig_enforce", "module.sig_enforce=1", "lockdown=integrity", "lockdown=confidentiality")
UNSIGNED_BY_DESIGN = "kernel/drivers/staging/"
"""Drivers that Ubuntu, for one, leaves unsigned."""


def signers(filesystem: Filesystem, expected: Expected) -> Finding:
    """Whether every module is signed as it has to be, with the signers' names."""
    found = trees(filesystem)
    if not found:
        return Finding(name=NAME, outcome=Outcome.UNKNOWN, message=NO_KERNEL)
    wrong = [problem for tree in found for problem in _wrong(filesystem, tree, expected)]
    if wrong:
        return Finding(name=NAME, outcome=Outcome.NO, message=some(wrong))
    told = [_told(filesystem, tree) for tree in found]
    if isinstance(expected.signed, str) and any(not module.in_tree for tree in found for module in tree.modules.values()):
        return Finding(name=NAME, outcome=Outcome.UNKNOWN, message="; ".join([expected.signed, *told]))
    return Finding(name=NAME, outcome=Outcome.YES, message="; ".join(told))


def _wrong(filesystem: Filesystem, tree: Tree, expected: Expected) -> Iterator[str]:
    own = Counter(_signer(tree, path) for path, module in tree.modules.items() if module.in_tree and not _excused(tree, path))
    usual = own.most_common(1)[0][0] if own else ""
    forced = [name for name in FORCED if setting(filesystem, tree.version, name) == "y"]
    forced += [argument for argument in arguments(filesystem) if argument in FORCING]
    for path, module in tree.modules.items():
        signer = _signer(tree, path)
        if module.in_tree and signer != usual and not _excused(tree, path):
            yield f"{tree.short(path)} is {_signed(signer)}, most of the kernel's own are {_signed(usual)}"
        elif not module.in_tree and not _may_be_ours(module, expected.signed):
            yield f"{tree.short(path)} is {_signed(signer)}, and not with the key of the lock's certificate"
        elif not signer and forced:
            yield f"{tree.short(path)} is not signed, and the kernel loads nothing else ({', '.join(forced)})"


def _may_be_ours(module: Module, signed: Signed | None) -> bool:
    """Whether a module may be signed with the key that the lock names."""
    return signed is None or (module.signature is not None if isinstance(signed, str) else module.digest in signed)


def _signer(tree: Tree, path: str) -> str:
    signature = tree.modules[path].signature
    return (signature.signer or signature.key or "somebody") if signature else ""


def _excused(tree: Tree, path: str) -> bool:
    return tree.short(path).startswith(UNSIGNED_BY_DESIGN) and tree.modules[path].signature is None


def _signed(signer: str) -> str:
    return f"signed by {signer}" if signer else "not signed"


def _told(filesystem: Filesystem, tree: Tree) -> str:
    counted = Counter((module.in_tree, _signer(tree, path)) for path, module in tree.modules.items())
    parts = [f"{count} modules signed by {signer}" for (_, signer), count in counted.most_common() if signer]
    own, others = counted[True, ""], counted[False, ""]
    parts += [f"{own} of the kernel's own are not signed"] if own else []
    locked = ", and are refused where Secure Boot is on" if setting(filesystem, tree.version, SECURE_BOOT) == "y" else ""
    parts += [f"{others} that did not come with it are not signed{locked}"] if others else []
    return ", ".join(parts) or "no modules"
