"""Whole runs of the baselines that read features, outputs or the kernel, and the same done again."""

import json

import pytest

from pipeline.run.rerun import rerun
from pipeline.run.rundir import cycle_path


@pytest.mark.parametrize("name", ["probcover", "dropquery", "bait", "maxdet", "egl"])
def test_a_run_is_made_and_done_again(name, start, go_on, tmp_path):
    run = start(query__strategy=name, cycles=2)
    recorder = go_on(run)
    assert len(recorder.rows) == 2
    assert ((0, "migrate") in recorder.stages) == (name in ("maxdet", "egl"))
    diagnostics = json.loads((cycle_path(run, 0) / "score/diagnostics.json").read_text())
    assert ("radius" in diagnostics) == (name == "probcover")
    (tmp_path / "again").mkdir()
    assert rerun(run, "score", 0, tmp_path / "again").same


def test_an_expected_gradient_computes_no_kernel(start, go_on):
    run = start(query__strategy="egl", cycles=2, query__subset=200, kernel__memory_budget="2MiB")
    go_on(run)
    assert "kernel_bytes" not in json.loads((cycle_path(run, 0) / "score/diagnostics.json").read_text())
