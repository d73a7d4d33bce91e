"""What is looked at first: arguments before imports, places and locks before images, runs before folders of images."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from folder_cases import put

from pipeline.cli import cli
from pipeline.config import load_config
from pipeline.errors import PipelineError
from pipeline.lock import DirectoryLock
from pipeline.places import check_file, check_place, refuse_runs, require_run
from pipeline.run.events import EventLog
from pipeline.run.rundir import create_run

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "jax", "pydantic", "sklearn")


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments, code=2):
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
        assert result.exit_code == code, (result.output, result.exception)
        return result.stderr

    return call


@pytest.fixture
def runs(tmp_path):
    """A folder of two runs and a comparison."""
    for name in ("a", "b"):
        options = {"annotator.name": "page", "data.name": "digits", "model.name": "mlp", "cycles": 1}
        create_run(tmp_path / "runs" / name, load_config(options=options))
        EventLog(tmp_path / "runs" / name / "events.jsonl").close()
    (tmp_path / "runs" / "compared" / "logs").mkdir(parents=True)
    (tmp_path / "runs" / "compared" / "grid.yaml").write_text("{}")
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["label"], "expected either a folder or run to label, or --demo"),
        (["label", "photos", "--demo"], "expected either a folder or run to label, or --demo"),
        (["label", "runs"], "runs holds runs (a): name one of the runs in it"),
        (["label", "runs/a", "--seed", "1"], "is a run, which goes on as it began"),
        (["resume", "nowhere"], "expected a run directory with a config.yaml, but nowhere has none"),
        (["products", "runs"], "name one of the runs in it, a"),
        (["export", "nowhere"], "expected a run directory"),
        (["fidelity", "nowhere", "--cycle", "0"], "expected a run directory"),
        (["report", "runs"], "is neither: name some of the runs in it, a"),
        (["ingest", "nowhere", "said.csv"], "expected a run directory"),
        (["stage", "train", "nowhere", "--cycle", "0"], "expected a run directory"),
        (["analyse", "dynamics", "nowhere"], "expected a run directory"),
        (["predict", "runs/a", "photos", "--out", "nowhere/z.csv"], "expected a file in a folder that there is"),
    ],
)
def test_arguments_are_checked_before_anything_heavy_is_imported(tmp_path, arguments, message):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "photos").mkdir()
    for name in ("config.yaml", "events.jsonl"):
        (tmp_path / "runs" / "a" / name).write_text("")
    code = (
        "import sys\nfrom pipeline.cli import cli\n"
        f"try: cli({arguments!r})\nexcept SystemExit as end: rc = end.code\n"
        f"print(rc, sorted(sys.modules.keys() & set({HEAVY!r})))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "2 []", done.stdout + done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_run_is_never_taken_for_a_folder_of_images(invoke, runs, tmp_path):
    for command in (("label",), ("run", "--dataset")):
        named = "runs" if command == ("label",) else "folder:runs"
        said = invoke(*command, named)
        assert "runs holds runs (a, b, compared)" in said
        assert "remove" not in said
    assert "such as 'pipeline label runs/a'" in invoke("label", "runs")
    assert "'pipeline report runs/compared'" in invoke("label", "runs/compared")
    seen = "see it with 'pipeline report runs/compared'; 'pipeline compare --out runs/compared' goes on with it"
    assert f"is a comparison: {seen}" in invoke("products", "runs/compared")
    assert invoke("resume", "runs").strip().endswith("name one of the runs in it, a, b")
    shutil.copytree(runs / "a", tmp_path / "pilot/comparison/margin-seed0")
    (tmp_path / "pilot/comparison/grid.yaml").write_text("{}")
    for command in ("advise", "status"):
        for named in ("pilot", "pilot/comparison"):
            said = invoke(command, named)
            assert "name one of the runs in pilot/comparison, margin-seed0, or see it with 'pipeline report" in said
    (runs / "a" / "config.yaml").unlink()
    assert "restore that file from a copy" in invoke("label", "runs/a")
    assert "restore that file from a copy" in invoke("resume", "runs/a")
    assert "holds runs" in invoke("predict", "runs", "photos")
    put(tmp_path, "photos/cat/1.png")
    (tmp_path / "photos" / "config.yaml").mkdir()
    refuse_runs(tmp_path / "photos")  # it holds images alone
    with pytest.raises(PipelineError, match="is a run, not a folder of images"):
        refuse_runs(runs / "b")
    require_run(runs / "b")


def test_a_place_that_cannot_be_written_to_is_told_before_the_work(invoke, runs, tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: not Path(path).is_relative_to(closed))
    denied = f"no permission to write in {closed}"
    for arguments in (
        ("predict", runs / "a", "photos", "--out", closed / "z.csv"),
        ("products", runs / "a", "--out", closed / "products"),
        ("export", runs / "a", "--out", closed / "to_label.csv"),
        ("stage", "train", runs / "a", "--cycle", 0, "--out", closed / "new"),
        ("run", "--out", closed / "run"),
        ("compare", "--strategies", "random,margin", "--out", closed / "grid"),
        ("label", "--demo", "--out", closed / "run"),
    ):
        said = invoke(*arguments)
        assert said.startswith(f"error: --out: cannot write to {arguments[-1]}: {denied}"), said
    with pytest.raises(PipelineError, match="is a folder"):
        check_file(closed)
    (tmp_path / "file").write_text("")
    with pytest.raises(PipelineError, match="is a file"):
        check_place(tmp_path / "file" / "deep")


@pytest.mark.parametrize("command", ["label", "resume", "ingest"])
def test_a_run_in_use_is_refused_before_its_images_are_read(invoke, runs, command, monkeypatch):
    def read(*_, **__):
        raise AssertionError("images were read")

    if command != "label":
        run = runs / "files"
        options = {"annotator.name": "files", "query.strategy": "margin", "model.name": "mlp"}
        create_run(run, load_config(options=options))
        EventLog(run / "events.jsonl").close()
    else:
        run = runs / "a"
    monkeypatch.setattr("pipeline.run.loading.load", read)
    with DirectoryLock(run):
        said = invoke(command, run, *(["said.csv"] if command == "ingest" else []))
    assert f"is in use by process {os.getpid()} on " in said
    assert ("Link for another browser" in said) == (command == "label")
    assert said.count("\n") == 1


def test_a_lock_is_released_once_alone(tmp_path):
    first = DirectoryLock(tmp_path)
    first.release()
    with DirectoryLock(tmp_path):
        first.release()  # again: whoever has it now keeps it
        with pytest.raises(PipelineError, match=f"in use by process {os.getpid()}"):
            DirectoryLock(tmp_path)
