"""Both commands of `benchmarks/proxies.py` run; what its times say is for a quiet machine."""

import json
import re

import pytest

import benchmark_scripts
from benchmark_scripts import invoke
from pipeline.config import load_config
from pipeline.files import write_atomically
from pipeline.run.rundir import cycle_path
from pipeline.run.summary import area_under_curve, read_rows
from pipeline.sweep.grid import GRID, Grid

pytestmark = pytest.mark.long


@pytest.fixture
def proxies(monkeypatch):
    return benchmark_scripts.benchmark(monkeypatch, "proxies")


def test_it_times_every_way_to_look_ahead(proxies):
    output = invoke(proxies.main, "time", "--small", "--model", "mlp")
    rows = re.findall(
        r"^\| ([a-z][^|]*) \| [\d.]+(, extrapolated from 2 of [\d.]+ s)? \| [\d.]+ \|$", output, re.MULTILINE
    )
    names = ("mlmoc", "ntk-no-block", "one-step", "naive, 15 epochs", "naive, to convergence")
    assert [name for name, _ in rows] == [*names, "block update", "solved afresh"]
    assert [name for name, said in rows if said] == ["naive, 15 epochs", "naive, to convergence"]


def test_the_figure_has_naive_seconds_for_all_candidates(proxies, tiny, tmp_path, start, go_on):
    names = ("random", "naive")
    for name in names:
        go_on(start(f"{name}-seed0", query__strategy=name, query__naive_candidates=5 if name == "naive" else None))
    config = load_config(options={**tiny, "query.strategy": "random"})
    write_atomically(tmp_path / GRID, Grid.of(config, names, (0,)).to_yaml())
    for cycle, per_candidate in ((0, 2.0), (1, 2.0)):
        path = cycle_path(tmp_path / "naive-seed0", cycle) / "score/diagnostics.json"
        figures = json.loads(path.read_text())
        figures |= {"naive_seconds_per_candidate": per_candidate, "naive_seconds_extrapolated": 30 * per_candidate}
        path.write_text(json.dumps(figures))
    rows = read_rows(tmp_path / "naive-seed0")
    found = proxies.query_seconds(tmp_path / "naive-seed0", rows[0].seconds, 0)
    assert found == pytest.approx(rows[0].seconds["score"] + 60 - 10)  # 30 candidates of 2 s in the place of 5
    output = invoke(proxies.main, "figure", tmp_path)
    line = next(line for line in output.splitlines() if line.startswith("| naive |"))
    assert f"{rows[-1].test_accuracy:.4f} | {area_under_curve(rows):.4f} | 5" in line
    assert "extrapolated" in line
    assert "extrapolated" not in next(line for line in output.splitlines() if line.startswith("| random |"))
