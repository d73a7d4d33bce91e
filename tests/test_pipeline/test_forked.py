"""Cells that are forked from a process that has imported everything: as those of fresh processes, and as mortal."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.sweep import forked, forkserver
from pipeline.sweep.engine import EngineOptions
from pipeline.sweep.forked import GONE, ForkedCell, ForkServer
from pipeline.sweep.local import LocalEngine
from pipeline.sweep.process import CellProcess, Task

pytestmark = pytest.mark.skipif(not forked.can_fork(), reason="cells are forked on Linux alone")
ENDLESS = {"query__strategy": "random", "train__epochs": 100_000, "train__tolerance": 0.0}


def alive(process):
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def result_of(cell):
    ended = []
    wait(lambda: ended.append(cell.poll()) or ended[-1])
    return ended[-1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One process for all tests of this file: it takes seconds to import."""
    made = ForkServer(1, str(tmp_path_factory.mktemp("folder")))
    yield made
    made.close()
    assert not alive(made._process.pid)


@pytest.fixture
def task(start, tmp_path):
    def make(name, **options):
        return Task(name, str(start(name, **options)), str(tmp_path / f"{name}.log"), 1, str(tmp_path))

    return make


def test_a_forked_cell_is_finished_or_says_why_not(server, task, tmp_path):
    good, bad = task("good", query__strategy="random", cycles=2), task("bad")
    (tmp_path / "bad/config.yaml").write_text("nonsense")
    cells = [ForkedCell(server, good), ForkedCell(server, bad)]
    done, failed = map(result_of, cells)
    assert (done.exit_code, done.reason, done.cell, done.cpus) == (0, "", "good", 1), Path(good.log).read_text()
    assert 0 < done.stage_seconds < done.seconds
    assert done.peak_memory > 2**27
    assert "final test accuracy" in Path(good.log).read_text()
    assert failed.exit_code == 2
    assert "config.yaml" in failed.reason
    events = [json.loads(line)["event"] for line in (tmp_path / "good/events.jsonl").read_text().splitlines()]
    assert events[-1] == "finished"
    with pytest.raises(OSError, match="nowhere"):
        ForkedCell(server, good._replace(log=str(tmp_path / "nowhere/log")))


def test_a_forked_cell_is_interrupted_and_killed_at_the_deadline(server, task, monkeypatch):
    kind, slow = task("kind", **ENDLESS), task("stubborn", **ENDLESS)
    cells = [ForkedCell(server, kind), ForkedCell(server, slow)]
    wait(lambda: all(Path(one.run, "lock.holder").exists() for one in (kind, slow)))
    assert [cell.poll() for cell in cells] == [None, None]
    assert os.getsid(server.pids["kind"]) != os.getsid(0)  # a terminal's Ctrl-C does not reach it
    cells[0].interrupt()
    cells[0].end(time.monotonic() + 60)
    assert cells[0].poll().exit_code == 130
    assert "go on with: pipeline resume" in Path(kind.log).read_text()
    cells[1].end(time.monotonic() - 1)
    assert cells[1].poll().reason.startswith("killed by SIGKILL")
    assert not alive(server.pids["stubborn"])


def test_nothing_is_forked_where_something_has_begun_threads(monkeypatch):
    class Bridge:
        _backends = ()

    monkeypatch.setitem(sys.modules, "jax._src.xla_bridge", Bridge)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    assert forkserver.unsafe(forkserver.threads() + 100) == ""
    assert forkserver.unsafe(0) == "something that was imported has begun threads"
    monkeypatch.setattr(Bridge, "_backends", ("cpu",))
    assert "JAX" in forkserver.unsafe(forkserver.threads() + 100)
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    assert "threads" in forkserver.unsafe(forkserver.threads() + 100)


def test_which_cells_are_forked(monkeypatch):
    begun = []
    for name in ("CellProcess", "ForkedCell"):
        monkeypatch.setattr(f"pipeline.sweep.local.{name}", lambda *_, name=name: begun.append(name))
    monkeypatch.setattr("pipeline.sweep.local.ForkServer", lambda *_: type("Server", (), {"alive": True})())
    task = Task("cell", "RUN", "LOG", 2, ".")
    LocalEngine(1, 2)._begun(task)
    engine = LocalEngine(1, 2, fork=True)
    for one in (task, task._replace(cpus=1), task._replace(variables={"A": "1"})):
        engine._begun(one)
    engine._server.alive = False
    engine._begun(task)
    assert begun == ["CellProcess", "ForkedCell", "CellProcess", "CellProcess", "CellProcess"]


def test_how_cells_start_is_an_option_of_the_local_engine(monkeypatch):
    with pytest.raises(PipelineError, match="--start: an option of --engine local"):
        EngineOptions(engine="ray", start="fork")
    monkeypatch.setattr("pipeline.sweep.engine.can_fork", lambda: False)
    with pytest.raises(PipelineError, match="--start fork: cells are forked on Linux alone"):
        EngineOptions(start="fork")


STARTER = """
import sys, time
from pipeline.sweep.forked import ForkedCell, ForkServer
from pipeline.sweep.process import Task
server = ForkServer(1, ".")
cell = ForkedCell(server, Task("cell", sys.argv[1], sys.argv[2], 1, "."))
while "cell" not in server.pids:
    cell.poll()
    time.sleep(0.1)
print(server._process.pid, server.pids["cell"], flush=True)
time.sleep(600)
"""


@pytest.mark.long
def test_forked_cells_and_their_server_die_with_the_starter(start, tmp_path):
    command = [sys.executable, "-c", STARTER, str(start(**ENDLESS)), str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        processes = [int(number) for number in starter.stdout.readline().split()]
        assert all(map(alive, processes))
        starter.kill()
    wait(lambda: not any(map(alive, processes)))


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["random", "margin-influence-sequential"])
def test_forked_cells_give_the_same_bits_as_fresh_ones(server, task, tmp_path, strategy):
    one = task("cell", query__strategy=strategy, threads=1, kernel__memory_budget=2**30)
    shutil.copytree(one.run, tmp_path / "fresh")
    other = one._replace(run=str(tmp_path / "fresh"), log=str(tmp_path / "fresh.log"))
    assert result_of(ForkedCell(server, one)).exit_code == 0, Path(one.log).read_text()
    assert result_of(CellProcess(other)).exit_code == 0, Path(other.log).read_text()
    compared = 0
    for path in Path(one.run).rglob("*"):
        twin = Path(other.run, path.relative_to(one.run))
        if path.suffix in (".safetensors", ".npz", ".yaml") or path.name in ("graph.json", "candidates.csv"):
            assert path.read_bytes() == twin.read_bytes(), path
            compared += 1
        elif path.name in ("events.jsonl", "summary.json", "diagnostics.json"):
            assert _timeless(path) == _timeless(twin), path
            compared += 1
    assert compared >= 8


def _timeless(path):
    text = path.read_text()
    lines = text.splitlines() if path.suffix == ".jsonl" else [text]
    return [{k: v for k, v in json.loads(line).items() if "seconds" not in k and k != "time"} for line in lines]


def test_cells_end_with_the_process_that_forked_them_and_others_start_afresh(server, task):
    running = task("running", **ENDLESS)
    cell = ForkedCell(server, running)
    wait(lambda: Path(running.run, "lock.holder").exists())
    assert cell.poll() is None
    child = server.pids["running"]
    server._process.kill()
    wait(lambda: not alive(child))
    assert result_of(cell).reason == GONE
    started = []
    waiting = ForkedCell(server, task("waiting"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forked, "CellProcess", lambda task: started.append(task.name))
        assert waiting.poll() is None
    assert started == ["waiting"]
