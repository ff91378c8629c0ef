"""Rooms use only what stands below them, and there is no circle between files."""

import ast
from pathlib import Path

import pytest

import striate

SOURCE = Path(striate.__file__).parent
BASE = {"errors", "files", "lazy", "settings", "chance"}
MAY_USE = {
    "layers": set(),
    "diagram": {"layers"},
    "zoo": {"layers"},
    "anatomy": {"layers", "diagram", "zoo"},
    "data": set(),
    "transfer": {"layers", "zoo", "anatomy", "data"},
    "explain": {"layers", "diagram", "zoo", "anatomy"},
    "plan": {"diagram", "zoo", "transfer"},
    "train": {"layers", "diagram", "zoo", "anatomy", "explain", "data", "transfer", "plan"},
    "net": {"plan", "train"},
    "tune": {"train"},
    "ship": {"layers", "data", "plan", "train", "net"},
    "__main__": {"cli"},
    "cli": {
        "layers", "diagram", "zoo", "anatomy", "explain", "data", "transfer", "plan", "train", "net", "tune", "ship",
    },
}  # fmt: skip


def room(module):
    return module.split(".")[1] if "." in module else ""


def module_name(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path, lazy):
    """Modules of striate that a file imports: at the top, and inside functions too if `lazy`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = (ast.FunctionDef, ast.AsyncFunctionDef)
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "striate":
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "striate")
        if lazy or not isinstance(node, skipped):
            todo.extend(ast.iter_child_nodes(node))


FILES = sorted(SOURCE.rglob("*.py"))
MODULES = {module_name(p): p for p in FILES}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_arrows_point_down(path):
    here = room(module_name(path))
    if not here or here in BASE:
        return
    used = {room(m) for m in imports(path, lazy=True) if m in MODULES or m.rpartition(".")[0] in MODULES}
    upward = used - {"", "__version__", here} - BASE - MAY_USE[here]
    assert not upward, f"{module_name(path)} uses {upward}, which stands above it"


def test_no_circles_between_files():
    graph = {
        name: {m for m in imports(path, lazy=False) if m in MODULES} - {name}
        for name, path in MODULES.items()
    }
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    for name in graph:  # a package's own __init__ gathers its files; they may not lean on it
        graph[name] = {m for m in graph[name] if not (m in packages and name.startswith(m + "."))}
    done: set[str] = set()

    def visit(name, trail):
        assert name not in trail, f"circle: {' -> '.join([*trail[trail.index(name) :], name])}"
        if name not in done:
            for m in sorted(graph[name]):
                visit(m, [*trail, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
