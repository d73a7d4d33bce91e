"""Somebody else's run: what its configuration names does not run before the user has seen it and said so."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import benchmark_scripts
from pipeline.cli import cli
from pipeline.config import load_config
from pipeline.queries import strategy_code
from pipeline.run.recorded import code_sha256, named_code
from pipeline.run.rundir import read_config, read_events
from pipeline.sweep import child
from pipeline.sweep.process import Attempt, CellProcess, Task

SMALL = [
    "--n-init", "12", "--query-size", "4", "--subset-size", "30", "--cycles", "2", "--epochs", "2", "--device", "cpu",
]  # fmt: skip
OWN = """
import pathlib

from torch import nn

from pipeline.queries.random_ import Random

pathlib.Path("ran").write_text("x")


def build(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))


class Own(Random):
    name = "own"
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with a module that leaves a trace when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "not_ours.py").write_text(OWN)
    yield tmp_path
    sys.modules.pop("not_ours", None)


def invoke(*arguments, code=0):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def forget(here):
    """Leave no trace of the module in this process, as in a new one."""
    sys.modules.pop("not_ours", None)
    (here / "ran").unlink(missing_ok=True)


def refused(here, *arguments):
    """Invoke a command that must run nothing; returns its one line."""
    said = invoke(*arguments, code=2).stderr
    assert said.count("\n") == 1, said
    assert "not_ours" not in sys.modules
    assert not (here / "ran").exists()
    return said


def somebody_elses(here, **fields):
    """A run directory with a configuration alone, as it may come from anywhere."""
    plain = load_config(options={"query.strategy": "random", "cycles": 2, "device": "cpu"}).model_dump(mode="json")
    for path, value in fields.items():
        section, name = path.split("__")
        plain[section][name] = value
    (here / "run").mkdir()
    (here / "run/config.yaml").write_text(yaml.safe_dump(plain))
    return here / "run"


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        (
            {"model__name": "subprocess:getoutput", "model__options": {"cmd": "touch ran"}},
            "model subprocess:getoutput with {'cmd': 'touch ran'} from ",
        ),
        ({"model__name": "not_ours:build"}, "model not_ours:build from "),
        ({"query__strategy": "not_ours:Own"}, "strategy not_ours:Own from "),
        ({"query__strategy": "not_ours:Own-greedy"}, "strategy not_ours:Own-greedy (not_ours:Own) from "),
        ({"query__strategy": "not_ours:Own-greedy-sequential"}, "strategy not_ours:Own-greedy-sequential"),
        ({"query__strategy": "nowhere_at_all:Own"}, "strategy nowhere_at_all:Own, whose file is not found"),
    ],
)
def test_a_run_of_somebody_else_runs_nothing(here, fields, shown):
    run = somebody_elses(here, **fields)
    said = refused(here, "resume", run)
    assert said.startswith(f"error: {run} names code that is not part of this program and would run: {shown}")
    assert said.endswith("If you trust it, give --trust-code\n")
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml"]
    refused(here, "stage", "train", run, "--cycle", "0")
    refused(here, "fidelity", run, "--cycle", "0")
    refused(here, "report", run)


@pytest.mark.parametrize("strategy", ["not_ours:Own", "not_ours:Own-greedy"])
def test_reading_a_configuration_that_says_on_imports_nothing(here, strategy):
    run = somebody_elses(here, query__strategy=strategy, query__on="network")
    for command in (["resume"], ["report"], ["stage", "train", "--cycle", "0"]):
        refused(here, *command, run)


@pytest.fixture
def own(here):
    """A finished run with a network and a strategy of one's own, given on the command line."""
    invoke("run", *SMALL, "--model", "not_ours:build", "--strategy", "not_ours:Own", "--out", "run")
    assert (here / "ran").exists()
    forget(here)
    return here / "run"


def test_what_was_given_on_the_command_line_ran_and_goes_on_only_when_confirmed(here, own):
    for command in (["resume", own], ["stage", "train", own, "--cycle", 0], ["fidelity", own, "--cycle", 0]):
        said = refused(here, *command)
        assert f"model not_ours:build from {here / 'not_ours.py'} (SHA-256 " in said
        assert said.count("as when the run began)") == 2
        assert "; strategy not_ours:Own from " in said
    said = invoke("resume", own, "--trust-code").stderr
    assert f"note: --trust-code: runs model not_ours:build from {here / 'not_ours.py'} (SHA-256 " in said
    assert "warning: package versions" not in said
    forget(here)
    assert "equals the run's own" in invoke("stage", "train", own, "--cycle", 0, "--trust-code").stdout


