"""Strategies of users: by MODULE:OBJECT, through an entry point, and refused in one line when they cannot be used."""

import importlib
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.config import QuerySection
from pipeline.errors import PipelineError, RunFailedError
from pipeline.queries import STRATEGIES, get_strategy, installed_strategies, plugins
from pipeline.queries.state import NO_OPTIONS
from pipeline.queries.validated_query import covariance_of
from pipeline.run.events import EventLog
from pipeline.run.rundir import read_config, read_events
from pipeline.run.stages.sequential import query_sizes

GOOD = """
from pipeline.queries import select_top


class Last:
    name = "last"
    description = "highest id"
    source = "own"
    needs_port = False

    def query(self, state, n):
        return select_top(state.candidates, state.candidates, n)


instance = Last()


def make():
    return Last()


class outer:
    Inner = Last
"""
TINY = [
    "--model", "mlp", "--set", "model.options.width=16", "--n-init", "12", "--query-size", "4", "--subset-size", "30",
    "--cycles", "2", "--epochs", "8", "--device", "cpu",
]  # fmt: skip


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of a name of its own into the working directory: module(source) -> its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = "own_strategy_of_a_test"

    def write(source):
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return name

    yield write
    sys.modules.pop(name, None)


@pytest.fixture
def package(module, tmp_path, monkeypatch):
    """Install a package that offers strategies: package(name, entry_point=value, ...)."""

    def install(distribution, **points):
        folder = tmp_path / "site" / f"{distribution}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "\n".join(f"{name.replace('_', '-')} = {value}" for name, value in points.items())
        (folder / "entry_points.txt").write_text(f"[ntk_lookahead.strategies]\n{lines}\n")
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        plugins.offered.cache_clear()

    yield install
    plugins.offered.cache_clear()


@pytest.mark.parametrize("attribute", ["Last", "instance", "make", "outer.Inner"])
def test_a_module_in_the_working_directory(module, attribute):
    name = f"{module(GOOD)}:{attribute}"
    strategy = get_strategy(name)
    assert (strategy.name, strategy.needs_port) == ("last", False)


BAD = [
    ("", "Absent", "there is no Absent in the module own_strategy_of_a_test .*own_strategy_of_a_test.py"),
    ("import nowhere_at_all", "Last", "cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'$"),
    ("def f(:", "Last", "cannot be imported: SyntaxError"),
    ("raise OSError('two\\nlines')", "Last", "cannot be imported: OSError: two lines"),
    ("exit()", "Last", "cannot be imported: SystemExit"),
    (GOOD.replace('    name = "last"\n', ""), "Last", "expected an attribute 'name', one line of text; got none"),
    (GOOD.replace('"own"', '"a\\nb"'), "Last", "expected an attribute 'source', one line of text; got 'a.nb'"),
    (GOOD.replace('"highest id"', '""'), "Last", "expected an attribute 'description', one line of text; got ''"),
    (GOOD.replace("False", "0"), "Last", "expected an attribute 'needs_port', True or False; got 0"),
    (GOOD.replace("def query", "def choose"), "Last", r"expected a method query\(state, n\); got none"),
    (GOOD.replace('"last"', '"random"'), "Last", "calls itself 'random', as a built-in does: rename it"),
    (GOOD + "    def __init__(self, a): ...", "outer", "a class or factory that takes no arguments; .*TypeError"),
    (GOOD + "x = 3", "x", "expected an attribute 'name', one line of text; got none"),
]


@pytest.mark.parametrize(("source", "attribute", "message"), BAD)
def test_what_cannot_be_used_is_refused_in_one_line(module, source, attribute, message):
    name = f"{module(source)}:{attribute}"
    with pytest.raises(PipelineError, match=f"strategy {name!r}.*{message}") as error:
        get_strategy(name)
    assert "\n" not in str(error.value)


def test_a_module_that_raises_where_it_is_asked_is_named(module):
    name = module("def __getattr__(name): raise RuntimeError('no ' + name)")
    with pytest.raises(PipelineError, match=r"^strategy '.*:S' cannot be read: RuntimeError: no S$"):
        get_strategy(f"{name}:S")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def query_sizes(self, *_): return __import__('itertools').repeat(1)", "query_sizes: expected positive whole"),
        (
            "def covariance(self, *_): return 'perhaps'",
            "covariance: expected one of 'none', 'helpful', 'sa",
        ),
        ("def covariance(self, *_): raise KeyError('c')", "strategy 'own' failed: KeyError: 'c'"),
    ],
)
def test_what_a_strategy_says_of_itself_without_end_or_sense_is_named(module, body, message):
    says = "class S:\n    name = description = source = 'own'\n    needs_port = True\n"
    methods = ("def query(self, state, n): pass", "def sequential_query(self, state): pass", body)
    strategy = get_strategy(f"{module(says + ''.join(f'    {method}' + chr(10) for method in methods))}:S")

    def asked():
        assert query_sizes(strategy, QuerySection(size=4))
        covariance_of(strategy, NO_OPTIONS, 4, 30)

    with pytest.raises((PipelineError, RunFailedError), match=message):
        asked()


