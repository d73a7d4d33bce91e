"""The scripts about what comes before the first label run; what they measure is for RESULTS.md."""

import re

import pytest

from benchmark_scripts import benchmark, invoke

pytestmark = pytest.mark.long


def test_every_way_to_begin_is_measured(monkeypatch, tmp_path):
    script, out = benchmark(monkeypatch, "cold_start"), tmp_path / "rows.csv"
    output = invoke(script.main, "digits", "--small", "--pool", 120, "--out", out)
    assert re.findall(r"^\| ([a-z][\w -]*) \|.*\| [\d.]+ \|$", output, re.MULTILINE) == ["way", *script.WAYS][1:]
    invoke(script.main, "digits", "--small", "--pool", 120, "--ways", "random", "--rare", 0.2, "--out", out)
    rows = script.read(out)
    assert len(rows) == len(script.WAYS) + 1
    assert {row.setting for row in rows} == {"digits", "digits rare 0.2"}
    assert rows[-1].setting in invoke(script.main, "--table", "--out", out)


def test_a_late_class_is_measured(monkeypatch):
    script = benchmark(monkeypatch, "late_class")
    output = invoke(script.main, "digits", "--model", "linear", "--late", "2", "--seeds", 1)
    assert re.search(r"^\| 2 \|( [\d.]+ \|){4}$", output, re.MULTILINE)


def test_copies_that_are_made_are_found(monkeypatch):
    script = benchmark(monkeypatch, "near_copies")
    output = invoke(script.main, "digits", "--count", 200, "--copied", 10, "--size", 8)
    assert "| pairs of different classes without copies |" in output
    assert len(re.findall(r"^\|.*\d+% \|$", output, re.MULTILINE)) == len(script.MADE)
