"""Every public name says what it is, and no sentence is pasted twice."""

import ast
from collections import defaultdict
from pathlib import Path

import striate

SOURCE = Path(striate.__file__).parent


def documented():
    """(file, name, docstring or None) of every module, class and function whose name is public."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield path, "", ast.get_docstring(tree)
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                yield path, node.name, ast.get_docstring(node)


def test_every_public_name_has_a_docstring():
    bare = [
        f"{p.relative_to(SOURCE)}:{name}" for p, name, doc in documented() if not doc and p.stat().st_size
    ]
    assert not bare


def test_no_paragraph_twice():
    places = defaultdict(list)
    for path, name, doc in documented():
        for paragraph in (doc or "").split("\n\n"):
            if len(paragraph) > 60:
                places[" ".join(paragraph.split())].append(f"{path.relative_to(SOURCE)}:{name}")
    assert not {text: where for text, where in places.items() if len(where) > 1}
