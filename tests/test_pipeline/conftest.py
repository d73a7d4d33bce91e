import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from fidelity_cases import make_run
from threadpoolctl import threadpool_limits

from pipeline.cli import cli
from pipeline.config import load_config
from pipeline.progress import silent
from pipeline.run.context import open_context
from pipeline.run.loop import ActiveLearningLoop
from pipeline.run.rundir import RunDirectory, create_run

TINY = {
    "model.name": "mlp",
    "model.options": {"width": 16},
    "query.strategy": "mlmoc-flips",
    "query.n_init": 12,
    "query.size": 4,
    "query.subset": 30,
    "cycles": 3,
    "train.epochs": 8,
    "device": "cpu",
}


class Recorder:
    """A reporter that remembers."""

    def __init__(self):
        self.rows, self.warnings, self.stages = [], [], []

    def stage(self, cycle, name):
        self.stages.append((cycle, name))
        return silent

    def row(self, row):
        self.rows.append(row)

    def warn(self, message):
        self.warnings.append(message)


@pytest.fixture
def tiny():
    """The options of a run of a few seconds."""
    return dict(TINY)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Give a command in an empty folder: command("compare") -> call(*arguments, code=0) -> result."""
    monkeypatch.chdir(tmp_path)

    def give(name):
        def call(*arguments, code=0):
            result = CliRunner().invoke(cli, [name, *map(str, arguments)])
            if result.exception and not isinstance(result.exception, SystemExit):
                raise result.exception
            assert result.exit_code == code, result.output
            return result

        return call

    return give


@pytest.fixture
def start(tmp_path):
    """Make a run directory: start(name, **options) -> path."""

    def make(name="run", **options):
        config = load_config(options={**TINY, **{key.replace("__", "."): value for key, value in options.items()}})
        create_run(tmp_path / name, config)
        return tmp_path / name

    return make


@pytest.fixture
def go_on():
    """Run a run directory to its end in this process: go_on(path, annotator) -> Recorder."""

    def go(path, annotator=None):
        recorder = Recorder()
        with RunDirectory(path, recorder.warn) as run:
            ActiveLearningLoop(run, open_context(run.config), recorder, annotator)()
        return recorder

    return go


@pytest.fixture
def spawn():
    """Start the real command in a process of its own: spawn("resume", path) -> Popen."""
    root = Path(__file__).parents[2]

    def start_process(*arguments):
        command = [sys.executable, "-c", "from pipeline.cli import main; main()", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    return start_process


@pytest.fixture
def wait_for():
    """Poll until a condition holds or the process has ended: wait_for(process, condition)."""

    def wait(process, condition):
        deadline = time.monotonic() + 120
        while not condition() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="module")
def unconverged(tmp_path_factory):
    """A run that stopped long before convergence, of a strategy that needs no port."""
    options = {"model.name": "mlp", "model.options": {"width": 16}, "train.epochs": 8, "query.strategy": "entropy"}
    return make_run(tmp_path_factory.mktemp("unconverged") / "run", **options)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Tiny networks run faster on one thread, and a run is only equal to one at the same number of threads."""
    torch.set_num_threads(1)
    with threadpool_limits(1):  # of NumPy's and SciPy's libraries, as in the processes that `spawn` starts
        yield
