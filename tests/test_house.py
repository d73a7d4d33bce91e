"""The page that walks through the code names files and what is in them; all of it is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMED = re.findall(r"`([\w/]+\.(?:py|js)): ([\w.]+)`", (ROOT / "docs/house.md").read_text())


def defined(path):
    """The names that a module defines, those of its classes' members with the class before them."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def test_it_names_enough():
    assert len(NAMED) > 30


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_each_is_there(path, name):
    if path.endswith(".js"):
        assert re.search(rf"function {name}\b", (ROOT / path).read_text())
    else:
        assert name in defined(ROOT / path)
