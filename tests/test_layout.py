"""The architecture that the code must keep: who imports whom, and what is packaged."""

import ast
import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("common", "trainer", "migrator", "linearize", "pipeline")
SHARED = "common"  # which all may import, and which knows none of them
FOREIGN = {  # frameworks that a package must not touch
    "common": {"jax", "jaxlib", "flax", "neural_tangents", "torchvision"},
    "trainer": {"jax", "jaxlib", "flax", "neural_tangents"},
    "linearize": {"torch", "torchvision", "flax"},
    "migrator": set(),
    "pipeline": set(),
}


def imported(path):
    """Top-level names of everything that a file imports, wherever in the file it does so."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def test_the_scan_sees_nested_imports(tmp_path):
    (tmp_path / "a.py").write_text("def f():\n    from pipeline.cli import x\n    import trainer.models as m\n")
    assert set(imported(tmp_path / "a.py")) == {"pipeline", "trainer"}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package):
    forbidden = FOREIGN[package] | (set() if package == "pipeline" else set(PACKAGES) - {package, SHARED})
    for path in (ROOT / package).rglob("*.py"):
        assert not forbidden & set(imported(path)), path


def test_every_package_with_code_is_listed_in_setup_cfg():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    listed = set(parser["options"]["packages"].split())
    present = {
        ".".join(path.parent.relative_to(ROOT).parts) for name in PACKAGES for path in (ROOT / name).rglob("*.py")
    }
    assert listed == present
