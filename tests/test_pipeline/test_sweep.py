"""``pipeline compare``: cells that are kept, tried again, interrupted; what it prints, its exit codes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from sweep_cases import InProcess

from pipeline.cli import cli
from pipeline.lock import DirectoryLock
from pipeline.run.rundir import read_events
from pipeline.sweep.cells import read_states
from pipeline.sweep.grid import read_grid
from pipeline.sweep.process import Attempt, CellProcess, Task, environment

SMALL = [
    "--model", "mlp", "--n-init", "12", "--query-size", "4", "--subset-size", "30", "--cycles", "2", "--epochs", "8",
    "--device", "cpu", "--set", "model.options.width=16",
]  # fmt: skip


@pytest.fixture
def engine(monkeypatch, go_on):
    """Compute grids in this process, which is fast."""
    made = InProcess(go_on)
    monkeypatch.setattr("pipeline.sweep.session.open_engine", lambda options, cpus, wanted, device: made)
    return made


@pytest.fixture
def compare(command):
    return command("compare")


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_grid_is_computed_kept_and_extended(compare, engine, tmp_path):
    first = compare(*SMALL, "--strategies", "random,entropy", "--seeds", "0-1")
    out = tmp_path / "runs/compare-digits-mlp"
    lines = first.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        [f"[{n}/4]", f"{name}:"] for n, name in enumerate(engine.ran[:4], start=1)
    ]
    assert lines[4].split() == ["strategy", "finished", "mean", "AUBC"]
    assert lines[5].split()[:4] == ["random", "2", "of", "2"]
    assert lines[-1] == "report: pipeline report runs/compare-digits-mlp"
    assert "better" not in first.output
    assert "warning: 8 of 8 trainings ended before convergence, with residuals of up to " in first.stderr
    grid = yaml.safe_load((out / "grid.yaml").read_text())
    assert (grid["strategies"], grid["seeds"], grid["cpus_per_cell"]) == (["random", "entropy"], [0, 1], 1)
    assert grid["run"]["kernel"]["memory_budget"] == 2**30  # half of a cell's share, for all cells alike
    assert {state.standing for state in read_states(out, read_grid(out).cells())} == {"finished"}
    assert json.loads((out / "attempts.jsonl").read_text().splitlines()[0])["cell"] == "random-seed0"

    before = everything(out)
    engine.ran.clear()
    again = compare("--out", out)  # with nothing else: what the grid holds
    assert engine.ran == ["closed"]
    assert everything(out) == before
    assert again.stdout.splitlines()[:3] == lines[4:7]

    more = compare(*SMALL, "--strategies", "margin", "--seeds", "0")  # the default directory holds the same runs
    assert "note: the comparison also holds strategies random, entropy and seeds 1, which go on too" in more.stderr
    assert engine.ran[1:] == ["margin-seed0", "margin-seed1", "closed"]
    assert read_grid(out).strategies == ("random", "entropy", "margin")
    assert all(before[path] == content for path, content in everything(out).items() if "entropy-seed" in str(path))


def test_a_failed_cell_ends_no_other_and_is_tried_again(compare, engine, tmp_path):
    arguments = [*SMALL, "--strategies", "random,entropy", "--seeds", "0-1", "--out", tmp_path / "grid"]
    engine.failing = {"entropy-seed0": "cycle 0: the loss diverged"}
    (tmp_path / "grid/random-seed1").mkdir(parents=True)
    (tmp_path / "grid/random-seed1/mine.txt").write_text("something else")
    (tmp_path / "grid/grid.yaml").write_text("")
    assert "grid.yaml is damaged" in compare(*arguments, code=2).stderr
    shutil.move(tmp_path / "grid/random-seed1", tmp_path / "aside")
    (tmp_path / "grid/grid.yaml").unlink()
    result = compare(*arguments, code=1)
    assert "failed: 1 of 4 cells" in result.stderr
    assert engine.ran == ["random-seed0", "entropy-seed0", "random-seed1", "entropy-seed1", "closed"]
    assert "FAILED entropy-seed0: cycle 0: the loss diverged; log " in result.stdout
    assert re.search(r"^entropy +1 of 2 +0\.\d{4}$", result.stdout, re.MULTILINE)

    shutil.rmtree(tmp_path / "grid/random-seed1")
    shutil.move(tmp_path / "aside", tmp_path / "grid/random-seed1")
    log = tmp_path / "grid/entropy-seed1/events.jsonl"
    intact = log.read_bytes()
    log.write_bytes(intact.replace(b'"seq":1', b'"seq":7'))
    engine.failing, engine.ran = {}, []
    result = compare("--out", tmp_path / "grid", code=1)
    assert engine.ran == ["entropy-seed0", "closed"]
    assert "FAILED random-seed1: expected a new or empty directory" in result.stdout
    assert "FAILED entropy-seed1: " in result.stdout
    assert "line 2 is damaged" in result.stdout
    assert (tmp_path / "grid/random-seed1/mine.txt").exists()

    shutil.rmtree(tmp_path / "grid/random-seed1")
    log.write_bytes(intact)
    compare("--out", tmp_path / "grid")


def test_strategies_that_did_not_start_alike_are_no_comparison(compare, engine, start, go_on, tmp_path):
    arguments = [*SMALL, "--strategies", "random,entropy", "--seeds", "0", "--out", tmp_path / "grid"]
    compare(*arguments)
    shutil.rmtree(tmp_path / "grid/entropy-seed0/cycles/000/score")
    other = tmp_path / "grid/entropy-seed0/events.jsonl"
    events = read_events(other.parent)
    go_on(start("other", cycles=2, seed=1, query__strategy="entropy"))
    shutil.copy(tmp_path / "other/events.jsonl", other)
    result = compare(*arguments, code=1)
    assert "NOT COMPARABLE: entropy-seed0: the initial set is not that of random-seed0" in result.stdout
    assert "failed: " in result.stderr
    assert events != read_events(other.parent)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategies", "random,best"], "expected one of "),
        (["--strategies", "random,random"], "random is listed more than once"),
        (["--seeds", "5-0"], "ranges that run upwards such as 0-5"),
        (["--query-size", "1300", "--subset-size", "1300"], "but digits has 1297"),
        (["--dataset", "mnist", "--data-root", "nowhere"], "nowhere"),
        (["--set", "seed=3"], "give --strategies and --seeds"),
        (["--set", "train.epoch=3"], "there is no key 'train.epoch'"),
        (["--set", "train.loss=hinge"], "hinge"),
        (["--address", "auto"], "options of --engine ray"),
        (["--out", "file"], "expected a new or empty directory or one with a grid.yaml"),
        (["--out", "file/out"], "cannot write to file/out"),
        (["--jobs", "0"], "is not in the range"),
    ],
)
def test_bad_input_exits_2_and_writes_nothing(compare, tmp_path, arguments, message):
    (tmp_path / "file").write_text("mine")
    before = everything(tmp_path)
    defaults = [] if "--strategies" in arguments else ["--strategies", "random,entropy"]
    for dry in [], ["--dry-run"]:
        if dry and arguments[-1] == "file/out":  # nothing would be written
            continue
        result = compare(*SMALL, *defaults, *arguments, *dry, code=2)
        assert message in result.stderr
        assert (everything(tmp_path), result.stdout) == (before, "")
    assert not (tmp_path / "runs").exists()


def test_strategies_must_be_named(compare):
    assert "--strategies: expected names such as" in compare(*SMALL, code=2).stderr


def test_a_closed_directory_is_named(compare, engine, tmp_path, monkeypatch):
    def closed(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", closed)
    arguments = [*SMALL, "--strategies", "random", "--out", tmp_path / "out"]
    assert "--out: cannot write to" in compare(*arguments, code=2).stderr


def test_a_grid_in_use_names_its_holder_and_another_grid_is_refused(compare, engine, tmp_path):
    arguments = ["--strategies", "random", "--seeds", "0", "--out", tmp_path / "grid"]
    compare(*SMALL, *arguments)
    lock = DirectoryLock(tmp_path / "grid")
    assert f"grid is in use by process {os.getpid()}" in compare("--out", tmp_path / "grid", code=2).stderr
    lock.release()
    before = everything(tmp_path)
    refused = compare(*SMALL, *arguments, "--epochs", "9", code=2)
    assert "holds a grid of other runs (train.epochs: 8 -> 9)" in refused.stderr
    assert everything(tmp_path) == before


def test_a_dry_run_measures_and_writes_nothing(compare, engine, tmp_path, monkeypatch):
    def measured(task):
        engine.go_on(Path(task.run))
        return Attempt(task.name, 0, "", seconds=9.0, stage_seconds=4.0, peak_memory=3 * 2**30)

    monkeypatch.setattr("pipeline.sweep.calibrate.run_to_end", measured)
    result = compare(*SMALL, "--cycles", "3", "--strategies", "random,entropy,mlmoc", "--seeds", "0", "--dry-run")
    assert list(tmp_path.iterdir()) == []
    assert [line.split()[:5] for line in result.stdout.splitlines()[1:4]] == [
        [f"{name}-seed0", "new", "0", "of", "3"] for name in ("random", "entropy", "mlmoc")
    ]
    assert "3.00 GiB a cell, 2.00 GiB free for each" in result.stdout
    assert "the first cycle of random-seed0 and mlmoc-seed0, run on this machine just now; others" in result.stdout
    assert "a cell took up to 3.00 GiB, but 2.00 GiB are free for each of 1 at once" in result.stderr

    compare(*SMALL, "--strategies", "random", "--seeds", "0", "--out", "grid")
    before = everything(tmp_path)
    monkeypatch.setattr("pipeline.sweep.calibrate.run_to_end", None)  # nothing is to be measured again
    result = compare("--out", "grid", "--seeds", "0-1", "--dry-run")
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:3]] == [
        ["random-seed0", "finished"], ["random-seed1", "new"],
    ]  # fmt: skip
    assert "estimated from cells of this grid" in result.stdout
    assert everything(tmp_path) == before


def test_a_cell_moves_with_its_data(compare, engine, tmp_path):
    arguments = [*SMALL, "--strategies", "random", "--seeds", "0", "--out", "grid"]
    engine.failing = {"random-seed0": "the data went away"}
    compare(*arguments, code=1)
    engine.failing = {}
    compare(*arguments, "--data-root", tmp_path)
    assert yaml.safe_load((tmp_path / "grid/random-seed0/config.yaml").read_text())["data"]["root"] == str(tmp_path)


REPORT_THREADS = """
import collections, json, pathlib
import numpy, scipy.linalg, torch, jax, jax.numpy as jnp
from threadpoolctl import threadpool_info
(jnp.ones((300, 300)) @ jnp.ones((300, 300))).block_until_ready()
names = [p.read_text().strip() for p in pathlib.Path("/proc/self/task").glob("*/comm")]
pools = {pool["num_threads"] for pool in threadpool_info()}
print(json.dumps([torch.get_num_threads(), sorted(pools), names.count("tf_XLAEigen")]))
"""


def test_every_library_of_a_cell_keeps_to_its_number_of_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    command = [sys.executable, "-c", REPORT_THREADS]
    done = subprocess.run(command, env=environment(1), capture_output=True, check=True)
    torch_threads, pools, xla = json.loads(done.stdout)
    assert (torch_threads, max(pools), xla) == (1, 1, 1)


STARTER = """
import sys, time
from pipeline.sweep.process import CellProcess, Task
process = CellProcess(Task("cell", sys.argv[1], sys.argv[2], 1, "."))
print(process._process.pid, flush=True)
time.sleep(600)
"""


def alive(process):
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_cell_dies_with_its_starter(start, tmp_path):
    path = start(cycles=2, query__strategy="random", train__epochs=100_000, train__tolerance=0.0)
    command = [sys.executable, "-c", STARTER, str(path), str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        cell = int(starter.stdout.readline())
        time.sleep(0.3)
        assert alive(cell)
        starter.kill()
    deadline = time.monotonic() + 60
    while alive(cell) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(cell)


def test_a_cell_is_interrupted_whatever_its_starter_has_blocked(start, tmp_path):
    path = start(cycles=2, query__strategy="random", train__epochs=100_000, train__tolerance=0.0)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # as Ray does in all that it starts
    try:
        cell = CellProcess(Task("cell", str(path), str(tmp_path / "log"), 1, "."))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    time.sleep(0.3)
    cell.interrupt()
    cell.end(time.monotonic() + 60)  # then it is killed
    assert cell._process.returncode in (130, -signal.SIGINT)


@pytest.mark.long
def test_ctrl_c_stops_the_cells_and_the_grid_goes_on(compare, engine, spawn, wait_for, tmp_path):
    out = tmp_path / "grid"
    slow = [*SMALL, "--epochs", "700", "--set", "train.tolerance=0.0", "--jobs", "1", "--cpus-per-cell", "1"]
    process = spawn("compare", *slow, "--strategies", "random", "--seeds", "0", "--out", out)
    wait_for(process, lambda: list(out.glob("*/cycles/*/train.tmp-*")))
    held = (out / "random-seed0/lock.holder").read_text()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.endswith(f"interrupted; go on with: pipeline compare --out {out}\n")
    assert not alive(int(held.split()[1]))
    assert not list(out.rglob("*.tmp-*"))
    assert not (out / "lock.holder").exists()
    compare("--out", out)
    assert engine.ran == ["random-seed0", "closed"]


def test_a_process_that_cannot_start_or_finds_its_run_held_says_why(start, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.sweep.process.environment", lambda cpus: {**os.environ, "COMPARE": "1"})
    path = start("cell")
    with pytest.raises(OSError, match="nowhere"):
        CellProcess(Task("cell", str(path), str(tmp_path / "nowhere/log"), 1, "."))
    from pipeline.sweep import child

    lock = DirectoryLock(path)
    began = time.monotonic()
    child.await_lock(path, 0.3)
    assert 0.3 <= time.monotonic() - began < 30
    lock.release()
    began = time.monotonic()
    child.await_lock(path, 600)
    child.await_lock(tmp_path / "absent", 600)
    assert time.monotonic() - began < 60


def test_a_strategy_of_the_users_own_is_compared_and_reported_even_when_it_is_gone(compare, engine, tmp_path):
    source = "from pipeline.queries.random_ import Random\n\n\nclass Own(Random):\n    name = 'own'\n"
    (tmp_path / "mine_alone.py").write_text(source)
    strategies = ["--strategies", "random,mine_alone:Own", "--seeds", "0-1"]
    done = compare(*SMALL, *strategies)  # exit code 0: its file's hash makes its cells no other experiment
    assert "NOT COMPARABLE" not in done.output

    (tmp_path / "mine_alone.py").unlink()
    sys.modules.pop("mine_alone")
    report = CliRunner().invoke(cli, ["report", "runs/compare-digits-mlp"])
    assert report.exit_code == 0, report.output
    assert "mine_alone:Own" in (tmp_path / "runs/compare-digits-mlp/report/index.html").read_text()
    again = compare("--out", "runs/compare-digits-mlp", "--trust-code", code=2)
    assert "strategy 'mine_alone:Own' cannot be imported" in again.output
    assert "damaged" not in again.output
    one = CliRunner().invoke(cli, ["resume", "runs/compare-digits-mlp/mine_alone-Own-seed0", "--trust-code"])
    assert one.exit_code == 2
    assert "damaged" not in one.output


def test_resuming_a_comparison_names_the_right_command(compare, engine):
    compare(*SMALL, "--strategies", "random", "--seeds", "0")
    result = CliRunner().invoke(cli, ["resume", "runs/compare-digits-mlp"])
    assert result.exit_code == 2
    assert "it is a comparison: name one of the runs in runs/compare-digits-mlp, random-seed0, or see" in result.output
    assert "; 'pipeline compare --out runs/compare-digits-mlp' goes on with it" in result.output


@pytest.mark.parametrize("spoil", [shutil.rmtree, lambda path: (path / "cycles/000/train/summary.json").unlink()])
def test_a_finished_cell_that_is_deleted_meanwhile_does_not_cost_the_summary(engine, command, tmp_path, spoil):
    compare = command("compare")
    arguments = ["--strategies", "random,margin", "--seeds", "0", "--out", "grid", *SMALL]
    compare(*arguments)
    again = engine.run

    def run(tasks):
        spoil(tmp_path / "grid/random-seed0")
        yield from again(tasks)

    engine.run = run
    result = compare(*arguments[:3], "0,1", *arguments[4:], code=1)
    assert re.search(r"^margin +2 of 2 ", result.stdout, re.M)
    assert re.search(r"^random +1 of 2 ", result.stdout, re.M)
    assert "FAILED random-seed0: it was finished" in result.stdout


def test_a_cell_that_fails_as_before_says_what_else_to_do(engine, command):
    engine.failing = {"random-seed0": "too large; it failed so before, and will again as it is"}
    result = command("compare")("--strategies", "random", "--seeds", "0", "--out", "grid", *SMALL, code=1)
    assert "1 of 1 cells (1 as before: begin another comparison with other settings); they are tried" in result.stderr