@pytest.mark.parametrize("name", ["nowhere_at_all:Last", "nowhere_at_all.within:Last"])
def test_an_absent_module_says_where_it_was_looked_for(module, name):
    with pytest.raises(PipelineError, match="No module named .*; run in the directory that it lies in"):
        get_strategy(name)


@pytest.mark.parametrize("name", ["own", "own:", ":Own", "", ":"])
def test_a_name_of_nothing_lists_what_there_is(name):
    with pytest.raises(PipelineError, match="expected one of mlmoc, .*, badge, or MODULE:STRATEGY for one of your own"):
        get_strategy(name)


def test_entry_points_are_listed_and_found_by_their_names(module, package):
    package("shapes", last_first=f"{module(GOOD)}:Last", broken="nowhere_at_all:Last")
    assert get_strategy("last-first").name == "last"
    usable, refused = installed_strategies()
    assert set(usable) == {*STRATEGIES, "last-first"}
    assert list(refused) == ["broken"]
    result = CliRunner().invoke(cli, ["list", "strategies"])
    assert result.exit_code == 0
    assert re.search(r"\nlast-first +highest id \(own\)\n", result.stdout)
    assert result.stderr == f"cannot be used: {refused['broken']}\n"


def test_names_that_are_taken_are_refused(module, package):
    value = f"{module(GOOD)}:Last"
    package("shapes", random=value, twice=value)
    package("colours", twice=f"{value}.name")
    with pytest.raises(PipelineError, match="'random' of the package shapes has the name of the built-in strategy"):
        get_strategy("random")
    with pytest.raises(PipelineError, match="'twice' of the package .*, the package .* name of another package"):
        get_strategy("twice")
    usable, refused = installed_strategies()
    assert set(usable) == set(STRATEGIES) - {"random"}
    assert set(refused) == {"random", "twice"}
    assert get_strategy("entropy") is STRATEGIES["entropy"]


def run(*arguments):
    return CliRunner().invoke(cli, ["run", *TINY, *arguments])


def test_a_run_asks_what_the_strategy_says(module, tmp_path):
    name = f"{module(GOOD)}:Last"
    result = run("--strategy", name, "--out", "run")
    assert result.exit_code == 0, (result.output, result.exception)
    assert read_config(tmp_path / "run").query.strategy == name
    asked = next(e["ids"] for e in read_events(tmp_path / "run") if e["event"] == "query" and e["cycle"] == 0)
    with np.load(tmp_path / "run/cycles/000/score/scores.npz") as scores:
        assert asked == sorted(scores["candidates"].tolist(), reverse=True)[:4]


def test_bad_strategies_end_with_exit_code_2_and_write_nothing(module, tmp_path):
    result = run("--strategy", f"{module('')}:Absent", "--out", "run")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --strategy: strategy 'own_strategy_of_a_test:Absent': there is")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 1 / 0", "failed: ZeroDivisionError: division by zero (own_strategy_of_a_test.py, line 12)"),
        ("return select_top(state.candidates, state.outputs, n)", "expected one score for each of 30 candidates"),
        ("return select_top(state.candidates[:9], state.candidates[:9], n)", "candidate_scores: expected one score"),
        ("return state.look_ahead", "failed: ValueError: this strategy looks ahead, so the network must be migrated"),
    ],
)
def test_a_strategy_that_fails_is_blamed_and_nothing_is_asked(module, tmp_path, body, message):
    source = GOOD.replace("return select_top(state.candidates, state.candidates, n)", body)
    result = run("--strategy", f"{module(source)}:Last", "--out", "run")
    assert result.exit_code == 1, (result.output, result.exception)
    failure = result.stderr.splitlines()[-1]
    assert failure.startswith("failed: cycle 0: strategy 'last'")
    assert message in failure
    events = read_events(tmp_path / "run")
    assert events[-1]["event"] == "failed"
    assert not [e for e in events if e["event"] == "query" and e["cycle"] == 0]


NET = """
from torch import nn


def soft(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes), nn.Softmax(1))
"""


def test_a_network_without_a_last_linear_layer_is_refused(module, tmp_path):
    source = GOOD.replace(
        "select_top(state.candidates, state.candidates", "select_top(state.candidates, state.features[:, 0]"
    )
    name = module(source + NET)
    options = ["--model", f"{name}:soft", "--n-init", "12", "--query-size", "4", "--cycles", "2", "--epochs", "2"]
    for strategy in ("badge", "coreset"):
        refused = CliRunner().invoke(cli, ["run", *options, "--strategy", strategy, "--out", "run"])
        assert refused.exit_code == 2, (refused.output, refused.exception)
        assert refused.stderr.startswith("error: model: features: expected a network that returns what its last")
        assert refused.stderr.count("\n") == 1
        assert not (tmp_path / "run").exists()
    failed = CliRunner().invoke(cli, ["run", *options, "--strategy", f"{name}:Last", "--out", "run"])
    assert failed.exit_code == 1
    assert failed.stderr.splitlines()[-1].startswith("failed: cycle 0: features: expected a network")


