"""A grid on a cluster of two nodes on loopback, one of which dies while it computes a cell."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.errors import PipelineError
from pipeline.sweep.engine import EngineOptions
from pipeline.sweep.engines import open_engine
from pipeline.sweep.estimate import read_attempts
from pipeline.sweep.process import Task

pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # JAX's, of the daemons that Ray starts
EPOCHS = 800
SLOW = [
    "--model", "mlp", "--n-init", "12", "--query-size", "4", "--subset-size", "30", "--cycles", "3",
    "--epochs", str(EPOCHS), "--set", "train.tolerance=0.0", "--set", "model.options.width=16", "--device", "cpu",
    "--strategies", "random",
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs and two nodes of one each; one dies in the first test."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    small = {"include_dashboard": False, "object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    for _ in range(2):
        made.add_node(num_cpus=1, num_gpus=1, **small)  # a GPU in Ray's books, which is all that placement needs
    yield made
    made.shutdown()


def parent(process):
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("PPid:"))


def kill_the_node_of(cluster, run):
    """Wait until a run is in its second cycle and kill the node that computes it; return which GPUs it saw."""
    deadline = time.monotonic() + 120
    while not list(run.glob("cycles/001/train.tmp-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    cell = int((run / "lock.holder").read_text().split()[1])
    variables = Path(f"/proc/{cell}/environ").read_text().split("\0")
    worker = parent(cell)
    raylet = parent(worker)
    for process in (raylet, worker):  # together, as when a machine dies
        os.kill(process, signal.SIGKILL)
    node = next(n for n in cluster.worker_nodes if n.all_processes["raylet"][0].process.pid == raylet)
    cluster.remove_node(node, allow_graceful=False)
    return [variable for variable in variables if variable.startswith("CUDA_VISIBLE_DEVICES=")]


@pytest.mark.long
def test_a_cell_whose_node_dies_is_finished_by_another(cluster, start, go_on, tmp_path):
    out = tmp_path / "grid"
    seen = []
    killer = threading.Thread(target=lambda: seen.extend(kill_the_node_of(cluster, out / "random-seed0")))
    killer.start()
    engine = ["--engine", "ray", "--address", cluster.address, "--gpus-per-cell", "0.5"]
    result = CliRunner().invoke(cli, ["compare", *SLOW, "--seeds", "0", "--out", str(out), *engine])
    killer.join()
    assert result.exit_code == 0, result.output
    assert "1 cell, 0 finished, 1 to run, 2 at once with 1 thread each" in result.stderr
    assert seen == ["CUDA_VISIBLE_DEVICES=0"]
    assert len(cluster.worker_nodes) == 1
    heads_of_tables = (out / "logs/random-seed0.log").read_text().count("cycle  labels")
    assert heads_of_tables == 2  # one for each process: on the node that died, and on the other
    assert [attempt.exit_code for attempt in read_attempts(out)] == [0]
    uninterrupted = start("alone", query__strategy="random", train__epochs=EPOCHS, train__tolerance=0.0)
    go_on(uninterrupted)
    assert (out / "random-seed0/events.jsonl").read_bytes() == (uninterrupted / "events.jsonl").read_bytes()


@pytest.mark.long
def test_a_cluster_that_is_not_there_or_too_small_is_one_line(cluster):
    def connect(**options):
        with pytest.raises(PipelineError) as caught:
            open_engine(EngineOptions(engine="ray", **options), None, "cpu", "cpu")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no node of the cluster has the 2 CPUs and 0 GPUs" in connect(address=cluster.address, cpus_per_cell=2)
    assert "no node of the cluster has the 1 CPUs and 2 GPUs" in connect(address=cluster.address, gpus_per_cell=2.0)


def test_ray_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PipelineError, match=r"Ray is not installed: pip install '\.\[cluster\]'"):
        open_engine(EngineOptions(engine="ray"), None, "cpu", "cpu")


def test_a_run_that_a_node_does_not_see_is_a_result(tmp_path):
    from pipeline.sweep.cluster import run_task

    assert "every node of the cluster shares" in run_task(Task("a", "run", str(tmp_path / "no/log"), 1, ".")).reason
    assert "start in a shared folder" in run_task(Task("a", "run", str(tmp_path / "log"), 1, "/nowhere")).reason


def test_a_cell_without_gpus_sees_none(cluster, tmp_path):
    engine = open_engine(EngineOptions(engine="ray", address=cluster.address), None, "auto", "cpu")
    try:
        assert engine._with_gpus(Task("a", "run", "log", 1, ".")).variables == {"CUDA_VISIBLE_DEVICES": ""}
        assert engine.memory > 0
    finally:
        engine.close()
    with pytest.raises(PipelineError, match="--device cuda needs some"):
        open_engine(EngineOptions(engine="ray", address=cluster.address), None, "cuda", "cuda")
