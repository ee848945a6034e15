"""The node's own program in an image, read and never run: its modules, what they need of each other, and the files that it makes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from aistack.compose.render.node import PYTHON_PATH
from aistack.facts.filesystem import Filesystem

PACKAGE = f"{PYTHON_PATH}/aistack"
MAKERS = ("aistack.compose.render.node", "aistack.compose.render.driver")
"""The modules that say which files a node gets, each by a call with its path and its text."""
LONGEST = 1 << 20
"""Characters: no text that is made has more."""
DEEPEST = 50
"""Steps from an expression to the text that it stands for, through names and parts of expressions; ours have fewer than ten."""


class Program:
    """A program, module by module; None is one that is not there, or cannot be read."""

    def __init__(self, filesystem: Filesystem) -> None:
        self.filesystem = filesystem
        self._modules: dict[str, ast.Module | None] = {}
        self._texts: dict[tuple[str, str], str | None] = {}
        self._bound: dict[str, frozenset[str]] = {}
        self._meant: dict[str, dict[str, ast.expr | tuple[str, str]]] = {}

    def module(self, name: str) -> ast.Module | None:
        """A module as it was written."""
        if name not in self._modules:
            place = f"{PYTHON_PATH}/{name.replace('.', '/')}"
            path = next((path for path in (f"{place}.py", f"{place}/__init__.py") if self.filesystem.kind(path) == "file"), "")
            try:
                self._modules[name] = ast.parse(self.filesystem.texts[path]) if path else None
            except (KeyError, SyntaxError, ValueError, RecursionError, MemoryError):
                self._modules[name] = None
        return self._modules[name]

    def imported(self, tree: ast.Module) -> Iterator[str]:
        """The modules of our own that one imports; a name that a module does not bind has to be a module in it."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name.startswith("aistack."))
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level and f"{node.module}.".startswith("aistack."):
                yield node.module
                if self.module(node.module) is not None and not (bound := self._binds(node.module)) & {"__getattr__", "*"}:
                    yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name not in {*bound, "*"})

    def made(self) -> dict[str, bytes]:
        """The files that it makes, by their paths: those whose path and text are constants, or put together of them."""
        found: dict[str, bytes] = {}
        for name in MAKERS:
            tree = self.module(name)
            for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)) if tree else ():
                path, text, *_ = (*(self._said(name, one) for one in (*call.args, *(word.value for word in call.keywords))), None, None)
                if path and text is not None and path.startswith("/"):
                    found[path] = text.encode(errors="surrogatepass")
        return found

    def _said(self, module: str, node: ast.expr | None, left: int = DEEPEST) -> str | None:
        """The text that an expression of a module stands for, at most so many steps away; None where it has to be computed."""
        if not left:
            return None
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else None
        if isinstance(node, ast.JoinedStr):
            parts = [self._said(module, part, left - 1) for part in node.values]
            return "".join(filter(None, parts)) if None not in parts and sum(map(len, filter(None, parts))) <= LONGEST else None
        if isinstance(node, ast.FormattedValue):
            return self._said(module, node.value, left - 1) if node.conversion == -1 and node.format_spec is None else None
        if isinstance(node, ast.Call):
            is_encoded = isinstance(node.func, ast.Attribute) and node.func.attr == "encode" and not node.args
            return self._said(module, node.func.value, left - 1) if is_encoded and isinstance(node.func, ast.Attribute) else None
        if isinstance(node, ast.Attribute):
            where = self._means(module).get(node.value.id) if isinstance(node.value, ast.Name) else None
            return self._constant(".".join(where), node.attr, left - 1) if isinstance(where, tuple) else None
        return self._constant(module, node.id, left - 1) if isinstance(node, ast.Name) else None

    def _constant(self, module: str, name: str, left: int) -> str | None:
        if left and (module, name) not in self._texts:
            self._texts[module, name] = None  # of what stands for itself
            meant = self._means(module).get(name)
            found = self._constant(*meant, left - 1) if isinstance(meant, tuple) else self._said(module, meant, left - 1)
            self._texts[module, name] = found
        return self._texts.get((module, name))

    def _means(self, module: str) -> dict[str, ast.expr | tuple[str, str]]:
        """What a module's names stand for: the first value that each gets, or the module that it is imported from and its name there."""
        if module not in self._meant:
            values, imports, tree = dict[str, ast.expr](), dict[str, tuple[str, str]](), self.module(module)
            for node in tree.body if tree else ():
                if isinstance(node, ast.Assign) and len(names := _names(node)) == 1:
                    values.setdefault(names[0], node.value)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    imports |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
            self._meant[module] = {**values, **imports}
        return self._meant[module]

    def _binds(self, module: str) -> frozenset[str]:
        if module not in self._bound:
            tree = self.module(module)
            self._bound[module] = _bound(tree) if tree else frozenset()
        return self._bound[module]


def _names(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def _bound(tree: ast.Module) -> frozenset[str]:
    """Every name that a module binds somewhere."""
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return frozenset(found)
