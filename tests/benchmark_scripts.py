"""The scripts of `benchmarks/` as modules, and their commands called as a user does."""

import importlib
from pathlib import Path

from click.testing import CliRunner

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def benchmark(monkeypatch, name):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


def invoke(command, *arguments):
    """What a command prints; it must succeed."""
    found = CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output
