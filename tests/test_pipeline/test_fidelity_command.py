"""`pipeline fidelity`: what it writes, what it refuses, and what it leaves alone."""

import csv
import json
import shutil

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.run.rundir import RunDirectory


def files_of(path):
    files = [p for p in path.rglob("*") if p.is_file() and not p.name.startswith("lock")]
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def invoke(*arguments, code=0):
    result = CliRunner().invoke(cli, ["fidelity", *map(str, arguments)])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_the_command_reports_beside_a_run_that_it_leaves_as_it_was(unconverged, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(unconverged, run)
    with RunDirectory(run, lambda _: None):  # as if it were still going on
        before = files_of(run)
        result = invoke(run, "--cycle", "0", "--candidates", "6", "--labels", "true")
    report = run / "fidelity/cycle-000"
    assert sorted(path.name for path in report.iterdir()) == [
        f"fidelity.{end}" for end in ("csv", "json", "png", "svg")
    ]
    assert {path: state for path, state in files_of(run).items() if report not in path.parents} == before
    content = json.loads((report / "fidelity.json").read_text())
    assert content["verdict"] in result.stdout.splitlines()
    assert "the network had not converged (residual" in content["verdict"]
    assert "raise train.epochs" in content["verdict"]
    assert content["agreement"]["linearized"]["mlmoc"]["n"] == content["retrained"] == 6
    with (report / "fidelity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert [row["path"] for row in rows] == [f"digits/train/{row['id']}" for row in rows]
    assert (report / "fidelity.png").read_bytes()[:4] == b"\x89PNG"
    assert "12 retrainings of" in result.stderr
    first = (report / "fidelity.csv").read_bytes()
    (report / "fidelity.json").unlink()  # as if the first one had been killed while it wrote
    (report / ".fidelity.json.tmp-1").write_text("{")
    invoke(run, "--cycle", "0", "--candidates", "6", "--labels", "true")  # an earlier report is replaced, by the same
    assert (report / "fidelity.csv").read_bytes() == first
    assert sorted(path.suffix for path in report.iterdir()) == [".csv", ".json", ".png", ".svg"]
    resumed = CliRunner().invoke(cli, ["resume", str(run)])
    assert resumed.exit_code == 0
    assert (run / "events.jsonl").read_bytes() == before[run / "events.jsonl"][1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cycle", "2"], "--cycle: expected 0 to 0 of"),
        (["--cycle", "-1"], "--cycle: expected 0 to 0 of"),
        (["--cycle", "1"], "is the run's last one"),
        (["--cycle", "0", "--candidates", "4"], "expected at least 5 and at most the 40 of cycle 0, got 4"),
        (["--cycle", "0", "--candidates", "41"], "at most the 40 of cycle 0, got 41"),
        (["--cycle", "0", "--out", "setup.cfg"], "expected a directory, but setup.cfg is a file"),
        (["--cycle", "0", "--out", "."], "expected a new directory or an earlier report"),
    ],
)
def test_refusals_are_one_line_and_nothing_is_written(unconverged, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "setup.cfg").write_text("mine")
    result = invoke(unconverged, *arguments, code=2)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (unconverged / "fidelity").exists()


def test_what_is_no_run_or_is_not_trained_yet_is_refused(unconverged, tmp_path):
    assert "expected a run directory" in invoke(tmp_path, "--cycle", "0", code=2).stderr
    shutil.copytree(unconverged, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/cycles/000/train")
    assert "has not been trained, or is damaged" in invoke(tmp_path / "run", "--cycle", "0", code=2).stderr


def test_ctrl_c_leaves_nothing_behind(unconverged, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.fidelity.console.FidelityConsole.advance", interrupt)
    result = invoke(unconverged, "--cycle", "0", "--candidates", "6", code=130)
    assert "interrupted; nothing was written" in result.stderr
    assert not (unconverged / "fidelity").exists()
