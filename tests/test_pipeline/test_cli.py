"""The command line as a person meets it: what it prints, its exit codes, and that bad input writes nothing."""

import os
import re
import shutil
import signal

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.config import AnnotatorSection, load_config
from pipeline.options import RUN_OPTIONS

SMALL = [
    "--model", "mlp", "--n-init", "12", "--query-size", "4", "--subset-size", "30", "--cycles", "2", "--epochs", "8",
    "--device", "cpu", "--set", "model.options.width=16",
]  # fmt: skip


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def call(*arguments, code=0):
        result = runner.invoke(cli, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return call


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run that tests only read."""
    path = tmp_path_factory.mktemp("finished") / "run"
    result = CliRunner().invoke(cli, ["run", *SMALL, "--out", str(path)])
    assert result.exit_code == 0, result.output
    return path, result


def test_run_prints_a_row_a_cycle_and_where_the_run_is(finished):
    path, result = finished
    lines = result.stdout.splitlines()
    assert lines[0].split() == [
        "cycle", "labels", "test", "acc", "|R|", "epochs", "train", "s", "migrate", "s", "score", "s",
    ]  # fmt: skip
    assert re.match(r" +0 +12 +\d+\.\d\d% +\d\.\d{3} +\d+ +\d+\.\d +\d+\.\d +\d+\.\d$", lines[1])
    assert re.match(r" +1 +16 +\d+\.\d\d% +\d\.\d{3} +\d+ +\d+\.\d +- +-$", lines[2])
    assert re.match(r"final test accuracy \d+\.\d\d% with 16 labels", lines[3])
    assert lines[-1] == f"run {path}"
    assert "\x1b" not in result.output
    plain = ["cycle 0: train", "cycle 0: migrate", "cycle 0: score", "cycle 0: sequential", "cycle 1: train"]
    said = [line for line in result.stderr.splitlines() if not line.startswith("warning")]
    assert re.match(r"kernel of \d+ examples, [\d,]+ parameters .* MiB of a budget of ", said.pop(3))
    assert said[4].startswith("test acc: ")
    assert said[5].startswith("seconds to train a network, ")
    assert said[:4] + said[6:] == plain


def test_default_names_never_collide(invoke, tmp_path):
    small = [*SMALL, "--strategy", "random", "--cycles", "1"]
    assert "runs/digits-mlp-random-seed0\n" in invoke("run", *small).stdout
    assert "runs/digits-mlp-random-seed0-2\n" in invoke("run", *small).stdout
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "digits-mlp-random-seed0",
        "digits-mlp-random-seed0-2",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "train.epoch=3"], "there is no key 'train.epoch'"),
        (["--strategy", "best"], "expected one of mlmoc"),
        (["--query-size", "50", "--subset-size", "40"], "at most the subset of 40 candidates, got 50"),
        (["--n-init", "1294"], "but digits has 1297"),
        (["--dataset", "imagenet"], "expected one of digits"),
        (["--dataset", "mnist", "--data-root", "nowhere"], "nowhere"),
        (["--config", "absent.yaml"], "cannot read absent.yaml"),
        (["--device", "cuda:77"], "expected one that torch can use"),
        (["--device", "abacus"], "expected one that torch can use"),
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--device", "meta"], "expected one that torch can use"),
        (["--dataset", "mnist", "--data-root", "~nobody-of-that-name/x"], "home directory"),
        (["--model", "resnet18", "--n-init", "1", "--set", "model.options={}"], "batch norm needs at least 2 labels"),
        (["--set", "kernel.block=0"], "kernel.block: expected at least 1, got 0"),
        (["--set", "kernel.ridge=-1.0"], "kernel.ridge: expected a finite number of at least 0, got -1.0"),
        (["--set", "kernel.ridge=.nan"], "kernel.ridge"),
        (["--set", "kernel.logit=10"], "kernel.logit: expected 0 to 9, got 10"),
        (["--set", "data.name=2020-13-45"], "not valid YAML"),
        (["--memory-budget", "1KiB"], "the kernel of 42 examples does not fit into a memory budget of"),
    ],
)
def test_bad_input_is_one_line_exit_2_and_nothing_written(invoke, tmp_path, arguments, message):
    result = invoke("run", *SMALL, *arguments, "--out", "out", code=2)
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_unknown_options_and_wrong_types_exit_2(invoke):
    assert "No such option" in invoke("run", "--strateggy", "x", code=2).stderr
    assert "not a valid integer" in invoke("run", "--seed", "x", code=2).stderr


def test_a_file_in_the_place_of_the_run(invoke, tmp_path):
    (tmp_path / "out").write_text("mine")
    assert "expected a new or empty directory" in invoke("run", *SMALL, "--out", "out", code=2).stderr
    assert (tmp_path / "out").read_text() == "mine"
    assert "cannot write to out/run" in invoke("run", *SMALL, "--out", "out/run", code=2).stderr


@pytest.mark.parametrize("file", ["config.yaml", "events.jsonl"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{]\n", b"seed: 2020-13-45\n"])
def test_damaged_run_files_are_named(invoke, finished, tmp_path, file, content):
    shutil.copytree(finished[0], tmp_path / "copy")
    (tmp_path / "copy" / file).write_bytes(content)
    result = invoke("resume", "copy", code=2)
    assert file in result.stderr
    assert "restore" in result.stderr
    assert result.stderr.count("\n") == 1
    assert (tmp_path / "copy" / file).read_bytes() == content


def test_a_torn_log_is_said(invoke, finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "copy")
    log = tmp_path / "copy/events.jsonl"
    log.write_bytes(log.read_bytes()[:-40])
    assert "the last line was torn" in invoke("resume", "copy").stderr
    assert log.read_bytes() == (finished[0] / "events.jsonl").read_bytes()


def test_an_existing_run_is_never_overwritten(invoke, finished):
    path, _ = finished
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    result = invoke("run", *SMALL, "--out", path, code=2)
    assert f"go on with 'pipeline resume {path}'" in result.stderr
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before


def test_resume_of_a_finished_run_shows_it_again(invoke, finished):
    path, first = finished
    assert invoke("resume", path).stdout == first.stdout


def test_resume_of_what_is_no_run(invoke, tmp_path):
    assert "expected a run directory with a config.yaml" in invoke("resume", tmp_path, code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_use_names_its_holder(invoke, finished):
    from pipeline.run.rundir import RunDirectory

    path, _ = finished
    with RunDirectory(path, print):
        assert f"in use by process {os.getpid()}" in invoke("resume", path, code=2).stderr


@pytest.mark.parametrize("stage", ["train", "migrate", "score", "select"])
def test_each_stage_alone_reproduces_the_run(invoke, finished, tmp_path, stage):
    path, _ = finished
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    output = invoke("stage", stage, path, "--cycle", 0, "--out", tmp_path / "again").stdout
    assert "result: equals the run's own" in output
    assert f"read  {path / 'events.jsonl'}" in output
    assert f"wrote {tmp_path / 'again'}" in output
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


def test_a_stage_that_has_nothing_to_read(invoke, finished, tmp_path):
    path, _ = finished
    for stage, cycle, message in (("train", 7, "no labels for cycle 7"), ("score", 1, "is the run's last one")):
        result = invoke("stage", stage, path, "--cycle", cycle, "--out", tmp_path / "again", code=2)
        assert message in result.stderr
        assert not (tmp_path / "again").exists()
    for out, message in ((path / "cycles/new", "outside of the run"), (tmp_path / "a/b", "does not exist")):
        assert message in invoke("stage", "select", path, "--cycle", 0, "--out", out, code=2).stderr
        assert not out.exists()


def test_a_stage_that_gives_another_result_says_so(invoke, finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "copy")
    (tmp_path / "copy/cycles/000/query.jsonl").write_text("{}")
    result = invoke("stage", "select", "copy", "--cycle", 0, "--out", "again", code=1)
    assert "DIFFERS" in result.stdout


def test_list_and_help_and_doctor(invoke):
    assert "mlmoc-flips" in invoke("list", "strategies").stdout
    assert "cifar100" in invoke("list", "datasets").stdout
    assert "wide_resnet" in invoke("list", "models").stdout
    for command in ("run", "resume", "stage", "list", "doctor"):
        assert "Example:" in invoke(command, "--help").stdout
    checks = invoke("doctor", "--data-root", "nowhere").stdout
    assert "data set digits: 1297 training and 500 test images" in checks
    assert re.search(r"^absent data set mnist: .*nowhere", checks, re.MULTILINE)
    assert "neural-tangents" in checks


def test_the_help_states_the_defaults_that_the_configuration_has():
    defaults = load_config()
    for flag, path, _, text in RUN_OPTIONS:
        if stated := re.search(r"\[(\S+)\]$", text):
            value = defaults
            for part in path.split("."):
                value = getattr(value, part)
                value = AnnotatorSection() if value is None else value  # the one section that may be absent
            assert stated[1] == str(value), flag


def test_a_broken_package_is_marked_bad(invoke, monkeypatch):
    monkeypatch.setattr("pipeline.doctor.PACKAGES", ("torch", "nothing_of_that_name"))
    result = invoke("doctor", code=1)
    assert "bad    nothing_of_that_name does not import" in result.stdout


def test_ctrl_c_exits_130_and_the_run_goes_on(start, go_on, spawn, wait_for):
    path = start("interrupted", cycles=2, query__strategy="random", train__epochs=1500, train__tolerance=0.0)
    process = spawn("resume", path)
    wait_for(process, lambda: list(path.glob("cycles/*/train.tmp-*")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.endswith(f"interrupted; go on with: pipeline resume {path}\n")
    assert "Traceback" not in errors
    assert not list(path.rglob("*.tmp-*"))
    assert len(go_on(path).rows) == 2
