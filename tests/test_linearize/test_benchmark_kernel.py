"""Every sub-command of `benchmarks/kernel.py` runs and prints its tables; what they say is for a quiet machine."""

import importlib
import importlib.util
import re
from pathlib import Path

import jax
import pytest
import torch
from click.testing import CliRunner
from peers import needs_neural_tangents

pytestmark = pytest.mark.long

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def run(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    kernel = importlib.import_module("kernel")

    def invoke(*arguments):
        with jax.numpy_rank_promotion("allow"):
            found = CliRunner().invoke(kernel.main, [*arguments, "--small"], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.output

    return invoke


@pytest.mark.parametrize(
    ("command", "head"),
    [
        pytest.param("peer", "Θ against the engine's", marks=needs_neural_tangents),
        ("gram", "share of peak"),
        ("scaling", "measured / estimate"),
        ("memory", "Θ against the first row's"),
        ("calibrate", "in the table"),
    ],
)
def test_it_prints_full_tables_below_a_header(run, command, head):
    output = run(command)
    assert re.search(r"cores of .*; JAX on .*; \d{4}-\d\d-\d\d; Python .*jax \d", output)
    tables = [lines for lines in re.split(r"\n\s*\n", output) if lines.startswith("|")]
    assert any(head in lines.splitlines()[0] for lines in tables)
    for lines in tables:
        assert len({line.count("|") for line in lines.splitlines()}) == 1  # no cell is missing
        assert len(lines.splitlines()) > 2


PEERS = ("| NT", "| nt.batch", "| torch.func", "| JAX")


@needs_neural_tangents
def test_the_peer_computes_the_same_kernel(run):
    output = run("peer", "--part", "batch", "--part", "cnn")
    apart = [line.split("|")[-2].strip() for line in output.splitlines() if line.startswith(PEERS)]
    assert len(apart) == 12 + len({1, torch.get_num_threads()})
    assert all(float(value) < 1e-5 for value in apart)