def test_a_file_that_changed_is_said_before_it_is_imported(here, own):
    (here / "not_ours.py").write_text(OWN + "# changed\n")
    assert refused(here, "resume", own).count("CHANGED since the run began)") == 2
    said = invoke("resume", own, "--trust-code").stderr.splitlines()
    notes = [number for number, line in enumerate(said) if line.startswith("note: ") and "CHANGED" in line]
    assert len(notes) == 2
    assert [line for line in said[notes[1] :] if "package versions changed since the run began (not_ours:" in line]
    events = own / "events.jsonl"
    start = json.loads(events.read_text().splitlines()[0])
    assert start["code"].keys() == {"not_ours:build", "not_ours:Own"}


def test_the_hash_of_the_configuration_is_compared_before_anything_is_imported(here, own):
    text = (own / "config.yaml").read_text()
    (own / "config.yaml").write_text(text.replace("seed: 0", "seed: 1"))
    for extra in [], ["--trust-code"]:
        for command in (["resume", own], ["stage", "train", own, "--cycle", 0], ["fidelity", own, "--cycle", 0]):
            said = refused(here, *command, *extra)
            assert said == "error: config.yaml was changed since the run began (seed: 0 -> 1): change it back\n"


def test_a_configuration_that_names_code_since_is_a_changed_one(here):
    invoke("run", *SMALL, "--model", "mlp", "--strategy", "random", "--out", "run")
    text = (here / "run/config.yaml").read_text()
    (here / "run/config.yaml").write_text(text.replace("strategy: random", "strategy: not_ours:Own"))
    assert "was changed since the run began" in refused(here, "resume", "run", "--trust-code")


def test_a_run_without_code_needs_no_word(here):
    invoke("run", *SMALL, "--model", "mlp", "--strategy", "margin", "--out", "run")
    assert "note: " not in invoke("resume", "run").stderr
    assert "code" not in read_events(here / "run")[0]
    assert code_sha256(read_config(here / "run")) == {}


def test_what_is_found_without_importing_is_what_would_be_imported(here):
    (here / "pack/inner").mkdir(parents=True)
    for file in ("__init__.py", "inner/__init__.py", "inner/net.py"):
        (here / "pack" / file).write_text('open("ran", "w")')
    config = load_config(options={"model.name": "pack.inner.net:build", "query.strategy": "random"})
    [code] = named_code(config)
    assert code.file == here / "pack/inner/net.py"
    for name, found in (("pack.absent", False), ("sys", False), ("json.decoder", True), ("xml.dom.minidom", True)):
        [code] = named_code(load_config(options={"model.name": f"{name}:build", "query.strategy": "random"}))
        assert (code.file is not None) is found, name
    assert "pack" not in sys.modules
    assert not (here / "ran").exists()


def test_which_strategies_are_code():
    for name in ("random", "margin-lin-greedy", "mlmoc-sequential", "random-greedy", "nothing", "", "-greedy"):
        assert strategy_code(name) is None, name
    assert strategy_code("a.b:C") == strategy_code("a.b:C-greedy") == strategy_code("a.b:C-sequential") == "a.b:C"


# --- a configuration of somebody else


def written(here, **fields):
    plain = {}
    for path, value in fields.items():
        section, name = path.split("__")
        plain.setdefault(section, {})[name] = value
    (here / "config.yaml").write_text(yaml.safe_dump(plain))
    return here / "config.yaml"


BAD = {"model__name": "subprocess:getoutput", "model__options": {"cmd": "touch ran"}}
RUN, EXPERIMENT = (
    ["run", *SMALL, "--out", "run"],
    ["experiments", "run", "lookahead-mnist-wrn1", "--small", "--out", "x"],
)
COMPARE = ["compare", *SMALL, "--strategies", "random", "--seeds", "0", "--out", "grid", "--dry-run"]


@pytest.mark.parametrize("command", [RUN, COMPARE, EXPERIMENT], ids=lambda command: command[0])
def test_a_configuration_of_somebody_else_runs_nothing(here, command):
    file = written(here, **BAD)
    said = refused(here, *command, "--config", file)
    shown = "model subprocess:getoutput with {'cmd': 'touch ran'} from "
    assert said.startswith(f"error: {file} names code that is not part of this program and would run: {shown}")
    assert said.endswith("If you trust it, give --trust-code\n")
    assert not any((here / name).exists() for name in ("run", "grid", "x"))
    refused(here, *command, "--config", file, "--set", "model.options.width=4")


@pytest.mark.parametrize("fields", [{"query__strategy": "not_ours:Own-greedy"}, {"model__name": "not_ours:build"}])
def test_what_a_configuration_alone_names_runs_where_it_is_trusted(here, fields):
    file = written(here, **fields)
    command = [*RUN, *([] if "query__strategy" in fields else ["--strategy", "random"]), "--config", file]
    refused(here, *command)
    if "query__strategy" in fields:  # it has no greedy mode, which is found out once it is imported
        (here / "config.yaml").write_text(file.read_text().replace("-greedy", ""))
    said = invoke(*command, "--trust-code").stderr
    assert (
        f"note: --trust-code: runs {next(iter(fields)).replace('query__', '').replace('__name', '')} not_ours:" in said
    )
    assert (here / "ran").exists()


