"""`benchmarks/full_kernel.py` on a finished run; what its seconds say is for a quiet machine."""

import re

import pytest

import benchmark_scripts
from benchmark_scripts import invoke

pytestmark = pytest.mark.long


def test_it_measures_both_kernels_on_a_cycle(monkeypatch, start, go_on):
    script = benchmark_scripts.benchmark(monkeypatch, "full_kernel")
    run = start(query__strategy="mlmoc", cycles=2)
    go_on(run)
    output = invoke(script.main, run)
    assert output.startswith("12 labels, 30 candidates, 10 classes\n")
    rows = dict(re.findall(r"^([a-z][^:\n]*, (?:CPU s|MiB)) +[\d.]+ +([\d.]+)$", output, re.MULTILINE))
    seconds = ["fit", *script.CRITERIA, "one answer"]
    assert [*rows] == [f"{name}, CPU s" for name in seconds] + [
        f"{name}, MiB" for name in ("planned", "peak of a fit", "peak of all")
    ]
    agreements = re.findall(r"^(.*): rank correlation -?[\d.]+, (\d+) of the 20 best shared$", output, re.MULTILINE)
    assert [name for name, _ in agreements] == [*script.CRITERIA]
    assert all(10 <= int(shared) <= 20 for _, shared in agreements)  # of 30 candidates, two lists of 20 share 10
