"""What a strategy remembers from cycle to cycle, and networks that are sampled: in whole runs and resumed ones."""

import importlib
import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from killed import kill_before
from session_cases import answer, make, network, opened, until

from pipeline.cli import cli
from pipeline.config import load_config
from pipeline.errors import PipelineError, RunFailedError
from pipeline.run.context import open_context
from pipeline.run.events import EventLog
from pipeline.run.rerun import rerun
from pipeline.run.rundir import read_events
from pipeline.run.stages.score import SCORES, read_scores
from pipeline.run.stages.store import read_manifest, seal

ALBL = {"query__strategy": "albl", "cycles": 4, "train__epochs": 4}


def score(path, cycle):
    return path / f"cycles/{cycle:03d}/score"


def log(path):
    return (path / "events.jsonl").read_bytes()


def done(stage, cycle):
    return lambda event: (event["event"], event.get("stage"), event.get("cycle")) == ("stage_done", stage, cycle)


class Killed(BaseException):
    """Stands for SIGKILL: nothing above it handles it."""


def killed_after(go_on, path, monkeypatch, at):
    append = EventLog.append

    def crashing(self, event, **fields):
        logged = append(self, event, **fields)
        if len(self.events) == at:
            raise Killed
        return logged

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "append", crashing)
        with pytest.raises(Killed):
            go_on(path)


def test_each_query_is_given_what_the_one_before_remembered(start, go_on, tmp_path):
    path = start(**ALBL)
    go_on(path)
    memories = [read_scores(score(path, cycle)).remembered for cycle in range(3)]
    asked = [event["ids"] for event in read_events(path) if event["event"] == "query"][1:]
    for cycle, memory in enumerate(memories):
        assert [query["ids"] for query in memory["queries"]] == asked[: cycle + 1]
    made_from = [read_manifest(score(path, cycle)).binding.made_from for cycle in range(3)]
    assert ["memory" in one for one in made_from] == [False, True, True]
    for cycle in (1, 2):
        assert made_from[cycle]["memory"] == read_manifest(score(path, cycle - 1)).files[SCORES]
        (tmp_path / f"again{cycle}").mkdir()
        again = rerun(path, "score", cycle, tmp_path / f"again{cycle}")
        assert again.same
        assert score(path, cycle - 1) in again.read
    figures = json.loads((score(path, 2) / "diagnostics.json").read_text())
    assert {"arm", "reward", "probability_coreset", "probability_least-confidence"} <= set(figures)


def test_nothing_changes_for_strategies_that_do_not_remember(start, go_on):
    path = start(query__strategy="margin", train__epochs=4)
    go_on(path)
    for cycle in range(2):
        with np.load(score(path, cycle) / SCORES) as arrays:
            assert sorted(arrays) == ["candidates", "pseudo_labels", "scores"]
        assert sorted(read_manifest(score(path, cycle)).binding.made_from) == ["labelled", "train"]
        assert read_scores(score(path, cycle)).remembered is None


def test_killed_and_resumed_it_asks_identically(start, go_on, monkeypatch):
    whole = start("whole", **ALBL)
    go_on(whole)
    events = [(event["event"], event.get("stage")) for event in read_events(whole)]
    points = [
        n for n, event in enumerate(events, start=1) if event in (("stage_done", "score"), ("stage_done", "train"))
    ]
    for at in points[1:]:
        path = start(f"killed{at}", **ALBL)
        killed_after(go_on, path, monkeypatch, at)
        go_on(path)
        assert log(path) == log(whole), at


def test_a_damaged_memory_is_made_again_and_all_stays(start, go_on):
    path = start(**ALBL)
    go_on(path)
    before = log(path)
    content = bytearray((score(path, 0) / SCORES).read_bytes())
    content[-400] ^= 1
    (score(path, 0) / SCORES).write_bytes(bytes(content))
    warnings = go_on(path).warnings
    assert [warning for warning in warnings if "cycles/000/score is damaged: set aside" in warning]
    assert log(path) == before


