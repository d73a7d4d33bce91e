"""``pipeline estimate``: the first and the last query are done in a temporary place, and nothing is left of them."""

from pathlib import Path

import pytest

from pipeline.run.rundir import read_config
from pipeline.sweep.process import Attempt

SMALL = [
    "--model", "mlp", "--strategy", "margin", "--n-init", "12", "--query-size", "4", "--subset-size", "30",
    "--epochs", "8", "--device", "cpu", "--set", "model.options.width=16",
]  # fmt: skip


@pytest.fixture
def measured(go_on, monkeypatch):
    """Runs that were measured, in this process; each has taken 9 s of which 4 were in stages, and 3 GiB."""
    configs = []

    def run(task):
        configs.append(read_config(Path(task.run)))
        go_on(Path(task.run))
        return Attempt(task.name, 0, "", seconds=9.0, stage_seconds=4.0, peak_memory=3 * 2**30)

    monkeypatch.setattr("pipeline.sweep.calibrate.run_to_end", run)
    return configs


def everything(folder):
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize(("cycles", "labels"), [(2, [12]), (5, [12, 24])])
def test_the_first_and_the_last_query_are_measured(command, measured, tmp_path, cycles, labels):
    result = command("estimate")(*SMALL, "--cycles", str(cycles))
    assert [config.query.n_init for config in measured] == labels  # of five cycles, the fourth asks last
    assert {config.query.size for config in measured} == {4}
    time, memory, disk, how = result.stdout.splitlines()
    assert time.startswith("time    about ")
    assert f": {cycles} cycles " in time
    assert "starting and writing 5 s" in time
    assert memory.startswith("memory  up to 3.00 GiB, ")
    assert disk.startswith("disk    ")
    assert "measured just now on this machine" in how
    assert everything(tmp_path) == []


def test_the_labels_of_the_data_stand_in_for_people(command, measured, tmp_path):
    command("estimate")(*SMALL, "--cycles", "2", "--annotator", "files")
    assert measured[0].simulated
    page = command("estimate")(*SMALL, "--set", "annotator.name=page", code=2)
    assert "on a page a run has no end" in page.stderr
    assert everything(tmp_path) == []


def test_what_a_run_would_refuse_is_refused(command, measured):
    refused = command("estimate")(*SMALL, "--n-init", "999999", code=2)
    assert "999999" in refused.stderr
    assert measured == []
    assert len(refused.stderr.splitlines()) == 1
