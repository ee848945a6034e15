"""The rooms of docs/architecture.md, proved over the syntax trees: imports go one way, and the pure rooms touch nothing."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "aistack"

MAY_IMPORT = {
    "values": set[str](),
    "diagnostics": {"values"},
    "facts": {"values", "diagnostics"},
    "compose": {"values", "diagnostics", "facts"},
    "host": {"values", "diagnostics", "facts"},
    "node": {"values", "diagnostics", "facts", "compose", "host"},
    "report": {"values", "diagnostics", "facts", "compose", "node"},
    "commands": {"values", "diagnostics", "facts", "compose", "host", "node", "report"},
    "node_verbs": {"values", "diagnostics", "facts", "compose", "host", "node", "report", "commands"},
    "verbs": {"node_verbs", "values", "diagnostics", "facts", "compose", "host", "node", "report", "commands"},
    "cli": {"values", "diagnostics", "facts", "compose", "host", "node", "report", "commands", "verbs"},
    "__main__": {"cli"},
    "__init__": set[str](),
}
EFFECTS = {
    "os",
    "subprocess",
    "socket",
    "time",
    "random",
    "shutil",
    "tempfile",
    "secrets",
    "podman",
    "huggingface_hub",
    "pynvml",
    "requests",
}
PURE_MODULES = {
    "node/accelerators.py",
    "node/decide.py",
    "node/device_checks.py",
    "node/diagnosis.py",
    "node/fleet.py",
    "node/fleet_reading.py",
    "node/health.py",
    "node/link_checks.py",
    "node/machine_snapshot.py",
    "node/metrics.py",
    "node/program_checks.py",
    "node/results.py",
    "node/status.py",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


Named = tuple[int, str]
"""A line, and what is named there in full."""


@cache
def read(source: str) -> tuple[tuple[Named, ...], tuple[Named, ...]]:
    """Every import of a module, those inside functions and below `if` included; and everything that it calls."""
    imported, called = [], []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports name their module in full"
            imported += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Call):
            called.append((node.lineno, ast.unparse(node.func)))
            if called[-1][1] in ("__import__", "importlib.import_module", "import_module"):
                name = node.args[0]
                known = name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else "a name that is computed"
                imported.append((node.lineno, known))
    return tuple(imported), tuple(called)


def imports(source: str) -> tuple[Named, ...]:
    return read(source)[0]


def calls(source: str) -> tuple[Named, ...]:
    return read(source)[1]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def wrong_imports(room: str, source: str) -> list[str]:
    wrong = []
    for line, name in imports(source):
        parts = name.split(".")
        if parts[0] == "aistack" and len(parts) > 1 and parts[1] in MAY_IMPORT and parts[1] not in MAY_IMPORT[room] | {room}:
            wrong.append(f"line {line}: {room} imports {name}")
    return wrong


def effects(source: str) -> list[str]:
    return [f"line {line}: {name}" for line, name in imports(source) if name.split(".")[0] in EFFECTS or name == "a name that is computed"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    assert wrong_imports(room_of(path), path.read_text()) == []


def pure(path: Path) -> bool:
    return room_of(path) in ("values", "diagnostics", "facts", "compose") or path.relative_to(PACKAGE).as_posix() in PURE_MODULES


@pytest.mark.parametrize("path", [path for path in modules() if pure(path)], ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_pure_rooms_have_no_effects(path: Path) -> None:
    assert effects(path.read_text()) == []
    assert [f"line {line}: {name}" for line, name in calls(path.read_text()) if name in ("open", "print", "input")] == []


def starts_process(source: str) -> list[str]:
    """Calls that start a program or fork; a constant such as `subprocess.PIPE` starts nothing."""
    started = re.compile(
        r"subprocess\.(run|Popen|call|check_\w+|get\w+)|os\.(system|popen|fork\w*|exec\w+|spawn\w+|posix_spawn\w*)|pty\.\w+|multiprocessing\.\w+"
    )
    return [name for _, name in calls(source) if started.fullmatch(name)] + [
        name for _, name in imports(source) if name.startswith("subprocess.")
    ]


def test_one_module_starts_processes() -> None:
    found = [path.relative_to(PACKAGE).as_posix() for path in modules() if starts_process(path.read_text())]
    assert found == ["host/process.py"]


def test_every_room_is_known() -> None:
    assert {room_of(path) for path in modules()} <= set(MAY_IMPORT)


def test_the_test_can_fail() -> None:
    assert wrong_imports("facts", "def f():\n    from aistack.compose import lock\n") == ["line 2: facts imports aistack.compose.lock"]
    assert wrong_imports("compose", "import aistack.host.store") == ["line 1: compose imports aistack.host.store"]
    assert wrong_imports("host", "if True:\n    from aistack import compose") == ["line 2: host imports aistack.compose"]
    assert effects("def f():\n    import os.path") == ["line 2: os.path"]
    assert effects("__import__('socket')") == ["line 1: socket"]
    assert starts_process("os.execvp(x, y)") == ["os.execvp"]
    assert starts_process("from subprocess import run") == ["subprocess.run"]


def test_modules_stay_small() -> None:
    long = {path.relative_to(PACKAGE).as_posix(): len(path.read_text().splitlines()) for path in modules()}
    assert {name: lines for name, lines in long.items() if lines >= 450} == {}