def test_a_query_made_from_another_memory_is_made_again(start, go_on):
    path = start(**ALBL)
    go_on(path)
    whole = log(path)
    kill_before(path, done("score", 1))
    go_on(path)
    scored = read_scores(score(path, 1))
    kill_before(path, done("score", 2))
    memory = scored.remembered | {"weights": [1.0, 0.5]}
    kill_before(path, done("score", 1))
    assert log(path) != whole
    go_on(path)
    assert log(path) == whole
    manifest = read_manifest(score(path, 1))
    with np.load(score(path, 1) / SCORES) as arrays:
        changed = dict(arrays) | {"memory": np.frombuffer(json.dumps(memory).encode(), np.uint8)}
    np.savez(score(path, 1) / SCORES, **changed)
    seal(score(path, 1), manifest.seconds, manifest.binding)  # a whole stage, but not the one that was logged
    warnings = go_on(path).warnings
    assert [warning for warning in warnings if "cycles/001/score does not belong there" in warning]
    assert log(path) == whole


@pytest.mark.parametrize("habits", [{"late": 0.4, "missing": 0.3}, {"skip": 1.0}, {"noise": 0.5, "skip": 0.3}], ids=str)
def test_answers_that_are_late_or_do_not_come_break_nothing(start, go_on, tmp_path, habits):
    path = start(**ALBL, **{f"annotator__{name}": share for name, share in habits.items()})
    go_on(path)
    figures = [json.loads((score(path, cycle) / "diagnostics.json").read_text()) for cycle in range(3)]
    assert all(np.isfinite(one.get("reward", 0)) for one in figures)
    if habits.get("skip") == 1:
        assert not any("reward" in one for one in figures)
    (tmp_path / "again").mkdir()
    assert rerun(path, "score", 2, tmp_path / "again").same


def test_once_all_was_asked_about_it_is_still_remembered(start, go_on):
    path = start(**ALBL | {"query__n_init": 1290, "query__size": 3, "query__subset": 3, "train__epochs": 1})
    go_on(path)
    memories = [read_scores(score(path, cycle)).remembered for cycle in range(3)]
    assert len(memories[1]["queries"]) == 2
    assert len(memories[2]["queries"]) == 3


def test_on_a_page_the_next_network_remembers_too(tmp_path):
    path = make(tmp_path / "run", query__strategy="albl", query__size=3)
    with opened(path) as session:
        answer(session, 12)
        until(session, network(0))
        answer(session, 3)
        until(session, network(1))
    first, second = (read_scores(score(path, cycle)).remembered for cycle in range(2))
    assert second["queries"][0] == first["queries"][0]
    assert len(second["queries"]) == 2
    assert read_manifest(score(path, 1)).binding.made_from["memory"] == read_manifest(score(path, 0)).files[SCORES]
    with opened(path) as session:  # opened again, what is there is verified and stands
        until(session, network(1))
    assert len([event for event in read_events(path) if done("score", 1)(event)]) == 1


# --- plug-ins