def test_a_strategy_whose_file_changed_is_said_when_the_run_goes_on(module, tmp_path):
    name = f"{module(GOOD)}:Last"
    assert run("--strategy", name, "--out", "run").exit_code == 0
    module(GOOD + "# changed")
    result = CliRunner().invoke(cli, ["resume", "run", "--trust-code"])
    assert f"package versions changed since the run began ({name}: 'SHA-256" in result.stderr


def block(mark, language):
    text = (Path(__file__).parents[2] / "docs/own-strategy.md").read_text()
    return re.search(rf"<!-- {mark} -->\s*```{language}\n(.*?)```", text, re.DOTALL)[1]


def test_ones_own_strategy_by_following_the_page(module, package, tmp_path):
    source, command = block("own-strategy", "python"), block("own-strategy-run", "bash")
    (tmp_path / "density.py").write_text(source)
    importlib.invalidate_caches()
    code = [line for line in (source + command).splitlines() if line.strip()]
    assert len(code) <= 15
    program, *arguments = shlex.split(command)
    assert program == "pipeline"
    result = CliRunner().invoke(cli, [*arguments, *TINY])
    assert result.exit_code == 0, (result.output, result.exception)
    by_module = tmp_path / "runs/digits-mlp-Density-seed0"
    package("densities", density="density:Density")
    assert re.search(r"\ndensity +unsure and typical", CliRunner().invoke(cli, ["list", "strategies"]).stdout)
    assert run("--strategy", "density", "--out", "by-entry-point").exit_code == 0
    asked = [
        [e["ids"] for e in read_events(path) if e["event"] == "query"]
        for path in (by_module, tmp_path / "by-entry-point")
    ]
    assert asked[0] == asked[1]
    sys.modules.pop("density")


ONE_AT_A_TIME = """
import numpy as np

from pipeline.queries import Chosen, select_top


class Stepwise:
    name, description, source, needs_port = "stepwise", "by chance and by the answers so far", "own", False

    def query(self, state, n):
        return select_top(state.candidates, np.arange(len(state.candidates)), n)

    def query_sizes(self, options, size, answers):
        return (1,) * (answers - 2) + (2,)

    def sequential_query(self, state):
        return Session(state)


class Session:
    def __init__(self, state):
        self.left, self.rng, self.labels = state.candidates.tolist(), state.rng, []

    def choose(self, n):
        at = [(17 * sum(self.labels) + int(self.rng.integers(3)) + k) % len(self.left) for k in range(n)]
        return Chosen(np.array(self.left)[at], np.ones(n))

    def observe(self, sample, label):
        self.left.remove(sample)
        self.labels.append(label)
"""


class Killed(BaseException):
    """Stands for SIGKILL: nothing above it handles it."""


@pytest.mark.parametrize("after", [5, 7, 9])
def test_one_from_outside_asks_one_at_a_time_in_view_of_the_answers(module, start, go_on, monkeypatch, after):
    name = f"{module(ONE_AT_A_TIME)}:Stepwise"
    options = {"query__strategy": name, "query__size": 5, "cycles": 2}
    whole, path = start("whole", **options), start("killed", **options)
    go_on(whole)
    asked = [event["ids"] for event in read_events(whole) if event["event"] == "query" and event["cycle"] == 0]
    assert [len(ids) for ids in asked] == [1, 1, 1, 2]
    append = EventLog.append

    def crashing(self, event, **fields):
        logged = append(self, event, **fields)
        if len(self.events) == after:
            raise Killed
        return logged

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "append", crashing)
        with pytest.raises(Killed):
            go_on(path)
    go_on(path)
    assert (path / "events.jsonl").read_bytes() == (whole / "events.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("return (1,) * (answers - 2) + (2,)", "return (1,)"), "query_sizes: expected positive .* that add up to 5"),
        (("def sequential_query(self, state):\n        return Session(state)", "takes_mode = 3"), "'takes_mode'"),
        (("def sequential_query", "def opened"), "expected a method sequential_query"),
        (("np.ones(n)", "np.full(n, np.nan)"), "expected 1 ids with finite scores"),
        (("np.array(self.left)[at]", "np.array([-1] * n)"), "expected candidates that were not asked about"),
    ],
)
def test_what_a_sequential_query_must_not_do_is_named(module, start, go_on, change, message):
    source = ONE_AT_A_TIME.replace(*change)
    assert source != ONE_AT_A_TIME
    with pytest.raises((PipelineError, RunFailedError), match=message):
        go_on(start(query__strategy=f"{module(source)}:Stepwise", query__size=5, cycles=2))