@pytest.mark.parametrize(
    "given",
    [["--model", "not_ours:build"], ["--set", "model.name=not_ours:build"], ["--model", "mlp"]],
    ids=lambda given: given[-1],
)
def test_what_the_command_names_itself_is_trusted(here, given):
    """Its own name for the same code, or another network in the place of the file's."""
    file = written(here, model__name="not_ours:build", query__strategy="not_ours:Own")
    said = invoke(*RUN, "--strategy", "random", *given, "--config", file).stderr
    assert "note: --trust-code" not in said
    assert (here / "ran").exists() is ("mlp" not in given)


@pytest.mark.parametrize(
    "text", ["model: 3\n", "model:\n  name: [a]\n", "query:\n  strategy: 1\n", "model:\n  options: 1\n"]
)
def test_a_configuration_that_names_nothing_sound_is_refused_as_before(here, text):
    (here / "config.yaml").write_text(text)
    assert refused(here, *RUN, "--config", here / "config.yaml").startswith("error: config: ")


# --- comparisons


class InProcess:
    """An engine that runs cells in this process; code that they name was given or is trusted by then."""

    is_local, jobs, cpus, memory = True, 1, 1, 2**31

    def __init__(self, go_on):
        self.go_on = go_on

    def run(self, tasks):
        for task in tasks:
            assert task.trust_code is bool(named_code(read_config(Path(task.run))))
            self.go_on(Path(task.run))
            yield Attempt(task.name, 0, "")

    def close(self):
        pass


@pytest.fixture
def grid(here, monkeypatch, go_on):
    """A finished comparison with code that was given on the command line, computed in this process."""
    monkeypatch.setattr("pipeline.sweep.session.open_engine", lambda *_: InProcess(go_on))
    arguments = ["compare", *SMALL, "--model", "not_ours:build", "--strategies", "random,not_ours:Own", "--seeds", "0"]
    invoke(*arguments, "--out", "grid")
    forget(here)
    return arguments


def test_a_comparison_that_goes_on_needs_to_be_trusted_or_given_again(here, grid):
    for extra in [], ["--seeds", "0-1"], ["--dry-run"], ["--strategies", "random"]:
        said = refused(here, "compare", "--out", "grid", *extra)
        assert "error: grid names code that is not part of this program and would run: model not_ours:build" in said
    said = refused(here, "compare", *SMALL, "--model", "not_ours:build", "--out", "grid", "--strategies", "random")
    assert "would run: strategy not_ours:Own from " in said
    said = refused(here, "compare", *SMALL, "--model", "not_ours:build", "--out", "grid")
    assert "would run: strategy not_ours:Own from " in said
    assert "note: --trust-code: runs model" in invoke("compare", "--out", "grid", "--trust-code").stderr
    forget(here)
    assert "note: " not in invoke(*grid, "--out", "grid").stderr


def test_the_default_directory_is_held_to_the_same(here, grid):
    (here / "runs").mkdir()
    shutil.move("grid", "runs/compare-digits-mlp")
    arguments = ["compare", *SMALL, "--model", "mlp", "--strategies", "random", "--seeds", "0"]
    invoke(*arguments)  # other runs: goes elsewhere
    assert not (here / "ran").exists()
    (here / "runs/compare-digits-mlp-2/grid.yaml").write_text(
        (here / "runs/compare-digits-mlp-2/grid.yaml").read_text().replace("- random", "- random\n- not_ours:Own")
    )
    assert "strategy not_ours:Own" in refused(here, *arguments)


def test_a_report_of_a_comparison_imports_nothing(here, grid):
    invoke("report", "grid")
    assert "not_ours" not in sys.modules


@pytest.mark.parametrize("trusted", [True, False])
def test_the_process_of_a_cell_is_told_whether_its_code_is_trusted(here, monkeypatch, trusted):
    started = []
    monkeypatch.setattr("pipeline.sweep.process.subprocess.Popen", lambda command, **_: started.append(command))
    CellProcess(Task("cell", "RUN", str(here / "log"), 1, ".", trust_code=trusted))
    [[_, _, _, module, *arguments]] = started
    assert (module, arguments) == ("pipeline.sweep.child", ["RUN", *["--trust-code"] * trusted])
    monkeypatch.setattr(sys, "argv", ["child", *arguments])
    monkeypatch.setattr(child, "die_with_starter", lambda: None)
    monkeypatch.setattr(child, "install_early", lambda: None)
    monkeypatch.setattr("pipeline.cli.main", lambda: started.append(sys.argv))
    child.main()
    assert started[1] == ["pipeline", "resume", *arguments]


def test_a_benchmark_of_a_run_asks_as_well(here, own, monkeypatch):
    script = benchmark_scripts.benchmark(monkeypatch, "full_kernel")
    said = CliRunner().invoke(script.main, [str(own)]).exception
    assert "would run: model not_ours:build" in str(said)
    assert not (here / "ran").exists()