COUNTING = """
import numpy as np

from pipeline.queries import select_top


class Counting:
    name, description, source, needs_port, remembers = "counting", "asks for what its memory says", "own", False, True

    def query(self, state, n):
        before = state.memory or {"cycles": 0, "of": state.queries}
        scores = np.arange(len(state.candidates)) * (-1) ** before["cycles"]
        memory = {"cycles": before["cycles"] + 1, "of": state.queries}
        return select_top(state.candidates, scores, n)._replace(memory=memory)
"""
DROPPING = """
from torch import nn

from pipeline.queries import select_top


class Dropping:
    name, description, source, needs_port, needs_dropout = "dropping", "most varied passes", "own", False, True

    def query(self, state, n):
        assert state.sampled_probabilities.shape == (7, 30, 10)
        return select_top(state.candidates, state.sampled_probabilities.var(axis=0).sum(axis=1), n)


def build(input_shape, num_classes, p=0.25):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Dropout(p), nn.Linear(24, num_classes))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of a name of its own into the working directory: module(source) -> its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = "own_memory_of_a_test"

    def write(source):
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return name

    yield write
    sys.modules.pop(name, None)


@pytest.mark.parametrize("after", [8, 12, 15])
def test_one_from_outside_may_remember(module, start, go_on, monkeypatch, after):
    options = {"query__strategy": f"{module(COUNTING)}:Counting", "cycles": 4, "train__epochs": 2}
    whole, path = start("whole", **options), start("killed", **options)
    go_on(whole)
    scores = [read_scores(score(whole, cycle)) for cycle in range(3)]
    assert [one.remembered for one in scores] == [{"cycles": n, "of": 3} for n in (1, 2, 3)]
    assert [bool(one.scores[-1] > 0) for one in scores] == [True, False, True]
    killed_after(go_on, path, monkeypatch, after)
    go_on(path)
    assert log(path) == log(whole)


def test_one_that_returns_a_memory_must_say_so(module, start, go_on):
    name = module(COUNTING.replace(", remembers =", ", needs_features =").replace("False, True", "False, False"))
    with pytest.raises(RunFailedError, match="strategy 'counting': memory: expected remembers = True with it"):
        go_on(start(query__strategy=f"{name}:Counting", train__epochs=2))
    sys.modules.pop(name)
    name = module(COUNTING.replace("False, True", "False, 1"))
    with pytest.raises(PipelineError, match="expected an attribute 'remembers', True or False; got 1"):
        start("other", query__strategy=f"{name}:Counting")


# --- networks with dropout


def own(module, strategy="own_memory_of_a_test:Dropping", **options):
    name = module(DROPPING)
    return {"model__name": f"{name}:build", "model__options": {}, "query__strategy": strategy, **options}


@pytest.mark.parametrize("strategy", ["bald", "batchbald", "epig", "own_memory_of_a_test:Dropping"])
def test_a_run_of_a_network_with_dropout(module, start, go_on, monkeypatch, strategy, tmp_path):
    options = own(module, strategy, query__dropout_passes=7, train__epochs=4, cycles=3)
    whole, path = start("whole", **options), start("killed", **options)
    go_on(whole)
    assert len(np.unique(read_scores(score(whole, 0)).scores)) > 4
    killed_after(go_on, path, monkeypatch, 9)
    go_on(path)
    assert log(path) == log(whole)
    (tmp_path / "again").mkdir()
    assert rerun(whole, "score", 1, tmp_path / "again").same


@pytest.mark.parametrize("strategy", ["bald", "batchbald", "epig", "own_memory_of_a_test:Dropping"])
@pytest.mark.parametrize("network", ["mlp", "own"])
def test_a_network_without_dropout_is_refused_before_the_run_begins(module, tmp_path, strategy, network):
    name = module(DROPPING)
    model = ["mlp"] if network == "mlp" else [f"{name}:build", "--set", "model.options.p=0.0"]
    options = ["--model", *model, "--strategy", strategy, "--n-init", "12", "--query-size", "4", "--out", "run"]
    refused = CliRunner().invoke(cli, ["run", *options])
    assert refused.exit_code == 2, (refused.output, refused.exception)
    assert refused.stderr.startswith("error: model: dropout: expected a network in which dropout layers")
    assert "--set model.options.dropout=0.25" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_number_of_passes(module, start):
    with pytest.raises(PipelineError, match="dropout_passes"):
        start(**own(module, query__dropout_passes=1))
    config = load_config(options={"query.dropout_passes": 9})
    assert config.scientific()["query"]["dropout_passes"] == 9
    assert "dropout_passes" not in load_config().scientific()["query"]
    assert open_context(load_config()).config.query.dropout_passes is None
